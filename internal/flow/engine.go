package flow

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/follow"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// producer is the last part of the source of events about runs.
const producer = "flow"

// Journal is what happened.
type Journal interface {
	follow.Journal
	Get(seq event.Seq) (segment.Hit, error)
}

// Notifier tells people what a flow has to say.
type Notifier interface {
	// Notify tells an event by transports, or as a rule would: transports are names
	// or ids; with none, the rule's. It is told under key once.
	Notify(ctx context.Context, by state.Cause, key string, to Telling) error
}

// Telling is what is told, and to whom.
type Telling struct {
	Rule       string   // name or id: its recipients and transports; empty for none
	Transports []string // names or ids
	Recipients []string // names of users, or group/NAME
	Severity   event.Severity
	Title      string
	Text       string
	Sequence   event.Seq // the event that it is about; 0 for none
}

// Silencer keeps rules quiet for a while.
type Silencer interface {
	Silence(ctx context.Context, by state.Cause, rule, filter, comment string, until time.Time) (id string, err error)
}

// Suspender suspends people's accounts.
type Suspender interface {
	Suspend(ctx context.Context, by state.Cause, user, reason string) error
}

// Metrics are told how triggers and runs go.
type Metrics interface {
	Skipped(trigger, reason string, n int)
	Ran(flow, state string, took time.Duration)
}

// Limits are those of the configuration (flows:).
type Limits struct {
	MaxSteps int
	MaxTime  time.Duration
	Commands map[string][]string // that flows may run, by name
}

// Options configure New.
type Options struct {
	State   *state.State
	Journal Journal
	Catalog *catalog.Catalog
	Filters *filter.Env
	Key     state.Key
	Source  string // prefix of the source of events
	Host    string
	Version string
	Owner   string // of leases: this node
	Limits  func() Limits
	HTTP    http.RoundTripper // the guarded way out
	// HTTPWith is the same, secured by what a flow says of TLS.
	HTTPWith func(*tls.Config) http.RoundTripper
	// Raise records an event that nothing else depends on, such as those of a
	// synchronisation.
	Raise     func(ctx context.Context, events ...event.Event) error
	Notifier  Notifier
	Silencer  Silencer
	Suspender Suspender
	Metrics   Metrics
	Lag       func(events uint64)
	Logger    *slog.Logger
}

// Engine runs flows.
type Engine struct {
	o        Options
	seal     *state.Sealer
	programs *programs
	follower *follow.Follower
	writes   *writes
	queue    *queue
	waits    *waits
	slots    chan struct{}  // full of the runs that compute, or wait for others
	apis     apiCache       // documents of call: openapi
	aside    sync.WaitGroup // what the dispatcher and the scheduler do not wait for

	mu      sync.Mutex // guards all below
	active  *index     // what the triggers are; replaced as a whole
	stale   bool       // the triggers have changed since active was read
	changed chan struct{}
	wake    chan struct{} // the scheduler is to look again
}

// New returns an Engine; it runs flows while its Run is running.
func New(ctx context.Context, o Options) (*Engine, error) {
	e := &Engine{o: o, seal: o.Key.Sealer("flow secrets"), changed: make(chan struct{}), wake: make(chan struct{}, 1), stale: true, active: &index{}}
	e.programs = newPrograms(e)
	e.writes = newWrites(o.State)
	e.queue = newQueue()
	e.waits = newWaits()
	e.slots = make(chan struct{}, busy)
	var err error
	e.follower, err = follow.New(ctx, follow.Options{
		Name: "flow", Owner: o.Owner, Journal: o.Journal, State: o.State, Handler: &dispatcher{e: e}, Logger: o.Logger, Lag: o.Lag,
	})
	return e, err
}

// Run dispatches, schedules and runs, until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	var all sync.WaitGroup
	var scheduled, written error
	// The writer outlives the others: what they did last is written, too.
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var writer sync.WaitGroup
	writer.Go(func() { written = e.writes.run(writing) })
	all.Go(func() { scheduled = e.schedule(ctx) })
	all.Go(func() { e.work(ctx) })
	err := e.follower.Run(ctx)
	all.Wait()
	e.aside.Wait()
	stop()
	writer.Wait()
	return errors.Join(err, scheduled, written)
}

// reload makes the triggers be read anew.
func (e *Engine) reload() {
	e.mu.Lock()
	e.stale = true
	e.mu.Unlock()
	e.follower.Wake()
	e.nudge()
	e.announce()
}

// changedBy is reload after a change. One whose event is not recorded yet, such as
// since who asked for it has gone, is stored all the same.
func (e *Engine) changedBy(err error) {
	if err == nil || errors.Is(err, event.ErrUnavailable) {
		e.reload()
	}
}

// nudge makes the scheduler look again.
func (e *Engine) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *Engine) announce() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.changed)
	e.changed = make(chan struct{})
}

// Changed gives a channel that is closed when flows, triggers or runs change. Take
// it before reading.
func (e *Engine) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}
