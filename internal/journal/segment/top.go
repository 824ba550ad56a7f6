package segment

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

// TopQuery asks for the most frequent values of some columns. Of Query, the
// order and the page's limits do not count.
type TopQuery struct {
	Query
	Columns []filter.Column // not ColumnID, whose values are all different
	Most    int             // values of each column, at most
}

// Top is the answer: the most frequent values of each column of the question,
// in its order. Events without a value are not counted.
type Top struct {
	Values   [][]ValueCount
	Partial  bool    // the deadline came first: the newest segments were counted
	Problems []error // what was passed over, as *DamageError
}

// ValueCount is how many events have a value.
type ValueCount struct {
	Value string
	Count int64
}

// maxValues bounds the memory of one answer: of a column with more different
// values than that, those that came later (which are older) are left out.
const maxValues = 1 << 18

// TopValues counts the values of columns over the events that match. The error
// is of class event.ErrInvalid for a column that can't be counted, else it means
// that ctx has ended. The caller holds a reference to every Reader until it
// returns.
func TopValues(ctx context.Context, sources []Source, q *TopQuery) (Top, error) {
	t := ranking{counting: newCounting(q.normal()), columns: q.Columns, sums: make([]map[string]int64, len(q.Columns))}
	for i, c := range q.Columns {
		if c >= filter.ColumnID {
			return Top{}, event.Invalidf("column %d is not one whose values can be counted", c)
		}
		t.sums[i] = make(map[string]int64)
	}
	if err := t.each(ctx, sources, func(src Source) error { return t.source(ctx, src) }); err != nil {
		return Top{}, err
	}
	out := Top{Partial: t.partial, Problems: t.problems}
	for _, sum := range t.sums {
		out.Values = append(out.Values, mostFrequent(sum, q.Most))
	}
	return out, nil
}

func mostFrequent(sum map[string]int64, most int) []ValueCount {
	all := make([]ValueCount, 0, len(sum))
	for v, n := range sum {
		all = append(all, ValueCount{v, n})
	}
	slices.SortFunc(all, func(x, y ValueCount) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.Value, y.Value))
	})
	return slices.Clone(all[:min(len(all), most)])
}

// ranking adds up how often values occur.
type ranking struct {
	counting
	columns []filter.Column
	sums    []map[string]int64
}

// source counts codes, and asks the dictionary once for each that occurs.
func (t *ranking) source(ctx context.Context, src Source) error {
	counts := make([][]int64, len(t.columns))
	count := func(c *cursor, row int) {
		for i, column := range t.columns {
			code := c.c.codeAt(column, row)
			if code >= maxValues {
				continue // damaged, or one of too many
			}
			for code >= uint64(len(counts[i])) {
				counts[i] = append(counts[i], make([]int64, max(64, len(counts[i])))...)
			}
			counts[i][code]++
		}
	}
	v := visit{
		walk: t.walk, problem: t.problem, stop: t.late, row: count,
		sure: func(c *cursor) {
			rows := c.rows & c.sure
			c.rows &^= c.sure
			for ; rows != 0; rows &= rows - 1 {
				count(c, c.base+bits.TrailingZeros64(rows))
			}
		},
	}
	if err := v.run(ctx, src, t.query); err != nil {
		return err
	}
	opened, err := src.open()
	if err != nil {
		return err
	}
	for i, column := range t.columns {
		if err := t.fold(i, opened.cols().dictionary(column), counts[i]); err != nil {
			return err
		}
	}
	return nil
}

// fold adds the counts of one source under their values.
func (t *ranking) fold(column int, d dictionary, counts []int64) error {
	sum := t.sums[column]
	for code, n := range counts {
		if n == 0 {
			continue
		}
		value, err := d.at(uint32(code))
		if err != nil {
			return fmt.Errorf("value %d: %w", code, err)
		}
		if _, known := sum[value]; value != "" && (known || len(sum) < maxValues) {
			sum[value] += n
		}
	}
	return nil
}

// codeAt is an event's code in the dictionary of a column.
func (c *columns) codeAt(column filter.Column, row int) uint64 {
	switch column {
	case filter.ColumnSource:
		return uint64(c.source.value(row))
	case filter.ColumnActor:
		return uint64(c.actor.value(row))
	case filter.ColumnClientIP:
		return uint64(c.ip.value(row))
	}
	code := uint64(c.code.value(row))
	switch {
	case code >= uint64(c.codeCount):
		return maxValues
	case column == filter.ColumnKind:
		return uint64(c.codeKind.value(int(code)))
	default:
		return uint64(c.codeType.value(int(code)))
	}
}

func (c *columns) dictionary(column filter.Column) dictionary {
	return map[filter.Column]dictionary{
		filter.ColumnType: c.types, filter.ColumnKind: c.kinds, filter.ColumnSource: c.sources,
		filter.ColumnActor: c.actors, filter.ColumnClientIP: c.ips,
	}[column]
}
