package segment

import (
	"math/bits"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

var bodyBuffers = sync.Pool{New: func() any { return new(bodies) }} //nolint:gochecknoglobals // a cache of buffers without state of its own

// cursor goes through one source in the order of a query, a block at a time.
type cursor struct {
	src    Source
	v      view
	c      *columns
	q      *Query
	plan   bound
	lo, hi int // rows not looked at yet

	block        int
	base         int    // the row of bit 0
	rows         uint64 // in the block, still to be given
	sure         uint64 // those of them that need no further look
	loaded       int    // the block in bodies; -1 for none
	bodies       *bodies
	place        place
	inData       bool // the plan asks about data
	ended        bool
	frontier     event.Seq // nothing that comes earlier in order is left
	blocks, seen int
}

// openCursor fails where the source can't be read at all.
func openCursor(s Source, q *Query, walk *walker) (*cursor, []error, error) {
	v, err := s.open()
	if err != nil {
		return nil, nil, err
	}
	c := &cursor{v: v, c: v.cols(), q: q, loaded: -1}
	b := binder{v: v}
	if c.plan, err = b.bindQuery(q); err != nil {
		return nil, nil, err
	}
	c.inData = c.plan.asksData()
	c.hi = c.c.n
	if q.Above != 0 {
		c.lo = c.c.from(q.Above + 1)
	}
	if q.Below != 0 {
		c.hi = c.c.from(q.Below)
	}
	c.place = place{v: v, walk: walk}
	if c.plan.possible().t == 0 {
		c.lo = c.hi // no event of this source can match
	}
	c.advance()
	return c, b.problems, nil
}

// step looks at one more block.
func (c *cursor) step() error {
	from, to := c.lo, c.hi
	if c.q.Ascending {
		c.block = c.lo / blockRows
		to = min(c.hi, (c.block+1)*blockRows)
		c.lo = to
	} else {
		c.block = (c.hi - 1) / blockRows
		from = max(c.lo, c.block*blockRows)
		c.hi = from
	}
	p := &c.place
	p.block, p.from, p.to, p.body = c.block, from, to, nil
	p.coarse = true
	if c.plan.eval(p).t == 0 {
		c.advance()
		return nil
	}
	p.coarse = false
	if err := c.v.check(c.block); err != nil {
		c.advance()
		return err
	}
	o := c.plan.eval(p)
	shown := c.c.shown(c.q, from, to)
	c.base, c.rows, c.sure = from, o.t&shown, o.t&^(o.f|o.x)
	c.blocks++
	c.seen += to - from
	c.advance()
	return nil
}

// advance moves the frontier to the next row in order.
func (c *cursor) advance() {
	switch {
	case c.rows != 0:
		c.frontier = c.c.seqAt(c.row())
	case c.lo >= c.hi:
		c.ended = true
	case c.q.Ascending:
		c.frontier = c.c.seqAt(c.lo)
	default:
		c.frontier = c.c.seqAt(c.hi - 1)
	}
}

// row is the next candidate.
func (c *cursor) row() int {
	if c.q.Ascending {
		return c.base + bits.TrailingZeros64(c.rows)
	}
	return c.base + 63 - bits.LeadingZeros64(c.rows)
}

// take decides about the next candidate. The body in the result belongs to the
// cursor. An error is about the whole block, which is given up.
func (c *cursor) take() (hit Hit, ok bool, err error) {
	row := c.row()
	bit := uint64(1) << (row - c.base)
	c.rows &^= bit
	hit.Seq = c.c.seqAt(row)
	if c.loaded != c.block {
		if c.bodies == nil {
			c.bodies = bodyBuffers.Get().(*bodies)
		}
		c.loaded = c.block
		err = c.v.load(c.block, c.bodies)
	}
	sure := c.sure&bit != 0
	if err == nil && !sure && c.inData {
		possible, problem := c.glance(row)
		if problem == nil && !possible {
			c.advance()
			return hit, false, nil
		}
		err = problem
	}
	if err == nil {
		hit.Recorded, hit.Body, err = c.v.body(row, c.bodies)
	}
	if err != nil {
		c.rows, c.loaded = 0, -1
		c.advance()
		return hit, false, err
	}
	ok = sure || c.matches(row, &hit)
	c.advance()
	return hit, ok, nil
}

// glance looks only at the data, which is cheaper to have than a whole body.
func (c *cursor) glance(row int) (bool, error) {
	data, err := c.v.data(row, c.bodies)
	if err != nil {
		return false, err
	}
	p := &c.place
	p.from, p.to, p.body, p.excerpt = row, row+1, data, true
	o := c.plan.eval(p)
	p.excerpt = false
	return o.t != 0, nil
}

// matches looks into an event's body, and asks the filter itself if need be.
func (c *cursor) matches(row int, hit *Hit) bool {
	p := &c.place
	p.from, p.to, p.body = row, row+1, hit.Body
	o := c.plan.eval(p)
	if o.t == 0 {
		return false
	}
	if o.f|o.x == 0 {
		return true
	}
	if c.q.Match == nil {
		return false
	}
	e, err := event.Decode(hit.Body)
	if err != nil {
		return false
	}
	e.Sequence, e.RecordedTime = hit.Seq, time.Unix(0, hit.Recorded).UTC()
	ok, err := c.q.Match(&e)
	return ok && err == nil
}

// close gives the buffers back.
func (c *cursor) close() {
	if c.bodies != nil {
		bodyBuffers.Put(c.bodies)
		c.bodies = nil
	}
}

// span gives the sequences of the block that was looked at last.
func (c *cursor) span() (first, last event.Seq) {
	return c.c.seqAt(c.block * blockRows), c.c.seqAt(min((c.block+1)*blockRows, c.c.n) - 1)
}
