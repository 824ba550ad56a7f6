package flow

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/state"
)

// ready is a run that can be worked on.
type ready struct {
	id       RunID
	trigger  state.ObjectID
	priority int
	queued   time.Time
	fresh    bool // it was not there when this server started
	run      *Run // as it is stored; nil where that is to be read
}

// Fresh runs are kept as they are, and not read again, within bounds.
const (
	maxKept    = 16 << 20 // bytes of all
	maxKeptOne = 16 << 10
	perKept    = 1 << 10 // of a run besides its input
)

// queue holds the runs that can be worked on, in memory: the greatest priority
// first, then the oldest. Waiting raises a run by one for each 30 seconds, so that
// none waits for ever. What each trigger has under way is known here, too.
type queue struct {
	mu      sync.Mutex // guards all below
	heap    order
	known   map[RunID]bool // in the heap
	wake    chan struct{}  // somebody can go on
	lanes   map[state.ObjectID]*lane
	running map[RunID]*underWay
	// suspects were under way when a server ended: one of them may be why. They are
	// tried one at a time, so that the count of such ends tells them apart.
	suspects []suspect
	alone    RunID // the one that is tried now; empty for none
	waiting  int
	kept     int       // bytes of the runs in the heap that need not be read
	next     time.Time // when the next waiting run is due
	open     bool
}

// suspect is a run that was under way when a server ended, so many times.
type suspect struct {
	ready

	times int
}

// trial is how long a suspect is tried alone: what would end the server does so at
// once, and others wait.
const trial = 2 * time.Second

// lane is what of one trigger is not over.
type lane struct {
	runs   map[RunID]standing
	begun  int   // how many of them have begun
	parked order // beyond what the trigger allows at a time
}

type standing struct {
	queued time.Time
	begun  bool
}

// underWay is a run that is worked on.
type underWay struct {
	cancel context.CancelCauseFunc
	stop   *stopError // why it is to end; nil for not
	again  bool       // it was woken in the meantime
}

// ageing is the time of waiting that counts as one of priority.
const ageing = 30 * time.Second

func newQueue() *queue {
	return &queue{known: map[RunID]bool{}, wake: make(chan struct{}, 1), lanes: map[state.ObjectID]*lane{}, running: map[RunID]*underWay{}}
}

// order is a heap of runs in the order in which they are worked on.
type order []ready

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (o order) Len() int { return len(o) }

func (o order) Less(i, j int) bool {
	a, b := &o[i], &o[j]
	// With the same ageing for all, the order of two runs never changes.
	left := a.queued.Add(-time.Duration(a.priority) * ageing)
	right := b.queued.Add(-time.Duration(b.priority) * ageing)
	if !left.Equal(right) {
		return left.Before(right)
	}
	return a.trigger < b.trigger
}

func (o order) Swap(i, j int) { o[i], o[j] = o[j], o[i] }

// Push implements heap.Interface.
func (o *order) Push(x any) { *o = append(*o, x.(ready)) } //nolint:forcetypeassert // only this file pushes

// Pop implements heap.Interface.
func (o *order) Pop() any {
	last := (*o)[len(*o)-1]
	(*o)[len(*o)-1].run = nil
	*o = (*o)[:len(*o)-1]
	return last
}

// begin reads which runs are not over. Those that were under way when a server
// ended are worked on again.
func (q *queue) begin(ctx context.Context, e *Engine) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open {
		err := e.o.State.Write(ctx, state.System(), func(tx *state.Tx) error {
			_, err := tx.ExecContext(tx.Context(), `UPDATE runs SET state = 'queued', due = $1, recoveries = recoveries + 1 WHERE state = 'running'`, time.Now().UnixNano())
			return wrap("recover runs", err)
		})
		if err != nil {
			return err
		}
	}
	q.heap, q.known, q.lanes, q.waiting, q.kept, q.next = nil, map[RunID]bool{}, map[state.ObjectID]*lane{}, 0, 0, time.Time{}
	q.suspects = nil
	found, err := e.o.State.Reader().QueryContext(ctx, `SELECT id, state, trigger_id, priority, queued, due, recoveries FROM runs WHERE state IN ('queued', 'running', 'waiting')`)
	if err != nil {
		return fmt.Errorf("read the queue: %w", err)
	}
	defer found.Close()
	now := time.Now()
	for found.Next() {
		var r ready
		var st RunState
		var queued, due int64
		var times int
		if err := found.Scan(&r.id, &st, &r.trigger, &r.priority, &queued, &due, &times); err != nil {
			return fmt.Errorf("read the queue: %w", err)
		}
		r.queued = timeOf(queued)
		// One that has begun is due at another time than that at which it was queued.
		q.enter(&r, st != Queued || due != queued || q.running[r.id] != nil)
		switch at := timeOf(due); {
		case q.running[r.id] != nil:
		case st == Waiting:
			q.waiting++
			if at.IsZero() {
				break
			}
			if at.After(now) {
				q.later(at)
				break
			}
			q.put(r)
		case times > 0:
			q.known[r.id] = true
			q.suspects = append(q.suspects, suspect{r, times})
		default:
			q.put(r)
		}
	}
	// Those that have met the fewest ends go first: most of them are innocent.
	slices.SortFunc(q.suspects, func(a, b suspect) int { return cmp.Or(cmp.Compare(a.times, b.times), a.queued.Compare(b.queued)) })
	q.open = true
	q.poke()
	return wrap("read the queue", found.Err())
}

// enter notes a run that is not over.
func (q *queue) enter(r *ready, begun bool) {
	l := q.lanes[r.trigger]
	if l == nil {
		l = &lane{runs: map[RunID]standing{}}
		q.lanes[r.trigger] = l
	}
	if _, known := l.runs[r.id]; known {
		return
	}
	l.runs[r.id] = standing{r.queued, begun}
	if begun {
		l.begun++
	}
}

// put makes a run be worked on; one that is worked on now is looked at once more.
func (q *queue) put(r ready) {
	if u := q.running[r.id]; u != nil {
		u.again = true
		return
	}
	if !q.known[r.id] {
		q.known[r.id] = true
		heap.Push(&q.heap, r)
	}
}

func (q *queue) later(at time.Time) {
	if q.next.IsZero() || at.Before(q.next) {
		q.next = at
	}
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// push adds a run that is new.
func (q *queue) push(r *Run) {
	q.mu.Lock()
	defer q.mu.Unlock()
	one := r.ready()
	q.enter(&one, false)
	q.put(one)
	q.poke()
}

// hand is push for a caller that has no use for the run any more.
func (q *queue) hand(r *Run) {
	q.mu.Lock()
	defer q.mu.Unlock()
	one := r.ready()
	q.enter(&one, false)
	if n := r.bytes(); q.kept+n <= maxKept && n <= maxKeptOne && !q.known[r.ID] {
		one.run = r
		q.kept += n
	}
	q.put(one)
	q.poke()
}

// ready is a run that has come to be ready while this server works.
func (r *Run) ready() ready {
	return ready{id: r.ID, trigger: r.Trigger, priority: r.Priority, queued: r.Queued, fresh: true}
}

// bytes is about what a run takes that is kept.
func (r *Run) bytes() int { return perKept + len(r.Input) }

// awake adds a run that has waited: for an answer, or until now.
func (q *queue) awake(id RunID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.put(ready{id: id, queued: time.Now(), fresh: true})
	q.poke()
}

// take gives the next run to work on, and what its work is ended by; false where
// there is none.
func (q *queue) take(ctx context.Context) (ready, context.Context, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r, ok := q.nextSuspect()
	if !ok {
		if len(q.heap) == 0 {
			return ready{}, nil, false
		}
		r, _ = heap.Pop(&q.heap).(ready)
	}
	if r.run != nil {
		q.kept -= r.run.bytes()
	}
	delete(q.known, r.id)
	work, cancel := context.WithCancelCause(ctx)
	q.running[r.id] = &underWay{cancel: cancel}
	if len(q.heap) > 0 {
		q.poke()
	}
	return r, work, true
}

// nextSuspect gives the next run to be tried alone, unless one is.
func (q *queue) nextSuspect() (ready, bool) {
	if q.alone != "" || len(q.suspects) == 0 {
		return ready{}, false
	}
	r := q.suspects[0].ready
	q.suspects, q.alone = q.suspects[1:], r.id
	time.AfterFunc(trial, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.tried(r.id)
	})
	return r, true
}

// tried lets the next suspect be tried.
func (q *queue) tried(id RunID) {
	if q.alone == id {
		q.alone = ""
		q.poke()
	}
}

// leave ends the work on a run. It is looked at once more where it was woken
// meanwhile. It says why the run is to end, where somebody has said so.
func (q *queue) leave(id RunID, r *Run) *stopError {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.running[id]
	delete(q.running, id)
	u.cancel(nil)
	q.tried(id)
	switch {
	case r == nil:
	case r.State.Over():
		q.gone(r.Trigger, id)
	default:
		if r.State == Waiting && !r.Due.IsZero() {
			q.later(r.Due)
		}
		if u.again {
			q.put(r.ready())
		}
	}
	q.poke()
	return u.stop
}

// over notes that a run was ended by somebody who did not work on it.
func (q *queue) over(id RunID, trigger state.ObjectID, why *stopError) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if u := q.running[id]; u != nil {
		u.stop = why
		u.cancel(why)
	}
	q.gone(trigger, id)
	q.poke()
}

// gone forgets a run that is over, and lets the next one of its trigger begin.
func (q *queue) gone(trigger state.ObjectID, id RunID) {
	l := q.lanes[trigger]
	if l == nil {
		return
	}
	if l.runs[id].begun {
		l.begun--
	}
	delete(l.runs, id)
	q.unpark(l, 1)
	if len(l.runs) == 0 {
		delete(q.lanes, trigger)
	}
}

// unpark makes up to n parked runs be looked at.
func (q *queue) unpark(l *lane, n int) {
	for n > 0 && len(l.parked) > 0 {
		r, _ := heap.Pop(&l.parked).(ready)
		if one, alive := l.runs[r.id]; alive && !one.begun {
			q.put(r)
			n--
		}
	}
}

// admit reports whether a run may begin, where its trigger allows limit at a time; 0
// for any number. One that may not is parked until another one of its trigger is over.
func (q *queue) admit(r *Run, limit int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lanes[r.Trigger]
	if l == nil {
		return true // it was ended at this moment
	}
	one, alive := l.runs[r.ID]
	if !alive || one.begun {
		return true
	}
	if limit > 0 && l.begun >= limit {
		heap.Push(&l.parked, ready{id: r.ID, trigger: r.Trigger, priority: r.Priority, queued: r.Queued})
		return false
	}
	one.begun = true
	l.runs[r.ID] = one
	l.begun++
	return true
}

// relimit lets parked runs begin whose triggers allow more now.
func (q *queue) relimit(limit func(trigger state.ObjectID) int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for trigger, l := range q.lanes {
		n := limit(trigger) - l.begun
		if limit(trigger) == 0 {
			n = len(l.parked)
		}
		q.unpark(l, n)
	}
	q.poke()
}

// count is how many runs of a trigger are not over.
func (q *queue) count(trigger state.ObjectID) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := q.lanes[trigger]; l != nil {
		return len(l.runs)
	}
	return 0
}

// live are the runs of a trigger that are not over, the oldest first.
func (q *queue) live(trigger state.ObjectID) []RunID {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lanes[trigger]
	if l == nil {
		return nil
	}
	ids := slices.Collect(maps.Keys(l.runs))
	slices.SortFunc(ids, func(a, b RunID) int { return l.runs[a].queued.Compare(l.runs[b].queued) })
	return ids
}

// stop ends the work on a run with a cause; false where nobody works on it.
func (q *queue) stop(id RunID, why *stopError) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.running[id]
	if u == nil {
		return false
	}
	u.stop = why
	u.cancel(why)
	return true
}
