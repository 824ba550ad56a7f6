package flow

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/state"
)

// However workers meet: no more runs of a trigger begin than it allows, and none is
// left behind.
func TestQueueLimit(t *testing.T) {
	const runs, limit = 5000, 2
	q := newQueue()
	began := time.Now()
	for i := range runs {
		q.push(&Run{ID: RunID(strconv.Itoa(i)), Trigger: 7, State: Queued, Queued: began.Add(time.Duration(i))})
	}
	var mu sync.Mutex
	under, most, done := 0, 0, 0
	change := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		under += by
		most = max(most, under)
		done += max(0, -by)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				one, _, ok := q.take(t.Context())
				if !ok {
					if q.count(7) == 0 || len(q.wake) == 0 && idle(q) {
						return
					}
					continue
				}
				r := &Run{ID: one.id, Trigger: 7, State: Queued}
				if q.admit(r, limit) {
					change(1)
					r.State = Completed
					change(-1)
				}
				q.leave(one.id, r)
			}
		})
	}
	all.Wait()
	if done != runs || most > limit || q.count(7) != 0 || len(q.lanes) != 0 {
		t.Errorf("%d of %d runs were done, %d at a time, %d are left", done, runs, most, q.count(7))
	}
}

// idle reports whether nobody works and nothing can be worked on.
func idle(q *queue) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.heap) == 0 && len(q.running) == 0
}

// Whatever a run is at when somebody cancels it: it is cancelled.
func TestCancelAnywhere(t *testing.T) {
	k := newKit(t)
	id := k.flow(named("rest", "- one: {set: {a: 1}}\n- rest: {wait: {hours: 1}}\n"))
	var all sync.WaitGroup
	for i := range 150 {
		all.Go(func() {
			r, err := k.StartRun(t.Context(), state.System(), id, nil, "")
			if err != nil {
				t.Error(err)
				return
			}
			for range i % 4 { // sometimes it has begun, and sometimes it rests
				<-k.Changed()
			}
			if r, err = k.CancelRun(t.Context(), state.System(), r.ID); err != nil || r.State != Cancelled {
				t.Errorf("run %s is %s, %v", r.ID, r.State, err)
			}
		})
		if i%8 == 7 {
			all.Wait()
		}
	}
	all.Wait()
	k.until("the queue forgets them", func() bool { return k.queue.count(0) == 0 })
}

// A burst leaves the newest: what gives way may have come a moment before.
func TestCancelOldestOfBurst(t *testing.T) {
	k := newKit(t)
	id := k.trigger(k.flow(named("rest", "- rest: {wait: {hours: 1}}\n")), func(tr *Trigger) {
		tr.Types, tr.Concurrency = []string{"burst"}, &Concurrency{Limit: 2, WhenFull: FullCancelOldest}
	})
	k.comes("trigger.event.sync", 1)
	var burst []ingest.Incoming
	for i := range 20 {
		burst = append(burst, ingest.Incoming{Event: event.Event{ID: event.ID(strconv.Itoa(i)), Source: "/test", Type: "burst", Time: time.Now().UTC(), Data: []byte("{}")}})
	}
	if _, err := k.ingest.Accept(t.Context(), ingest.Sender{Name: "test"}, burst); err != nil {
		t.Fatal(err)
	}
	k.comes("trigger.event.error", 18)
	runs, err := k.ListRuns(t.Context(), RunQuery{Trigger: id, Limit: 100})
	if err != nil || len(runs) != 20 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	for _, r := range runs {
		if newest := r.Event.ID == "18" || r.Event.ID == "19"; newest == r.State.Over() {
			t.Errorf("the run of event %s is %s", r.Event.ID, r.State)
		}
	}
}

// What waits for its turn goes on when the trigger allows more.
func TestLimitRaised(t *testing.T) {
	k := newKit(t)
	id := k.trigger(k.flow(named("rest", "- rest: {wait: {hours: 1}}\n")), func(tr *Trigger) {
		tr.Kind, tr.Every, tr.Overlap = OnSchedule, config.Duration(time.Second), OverlapBufferAll
		tr.Concurrency = &Concurrency{Limit: 1, WhenFull: FullQueue}
	})
	waiting := func(n int) func() bool {
		return func() bool {
			runs, err := k.ListRuns(t.Context(), RunQuery{Trigger: id, State: Waiting, Limit: 100})
			return err == nil && len(runs) == n
		}
	}
	k.until("one runs, and two wait for it", func() bool { return waiting(1)() && k.queue.count(id) >= 3 })
	if _, err := k.UpdateTrigger(t.Context(), state.System(), id, state.AnyVersion, func(tr *Trigger) error {
		tr.Concurrency.Limit, tr.Every, tr.Cron = 3, 0, "0 0 1 1 *"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	k.until("three run", waiting(3))
}
