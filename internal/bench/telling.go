package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

const tellingSection = "Telling"

// telling measures what rules and deliveries cost.
func (b *bench) telling(ctx context.Context) error {
	for _, part := range []func(context.Context) error{b.matching, b.silent, b.deliveries, b.hanging, b.versusAlertmanager} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// teller is what tells, made of the server's own parts, wired as internal/app
// does, with nobody to be told but destinations.
type teller struct {
	*notify.Notify
	dir     string
	journal *journal.Journal
	state   *state.State
	egress  *egress.Guard
}

// nobody is a directory without persons.
type nobody struct{}

// People implements notify.Directory.
func (nobody) People(context.Context) ([]notify.Person, error) { return nil, nil }

// Person implements notify.Directory.
func (nobody) Person(context.Context, state.ObjectID) (notify.Person, bool, error) {
	return notify.Person{}, false, nil
}

// uncounted are metrics that nobody reads.
type uncounted struct{}

// Told implements notify.Metrics.
func (uncounted) Told(string) { /* nobody asks */ }

// Suppressed implements notify.Metrics.
func (uncounted) Suppressed(string, string) { /* nobody asks */ }

// Attempted implements notify.Metrics.
func (uncounted) Attempted(string, string) { /* nobody asks */ }

// startTeller opens all parts in a folder; nothing is told until run.
func startTeller(ctx context.Context, dir string) (t *teller, err error) {
	const base = "http://tocsin.example"
	t = &teller{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if t.journal, err = journal.Open(ctx, journal.Options{Dir: filepath.Join(dir, "journal")}); err != nil {
		return nil, err
	}
	if t.state, err = state.Open(ctx, state.Options{Dir: dir, Source: base, Significant: base}); err != nil {
		return nil, err
	}
	filters, err := filter.NewEnv()
	if err != nil {
		return nil, err
	}
	key, err := state.OpenKey(dir)
	if err != nil {
		return nil, err
	}
	t.egress = egress.New(egress.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, egress.Options{})
	t.Notify, err = notify.New(ctx, notify.Options{
		State: t.state, Journal: t.journal, Catalog: catalog.New(), Filters: filters, Key: key, Directory: nobody{}, Egress: t.egress,
		SMTP: func() config.SMTP { return config.SMTP{} }, Source: base, PublicURL: base, Host: "here", Version: "bench", Owner: "bench",
		Metrics: uncounted{}, Logger: slog.New(slog.DiscardHandler),
	})
	return t, err
}

// run tells until the function that it returns is called.
func (t *teller) run(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- t.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

func (t *teller) close() error {
	var errs []error
	if t.egress != nil {
		t.egress.Close()
	}
	if t.state != nil {
		errs = append(errs, t.state.Close())
	}
	if t.journal != nil {
		errs = append(errs, t.journal.Close())
	}
	return errors.Join(errs...)
}

// rule stores a rule.
func (t *teller) rule(ctx context.Context, change func(*notify.Rule)) error {
	r := notify.NewRule()
	change(&r)
	_, err := t.CreateRule(ctx, state.System(), r)
	return err
}

// webhook stores a destination that gets events in the CloudEvents format.
func (t *teller) webhook(ctx context.Context, name, url string) (state.ObjectID, error) {
	settings, err := json.Marshal(map[string]string{"url": url, "format": "cloudevents"})
	if err != nil {
		return 0, err
	}
	made, err := t.CreateTransport(ctx, state.System(), notify.TransportInput{Name: name, Mode: "webhook", Settings: settings})
	return made.ID, err
}

// matchers is how many rules match each event of a measurement.
const matchers = 3

// spread stores rules over all types: three that match each event, and others of
// which none does. Half of them read data.
func (t *teller) spread(ctx context.Context, rules int) error {
	for i := range rules {
		if err := t.rule(ctx, func(r *notify.Rule) { spreadRule(r, i) }); err != nil {
			return err
		}
	}
	return nil
}

func spreadRule(r *notify.Rule, i int) {
	r.Name, r.Types = fmt.Sprint("rule ", i), []string{"bench.*"}
	switch i {
	case 0:
		return
	case 1:
		r.Filter = `data.attempt > 0`
		return
	case 2:
		r.Severity = event.Info.String()
		return
	}
	of := i / 8 % Types
	r.Types = []string{string(typeName(of))}
	switch i % 8 {
	case 0, 2:
		r.Filter = fmt.Sprintf(`data.region == "zone-%d"`, i)
	case 4:
		r.Filter = fmt.Sprintf(`data.release == "none-%d" && data.duration_ms > 1000`, i)
	case 6:
		r.Filter = fmt.Sprintf(`severity >= warn && data.path == "/none/%d"`, i)
	case 1:
		r.Filter = fmt.Sprintf(`source == "https://tocsin.example/host/none-%d"`, i)
	case 3:
		r.Filter = fmt.Sprintf(`host == "none-%d"`, i)
	default: // a threshold, as the routing page sets it, above what the type has
		r.Severity = event.Critical.String()
		if severityOf(of) == event.Critical {
			r.Filter = fmt.Sprintf(`actor.id == "none-%d"`, i)
		}
	}
}

// fill records generated events.
func (t *teller) fill(ctx context.Context, b *bench, total, round int) error {
	g := NewGenerator(b.seed+uint64(round)*104729, total, b.s.needleDistance, time.Now())
	for done := 0; done < total; done += fillBatch {
		if err := t.record(ctx, generated(g, min(fillBatch, total-done))); err != nil {
			return err
		}
	}
	return nil
}

func generated(g *Generator, n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i] = g.Next()
	}
	return events
}

const fillBatch = 500

// record appends events in batches.
func (t *teller) record(ctx context.Context, events []event.Event) error {
	for batch := range slices.Chunk(events, fillBatch) {
		if _, err := t.journal.Append(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}
