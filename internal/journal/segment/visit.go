package segment

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// counting is what all counts over many sources have in common: the time they
// may take, and what they could not read.
type counting struct {
	query    *Query
	walk     *walker
	partial  bool // the deadline came first
	problems []error
}

func newCounting(q *Query) counting { return counting{query: q, walk: new(walker)} }

func (t *counting) late() bool {
	if !t.query.Deadline.IsZero() && time.Now().After(t.query.Deadline) {
		t.partial = true
	}
	return t.partial
}

func (t *counting) problem(src Source, first, last event.Seq, err error) {
	t.problems = append(t.problems, damage(src, first, last, err))
}

// each looks at the sources that the query can concern, the newest first, until
// it is late. An error means that ctx has ended; what a source has is noted.
func (t *counting) each(ctx context.Context, sources []Source, look func(src Source) error) error {
	sources = slices.Clone(sources)
	slices.SortFunc(sources, func(x, y Source) int { return cmp.Compare(y.Last(), x.Last()) })
	for _, src := range sources {
		if src.Last() == 0 || src.Last() <= t.query.Above || t.query.Below != 0 && src.First() >= t.query.Below {
			continue
		}
		if r, ok := src.(*Reader); ok && r.hidden(t.query) {
			continue
		}
		if t.late() {
			break
		}
		if err := guarded(func() error { return look(src) }); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.problem(src, src.First(), src.Last(), err)
		}
	}
	return nil
}

// visit goes through the events of a source that match, without their bodies.
type visit struct {
	walk    *walker
	problem func(src Source, first, last event.Seq, err error)
	stop    func() bool              // asked before every block
	sure    func(c *cursor)          // takes the rows of a block that need no further look
	row     func(c *cursor, row int) // takes one of the others
}

func (v *visit) run(ctx context.Context, src Source, q *Query) error {
	c, problems, err := openCursor(src, q, v.walk)
	if err != nil {
		return err
	}
	defer c.close()
	for _, p := range problems {
		v.problem(src, src.First(), src.Last(), p)
	}
	for !c.ended && !v.stop() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := guarded(c.step); err != nil {
			first, last := c.span()
			v.problem(src, first, last, err)
			continue
		}
		v.sure(c)
		for c.advance(); c.rows != 0; {
			row := c.row()
			_, ok, err := c.take()
			if err != nil {
				first, last := c.span()
				v.problem(src, first, last, err)
			} else if ok {
				v.row(c, row)
			}
		}
	}
	return nil
}
