package segment

import (
	"context"

	"github.com/tocsin-events/tocsin/internal/event"
)

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
