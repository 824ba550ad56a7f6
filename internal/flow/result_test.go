package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

const wellDone = `
- say: {call: status, with: {status: fine, message: all is well}}
- out: {set: "${ [1, 2, 3] }"}
`

// a row of the table of seed 001: what happens, and what is told of it.
type row struct {
	document string
	input    string
	delete   bool

	ends     string // ok, error or failed
	data     map[string]any
	disables [2]bool // schedule, event
}

func rows() map[string]row {
	return map[string]row{
		"completed": {document: named("good", wellDone), ends: "ok", data: map[string]any{"ok": true, "outputs": 3.0, "status": "fine", "status_msg": "all is well"}},
		"fault": {
			document: named("bad", "- say: {call: status, with: {status: half}}\n- it: {raise: {error: {type: https://example.com/errors/broken, status: 503, title: Broken}}}\n"), ends: "error",
			data: map[string]any{"ok": false, "outputs": 0.0, "status": "half", "status_msg": "", "error": "[503] Broken at /do/1/it"},
		},
		"no status": {document: named("plain", "- one: {set: {a: 1}}\n"), ends: "ok", data: map[string]any{"ok": true, "outputs": 1.0, "status": "unknown", "status_msg": ""}},
		"deleted":   {document: named("gone", wellDone), delete: true, ends: "failed", data: map[string]any{"error": "failed to fetch target flow: …"}},
		"invalid":   {document: named("wrong", "- it: {run: {shell: {command: ls}}}\n"), ends: "failed", data: map[string]any{"error": "flow validation failed: …"}, disables: [2]bool{true, true}},
		"mapping":   {document: named("mapped", wellDone), input: `.data.a + {}`, ends: "failed", data: map[string]any{"error": "failed to prepare input data: …"}, disables: [2]bool{true, false}},
		"rejected": {
			document: strings.Replace(named("picky", wellDone), "do:\n", "input: {schema: {document: {type: object, required: [never]}}}\ndo:\n", 1), ends: "failed",
			data: map[string]any{"error": "flow rejected input data: …"}, disables: [2]bool{true, false},
		},
	}
}

// Every row of the failure table, for both kinds of triggers, as whole events.
func TestResults(t *testing.T) {
	for name, r := range rows() {
		for i, kind := range []TriggerKind{OnSchedule, OnEvent} {
			t.Run(name+" "+string(kind), func(t *testing.T) {
				t.Parallel()
				k := newKit(t)
				id := k.flow(r.document)
				trigger := k.trigger(id, func(tr *Trigger) {
					tr.Name, tr.Kind, tr.Input, tr.Enabled, tr.Priority = "the trigger", kind, r.input, !r.delete, 7
					if kind == OnSchedule {
						at := time.Now().Add(50 * time.Millisecond)
						tr.At, tr.Data = &at, []byte(`{"data":{"a":1}}`)
					} else {
						tr.Types = []string{"door_opened"}
					}
				})
				if r.delete {
					if err := k.DeleteFlow(t.Context(), state.System(), id, state.AnyVersion); err != nil {
						t.Fatal(err)
					}
					enable(t, k, trigger)
				}
				if kind == OnEvent {
					k.emits("door_opened", "e-1", `{"a":1}`)
				}
				compare(t, k, r, kind, trigger, id, r.disables[i])
			})
		}
	}
}

func enable(t *testing.T, k *kit, trigger state.ObjectID) {
	t.Helper()
	_, err := k.UpdateTrigger(t.Context(), state.System(), trigger, state.AnyVersion, func(tr *Trigger) error {
		tr.Enabled = true
		if tr.At != nil {
			at := time.Now().Add(50 * time.Millisecond)
			tr.At = &at
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// compare waits for what is told and compares all of it.
func compare(t *testing.T, k *kit, r row, kind TriggerKind, trigger, flow state.ObjectID, disables bool) {
	t.Helper()
	family := "trigger." + string(kind) + "."
	n := 1
	if disables {
		n = 2
	}
	var told []event.Event
	for _, e := range k.comes(family, n+1) { // the first is the synchronisation
		if e.Type != event.Type(family+"sync") {
			told = append(told, e)
		}
	}
	for len(told) < n {
		told = nil
		for _, e := range k.comes(family, len(k.all(family))+1) {
			if e.Type != event.Type(family+"sync") {
				told = append(told, e)
			}
		}
	}
	want := map[string]any{"flow_id": flow.String()}
	if r.ends == "failed" {
		want["trigger_id"] = trigger.String()
	} else {
		want["flow_name"], want["inputs"] = nameOf(r.document), 1.0
		if kind == OnSchedule {
			want["schedule_id"], want["schedule_name"] = trigger.String(), "the trigger"
		} else {
			want["trigger_id"], want["trigger_name"], want["trigger_priority"], want["event_type"] = trigger.String(), "the trigger", 7.0, "door_opened"
		}
	}
	if kind == OnEvent {
		want["event_id"] = "e-1"
	}
	maps.Copy(want, r.data)
	got := dataOf(t, &told[0])
	if r.ends != "failed" {
		if ms, ok := got["duration_ms"].(float64); !ok || ms < 0 || ms > 20_000 {
			t.Errorf("duration_ms is %v", got["duration_ms"])
		}
		delete(got, "duration_ms")
	}
	reason := got["error"]
	if prefix, ok := strings.CutSuffix(fmt.Sprint(want["error"]), "…"); ok {
		if text := fmt.Sprint(reason); !strings.HasPrefix(text, prefix) || text == prefix {
			t.Errorf("error %q, want %q and why", text, prefix)
		}
		want["error"] = reason
	}
	if diff := cmp.Diff(want, got); diff != "" || told[0].Type != event.Type(family+r.ends) {
		t.Errorf("%s:\n%s", told[0].Type, diff)
	}
	if told[0].Text("sourceflowid") != flow.String() || told[0].Text("origintriggerid") != trigger.String() || told[0].AuthType != "service_account" || told[0].AuthID != "flow/"+flow.String() {
		t.Errorf("of which chain it is: %s", told[0].AppendJSON(nil))
	}
	stored, err := k.GetTrigger(t.Context(), trigger)
	if err != nil {
		t.Fatal(err)
	}
	if stored.Value.Enabled == disables {
		t.Errorf("enabled is %v", stored.Value.Enabled)
	}
	if !disables {
		return
	}
	if told[1].Type != event.Type(family+"disabled") || told[1].Sequence < told[0].Sequence {
		t.Errorf("behind the failure comes %s", told[1].Type)
	}
	if diff := cmp.Diff(map[string]any{"trigger_id": trigger.String(), "flow_id": flow.String(), "reason": reason}, dataOf(t, &told[1])); diff != "" {
		t.Error(diff)
	}
	known := catalog.New()
	for i := range told {
		if m := known.Check(&told[i]); m != nil {
			t.Errorf("%s does not fit the catalog: %v", told[i].Type, m)
		}
	}
}

func nameOf(document string) string {
	_, rest, _ := strings.Cut(document, "name: ")
	name, _, _ := strings.Cut(rest, ",")
	return name
}

// One run and one result for each event, in the order of the priorities.
func TestOrder(t *testing.T) {
	k := newKit(t)
	id := k.flow(named("note", "- it: {set: {a: 1}}\n"))
	for _, priority := range []int{1, 3, 2} {
		k.trigger(id, func(tr *Trigger) {
			tr.Name, tr.Priority, tr.Types = fmt.Sprint("p", priority), priority, []string{"bell_*"}
		})
	}
	for n := range 20 {
		k.emits("bell_rung", strconv.Itoa(n), `{}`)
	}
	told := k.comes("trigger.event.ok", 60)
	seen := map[string]int{}
	for i := range told {
		d := dataOf(t, &told[i])
		seen[fmt.Sprint(d["event_id"], " ", d["trigger_name"])]++
	}
	if len(seen) != 60 || len(told) != 60 {
		t.Errorf("%d results of %d runs", len(told), len(seen))
	}
}

// Loop rules, filters and throttles keep runs away, and are counted.
func TestSkips(t *testing.T) {
	k := newKit(t)
	id := k.flow(named("again", "- it: {emit: {event: {with: {type: door_opened, data: {door: back}}}}}\n"))
	trigger := k.trigger(id, func(tr *Trigger) {
		tr.Name, tr.Types, tr.Filter = "loop", []string{"door_opened"}, `data.door != "none"`
	})
	k.trigger(id, func(tr *Trigger) { tr.Name, tr.Enabled, tr.Types = "off", false, []string{"door_opened"} })
	other := k.flow(named("other", "- it: {set: {a: 1}}\n"))
	k.trigger(other, func(tr *Trigger) {
		tr.Name, tr.Types, tr.Throttle = "throttled", []string{"bell_rung"}, &Throttle{OnceWithin: config.Duration(time.Hour), GroupBy: []string{"data.who"}}
	})
	k.trigger(other, func(tr *Trigger) {
		tr.Name, tr.Types, tr.Throttle = "together", []string{"bell_rung"}, &Throttle{Accumulate: &Accumulate{Within: config.Duration(time.Hour), Count: 3}}
	})
	k.emits("door_opened", "1", `{"door":"front"}`)
	k.emits("door_opened", "2", `{"door":"none"}`)
	seq := k.emits("door_opened", "3", `{"n":1}`)
	for i, who := range []string{"a", "a", "b"} {
		k.emits("bell_rung", fmt.Sprint("b", i), `{"who":"`+who+`"}`)
	}
	k.comes("trigger.event.ok", 1+2+1)
	k.comes("door_opened", 4)
	marker := k.flow(named("marker", "- it: {set: {a: 1}}\n"))
	k.trigger(marker, func(tr *Trigger) { tr.Name, tr.Types = "marker", []string{"last"} })
	k.emits("last", "last", `{}`)
	k.comes("trigger.event.ok", 5)
	k.counts.mu.Lock()
	got := k.counts.skip
	k.counts.mu.Unlock()
	want := map[string]int{"loop loop1": 1, "loop filter_false": 2, "off disabled": 4, "throttled throttled": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	verdicts, err := k.ExplainEvent(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verdicts {
		if v.Trigger == trigger && v.Skip != FilterFalse {
			t.Errorf("%+v", v)
		}
	}
	for _, e := range k.all("door_opened") {
		if e.Source == base+"/flow/"+id.String() && (e.CausationID != "1" || e.Text("originflowid") != id.String() || e.CausationDepth != 1) {
			t.Errorf("what the flow emits: %s", e.AppendJSON(nil))
		}
	}
}

// A run waits for events and for time over a restart, and another flow for it.
func TestWaits(t *testing.T) {
	k := newKit(t)
	inner := named("inner", `
- hear: {listen: {to: {one: {with: {type: bell_rung}}}}}
- rest: {wait: {seconds: 3}}
- out: {set: {heard: "${ .[0].who }"}}
`)
	k.flow(inner)
	id := k.flow(named("outer", "- call: {run: {workflow: {namespace: test, name: inner, version: '1.0.0'}}}\n"))
	r, err := k.StartRun(t.Context(), state.Cause{AuthType: "user", AuthID: "user/1", AuthName: "ann"}, id, nil, "once")
	if err != nil {
		t.Fatal(err)
	}
	again, err := k.StartRun(t.Context(), state.Cause{AuthType: "user", AuthID: "user/1", AuthName: "ann"}, id, nil, "once")
	if err != nil || again.ID != r.ID {
		t.Errorf("the same key started another run: %v, %v", again.ID, err)
	}
	k.ends(r.ID, Waiting)
	k.ends(runOf("sub", string(r.ID), "/do/0/call"), Waiting)
	k.stop()
	k = openKit(t, k.dir)
	k.emits("bell_rung", "b", `{"who":"ann"}`)
	done := k.ends(r.ID, Completed, Faulted)
	if string(done.Output) != `{"heard":"ann"}` {
		t.Errorf("output %s, %s", done.Output, done.Error)
	}
}

// A run is cancelled while it waits, and tried again from where it was.
func TestCancelRetry(t *testing.T) {
	k := newKit(t)
	ann := state.Cause{AuthType: "user", AuthID: "user/1", AuthName: "ann"}
	id := k.flow(named("long", "- say: {emit: {event: {with: {type: begun}}}}\n- rest: {wait: {hours: 1}}\n"))
	r, err := k.StartRun(t.Context(), ann, id, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	k.ends(r.ID, Waiting)
	ended, err := k.CancelRun(t.Context(), ann, r.ID)
	if err != nil || ended.State != Cancelled || ended.Error != "cancelled: by ann" {
		t.Fatalf("%s %q, %v", ended.State, ended.Error, err)
	}
	if _, err := k.CancelRun(t.Context(), ann, r.ID); err == nil {
		t.Error("cancelled twice")
	}
	next, err := k.RetryRun(t.Context(), ann, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	k.ends(next.ID, Waiting)
	if n := len(k.all("begun")); n != 1 {
		t.Errorf("what was done is done again: %d events", n)
	}
	if n := len(k.all("flow.run.")); n != 3 {
		t.Errorf("%d acts are recorded", n)
	}
}

// What is kept of a run has no secret in it, wherever the flow has put it.
func TestConcealed(t *testing.T) {
	k := newKit(t)
	const word = "correct-horse-battery"
	if _, err := k.CreateSecret(t.Context(), state.System(), "door", []byte(`"`+word+`"`)); err != nil {
		t.Fatal(err)
	}
	document := strings.Replace(named("leaky", `
- take: {set: {key: "${ $secrets.door }", deep: {list: ["${ \"x \" + $secrets.door }"]}, access_token: brought-by-an-answer}}
- say: {call: status, with: {status: "${ $secrets.door }", message: "${ $secrets.door }"}}
- out: {raise: {error: {type: https://example.com/e, status: 500, title: "${ $secrets.door }", detail: "${ $secrets.door }"}}}
`), "do:\n", "use: {secrets: [door]}\ndo:\n", 1)
	id := k.flow(document)
	k.trigger(id, func(tr *Trigger) { tr.Types = []string{"knock"} })
	seq := k.emits("knock", "1", `{}`)
	told := k.comes("trigger.event.error", 1)
	found, err := k.ListTriggers(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	r, err := k.GetRun(t.Context(), runOfEvent(found[0].ID, seq))
	if err != nil {
		t.Fatal(err)
	}
	kept := fmt.Sprintf("%+v %s %s", r.Document, r.Output, told[0].AppendJSON(nil))
	steps, err := json.Marshal(r.Steps)
	if err != nil {
		t.Fatal(err)
	}
	kept += string(steps)
	if strings.Contains(kept, word) || strings.Contains(kept, "brought-by") || !strings.Contains(kept, "********************") || len(r.Steps) != 3 {
		t.Errorf("%d steps: %s", len(r.Steps), kept)
	}
}
