package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

const (
	exportPage  = 1000
	importBatch = 500
)

// Export gives every event from from to to (0 is the end) in order, until yield
// returns an error. Events that are damaged are left out, and named by the
// error at the end; event.InsertRecorded makes JSON of a hit.
func (j *Journal) Export(ctx context.Context, from, to event.Seq, yield func(segment.Hit) error) error {
	if to == 0 {
		to = j.Last()
	}
	damage := make(map[segment.DamageError]error) // a place is met on many pages
	for at := max(from, 1) - 1; at < to; {
		hits, err := j.After(ctx, at, exportPage)
		d, damaged := errors.AsType[*segment.DamageError](err)
		switch {
		case damaged:
			damage[segment.DamageError{Path: d.Path, First: d.First, Last: d.Last}] = err
		case err != nil:
			return fmt.Errorf("export: %w", err)
		}
		if len(hits) == 0 {
			break
		}
		for _, h := range hits {
			if h.Seq > to {
				break
			}
			if err := yield(h); err != nil {
				return err
			}
		}
		at = hits[len(hits)-1].Seq
	}
	return errors.Join(slices.Collect(maps.Values(damage))...)
}

// Imported is what Import did.
type Imported struct {
	Events, Duplicates, Conflicts int
}

// Import appends events as Append does: they get new sequences, and those that
// are there already are duplicates. It stops at the first error; what came
// before it is recorded.
func (j *Journal) Import(ctx context.Context, events iter.Seq2[event.Event, error]) (Imported, error) {
	var done Imported
	batch := make([]event.Event, 0, importBatch)
	flush := func() error {
		results, err := j.Append(ctx, batch)
		for _, r := range results {
			switch {
			case r.Conflict:
				done.Conflicts++
				done.Duplicates++
			case r.Duplicate:
				done.Duplicates++
			default:
				done.Events++
			}
		}
		batch = batch[:0]
		return err
	}
	for e, err := range events {
		if err != nil {
			return done, errors.Join(fmt.Errorf("import: %w", err), flush())
		}
		if batch = append(batch, e); len(batch) == importBatch {
			if err := flush(); err != nil {
				return done, fmt.Errorf("import: %w", err)
			}
		}
	}
	if err := flush(); err != nil {
		return done, fmt.Errorf("import: %w", err)
	}
	return done, nil
}
