package journal

import (
	"slices"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/wal"
)

// A group is bounded, so that its buffers are, too; one request may exceed it.
const (
	maxGroupEvents = 8192
	maxGroupBytes  = 8 << 20
)

// Result is the fate of one event of an Append.
type Result struct {
	Seq       event.Seq
	Duplicate bool // the pair (source, id) was recorded before, as Seq
	Conflict  bool // …with other content; attributes that the server sets don't count
}

// item is one event on its way to the committer, encoded.
type item struct {
	entry segment.Entry
	id    event.ID
	rec   []byte    // its record in the log; entry.Body is a part of it
	known event.Seq // a duplicate of this one, as the producer's goroutine has found
	clash bool      // …with other content
}

// request is one call of Append, or an errand for the goroutine that commits.
type request struct {
	items    []item
	results  []Result
	recorded int64 // time of the group, for the caller's events
	urgent   bool  // only kinds sys and audit: may use the reserve
	err      error
	done     chan struct{}
	errand   func() error // runs instead of a commit

	buf, scratch []byte
}

// encode does in the producer's goroutine what needs no order.
func (r *request) encode(events []event.Event, s *seed, classify func(*event.Event) segment.Class) {
	r.items, r.buf = slices.Grow(r.items[:0], len(events))[:len(events)], r.buf[:0]
	r.results = slices.Grow(r.results[:0], len(events))[:len(events)]
	r.urgent, r.err, r.errand = true, nil, nil
	for i := range events {
		e, it := &events[i], &r.items[i]
		*it = item{id: e.ID}
		entry(&it.entry, e)
		it.entry.Class = classify(e)
		it.entry.Key, r.scratch = s.key(r.scratch, e.Source, e.ID)
		r.urgent = r.urgent && (e.Kind == event.KindSys || e.Kind == event.KindAudit)
		r.results[i] = Result{}

		from := len(r.buf)
		r.buf = wal.AppendRecord(r.buf, &wal.Record{Class: it.entry.Class, Expiry: it.entry.Expiry, Key: it.entry.Key})
		r.buf = e.AppendStored(r.buf)
		wal.SetBodySize(r.buf[from:])
		it.rec = r.buf[from:] // moves with the buffer; see below
	}
	at := 0 // appending may have moved the buffer: cut it again
	for i := range r.items {
		it := &r.items[i]
		it.rec = r.buf[at:][:len(it.rec):len(it.rec)]
		it.entry.Body = it.rec[wal.RecordSize(0):]
		at += len(it.rec)
	}
}

// queue holds the requests that wait for the committer, in order.
type queue struct {
	wake chan struct{}

	mu      sync.Mutex // guards all below
	waiting []*request
	closed  bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// put adds a request; false means that the queue is closed.
func (q *queue) put(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.waiting = append(q.waiting, r)
	q.signal()
	return true
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// withdraw takes a request back; false means that it is being committed.
func (q *queue) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, r)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// take gives the requests of the next group; false means closed and empty.
func (q *queue) take(into []*request) ([]*request, bool) {
	for {
		q.mu.Lock()
		if len(q.waiting) > 0 {
			n := groupSize(q.waiting)
			into = append(into[:0], q.waiting[:n]...)
			q.waiting = slices.Delete(q.waiting, 0, n)
			q.mu.Unlock()
			return into, true
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil, false
		}
		<-q.wake
	}
}

// groupSize is how many of the waiting requests go together. An errand, and a
// request that may use the reserve beside ones that may not, go alone.
func groupSize(waiting []*request) int {
	events, bytes := 0, 0
	for i, r := range waiting {
		events += len(r.items)
		bytes += len(r.buf)
		alone := r.errand != nil || r.urgent != waiting[0].urgent
		if i > 0 && (alone || events > maxGroupEvents || bytes > maxGroupBytes) {
			return i
		}
		if r.errand != nil {
			return 1
		}
	}
	return len(waiting)
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

// group is what is committed together.
type group struct {
	requests []*request
	urgent   bool
	started  time.Time
}
