package flow

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/state"
)

func scheduleAt(t *testing.T, spec func(*Trigger), stored, next time.Time) *scheduled {
	t.Helper()
	tr := NewTrigger()
	tr.Kind, tr.Name, tr.Flow = OnSchedule, "s", "1"
	spec(&tr)
	s, err := tr.slots(stored)
	if err != nil {
		t.Fatal(err)
	}
	return &scheduled{trigger: &trigger{id: 1, Trigger: tr}, slots: s, next: next}
}

// What becomes of slots that nobody was there for.
func TestMissed(t *testing.T) {
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	hours := func(d time.Duration) time.Time { return noon.Add(d) }
	for name, c := range map[string]struct {
		spec   func(*Trigger)
		next   time.Time
		now    time.Time
		want   []time.Time
		missed int
	}{
		"on time":                 {func(tr *Trigger) { tr.Cron = "0 * * * *" }, noon, hours(time.Second), []time.Time{noon}, 0},
		"the last of four hours":  {func(tr *Trigger) { tr.Cron = "0 * * * *" }, noon, hours(3*time.Hour + 10*time.Minute), []time.Time{hours(3 * time.Hour)}, 3},
		"none is fresh enough":    {func(tr *Trigger) { tr.Cron = "0 * * * *"; tr.CatchupWindow = config.Duration(time.Minute) }, noon, hours(3*time.Hour + 10*time.Minute), nil, 4},
		"skip":                    {func(tr *Trigger) { tr.Cron, tr.Missed = "*/10 * * * *", MissedSkip }, noon, hours(35 * time.Minute), nil, 4},
		"skip, and one on time":   {func(tr *Trigger) { tr.Cron, tr.Missed = "*/10 * * * *", MissedSkip }, noon, hours(30*time.Minute + time.Second), []time.Time{hours(30 * time.Minute)}, 3},
		"all within the window":   {func(tr *Trigger) { tr.Cron, tr.Missed = "*/30 * * * *", MissedAll }, noon, hours(2*time.Hour + time.Minute), []time.Time{hours(90 * time.Minute), hours(2 * time.Hour)}, 3},
		"the last, and those now": {func(tr *Trigger) { tr.Every = config.Duration(10 * time.Second) }, noon, hours(25 * time.Second), []time.Time{noon, hours(10 * time.Second), hours(20 * time.Second)}, 0},
		"once, in time":           {func(tr *Trigger) { tr.At, tr.ExpiresAfter = &noon, config.Duration(3*time.Hour) }, noon, hours(2 * time.Hour), []time.Time{noon}, 0},
		"once, expired":           {func(tr *Trigger) { tr.At, tr.ExpiresAfter = &noon, config.Duration(3*time.Hour) }, noon, hours(4 * time.Hour), nil, 1},
		"at most a thousand": {func(tr *Trigger) {
			tr.Every, tr.Missed, tr.CatchupWindow = config.Duration(time.Second), MissedAll, config.Duration(48*time.Hour)
		}, noon, hours(24 * time.Hour), nil, 86401 - 1000},
		"every second, after three days": {func(tr *Trigger) { tr.Every = config.Duration(time.Second) }, noon, hours(72 * time.Hour), nil, 0},
		"jitter is not lateness": {func(tr *Trigger) {
			tr.Cron, tr.Missed, tr.Jitter = "0 * * * *", MissedSkip, config.Duration(50*time.Minute)
		}, noon, scheduleAt(t, func(tr *Trigger) { tr.Cron, tr.Jitter = "0 * * * *", config.Duration(50*time.Minute) }, noon, noon).jitter(noon), []time.Time{noon}, 0},
		"a clock that is set back": {func(tr *Trigger) { tr.Cron = "0 * * * *" }, noon, hours(-time.Hour), nil, 0},
	} {
		s := scheduleAt(t, c.spec, noon, c.next)
		got, missed := s.come(c.now)
		if name == "every second, after three days" {
			if len(got) == 0 || len(got) > int(fresh/time.Second)+2 || !got[len(got)-1].Equal(c.now) || missed < 100_000 {
				t.Errorf("%s: %d slots, %d missed", name, len(got), missed)
			}
			continue
		}
		if name == "at most a thousand" {
			if len(got) != maxCatchup || missed != c.missed || !got[len(got)-1].Equal(c.now) {
				t.Errorf("%s: %d slots, %d missed", name, len(got), missed)
			}
			continue
		}
		if diff := cmp.Diff(fmt.Sprint(c.want), fmt.Sprint(got)); diff != "" || missed != c.missed {
			t.Errorf("%s: %d missed, want %d\n%s", name, missed, c.missed, diff)
		}
	}
}

// The same slot has the same jitter, whoever computes it.
func TestJitter(t *testing.T) {
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	s := scheduleAt(t, func(tr *Trigger) { tr.Cron, tr.Jitter = "0 * * * *", config.Duration(time.Minute) }, noon, noon)
	seen := map[time.Duration]bool{}
	for h := range 24 {
		slot := noon.Add(time.Duration(h) * time.Hour)
		by := s.jitter(slot).Sub(slot)
		if by < 0 || by >= time.Minute || s.jitter(slot).Sub(slot) != by {
			t.Errorf("%s: %s", slot, by)
		}
		seen[by] = true
	}
	if len(seen) < 20 {
		t.Errorf("%d different ones", len(seen))
	}
}

// A clock that was wrong when the next slot was computed keeps no schedule silent.
func TestRewind(t *testing.T) {
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct{ next, want time.Time }{
		"years ahead":   {noon.AddDate(4, 0, 0), noon.Add(time.Hour)},
		"the next":      {noon.Add(time.Hour), noon.Add(time.Hour)},
		"late":          {noon.Add(-time.Hour), noon.Add(-time.Hour)},
		"there is none": {far, far},
	} {
		s := scheduleAt(t, func(tr *Trigger) { tr.Cron = "0 * * * *" }, noon, c.next)
		if s.rewind(noon); !s.next.Equal(c.want) {
			t.Errorf("%s: %s, want %s", name, s.next, c.want)
		}
	}
}

// A slot that jitter holds is run when the jitter is over, under the id of the slot.
func TestJitterRuns(t *testing.T) {
	k := newKit(t)
	id := k.trigger(k.flow(named("quick", "- it: {set: {a: 1}}\n")), func(tr *Trigger) {
		tr.Kind, tr.Cron, tr.Jitter = OnSchedule, "*/2 * * * * *", config.Duration(time.Second)
	})
	k.comes("trigger.schedule.ok", 3)
	runs, err := k.ListRuns(t.Context(), RunQuery{Trigger: id, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		if r.Slot == nil || r.Slot.Nanosecond() != 0 || r.Slot.Second()%2 != 0 || r.Queued.Before(*r.Slot) {
			t.Errorf("run %s of slot %v, queued %s", r.ID, r.Slot, r.Queued)
		}
	}
}

// A schedule runs, is edited while it does, and what overlaps is decided.
func TestSchedules(t *testing.T) {
	k := newKit(t)
	id := k.flow(named("slow", "- rest: {wait: {seconds: 30}}\n"))
	quick := k.flow(named("quick", "- it: {set: {a: 1}}\n"))
	every := func(name, overlap string, flow state.ObjectID) state.ObjectID {
		return k.trigger(flow, func(tr *Trigger) {
			tr.Name, tr.Kind, tr.Every, tr.Overlap = name, OnSchedule, config.Duration(time.Second), overlap
		})
	}
	skip, cancel, allow := every("skip", OverlapSkip, id), every("cancel", OverlapCancel, id), every("allow", OverlapAllow, id)
	edited := every("edited", OverlapSkip, quick)
	k.comes("trigger.schedule.ok", 2)
	if _, err := k.UpdateTrigger(t.Context(), state.System(), edited, state.AnyVersion, func(tr *Trigger) error {
		tr.Every, tr.Cron, tr.Timezone = 0, "0 3 * * *", "Europe/Berlin"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	next, err := k.NextSlots(t.Context(), edited, time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC), 2)
	if err != nil || len(next) != 2 || next[0].UTC().Hour() != 1 || next[1].UTC().Hour() != 1 {
		t.Errorf("%v, %v", next, err) // 03:00 in summer time, on the day of the change, too
	}
	k.comes("trigger.schedule.error", 2) // those that were cancelled
	of := func(trigger state.ObjectID) map[string]int {
		runs, err := k.ListRuns(t.Context(), RunQuery{Trigger: trigger, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for _, r := range runs {
			n[string(r.State)]++
			if r.Slot == nil || r.ID != runOfSlot(trigger, *r.Slot) {
				t.Errorf("run %s of slot %v", r.ID, r.Slot)
			}
		}
		return n
	}
	if n := of(skip); fmt.Sprint(n) != "map[waiting:1]" {
		t.Errorf("skip: %v", n)
	}
	if n := of(cancel); n["cancelled"] < 2 || n["waiting"]+n["running"]+n["queued"] > 1 {
		t.Errorf("cancel: %v", n)
	}
	k.until("three runs at a time", func() bool { n := of(allow); return n["waiting"]+n["running"]+n["queued"] >= 3 })
}

// A flow that runs another flow later, once.
func TestOnce(t *testing.T) {
	k := newKit(t)
	k.flow(named("later", `- it: {emit: {event: {with: {type: done_later, data: "${ . }"}}}}`+"\n"))
	id := k.flow(named("first", `- plan: {call: schedule, with: {flow: later, delay: 1s, expiry: 1h, input: {door: front}}}`+"\n"))
	r, err := k.StartRun(t.Context(), state.System(), id, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	k.ends(r.ID, Completed)
	found := k.comes("done_later", 1)
	if string(found[0].Data) != `{"door":"front"}` {
		t.Errorf("data %s", found[0].Data)
	}
	k.comes("trigger.schedule.ok", 1)
	left, err := k.ListTriggers(t.Context(), 0, 10)
	if err != nil || len(left) != 0 {
		t.Errorf("%d triggers are left, %v", len(left), err)
	}
}

// What a flow plans is a part of its chain: an event that comes of it does not start
// the chain anew (LPR1).
func TestPlannedChain(t *testing.T) {
	k := newKit(t)
	k.flow(named("planned", "- it: {emit: {event: {with: {type: door_opened}}}}\n"))
	id := k.flow(named("planner", "- it: {call: schedule, with: {flow: planned, delay: 100ms}}\n"))
	trigger := k.trigger(id, func(tr *Trigger) { tr.Name, tr.Types = "loop", []string{"door_opened"} })
	k.emits("door_opened", "1", `{}`)
	found := k.comes("door_opened", 2)
	if got := found[1].Text("origintriggerid"); got != trigger.String() {
		t.Errorf("it comes of trigger %q, not %s", got, trigger)
	}
	k.until("the loop is cut", func() bool {
		k.counts.mu.Lock()
		defer k.counts.mu.Unlock()
		return k.counts.skip["loop loop1"] == 1
	})
}
