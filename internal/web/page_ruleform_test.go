package web

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/notify"
)

// wholeRule has something in every field that a rule has.
func wholeRule() notify.Rule {
	to := notify.Recipients{Groups: []string{"3"}, Users: []string{"7"}, AccessLevels: []string{"admin"}, Actor: true, Subject: true, Expression: "[data.owner]"}
	binding := func(b notify.Binding) notify.Binding {
		b.Negate, b.Order, b.Timeout, b.OnFailure = true, 2, config.Duration(2*time.Second), "pass"
		return b
	}
	return notify.Rule{
		Name: "name", Enabled: true, Severity: "warn", Types: []string{"a_*", "b"}, Filter: "host != \"x\" &&\n  true", Mode: notify.None,
		Policies: []notify.Binding{
			binding(notify.Binding{Matcher: &notify.Matcher{Type: "t", Kind: "host", Producer: "p", Model: "m", ClientIP: "192.0.2.1", Brand: "b"}}),
			binding(notify.Binding{Policy: "5"}), binding(notify.Binding{Group: "6"}), binding(notify.Binding{User: "7"}), binding(notify.Binding{Expression: "true"}),
		},
		Recipients: to, Transports: []string{"1", "2"}, GroupBy: []string{"host"}, Threshold: &notify.Threshold{Count: 5, Within: config.Duration(time.Minute)},
		Absence: &notify.Absence{Within: config.Duration(time.Hour)}, Resolve: &notify.Resolve{Types: []string{"over"}, Filter: "true"},
		RepeatEvery: config.Duration(time.Hour), DigestEvery: config.Duration(2 * time.Hour),
		QuietHours:    &notify.QuietHours{Timezone: "Europe/Berlin", From: "22:00", To: "07:00", Days: []string{"mon"}, Except: "critical"},
		Escalate:      []notify.Step{{After: config.Duration(time.Minute), Recipients: notify.Recipients{Groups: []string{"3"}, Users: []string{"7"}, AccessLevels: []string{"admin"}}, Transports: []string{"2"}}},
		LogExecutions: true, Routing: true,
	}
}

// empty names the first field of a value that is not set.
func empty(v reflect.Value, path string) string {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return path
		}
		return empty(v.Elem(), path)
	case reflect.Slice:
		if v.Len() == 0 {
			return path
		}
		return empty(v.Index(0), path+"[0]")
	case reflect.Struct:
		for f, at := range v.Fields() {
			if missing := empty(at, path+"."+f.Name); missing != "" {
				return missing
			}
		}
		return ""
	}
	if v.IsZero() {
		return path
	}
	return ""
}

// The form of a rule has all that a rule has: what a page saves is what was there.
func TestRuleFormIsWhole(t *testing.T) {
	r := wholeRule()
	policies, steps := r.Policies, r.Escalate
	// Of the kinds of policies one is set in each, and steps name nobody of the event.
	r.Policies, r.Escalate = nil, nil
	r.Policies = []notify.Binding{{Policy: "5", Group: "6", User: "7", Matcher: policies[0].Matcher, Expression: "true", Negate: true, Order: 1, Timeout: 1, OnFailure: "pass"}}
	r.Escalate = []notify.Step{{After: 1, Recipients: r.Recipients, Transports: r.Transports}}
	r.Threshold = &notify.Threshold{Count: 1, Within: 1, GroupBy: []string{"x"}}
	r.Absence = &notify.Absence{Within: 1, GroupBy: []string{"x"}}
	if missing := empty(reflect.ValueOf(r), "Rule"); missing != "" {
		t.Fatalf("%s is new: the form of a rule needs it, and so does this test", missing)
	}
	r = wholeRule()
	r.Policies, r.Escalate = policies, steps
	for _, in := range []string{"", "threshold", "absence"} {
		want := r
		switch in {
		case "threshold":
			want.GroupBy, want.Threshold = nil, &notify.Threshold{Count: 5, Within: config.Duration(time.Minute), GroupBy: []string{"host"}}
		case "absence":
			want.GroupBy, want.Absence = nil, &notify.Absence{Within: config.Duration(time.Hour), GroupBy: []string{"host"}}
		}
		f := newRuleForm(&want, func(string) string { return "ann" })
		got, err := f.rule(func(name string) string { return map[string]string{"ann": "7"}[name] })
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("groups in %q: %s", in, diff)
		}
	}
}

// Rows may be missing, in any order, and come from anybody.
func FuzzRuleForm(f *testing.F) {
	for _, text := range []string{
		"name=x&types=a,b&types=&act=add-matcher", "policies.7.kind=user&policies.7.ref=ann&policies.2.kind=matcher&policies.2.type=t", "escalate.0.after=x&act=drop-step-0",
		"act=drop-policy-9", "act=add-", "policies.1000.kind=x", "unknown=1", "threshold.count=x&repeat_every=soon", "act=drop-policy--1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := httptest.NewRequest(http.MethodPost, "/rules/new", strings.NewReader(text))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		form, act, err := readRuleForm(httptest.NewRecorder(), r)
		if err != nil {
			return
		}
		form.change(act)
		rule, err := form.rule(func(name string) string { return name })
		if len(rule.Policies) != len(form.Policies) || len(rule.Escalate) != len(form.Steps) {
			t.Errorf("%d policies of %d, %d steps of %d", len(rule.Policies), len(form.Policies), len(rule.Escalate), len(form.Steps))
		}
		if err != nil {
			form.mistake(err)
		}
	})
}

func TestReadRuleForm(t *testing.T) {
	read := func(values url.Values) (ruleForm, error) {
		r := httptest.NewRequest(http.MethodPost, "/rules/new", strings.NewReader(values.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		f, _, err := readRuleForm(httptest.NewRecorder(), r)
		return f, err
	}
	f, err := read(url.Values{"types": {"a, b", "", "c"}, "filter": {"x ||\r\n y"}, "policies.9.kind": {"user"}, "policies.9.ref": {"ann"}, "policies.3.kind": {"expression"}, "policies.3.expression": {"true"}})
	if err != nil || strings.Join(f.Types, " ") != "a b c" || f.Filter != "x ||\n y" || len(f.Policies) != 2 || f.Policies[0].Expression != "true" || f.Policies[1].Ref != "ann" {
		t.Errorf("%+v %v", f, err)
	}
	if _, err = read(url.Values{"policies.0.secret": {"x"}}); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("an unknown field: %v", err)
	}
	for act, want := range map[string]int{"add-user": 3, "drop-policy-0": 1, "drop-policy-7": 2, "drop-policy--1": 2, "": 2} {
		g := f
		g.Policies = append([]policyForm{}, f.Policies...)
		g.change(act)
		if len(g.Policies) != want {
			t.Errorf("%q: %d policies", act, len(g.Policies))
		}
	}
}
