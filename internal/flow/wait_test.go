package flow

import (
	"testing"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/state"
)

// What a run listens for may lie behind the dispatcher when it begins: right after a
// start of the server, too, and where the server ended before anybody looked.
func TestListenBehind(t *testing.T) {
	listens := func(run RunID, since event.Seq) *listening {
		l, err := program.ReadListen([]byte(`{"mode":"one","filters":[{"with":{"type":{"value":"door"}}}]}`))
		if err != nil {
			t.Fatal(err)
		}
		return &listening{run: run, key: "/do/0", since: since, l: l}
	}
	k := newKit(t)
	seen := k.trigger(k.flow(named("it", "- it: {set: {a: 1}}\n")), func(tr *Trigger) { tr.Types = []string{"window"} })
	k.comes("trigger.event.sync", 1)
	first := k.emits("door", "1", `{}`)
	k.emits("door", "2", `{}`)
	k.emits("window", "3", `{}`)
	k.comes("trigger.event.ok", 1)
	k.until("the dispatcher is behind them", func() bool {
		at, _, err := k.state.Cursor(t.Context(), "flow")
		runs, failed := k.ListRuns(t.Context(), RunQuery{Trigger: seen, Limit: 1})
		return err == nil && failed == nil && at > first+1 && len(runs) == 1
	})
	if err := k.state.Write(t.Context(), state.System(), listens("crashed", first).begin); err != nil {
		t.Fatal(err)
	}
	k.stop()

	k = openKit(t, k.dir)
	k.comes("trigger.event.sync", 2) // the dispatcher is at work
	late := listens("late", first)
	if err := k.state.Write(t.Context(), state.System(), late.begin); err != nil {
		t.Fatal(err)
	}
	k.waits.begin([]*listening{late})
	k.follower.Wake()
	for _, run := range []RunID{"crashed", "late"} {
		k.until(string(run)+" hears what was there", func() bool {
			answers, err := answersOf(t.Context(), k.state.Reader(), run)
			return err == nil && len(answers) == 1
		})
	}
}

// A run that listens again and again leaves nothing behind of what it has given up.
func TestListenGivenUp(t *testing.T) {
	k := newKit(t)
	id := k.flow(named("patient", `- tries:
    for: {each: n, in: '${ [range(3)] }'}
    do:
      - one:
          try:
            - hear: {listen: {to: {one: {with: {type: never}}}}, timeout: {after: {seconds: 3}}}
          catch: {do: [{on: {set: {}}}]}
`))
	r, err := k.StartRun(t.Context(), state.System(), id, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	k.until("it ends", func() bool {
		now, err := k.GetRun(t.Context(), r.ID)
		var n int
		if err := k.state.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM run_listens`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		most = max(most, n)
		return err == nil && now.State.Over()
	})
	if most != 1 {
		t.Errorf("%d listens at a time", most)
	}
}
