package notify

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// sample is an event with something in every field that a matcher knows.
func sample() event.Event {
	return event.Event{
		Type: "model_updated", Kind: event.KindAudit, Source: base + "/state", Severity: event.Warn, Subject: "user/2", Brand: "acme", ClientIP: "192.0.2.7",
		AuthType: "user", AuthID: "1", AuthName: "ann", Data: []byte(`{"model":{"app":"tocsin_identity","model_name":"user"},"n":0}`),
	}
}

// All configured fields of a matcher must match.
func TestMatcher(t *testing.T) {
	for _, tt := range []struct {
		m    Matcher
		want string // the field that does not match
	}{
		{Matcher{Type: "model_*", Kind: "audit", Producer: "state", Model: "user", ClientIP: "192.0.2.0/24", Brand: "acme"}, ""},
		{Matcher{Type: "model_created", Brand: "acme"}, "type"},
		{Matcher{Kind: "host"}, "kind"},
		{Matcher{Producer: base + "/state"}, ""},
		{Matcher{Producer: "stat"}, "producer"},
		{Matcher{Model: "tocsin_identity.user"}, ""},
		{Matcher{Model: "other.user"}, "model"},
		{Matcher{ClientIP: "192.0.2.7"}, ""},
		{Matcher{ClientIP: "192.0.2.8"}, "client_ip"},
		{Matcher{ClientIP: "2001:db8::/32"}, "client_ip"},
		{Matcher{Brand: "x"}, "brand"},
	} {
		c, err := compileMatcher(&tt.m)
		if err != nil {
			t.Fatal(err)
		}
		e := sample()
		if got := c.field(newSubject(&e)); got != tt.want {
			t.Errorf("%+v: %q does not match, want %q", tt.m, got, tt.want)
		}
	}
	e := event.Event{Type: "x", Source: "plain"}
	c, err := compileMatcher(&Matcher{ClientIP: "0.0.0.0/0"})
	if err != nil || c.field(newSubject(&e)) != "client_ip" {
		t.Error("an event without an address is in a network")
	}
	for _, m := range []Matcher{{}, {ClientIP: "somewhere"}} {
		if _, err := compileMatcher(&m); err == nil {
			t.Errorf("%+v is taken", m)
		}
	}
}

// Policies are combined by the mode, in their order; what fails is what it is
// said to be.
func TestPolicies(t *testing.T) {
	k := newKit(t)
	stored, err := k.CreatePolicy(t.Context(), state.System(), Policy{Name: "audits", Matcher: &Matcher{Kind: "audit"}})
	if err != nil {
		t.Fatal(err)
	}
	yes, no := Binding{Expression: "true"}, Binding{Expression: "false"}
	not := func(b Binding) Binding { b.Negate = true; return b }
	failing := Binding{Expression: "1/data.n == 1"}
	passing := failing
	passing.OnFailure = "pass"
	slow := Binding{Expression: `[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, a+b+c+d > 0))))`, Timeout: 1}
	for _, tt := range []struct {
		mode string
		list []Binding
		want bool
	}{
		{All, nil, true},
		{Any, nil, true},
		{None, nil, true},
		{All, []Binding{yes, yes}, true},
		{All, []Binding{yes, no}, false},
		{Any, []Binding{no, yes}, true},
		{Any, []Binding{no, no}, false},
		{None, []Binding{no, no}, true},
		{None, []Binding{no, yes}, false},
		{All, []Binding{not(no), not(Binding{Matcher: &Matcher{Type: "x"}})}, true},
		{All, []Binding{{Policy: stored.ID.String()}, {User: "1"}, {Group: "1"}}, true},
		{Any, []Binding{{User: "2"}, {Group: "2"}}, false},
		{All, []Binding{not(Binding{User: "2"})}, true},
		{All, []Binding{failing}, false},
		{All, []Binding{not(failing)}, false},
		{All, []Binding{passing}, true},
		{All, []Binding{not(passing)}, true},
		{All, []Binding{slow}, false},
		{All, []Binding{{Expression: `data.absent == 1`}}, false}, // absent is no failure
	} {
		r := NewRule()
		r.Name, r.Mode, r.Policies = "r", tt.mode, tt.list
		r.fill()
		c, _, err := k.trial(t.Context(), 0, r)
		if err != nil {
			t.Fatal(err)
		}
		e := sample()
		if got := c.decide(t.Context(), newPeople(k.people.all), newSubject(&e), &verdict{}); got != tt.want {
			t.Errorf("%s of %+v: %v", tt.mode, tt.list, got)
		}
	}
	if err := k.DeletePolicy(t.Context(), state.System(), stored.ID, state.AnyVersion); err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string]Binding{
		"use one of": {}, "these are 2": {Expression: "true", User: "1"}, "no policy": {Policy: "99"}, "empty": {Matcher: &Matcher{}}, "line 1": {Expression: "tru"},
		"on_failure": {Expression: "true", OnFailure: "maybe"}, "timeout": {Expression: "true", Timeout: -1}, `groups: there is no "9"`: {Group: "9"},
	} {
		r := NewRule()
		r.Name, r.Policies = "r", []Binding{b}
		if _, err := k.CreateRule(t.Context(), state.System(), r); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// found lists the events of a type, oldest first.
func (k *kit) found(types ...event.Type) []event.Event {
	k.t.Helper()
	page, err := k.journal.Search(k.t.Context(), &segment.Query{Plan: &filter.Node{Op: filter.OpUnknown}, Ascending: true, Transient: true, Match: func(e *event.Event) (bool, error) {
		return slices.Contains(types, e.Type), nil
	}})
	if err != nil {
		k.t.Fatal(err)
	}
	var all []event.Event
	for _, h := range page.Hits {
		e, err := event.Decode(h.Body)
		if err != nil {
			k.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// Executions are on record where that is wanted, failures always, with the
// structure and the place; neither is told, and a dry run leaves none.
func TestPolicyEvents(t *testing.T) {
	k := newKit(t)
	s := newSink(t, nil)
	way := k.webhook("hook", s.URL)
	stored, err := k.CreatePolicy(t.Context(), state.System(), Policy{Name: "divides", Expression: "\n 1/data.n == 1", LogExecutions: true})
	if err != nil {
		t.Fatal(err)
	}
	id := k.rule("watch", way, func(r *Rule) {
		r.Filter, r.Policies, r.Mode = `type == "model_updated" || type.startsWith("policy_")`, []Binding{{Policy: stored.ID.String()}, {Expression: `type != "x"`}}, Any
	})
	e := sample()
	e.Source = "/elsewhere"
	seq := k.emit(e)
	if x, err := k.Explain(t.Context(), id, must(k.GetRule(t.Context(), id)).Value, seq); err != nil || !x.Fires {
		t.Fatalf("%+v, %v", x, err)
	}
	k.start()
	k.until("it is told", func() bool { return len(s.all()) == 1 })
	all := k.found("policy_exception", "policy_execution")
	if len(all) != 2 {
		t.Fatalf("%d events of policies", len(all))
	}
	var got []map[string]any
	for i := range all {
		if all[i].CausationID != string(e.ID) && all[i].CausationID == "" || all[i].Source != base+"/notify" {
			t.Errorf("%+v", all[i])
		}
		var data map[string]any
		if err := json.Unmarshal(all[i].Data, &data); err != nil {
			t.Fatal(err)
		}
		delete(data["request"].(map[string]any)["event"].(map[string]any), "id")
		got = append(got, data)
	}
	policy := map[string]any{"app": "tocsin_notify", "model_name": "policy", "pk": stored.ID.String(), "name": "divides"}
	rule := map[string]any{"app": "tocsin_notify", "model_name": "rule", "pk": id.String(), "name": "watch"}
	request := map[string]any{"event": map[string]any{"sequence": seq.String(), "type": "model_updated", "source": "/elsewhere"}}
	message := "line 2, column 3: division by zero"
	want := []map[string]any{{
		"message": "Policy failed to execute: " + message, "expression": "\n 1/data.n == 1", "policy": policy, "rule": rule, "request": request,
		"exception": map[string]any{"type": "*types.Err", "message": "division by zero", "frames": []any{map[string]any{"file": "policy", "line": 2.0, "function": "column 3"}}},
	}, {
		"policy": policy, "rule": rule, "request": request, "result": map[string]any{"passing": false, "messages": []any{message}},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// The same types from elsewhere are told; ours are not.
	k.emit(event.Event{Type: "policy_exception", Source: "https://other.example/authentik", Data: []byte(`{"message":"no"}`)})
	k.until("the other's is told", func() bool { return len(s.all()) == 2 })
	if n := len(k.ledger(DeliveryQuery{Rule: id})); n != 2 {
		t.Errorf("%d rows in the ledger", n)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A broken policy does not fill the journal: ten failures a minute are on record,
// the others are counted.
func TestExceptionsAreFolded(t *testing.T) {
	k := newKit(t)
	way := k.webhook("hook", "http://127.0.0.1:1/")
	k.rule("broken", way, func(r *Rule) { r.Filter = "1/data.n == 1" })
	for range 200 {
		k.emit(event.Event{Type: "x", Data: []byte(`{"n":0}`)})
	}
	k.start()
	k.until("all are counted", func() bool {
		k.counts.mu.Lock()
		defer k.counts.mu.Unlock()
		return k.counts.suppressed["exception_folded"] >= 180
	})
	if n := len(k.found("policy_exception")); n < 10 || n > 20 { // a minute may end in between
		t.Errorf("%d exceptions on record", n)
	}
}

// Rules are found by what they need, and that never loses one.
func TestIndex(t *testing.T) {
	k := newKit(t)
	way := k.webhook("hook", "http://127.0.0.1:1/")
	texts := []string{
		`data.host == "web1"`, `data.host == "web1" && data.n > 1`, `data.host == "web2"`, `data.host == "web1" || data.n == 7`, `data.n == 7`, `data.n == "7"`,
		`"web1" == data.host`, `data.host != "web1"`, `!(data.host == "web1")`, `data.a.b == "deep" && true`, `data.host in ["web1"]`, ``, `data.host == "true"`, `data.flag == true`,
		`host == "web1"`, `host == "web1" || host == "web2"`, `host == ""`, `source in ["/t", "/u", "/t"]`, `source == "/u"`, `data.host in ["web1", "web2", "web1"]`, `type == "x"`,
		`actor.id == "1" || clientip == "192.0.2.1"`, `subject == "s" && data.host == "web1"`, `host in ["web2"]`, `data.host == "web2" || data.host == "w" || data.n == 7`,
	}
	for i, text := range texts {
		k.rule(string(rune('a'+i)), way, func(r *Rule) { r.Filter = text })
	}
	s, err := k.load(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, data := range []string{`{"host":"web1","n":7}`, `{"host":"web2","n":7.0}`, `{"n":"7"}`, `{"a":{"b":"deep"},"host":"w\u0065b1"}`, `{"host":true,"flag":true}`, `{}`, `[]`} {
		e := event.Event{Type: "x", Source: "/t", Severity: event.Info, Subject: "s", AuthID: "1", Host: []string{"web1", "web2", ""}[i%3], Data: []byte(data)}
		fired := map[string]bool{}
		sub := newSubject(&e)
		s.candidates(sub, func(r *rule) { fired[r.Filter] = r.decide(t.Context(), s.people, sub, &verdict{}) })
		for _, r := range s.rules {
			want, _ := r.filter.Match(newSubject(&e).input()) // an error does not match
			if fired[r.Filter] != want {
				t.Errorf("%s on %s: %v, want %v", r.Filter, data, fired[r.Filter], want)
			}
		}
	}
	for id, want := range map[state.ObjectID]string{1: "data.host", 5: "", 10: "data.a.b", 11: "data.host", 15: "host", 16: "host", 18: "source", 21: "", 22: "", 23: "subject"} {
		if got := s.byID[id].need.place; got != want {
			t.Errorf("%s needs something at %q, want %q", s.byID[id].Filter, got, want)
		}
	}
}
