package flow

import (
	"container/heap"
	"context"
	"fmt"
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
}

// queue holds the runs that can be worked on, in memory: the greatest priority
// first, then the oldest. Waiting raises a run by one for each 30 seconds, so that
// none waits for ever. What each trigger has under way is known here, too.
type queue struct {
	mu      sync.Mutex // guards all below
	heap    []ready
	known   map[RunID]bool // in the heap
	wake    chan struct{}  // somebody can go on
	alive   map[state.ObjectID]map[RunID]time.Time
	running map[RunID]*underWay
	parked  map[state.ObjectID][]ready // beyond what their triggers allow at a time
	waiting int
	next    time.Time // when the next waiting run is due
	open    bool
}

// underWay is a run that is worked on.
type underWay struct {
	cancel context.CancelCauseFunc
	again  bool // it was woken in the meantime
}

// ageing is the time of waiting that counts as one of priority.
const ageing = 30 * time.Second

func newQueue() *queue {
	return &queue{known: map[RunID]bool{}, wake: make(chan struct{}, 1), alive: map[state.ObjectID]map[RunID]time.Time{}, running: map[RunID]*underWay{}, parked: map[state.ObjectID][]ready{}}
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (q *queue) Len() int { return len(q.heap) }

func (q *queue) Less(i, j int) bool {
	a, b := &q.heap[i], &q.heap[j]
	// With the same ageing for all, the order of two runs never changes.
	left := a.queued.Add(-time.Duration(a.priority) * ageing)
	right := b.queued.Add(-time.Duration(b.priority) * ageing)
	if !left.Equal(right) {
		return left.Before(right)
	}
	return a.trigger < b.trigger
}

func (q *queue) Swap(i, j int) { q.heap[i], q.heap[j] = q.heap[j], q.heap[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { q.heap = append(q.heap, x.(ready)) } //nolint:forcetypeassert // only this file pushes

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := q.heap[len(q.heap)-1]
	q.heap = q.heap[:len(q.heap)-1]
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
	q.heap, q.known, q.alive, q.waiting, q.next = nil, map[RunID]bool{}, map[state.ObjectID]map[RunID]time.Time{}, 0, time.Time{}
	found, err := e.o.State.Reader().QueryContext(ctx, `SELECT id, state, trigger_id, priority, queued, due FROM runs WHERE state IN ('queued', 'running', 'waiting')`)
	if err != nil {
		return fmt.Errorf("read the queue: %w", err)
	}
	defer found.Close()
	now := time.Now()
	for found.Next() {
		var r ready
		var st RunState
		var queued, due int64
		if err := found.Scan(&r.id, &st, &r.trigger, &r.priority, &queued, &due); err != nil {
			return fmt.Errorf("read the queue: %w", err)
		}
		r.queued = timeOf(queued)
		q.live1(r.trigger, r.id, r.queued)
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
		default:
			q.put(r)
		}
	}
	q.open = true
	q.poke()
	return wrap("read the queue", found.Err())
}

func (q *queue) live1(trigger state.ObjectID, id RunID, queued time.Time) {
	if q.alive[trigger] == nil {
		q.alive[trigger] = map[RunID]time.Time{}
	}
	q.alive[trigger][id] = queued
}

func (q *queue) put(r ready) {
	if !q.known[r.id] {
		q.known[r.id] = true
		heap.Push(q, r)
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
	q.live1(r.Trigger, r.ID, r.Queued)
	q.put(ready{r.ID, r.Trigger, r.Priority, r.Queued})
	q.poke()
}

// awake adds a run that has waited: for an answer, or until now.
func (q *queue) awake(id RunID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if u := q.running[id]; u != nil {
		u.again = true
		return
	}
	q.put(ready{id: id, queued: time.Now()})
	q.poke()
}

// take gives the next run to work on, and what its work is ended by; false where
// there is none.
func (q *queue) take(ctx context.Context) (RunID, context.Context, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heap) == 0 {
		return "", nil, false
	}
	r, _ := heap.Pop(q).(ready)
	delete(q.known, r.id)
	work, cancel := context.WithCancelCause(ctx)
	q.running[r.id] = &underWay{cancel: cancel}
	if len(q.heap) > 0 {
		q.poke()
	}
	return r.id, work, true
}

// leave ends the work on a run. It is looked at once more where it was woken
// meanwhile.
func (q *queue) leave(id RunID, r *Run) {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.running[id]
	delete(q.running, id)
	if u != nil {
		u.cancel(nil)
	}
	if r == nil {
		return
	}
	if r.State.Over() {
		delete(q.alive[r.Trigger], id)
		if len(q.alive[r.Trigger]) == 0 {
			delete(q.alive, r.Trigger)
		}
		for _, held := range q.parked[r.Trigger] {
			q.put(held)
		}
		delete(q.parked, r.Trigger)
		q.poke()
		return
	}
	if r.State == Waiting && !r.Due.IsZero() {
		q.later(r.Due)
	}
	if u != nil && u.again {
		q.put(ready{id, r.Trigger, r.Priority, r.Queued})
	}
	q.poke()
}

// park holds a run until another one of its trigger is over.
func (q *queue) park(r *Run) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.parked[r.Trigger] = append(q.parked[r.Trigger], ready{r.ID, r.Trigger, r.Priority, r.Queued})
}

// live are the runs of a trigger that are not over, the oldest first.
func (q *queue) live(trigger state.ObjectID) []RunID {
	q.mu.Lock()
	defer q.mu.Unlock()
	ids := make([]RunID, 0, len(q.alive[trigger]))
	for id := range q.alive[trigger] {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b RunID) int { return q.alive[trigger][a].Compare(q.alive[trigger][b]) })
	return ids
}

// place is the place of a run among those of its trigger that are not over, from 0.
func (q *queue) place(trigger state.ObjectID, id RunID) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	mine, n := q.alive[trigger][id], 0
	for other, queued := range q.alive[trigger] {
		if other != id && queued.Before(mine) {
			n++
		}
	}
	return n
}

// stop ends the work on a run with a cause; false where nobody works on it.
func (q *queue) stop(id RunID, why error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if u := q.running[id]; u != nil {
		u.cancel(why)
		return true
	}
	return false
}
