package flow

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/cron"
	"github.com/tocsin-events/tocsin/internal/state"
)

// slots computes when a schedule runs. The next slot is a function of the schedule
// and the slot before, never of a run.
type slots interface {
	Next(after time.Time) time.Time // zero for never
}

type everySlots struct {
	from  time.Time
	every time.Duration
}

// Next implements slots: a whole number of intervals behind the beginning.
func (s everySlots) Next(after time.Time) time.Time {
	if after.Before(s.from) {
		return s.from
	}
	past := after.Sub(s.from)
	return after.Add(s.every - past%s.every)
}

type onceSlot struct{ at time.Time }

// Next implements slots.
func (s onceSlot) Next(after time.Time) time.Time {
	if after.Before(s.at) {
		return s.at
	}
	return time.Time{}
}

// afterSlot has no slots by itself: the end of a run makes the next one.
type afterSlot struct{}

// Next implements slots.
func (afterSlot) Next(time.Time) time.Time { return time.Time{} }

// slots are those of a trigger that was stored at a time.
func (t *Trigger) slots(stored time.Time) (slots, error) {
	zone, err := t.zone()
	if err != nil {
		return nil, err
	}
	switch {
	case t.Cron != "":
		return cron.Parse(t.Cron, zone)
	case t.Every > 0:
		return everySlots{stored.Add(time.Duration(t.Every)), time.Duration(t.Every)}, nil
	case t.After > 0:
		return afterSlot{}, nil
	case t.At != nil:
		return onceSlot{*t.At}, nil
	}
	return nil, event.Invalidf("the trigger has no schedule")
}

// maxSlots is how many coming slots can be asked for.
const maxSlots = 1000

// NextSlots are the next slots of a schedule behind a time, at most n.
func (e *Engine) NextSlots(ctx context.Context, id state.ObjectID, from time.Time, n int) ([]time.Time, error) {
	r, err := e.GetTrigger(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.Value.Kind != OnSchedule {
		return nil, event.Invalidf("trigger %s has no schedule: it runs for events", id)
	}
	return r.Value.Next(r.Created, from, n)
}

// Next are the next slots behind a time, at most n. stored is when the trigger was
// made, from which every counts.
func (t *Trigger) Next(stored, from time.Time, n int) ([]time.Time, error) {
	s, err := t.slots(stored)
	if err != nil {
		return nil, err
	}
	all := []time.Time{}
	for at := from; len(all) < min(n, maxSlots); {
		if at = s.Next(at); at.IsZero() {
			break
		}
		all = append(all, at)
	}
	return all, nil
}

// schedule starts the runs of schedules when it is time, until ctx ends.
func (e *Engine) schedule(ctx context.Context) error {
	s := &scheduler{e: e, known: map[state.ObjectID]*scheduled{}}
	const most = time.Second // the clock may be set, and another node may have stored a trigger
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-e.wake:
		case <-ctx.Done():
			return nil
		}
		next, err := s.look(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			e.o.Logger.WarnContext(ctx, "schedules are looked at again", "err", err)
			next = time.Now().Add(most)
		}
		wait := most
		if !next.IsZero() {
			wait = max(min(most, time.Until(next)), time.Millisecond)
		}
		tick.Reset(wait)
	}
}

// scheduler keeps the next slots in memory. It belongs to one goroutine.
type scheduler struct {
	e     *Engine
	x     *index
	known map[state.ObjectID]*scheduled
	seen  time.Time // when it looked last
}

// scheduled is a schedule with its next slot.
type scheduled struct {
	*trigger

	slots slots
	next  time.Time // the next slot
	wait  time.Time // until when jitter holds it; zero for not
}

// at is when a schedule is to be looked at.
func (s *scheduled) at() time.Time {
	if s.wait.After(s.next) {
		return s.wait
	}
	return s.next
}

// look starts what is due, and says when to look again.
func (s *scheduler) look(ctx context.Context, now time.Time) (time.Time, error) {
	s.e.mu.Lock()
	x, stale := s.e.active, s.e.stale
	s.e.mu.Unlock()
	if x.byID == nil || stale {
		return now.Add(10 * time.Millisecond), nil // the dispatcher reads them
	}
	if x != s.x {
		if err := s.read(ctx, x, now); err != nil {
			return time.Time{}, err
		}
		s.x = x
		s.e.synchronised(ctx, "trigger.schedule.sync", len(s.known))
	}
	back := now.Before(s.seen.Add(-time.Second))
	s.seen = now.Round(0) // without the monotonic clock, which nobody sets
	var next time.Time
	for _, t := range s.known {
		if back {
			t.rewind(now)
		}
		if t.After > 0 && (t.next.IsZero() || !t.next.Before(far)) && s.e.queue.count(t.id) == 0 {
			t.next = now.Add(time.Duration(t.After))
			if err := s.e.writes.do(ctx, t.save); err != nil {
				return time.Time{}, err
			}
		}
		if !t.next.IsZero() && !t.at().After(now) {
			if err := s.due(ctx, t, now); err != nil {
				return time.Time{}, err
			}
		}
		if at := t.at(); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next, nil
}

// read takes up the schedules of an index. A schedule that is known goes on with
// the slot that is stored; a changed one begins anew, from now.
func (s *scheduler) read(ctx context.Context, x *index, now time.Time) error {
	known := map[state.ObjectID]*scheduled{}
	for _, t := range x.schedules {
		if !t.Enabled || t.broken != nil {
			continue
		}
		stored, created, err := s.stored(ctx, t)
		if err != nil {
			return err
		}
		one := &scheduled{trigger: t}
		if one.slots, err = t.slots(created); err != nil {
			s.e.o.Logger.WarnContext(ctx, "a schedule can't be read", "trigger", t.Name, "err", err)
			continue
		}
		one.next = stored
		one.rewind(now)
		if stored.IsZero() {
			from := now
			if t.At != nil {
				from = t.At.Add(-1) // one that is late already is looked at, too
			}
			one.next = one.slots.Next(from)
			if err := s.e.writes.do(ctx, func(tx *state.Tx) error { return one.save(tx) }); err != nil {
				return err
			}
		}
		known[t.id] = one
	}
	s.known = known
	return nil
}

// rewind takes a schedule back to the present where its next slot was computed by a
// clock that was wrong then: it would be silent until that time comes. Slots that have
// had their run do not get another one, since its id is made of the slot.
func (s *scheduled) rewind(now time.Time) {
	if s.next.IsZero() || !s.next.Before(far) {
		return
	}
	if next := s.slots.Next(now); !next.IsZero() && next.Before(s.next) {
		s.next, s.wait = next, time.Time{}
	}
}

// stored is the next slot that is on disk, for this version of the schedule, and when
// the trigger was made.
func (s *scheduler) stored(ctx context.Context, t *trigger) (next, created time.Time, err error) {
	r, err := triggers.Get(ctx, s.e.o.State.Reader(), t.id)
	if err != nil && !errors.Is(err, event.ErrNotFound) {
		return next, created, err
	}
	var at int64
	var doc string
	err = s.e.o.State.Reader().QueryRowContext(ctx, `SELECT next, doc FROM flow_schedules WHERE trigger_id = $1`, int64(t.id)).Scan(&at, &doc)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, r.Created, nil
	}
	if err != nil {
		return next, created, fmt.Errorf("read the next slot of trigger %s: %w", t.id, err)
	}
	if doc != t.plan() {
		return time.Time{}, r.Created, nil
	}
	if at == 0 {
		return far, r.Created, nil
	}
	return timeOf(at), r.Created, nil
}

// far is the next slot of a schedule that has no more.
var far = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant

// plan is what slots are computed from: another one makes the stored slot void.
func (t *Trigger) plan() string {
	text, err := json.Marshal([]any{t.Cron, t.Every, t.After, t.At, t.Timezone})
	if err != nil {
		return ""
	}
	return string(text)
}

func (s *scheduled) save(tx *state.Tx) error {
	at := int64(0)
	if !s.next.IsZero() && s.next.Before(far) {
		at = s.next.UnixNano()
	}
	_, err := tx.ExecContext(tx.Context(), `INSERT INTO flow_schedules (trigger_id, next, doc) VALUES ($1, $2, $3)
		ON CONFLICT (trigger_id) DO UPDATE SET next = $2, doc = $3`, int64(s.id), at, s.plan())
	return wrap("save the next slot", err)
}

// forgetSlot lets a trigger begin anew: what was throttled, and when it runs next.
func forgetSlot(tx *state.Tx, id state.ObjectID) error {
	for _, statement := range []string{`DELETE FROM trigger_cells WHERE trigger_id = $1`, `DELETE FROM flow_schedules WHERE trigger_id = $1`} {
		if _, err := tx.ExecContext(tx.Context(), statement, int64(id)); err != nil {
			return fmt.Errorf("forget what a trigger remembers: %w", err)
		}
	}
	return nil
}

// fresh is how late a slot may be and still counts as on time.
const fresh = 30 * time.Second

// due starts the runs of the slots that have come, and writes them with the next
// slot in one transaction.
func (s *scheduler) due(ctx context.Context, t *scheduled, now time.Time) error {
	slots, missed := t.come(now)
	next := t.slots.Next(now)
	if next.IsZero() {
		next = far
	}
	var runs []*Run
	gives := map[RunID][]RunID{} // what gives way to each run
	counted := skips{}
	for range missed {
		counted.add(t.trigger, Missed, 0)
	}
	for _, slot := range slots {
		if t.jitter(slot).After(now) { // its time comes later
			next = slot
			break
		}
		start, give := s.overlaps(t, len(runs))
		if !start {
			counted.add(t.trigger, Overlap, 0)
			continue
		}
		r := t.run(runOfSlot(t.id, slot), now.Add(time.Duration(len(runs))))
		at := slot.UTC()
		r.Slot, r.Correlation = &at, string(r.ID)
		r.give(t.static())
		gives[r.ID] = give
		runs = append(runs, r)
	}
	moved := &scheduled{trigger: t.trigger, slots: t.slots, next: next}
	if next.Equal(t.next) { // only jitter is waited for
		t.wait = t.jitter(next)
		return nil
	}
	over := t.Once && next.Equal(far)
	var kept []*Run
	err := s.e.o.State.Write(ctx, state.System(), func(tx *state.Tx) error {
		kept = kept[:0]
		for _, r := range runs {
			isNew, err := r.insert(tx)
			if err != nil {
				return err
			}
			if isNew {
				kept = append(kept, r)
			}
		}
		if err := counted.save(tx, now); err != nil {
			return err
		}
		if over {
			if _, err := triggers.Delete(tx, t.id, state.AnyVersion); err != nil && !errors.Is(err, event.ErrNotFound) {
				return err
			}
		}
		return moved.save(tx)
	})
	if err != nil && !errors.Is(err, event.ErrUnavailable) { // it is stored, though not recorded yet
		return err
	}
	t.next, t.wait = moved.next, time.Time{}
	for k, c := range counted {
		s.e.o.Metrics.Skipped(t.Name, string(k.reason), int(c.n))
	}
	for _, r := range kept {
		for _, id := range gives[r.ID] {
			s.e.cancel(id, "the next slot of its schedule has come")
		}
		s.e.queue.push(r)
	}
	if over {
		s.e.reload()
	}
	s.e.announce()
	return nil
}

// come are the slots that have come and are to run, and how many others were missed.
func (s *scheduled) come(now time.Time) (run []time.Time, missed int) {
	window := max(time.Duration(s.CatchupWindow), fresh)
	if s.ExpiresAfter > 0 {
		window = time.Duration(s.ExpiresAfter)
	}
	late := func(slot time.Time) time.Duration { return now.Sub(s.jitter(slot)) }
	for slot, n := s.next, 0; !slot.IsZero() && !slot.After(now); slot, n = s.slots.Next(slot), n+1 {
		if n == 100*maxCatchup { // a schedule of every second after months: only the newest slots are looked at
			if from := now.Add(-min(window, time.Hour)); from.After(slot) {
				slot = s.slots.Next(from)
			}
			if slot.IsZero() || slot.After(now) {
				break
			}
		}
		if late(slot) > window {
			missed++
			continue
		}
		run = append(run, slot)
	}
	onTime := func(slot time.Time) bool { return late(slot) <= fresh }
	switch s.Missed {
	case MissedSkip:
		before := len(run)
		run = slices.DeleteFunc(run, func(slot time.Time) bool { return !onTime(slot) && s.ExpiresAfter == 0 })
		missed += before - len(run)
	case MissedAll:
		if cut := len(run) - maxCatchup; cut > 0 {
			missed += cut
			run = run[cut:]
		}
	default:
		first := slices.IndexFunc(run, onTime)
		if first < 0 {
			first = len(run)
		}
		if first > 1 { // of those that are late the newest alone
			missed += first - 1
			run = run[first-1:]
		}
	}
	return run, missed
}

// overlaps decides whether a run may start beside those that are not over, and which
// of them give way.
func (s *scheduler) overlaps(t *scheduled, more int) (start bool, give []RunID) {
	n := s.e.queue.count(t.id) + more
	if c := t.Concurrency; c != nil && n >= c.Limit {
		switch c.WhenFull {
		case FullSkip:
			return false, nil
		case FullCancelOldest:
			live := s.e.queue.live(t.id)
			return true, live[:min(len(live), n-c.Limit+1)]
		}
		return true, nil
	}
	switch t.Overlap {
	case OverlapAllow, OverlapBufferAll:
		return true, nil
	case OverlapBufferOne:
		return n < 2, nil
	case OverlapCancel:
		return true, s.e.queue.live(t.id)
	}
	return n == 0, nil
}

// jitter is when a slot starts: later by a part of the jitter that is always the
// same for this slot.
func (s *scheduled) jitter(slot time.Time) time.Time {
	if s.Jitter <= 0 {
		return slot
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.id.String() + slot.UTC().Format(time.RFC3339)))
	return slot.Add(time.Duration(h.Sum64() % uint64(s.Jitter)))
}

// static is the input of a schedule's runs.
func (t *trigger) static() (json.RawMessage, error) {
	data := t.Data
	if len(data) == 0 {
		data = json.RawMessage("{}")
	}
	if t.broken != nil {
		return nil, t.broken
	}
	return t.mapped(data)
}
