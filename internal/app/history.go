package app

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// history lets sources read the journal.
type history struct{ journal *journal.Journal }

const historyPage = 500

// Each implements source.History.
func (h history) Each(ctx context.Context, types []event.Type, after event.Seq, since time.Time, give func(*event.Event) error) (event.Seq, error) {
	last := h.journal.Last()
	if last <= after {
		return after, nil
	}
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	q := segment.Query{
		Plan: &filter.Node{Op: filter.OpIn, Column: filter.ColumnType, Values: names}, Since: since.UnixNano(), Until: math.MaxInt64, Above: after, Below: last + 1,
		Ascending: true, Limit: historyPage, MaxBytes: 8 << 20,
	}
	for {
		page, err := h.journal.Search(ctx, &q)
		if err != nil {
			return after, err
		}
		for _, hit := range page.Hits {
			e, err := event.DecodeStored(hit.Body)
			if err != nil {
				return after, err
			}
			e.Sequence = hit.Seq
			if err := give(&e); err != nil {
				return after, err
			}
		}
		if page.Next == 0 {
			return last, ctx.Err()
		}
		if page.Partial && len(page.Hits) == 0 {
			return after, errors.New("the journal could not be read to the end")
		}
		q.Above = page.Next
	}
}
