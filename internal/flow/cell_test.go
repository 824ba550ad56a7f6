package flow

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

func someCells() *cells {
	return &cells{all: map[cellKey]*cell{}, dirty: map[cellKey]bool{}, versions: map[state.ObjectID]int64{}}
}

// Cells come to their end in the order of time, each once, and others do not.
func TestCellsEnd(t *testing.T) {
	c, noon, rng := someCells(), time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), rand.New(rand.NewPCG(1, 2))
	for range 3000 { // some of them several times: the last word counts
		one := c.get(1, strconv.Itoa(rng.IntN(1000)))
		one.Seqs = []event.Seq{1}
		c.until(one, noon.Add(time.Duration(rng.IntN(3600))*time.Second))
	}
	for k, one := range c.all {
		if k.group < "3" { // those became a run before
			one.Seqs, one.Until = nil, time.Time{}
		}
	}
	half := noon.Add(30 * time.Minute)
	var want []cellKey
	next := time.Time{}
	for k, one := range c.all {
		switch {
		case len(one.Seqs) == 0:
		case !one.Until.After(half):
			want = append(want, k)
		case next.IsZero() || one.Until.Before(next):
			next = one.Until
		}
	}
	slices.SortFunc(want, func(a, b cellKey) int {
		return cmp.Or(c.all[a].Until.Compare(c.all[b].Until), cmp.Compare(a.group, b.group))
	})
	if got := c.over(half); !slices.Equal(got, want) || !c.due().Equal(next) {
		t.Errorf("%d cells ended, want %d; the next is due at %s, want %s", len(got), len(want), c.due(), next)
	}
	if again := c.over(half); len(again) > 0 {
		t.Errorf("%d ended once more", len(again))
	}
}

// A cell that fills up again and again leaves nothing behind.
func TestCellsBounded(t *testing.T) {
	c, noon := someCells(), time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for i := range 100_000 {
		one := c.get(1, strconv.Itoa(i%10))
		c.until(one, noon.Add(time.Duration(i)))
	}
	if len(c.ends) > 2000 || len(c.all) != 10 {
		t.Errorf("%d endings of %d cells", len(c.ends), len(c.all))
	}
}

// A throttle whose end was computed by a clock that was wrong does not last for years.
func TestThrottleOfWrongClock(t *testing.T) {
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		until time.Time
		runs  int
	}{"right": {noon.Add(30 * time.Second), 0}, "over": {noon, 1}, "wrong": {noon.AddDate(4, 0, 0), 1}} {
		b := &batch{d: &dispatcher{e: &Engine{o: Options{Metrics: &counts{skip: map[string]int{}}}}, cells: someCells(), skips: skips{}}, now: noon, began: map[state.ObjectID][]RunID{}}
		tr := &trigger{id: 1, Trigger: Trigger{Throttle: &Throttle{OnceWithin: config.Duration(time.Minute)}}}
		b.d.cells.until(b.d.cells.get(1, "[]"), c.until)
		b.fire(tr, &event.Event{ID: "a", Sequence: 7, RecordedTime: noon}, nil)
		if len(b.runs) != c.runs {
			t.Errorf("%s: %d runs", name, len(b.runs))
		}
	}
}

// A trigger that was changed begins anew: what it has heard before was asked for by
// another one.
func TestThrottleEdited(t *testing.T) {
	k := newKit(t)
	id := k.trigger(k.flow(named("it", "- it: {set: {a: 1}}\n")), func(tr *Trigger) {
		tr.Types, tr.Throttle = []string{"bell"}, &Throttle{Accumulate: &Accumulate{Within: config.Duration(time.Hour), Count: 3}}
	})
	k.trigger(k.flow(named("mark", "- it: {set: {a: 1}}\n")), func(tr *Trigger) { tr.Types = []string{"mark"} })
	k.emits("bell", "1", `{}`)
	k.emits("bell", "2", `{}`)
	k.emits("mark", "m", `{}`)
	k.comes("trigger.event.ok", 1) // both were counted
	if _, err := k.UpdateTrigger(t.Context(), state.System(), id, state.AnyVersion, func(tr *Trigger) error { tr.Priority = 5; return nil }); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"3", "4", "5"} {
		k.emits("bell", n, `{}`)
	}
	k.comes("trigger.event.ok", 2)
	runs, err := k.ListRuns(t.Context(), RunQuery{Trigger: id, Limit: 10})
	if err != nil || len(runs) != 1 || runs[0].Event.ID != "5" {
		t.Errorf("%d runs, %v: %s", len(runs), err, k.about())
	}
}
