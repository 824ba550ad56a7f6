package journal

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// view is a set of tables and segments that does not change. It holds one
// reference of every segment, and is itself counted, so that a read costs one
// counter and not one for each segment.
type view struct {
	refs    atomic.Int64
	tables  []*segment.Table  // in order, the one that takes new events last
	readers []*segment.Reader // by first sequence
	sources []segment.Source
}

// setView makes a new view the current one. The caller holds j.mu, and keeps
// its own references to readers.
func (j *Journal) setView(tables []*segment.Table, readers []*segment.Reader) {
	v := &view{tables: tables, readers: readers}
	v.refs.Store(1)
	for _, r := range readers {
		r.Retain()
		v.sources = append(v.sources, r)
	}
	for _, t := range tables {
		v.sources = append(v.sources, t)
	}
	old := j.view
	j.view = v
	if old != nil {
		old.release()
	}
}

// read gives the current view; release must follow.
func (j *Journal) read() *view {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.view.refs.Add(1)
	return j.view
}

func (v *view) release() {
	if v.refs.Add(-1) > 0 {
		return
	}
	for _, r := range v.readers {
		r.Release()
	}
}

// from gives the sources that may hold events after seq.
func (v *view) from(seq event.Seq) []segment.Source {
	sources := make([]segment.Source, 0, len(v.tables)+8)
	for _, s := range v.sources {
		if s.Last() > seq {
			sources = append(sources, s)
		}
	}
	return sources
}

// Get finds one event. The error is of class event.ErrNotFound when it was
// never recorded, was removed, or has expired.
func (j *Journal) Get(seq event.Seq) (segment.Hit, error) {
	v := j.read()
	defer v.release()
	var sources []segment.Source
	for _, s := range v.sources {
		if s.First() <= seq && seq <= s.Last() {
			sources = append(sources, s)
		}
	}
	return segment.Get(sources, seq)
}

// After gives up to limit events that follow seq, in order and without a gap
// other than what was removed or has expired. It may return fewer before the
// end, which is reached when it returns none: then wait for Grown, taken before
// the call. Damaged events are in the error, beside hits that are valid.
func (j *Journal) After(ctx context.Context, seq event.Seq, limit int) ([]segment.Hit, error) {
	v := j.read()
	defer v.release()
	return segment.After(ctx, v.from(seq), seq, limit)
}

// Search finds events; see segment.Query. Now is the present unless it is set.
func (j *Journal) Search(ctx context.Context, q *segment.Query) (_ segment.Page, err error) {
	ctx, end := j.o.Span(ctx, "journal.Search", 0)
	defer func() { end(err) }()
	v := j.read()
	defer v.release()
	now := *q
	now.Now = cmp.Or(now.Now, time.Now().UnixNano())
	return segment.Search(ctx, v.sources, &now)
}

// Volume counts events over time; see segment.VolumeQuery. Now is the present
// unless it is set.
func (j *Journal) Volume(ctx context.Context, q *segment.VolumeQuery) (_ segment.Counts, err error) {
	ctx, end := j.o.Span(ctx, "journal.Volume", 0)
	defer func() { end(err) }()
	v := j.read()
	defer v.release()
	now := *q
	now.Now = cmp.Or(now.Now, time.Now().UnixNano())
	return segment.Volume(ctx, v.sources, &now)
}

// Top counts the most frequent values of columns; see segment.TopQuery. Now is
// the present unless it is set.
func (j *Journal) Top(ctx context.Context, q *segment.TopQuery) (segment.Top, error) {
	v := j.read()
	defer v.release()
	now := *q
	now.Now = cmp.Or(now.Now, time.Now().UnixNano())
	return segment.TopValues(ctx, v.sources, &now)
}

// Grown gives a channel that the next append closes. Take it before After, so
// that no event slips between the two.
func (j *Journal) Grown() <-chan struct{} {
	j.growth.Lock()
	defer j.growth.Unlock()
	if j.grown == nil {
		j.grown = make(chan struct{})
	}
	return j.grown
}

func (j *Journal) grow() {
	j.growth.Lock()
	defer j.growth.Unlock()
	if j.grown != nil {
		close(j.grown)
		j.grown = nil
	}
}

// Last is the newest sequence; 0 for an empty journal.
func (j *Journal) Last() event.Seq {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// First is the oldest sequence that is still there; 0 when there is none.
func (j *Journal) First() event.Seq {
	v := j.read()
	defer v.release()
	var first event.Seq
	for _, s := range v.sources {
		if f := s.First(); f != 0 && (first == 0 || f < first) {
			first = f
		}
	}
	return first
}
