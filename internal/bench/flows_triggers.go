package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/flow/speed"
	"github.com/tocsin-events/tocsin/internal/follow"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// triggerTypes is over how many types triggers are spread.
const triggerTypes = 50

// triggers compares the dispatcher, which finds triggers by type, with a loop that
// asks the filters of all of them.
func (b *bench) triggers(ctx context.Context) (err error) {
	dir, err := b.folder("triggers")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	a, err := openActor(ctx, filepath.Join(dir, "state"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	all, err := a.spread(ctx, b.s.triggers)
	if err != nil {
		return err
	}
	first := a.journal.Last()
	if err := a.record(ctx, b.ofTypes(b.s.triggered, triggerTypes)); err != nil {
		return err
	}
	hits, err := a.journal.After(ctx, first, b.s.triggered)
	if err != nil || len(hits) != b.s.triggered {
		return errors.Join(fmt.Errorf("%d events were read, not %d", len(hits), b.s.triggered), err)
	}
	if err := a.checkTriggers(ctx, hits); err != nil {
		return err
	}
	handler := a.Handler()
	if err := handler.Begin(ctx); err != nil {
		return err
	}
	var rates [2]samples
	for round := range b.s.rounds {
		b.o.Say(fmt.Sprintf("flows, %d triggers: round %d of %d", b.s.triggers, round+1, b.s.rounds))
		for i, side := range []func() error{
			func() error { return dispatch(ctx, handler, hits) },
			func() error { return askAll(all, hits[:max(1, len(hits)/10)]) },
		} {
			runtime.GC()
			began, n := time.Now(), len(hits)
			if i == 1 {
				n = max(1, n/10)
			}
			if err := side(); err != nil {
				return err
			}
			rates[i] = append(rates[i], float64(n)/time.Since(began).Seconds())
		}
	}
	b.report.add(Row{
		Section: flowsSection, What: fmt.Sprintf("events decided about with %d triggers over %d types, one matching", b.s.triggers, triggerTypes),
		Ours: rates[0].median(), Theirs: rates[1].median(), Unit: "events/s", Against: "a loop over the filters of all of them", Sense: More, Goal: 15,
	})
	b.report.note("Triggers: %s events/s, the loop %s in the rounds; round by round %s. Both sides decode the events, in one goroutine. Ours is the dispatcher in batches of %d, which also makes the run "+
		"of each event, with its input, and counts why the others do not run; nothing is written. Seven eighths of the filters read data.",
		list(rates[0]), list(rates[1]), list(ratios(rates[0], rates[1])), follow.Batch)
	return nil
}

// condition is a trigger as the loop has it.
type condition struct {
	of     event.Type
	filter *filter.Filter
}

// spread stores triggers over all types, of which one matches each event.
func (a *actor) spread(ctx context.Context, n int) ([]condition, error) {
	f, err := a.CreateFlow(ctx, state.System(), speed.Cases()[0].Document, "")
	if err != nil {
		return nil, err
	}
	all := make([]condition, n)
	for i := range n {
		of, where := typeName(i%triggerTypes), triggerFilter(i/triggerTypes)
		if err := a.starts(ctx, f.ID, fmt.Sprint("trigger ", i), where, string(of)); err != nil {
			return nil, err
		}
		all[i].of = of
		if all[i].filter, err = a.filters.Compile(where); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// triggerFilter is the filter of one of the triggers of a type: the first matches
// every event, the others none.
func triggerFilter(i int) string {
	switch {
	case i == 0:
		return `data.attempt > 0`
	case i%4 == 1:
		return fmt.Sprintf(`data.region == "zone-%d"`, i)
	case i%4 == 2:
		return fmt.Sprintf(`data.release == "none-%d" && data.duration_ms > 1000`, i)
	case i%8 == 3:
		return fmt.Sprintf(`host == "none-%d"`, i)
	default:
		return fmt.Sprintf(`severity >= info && data.path == "/none/%d"`, i)
	}
}

// ofTypes makes events of some types, one after the other.
func (b *bench) ofTypes(n, types int) []event.Event {
	events := generated(NewGenerator(b.seed, n, b.s.needleDistance, time.Now()), n)
	for i := range events {
		events[i].Type = typeName(i % types)
	}
	return events
}

// checkTriggers makes sure that one trigger runs for an event.
func (a *actor) checkTriggers(ctx context.Context, hits []segment.Hit) error {
	for _, hit := range []segment.Hit{hits[0], hits[len(hits)-1]} {
		all, err := a.ExplainEvent(ctx, hit.Seq)
		if err != nil {
			return err
		}
		runs := 0
		for i := range all {
			if all[i].Matches && all[i].Skip == "" {
				runs++
			}
		}
		if runs != 1 {
			return fmt.Errorf("%d triggers run for event %d, not one", runs, hit.Seq)
		}
	}
	return nil
}

// dispatch decides about events as the server does, and writes nothing.
func dispatch(ctx context.Context, handler follow.Handler, hits []segment.Hit) error {
	for at := 0; at < len(hits); at += follow.Batch {
		if _, err := handler.Handle(ctx, hits[at:min(len(hits), at+follow.Batch)], time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// askAll decides by asking every filter.
func askAll(all []condition, hits []segment.Hit) error {
	for i := range hits {
		ev, err := event.DecodeStored(hits[i].Body)
		if err != nil {
			return err
		}
		in, runs := filter.NewInput(&ev), 0
		for t := range all {
			matches, err := all[t].filter.Match(in)
			if err != nil {
				return err
			}
			if matches && all[t].of == ev.Type {
				runs++
			}
		}
		if runs != 1 {
			return fmt.Errorf("%d triggers match, not one", runs)
		}
	}
	return nil
}
