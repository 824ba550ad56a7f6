package segment

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

// Query says which events are wanted. Times are nanoseconds since 1970.
type Query struct {
	// Plan narrows, and decides where it can; nil is true of every event. Match
	// decides about the rest; an error means that the event does not match.
	// Where Match is nil, only what Plan alone decides is a hit.
	Plan  *filter.Node
	Match func(*event.Event) (bool, error)

	// Since and Until bound the event's time; Until is exclusive. The least and
	// the greatest int64, or 0 for both, leave it open.
	Since, Until int64
	// Above and Below bound the sequence, both exclusive; 0 leaves it open.
	Above, Below event.Seq

	Ascending bool      // oldest first instead of newest first
	Limit     int       // hits on a page; 0 is no limit
	MaxBytes  int       // bytes of bodies on a page, which always takes one event; 0 is no limit
	Transient bool      // include the class Transient
	Now       int64     // events that expired until now are hidden
	Deadline  time.Time // zero: none
}

// Page is one answer. The caller looks at Partial first: when it is true, the
// deadline came before the page was full.
type Page struct {
	Hits []Hit
	// Next goes on where this page ends, as Below, or as Above when Ascending; 0
	// when nothing is left.
	Next    event.Seq
	Partial bool
	// Problems are what could not be read and was passed over, as *DamageError.
	Problems []error
	Scanned  struct{ Segments, Blocks, Events int }
}

// normal gives the query with open bounds written out.
func (q *Query) normal() *Query {
	n := *q
	if n.Since == 0 && n.Until == 0 {
		n.Since, n.Until = math.MinInt64, math.MaxInt64
	}
	return &n
}

// Search finds events by sequence, newest first unless q.Ascending. An error
// means that ctx has ended; damage is reported in Page.Problems. The caller
// holds a reference to every Reader until Search returns.
func Search(ctx context.Context, sources []Source, q *Query) (Page, error) {
	s := search{q: q.normal(), walk: new(walker)}
	s.line(sources)
	err := s.run(ctx)
	s.close()
	return s.page, err
}

// search merges the cursors of all sources. A source is opened only when the
// merge reaches its range of sequences.
type search struct {
	q       *Query
	page    Page
	bytes   int
	waiting []Source // in order, the next one last
	active  []*cursor
	walk    *walker
	full    bool
}

// line puts the sources that the query can concern into order.
func (s *search) line(sources []Source) {
	for _, src := range sources {
		if src.Last() == 0 || src.Last() <= s.q.Above || s.q.Below != 0 && src.First() >= s.q.Below {
			continue
		}
		if r, ok := src.(*Reader); ok && r.hidden(s.q) {
			continue
		}
		s.waiting = append(s.waiting, src)
	}
	slices.SortStableFunc(s.waiting, func(x, y Source) int {
		if s.before(s.bound(x), s.bound(y)) {
			return 1
		}
		return -1
	})
}

// hidden reports that a query shows nothing of the segment.
func (r *Reader) hidden(q *Query) bool {
	i := &r.foot.info
	return i.Class == Transient && !q.Transient || i.MaxTime < q.Since || i.MinTime >= q.Until && q.Until != math.MaxInt64
}

// bound is the first sequence of a source in the query's order.
func (s *search) bound(src Source) event.Seq {
	if s.q.Ascending {
		return src.First()
	}
	return src.Last()
}

func (s *search) before(x, y event.Seq) bool {
	if s.q.Ascending {
		return x < y
	}
	return x > y
}

func (s *search) run(ctx context.Context) error {
	for steps := 0; !s.full; steps++ {
		c := s.next()
		if c == nil {
			return nil
		}
		if c.rows != 0 {
			s.take(c)
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if steps > 0 && !s.q.Deadline.IsZero() && time.Now().After(s.q.Deadline) {
			s.page.Partial = true
			s.page.Next = c.frontier + 1
			if s.q.Ascending {
				s.page.Next = c.frontier - 1
			}
			return nil
		}
		s.report(c, guarded(c.step))
	}
	return nil
}

// next gives the cursor whose frontier comes first, once every source that may
// come before it is open.
func (s *search) next() *cursor {
	for {
		var best *cursor
		for i := 0; i < len(s.active); i++ {
			c := s.active[i]
			if c.ended {
				s.retire(c)
				s.active = slices.Delete(s.active, i, i+1)
				i--
				continue
			}
			if best == nil || s.before(c.frontier, best.frontier) {
				best = c
			}
		}
		last := len(s.waiting) - 1
		if last < 0 || best != nil && s.before(best.frontier, s.bound(s.waiting[last])) {
			return best
		}
		src := s.waiting[last]
		s.waiting = s.waiting[:last]
		s.open(src)
	}
}

func (s *search) open(src Source) {
	var c *cursor
	var problems []error
	err := guarded(func() (err error) {
		c, problems, err = openCursor(src, s.q, s.walk)
		return err
	})
	for _, p := range append(problems, err) {
		if p != nil {
			s.page.Problems = append(s.page.Problems, damage(src, src.First(), src.Last(), p))
		}
	}
	s.page.Scanned.Segments++
	if err == nil {
		c.src = src
		s.active = append(s.active, c)
	}
}

// damage names what an error is about; only a segment can be damaged.
func damage(src Source, first, last event.Seq, err error) error {
	if r, ok := src.(*Reader); ok {
		return r.damaged(first, last, err)
	}
	return err
}

func (s *search) report(c *cursor, err error) {
	if err != nil {
		first, last := c.span()
		s.page.Problems = append(s.page.Problems, damage(c.src, first, last, err))
	}
}

// take decides about a cursor's next candidate, and keeps it if it is a hit.
func (s *search) take(c *cursor) {
	var hit Hit
	var ok bool
	take := func() (err error) {
		hit, ok, err = c.take()
		return err
	}
	var err error
	if _, mapped := c.src.(*Reader); mapped {
		err = guarded(take)
	} else {
		err = take()
	}
	if err != nil {
		s.report(c, err)
		return
	}
	if !ok {
		return
	}
	hits := s.page.Hits
	if hits == nil {
		hits = make([]Hit, 0, min(max(s.q.Limit, 8), 64))
	}
	if s.q.MaxBytes > 0 && len(hits) > 0 && s.bytes+len(hit.Body) > s.q.MaxBytes {
		s.full, s.page.Next = true, hits[len(hits)-1].Seq
		return
	}
	s.bytes += len(hit.Body)
	hit.Body = slices.Clone(hit.Body)
	s.page.Hits = append(hits, hit)
	if s.q.Limit > 0 && len(s.page.Hits) >= s.q.Limit {
		s.full = true
		if s.next() != nil {
			s.page.Next = hit.Seq
		}
	}
}

func (s *search) retire(c *cursor) {
	s.page.Scanned.Blocks += c.blocks
	s.page.Scanned.Events += c.seen
	c.close()
}

func (s *search) close() {
	for _, c := range s.active {
		s.retire(c)
	}
}

// Get finds one event. The error is of class event.ErrNotFound when no source
// holds it, or it has expired, and a *DamageError when it can't be read.
func Get(sources []Source, seq event.Seq) (Hit, error) {
	q := Query{Above: seq - 1, Below: seq + 1, Limit: 1, Transient: true, Now: time.Now().UnixNano()}
	page, err := Search(context.Background(), sources, &q)
	switch {
	case err != nil:
		return Hit{}, err
	case len(page.Hits) > 0:
		return page.Hits[0], nil
	case len(page.Problems) > 0:
		return Hit{}, errors.Join(page.Problems...)
	}
	return Hit{}, event.NotFoundf("no event has the sequence %d", seq)
}

// afterBytes bounds the memory of one call of After.
const afterBytes = 16 << 20

// After reads on from a sequence, in order and over all classes, leaving out
// only what has expired. It may return fewer than limit events before the end,
// which is reached when it returns none. When the error is (or joins) a
// *DamageError, the hits are valid and lack only what it names.
func After(ctx context.Context, sources []Source, seq event.Seq, limit int) ([]Hit, error) {
	q := Query{
		Above: seq, Ascending: true, Limit: limit, MaxBytes: afterBytes,
		Transient: true, Now: time.Now().UnixNano(),
	}
	page, err := Search(ctx, sources, &q)
	return page.Hits, errors.Join(err, errors.Join(page.Problems...))
}
