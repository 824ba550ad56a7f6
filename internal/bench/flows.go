package bench

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/state"
)

const flowsSection = "Flows"

// flows measures what triggers and runs cost.
func (b *bench) flows(ctx context.Context) error {
	for _, part := range []func(context.Context) error{b.language, b.coming, b.triggers, b.durable, b.waiting} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// actor is what runs flows, made of the server's own parts, wired as internal/app
// does, with nobody but the record to be told.
type actor struct {
	*flow.Engine
	counted
	dir     string
	journal *journal.Journal
	state   *state.State
	outbox  *ingest.Outbox
	filters *filter.Env
}

// counted counts the runs that are over.
type counted struct{ over atomic.Int64 }

// Skipped implements flow.Metrics.
func (*counted) Skipped(string, string, int) { /* nobody asks */ }

// Ran implements flow.Metrics.
func (c *counted) Ran(string, string, time.Duration) { c.over.Add(1) }

// openActor opens all parts in a folder; nothing runs until run.
func openActor(ctx context.Context, dir string) (a *actor, err error) {
	const base = "http://tocsin.example"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a = &actor{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	types, log := catalog.New(), slog.New(slog.DiscardHandler)
	if a.journal, err = journal.Open(ctx, journal.Options{Dir: filepath.Join(dir, "journal")}); err != nil {
		return nil, err
	}
	if a.state, err = state.Open(ctx, state.Options{Dir: dir, Source: base, Significant: base, Redact: func(e *event.Event) { ingest.Redact(types, e) }}); err != nil {
		return nil, err
	}
	in := ingest.New(ingest.Options{
		Journal: a.journal, Catalog: types, Enrich: func(*event.Event) {}, Unknown: func() ingest.Policy { return ingest.AcceptUnknown }, Bases: []string{base},
	})
	a.outbox = ingest.NewOutbox(in, a.state, log, func(uint64) {})
	a.state.SetRecorder(a.outbox.Record)
	if a.filters, err = filter.NewEnv(); err != nil {
		return nil, err
	}
	key, err := state.OpenKey(dir)
	if err != nil {
		return nil, err
	}
	a.Engine, err = flow.New(ctx, flow.Options{
		State: a.state, Journal: a.journal, Catalog: types, Filters: a.filters, Key: key, Source: base, Host: "here", Version: "bench", Owner: "bench",
		Limits: func() flow.Limits { return flow.Limits{} }, HTTP: http.DefaultTransport, Raise: in.Own, Metrics: &a.counted, Lag: func(uint64) {}, Logger: log,
	})
	return a, err
}

// run runs flows until the function that it returns is called.
func (a *actor) run(ctx context.Context) (stop func() error) {
	carrying, end := context.WithCancel(context.WithoutCancel(ctx))
	var outbox sync.WaitGroup
	var carried error
	outbox.Go(func() { carried = a.outbox.Run(carrying) })
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(running) }()
	return func() error {
		cancel()
		err := <-ended
		end() // it carries what the engine has written last
		outbox.Wait()
		return errors.Join(err, carried)
	}
}

func (a *actor) close() error {
	var errs []error
	if a.state != nil {
		errs = append(errs, a.state.Close())
	}
	if a.journal != nil {
		errs = append(errs, a.journal.Close())
	}
	return errors.Join(errs...)
}

// trigger stores a flow with these tasks, and a trigger that starts it for events
// of some types.
func (a *actor) trigger(ctx context.Context, name, tasks, where string, types ...string) error {
	f, err := a.CreateFlow(ctx, state.System(), "document: {dsl: '1.0.3', namespace: bench, name: "+name+", version: '1.0.0'}\ndo:\n"+tasks, "")
	if err != nil {
		return err
	}
	return a.starts(ctx, f.ID, name, where, types...)
}

// starts stores a trigger of a flow.
func (a *actor) starts(ctx context.Context, of state.ObjectID, name, where string, types ...string) error {
	t := flow.NewTrigger()
	t.Name, t.Flow, t.Types, t.Filter = name, of.String(), types, where
	_, err := a.CreateTrigger(ctx, state.System(), t)
	return err
}

// record appends events in batches.
func (a *actor) record(ctx context.Context, events []event.Event) error {
	return (&teller{journal: a.journal}).record(ctx, events)
}
