// Package app builds a server from its configuration and runs it. It is the
// composition root: nothing else wires parts together.
//
// It promises: New starts nothing that Stop does not end, in the reverse order;
// Run returns when everything has ended; a shutdown finishes what was accepted
// and records why; a reload that fails leaves the old configuration at work.
package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin-events/tocsin/internal/agent"
	"github.com/tocsin-events/tocsin/internal/alert"
	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/geo"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/mail"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/source"
	"github.com/tocsin-events/tocsin/internal/state"
	"github.com/tocsin-events/tocsin/internal/telemetry"
	"github.com/tocsin-events/tocsin/internal/web"
)

// Options say what to build.
type Options struct {
	Version       string
	Config        config.Config
	Load          func() (config.Config, error) // reads the configuration again, for a reload
	AdminPassword string                        // of the first administrator; empty for a new one
	Log           *slog.Logger
	AcceptLoss    bool // go on over damage in the journal, see journal.Options
}

// App is a built server.
type App struct {
	o       Options
	log     *slog.Logger
	host    string
	started time.Time

	journal  *journal.Journal
	state    *state.State
	catalog  *catalog.Catalog
	geo      atomic.Pointer[geo.Geo]
	egress   *egress.Guard
	ingest   *ingest.Ingest
	outbox   *ingest.Outbox
	folder   *state.Folder
	identity *identity.Identity
	mail     *mail.Mail
	notify   *notify.Notify
	flow     *flow.Engine
	metrics  *telemetry.Metrics
	traces   telemetry.Traces
	manager  manager
	web      *web.Server
	http     *http.Server
	tcp      net.Listener
	socket   net.Listener
	settings *web.Settings
	alerts   *alert.Store
	agents   *agent.Agents
	forward  forwarding
	secure   *certificates // nil where the server does not speak TLS itself

	// What a reload replaces; readers take what is there.
	current atomic.Pointer[config.Config]
	read    atomic.Pointer[config.Config]    // the same without the settings
	keep    atomic.Pointer[config.Retention] // the settings may differ from the configuration
	proxies atomic.Pointer[[]netip.Prefix]

	// FirstPassword is the first administrator's new password; empty where
	// there was one already.
	FirstPassword string

	mu      sync.Mutex // guards sources; serialises reloads
	sources *running

	cleanup []func() error // in the order of acquisition
}

// New builds a server: it opens the data folder and listens, and answers nobody
// yet. It is one straight line, because every step depends on earlier ones.
func New(ctx context.Context, o Options) (_ *App, err error) {
	a := &App{o: o, log: o.Log, manager: manager{o.Log}, started: time.Now().UTC()}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	c := &o.Config
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if a.host, err = os.Hostname(); err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	a.metrics = telemetry.NewMetrics(o.Version)
	pipeline, err := a.openTraces(c)
	if err != nil {
		return nil, err
	}
	a.traces.Use(pipeline)
	a.defers(func() error { a.closeTraces(a.traces.Use(nil)); return nil })
	a.catalog = catalog.New()
	a.keep.Store(&c.Retention)
	a.current.Store(c)
	a.journal, err = journal.Open(ctx, journal.Options{
		Dir: filepath.Join(c.Data, "journal"), Logger: a.log.With("component", "journal"),
		Classify: a.classify, Policy: a.policy, Observer: observer{a.metrics}, AcceptLoss: o.AcceptLoss,
		Span: telemetry.Part,
	})
	if err != nil {
		return nil, err
	}
	a.defers(a.journal.Close)
	a.registerJournalMetrics()
	if a.state, err = state.Open(ctx, state.Options{
		Dir: c.Data, Source: c.PublicURL, Significant: c.Significant.SourceBase,
		Redact: func(e *event.Event) { ingest.Redact(a.catalog, e) },
	}); err != nil {
		return nil, err
	}
	a.defers(a.state.Close)
	key, err := state.OpenKey(c.Data)
	if err != nil {
		return nil, err
	}
	read := *c
	a.read.Store(&read)
	a.settings = web.NewSettings(a.state, key.Sealer("settings"), a.read.Load, a.settingsChanged)
	if err := a.settings.Overlay(ctx, c); err != nil {
		return nil, err
	}
	a.o.Config = *c
	a.state.SetSources(c.PublicURL, c.Significant.SourceBase)
	if err := web.LoadTypes(ctx, a.state, a.catalog); err != nil {
		return nil, err
	}
	g, err := geo.Open(geo.Files(c.Geo), ownNetworks(c), a.log.With("component", "geo"))
	if err != nil {
		return nil, err
	}
	a.geo.Store(g)
	a.ingest = ingest.New(ingest.Options{
		Journal: a.journal, Catalog: a.catalog, Enrich: func(e *event.Event) { a.geo.Load().Enrich(e) }, Unknown: func() ingest.Policy { return ingest.Policy(a.current.Load().Ingest.Unknown) },
		Bases: []string{c.PublicURL, c.Significant.SourceBase}, Count: a.count, Log: a.eventLog, Span: telemetry.Part, Stamp: a.stamp,
	})
	a.outbox = ingest.NewOutbox(a.ingest, a.state, a.log.With("component", "outbox"), func(n uint64) { a.metrics.Lag("outbox", n) })
	a.folder = state.NewFolder(a.state)
	a.mail = mail.New(mail.Options{
		State: a.state, Key: key, Source: c.PublicURL, Server: func() config.SMTP { return a.current.Load().SMTP }, Logger: a.log.With("component", "mail"),
		Guard: func(ctx context.Context, network, address string) (net.Conn, error) {
			return a.egress.Dial(ctx, network, address)
		},
	})
	a.identity = identity.New(identity.Options{
		State: a.state, Folder: a.folder, Key: key, Source: c.PublicURL, Logger: a.log.With("component", "identity"),
		Mailer: a.mail, Locator: locator{a}, Binding: a.binding,
	})
	filters, err := filter.NewEnv()
	if err != nil {
		return nil, err
	}
	way, err := egress.PolicyOf(c.Egress)
	if err != nil {
		return nil, err
	}
	a.egress = egress.New(way, egress.Options{})
	a.defers(func() error { a.egress.Close(); return nil })
	if a.notify, err = a.openNotify(ctx, key, filters); err != nil {
		return nil, err
	}
	if a.flow, err = a.openFlow(ctx, key, filters); err != nil {
		return nil, err
	}
	stored, err := a.settings.Retention(ctx)
	if err != nil {
		return nil, err
	}
	a.keep.Store(&stored)
	proxies, err := prefixes(c.Proxies)
	if err != nil {
		return nil, err
	}
	a.proxies.Store(&proxies)
	var listen net.ListenConfig
	if a.tcp, err = listen.Listen(ctx, "tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	a.defers(closeListener(a.tcp))
	if a.secure, err = openCertificates(&c.TLS); err != nil {
		return nil, err
	}
	if a.socket, err = web.ListenSocket(ctx, SocketPath(c.Data), c.Group); err != nil {
		return nil, err
	}
	a.defers(closeListener(a.socket))
	a.alerts = alert.New(alert.Options{State: a.state, Source: c.PublicURL + "/prometheus"})
	a.agents = agent.New(agent.Options{
		State: a.state, Source: c.PublicURL + "/agent", SilentAfter: func() time.Duration { return time.Duration(a.current.Load().Agents.SilentAfter) },
	})
	a.web = web.New(web.Options{
		Version: o.Version, Base: c.PublicURL, Limits: a.limits, Proxies: func() []netip.Prefix { return *a.proxies.Load() },
		Journal: a.journal, State: a.state, Folder: a.folder, Catalog: a.catalog, Ingest: a.ingest, Identity: a.identity, Filters: filters,
		Metrics: a.metrics, Traces: &a.traces, Log: a.log.With("component", "web"), Settings: a.settings, Policy: policyOf, Sources: a.sourceRows, Notify: a.notify, Flow: a.flow, Hook: a.inlet, Alerts: a.alerts, Agents: a.agents, Forwarding: a.forwards, MutualTLS: a.secure.mutual, Reload: a.Reload, Ready: a.ready,
	})
	if err := a.web.LoadBrands(ctx); err != nil {
		return nil, err
	}
	a.http = a.web.HTTP()
	signIn, err := providers(c)
	if err != nil {
		return nil, err
	}
	a.useProviders(signIn)
	if a.sources, err = a.openSources(c); err != nil {
		return nil, err
	}
	return a, a.openForward(ctx, c)
}

// SocketPath is where the command line finds the server of a data folder. A path
// that is too long for a socket (108 bytes, unix(7)) goes to the temporary
// folder, under a name made from it.
func SocketPath(data string) string {
	path := filepath.Join(data, "tocsin.sock")
	if len(path) < 104 {
		return path
	}
	full, err := filepath.Abs(path)
	if err != nil {
		full = path
	}
	sum := sha256.Sum256([]byte(full))
	return filepath.Join(os.TempDir(), "tocsin-"+hex.EncodeToString(sum[:8])+".sock")
}

func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

func prefixes(texts []string) ([]netip.Prefix, error) {
	all := make([]netip.Prefix, 0, len(texts))
	for _, t := range texts {
		p, err := netip.ParsePrefix(t)
		if err != nil {
			return nil, event.Invalidf("trusted_proxies: %w", err)
		}
		all = append(all, p)
	}
	return all, nil
}

func (a *App) defers(f func() error) { a.cleanup = append(a.cleanup, f) }

// close releases what was acquired, the newest first.
func (a *App) close() error {
	var errs []error
	for _, release := range slices.Backward(a.cleanup) {
		errs = append(errs, release())
	}
	a.cleanup = nil
	return errors.Join(errs...)
}

// Address is the address that the server listens on.
func (a *App) Address() string { return a.tcp.Addr().String() }

// classify gives an event's retention class: transient types have their own,
// for all others the first rule that fits decides.
func (a *App) classify(e *event.Event) (class journalClass) {
	if entry, ok := a.catalog.Get(e.Type); ok && entry.Transient {
		return classTransient
	}
	for _, rule := range a.keep.Load().Rules {
		if ruleFits(&rule, e) {
			return classOf(rule.Class)
		}
	}
	return classDefault
}

func ruleFits(r *config.Rule, e *event.Event) bool {
	if r.Severity != "" {
		if least, err := event.ParseSeverity(r.Severity); err != nil || e.Severity < least {
			return false
		}
	}
	for _, pattern := range r.Types {
		if filter.Glob(pattern, string(e.Type)) {
			return true
		}
	}
	return len(r.Types) == 0
}

func (a *App) policy() journal.Policy { return policyOf(a.keep.Load()) }

func policyOf(r *config.Retention) journal.Policy {
	return journal.Policy{
		Keep: map[journalClass]time.Duration{
			classDefault: time.Duration(r.Default), classLong: time.Duration(r.Long), classShort: time.Duration(r.Short),
			classTransient: time.Hour,
		},
		MaxBytes: int64(r.MaxBytes),
		Hold: func(in segment.Info) bool {
			return slices.ContainsFunc(r.Holds, func(h config.Hold) bool { return h.Covers(time.Unix(in.Day*86400, 0)) })
		},
	}
}

func (a *App) count(t event.Type, o ingest.Outcome, reason string) {
	a.metrics.CountEvent(string(t), string(o), reason)
}

func (a *App) eventLog() *slog.Logger {
	if !a.current.Load().Log.Events {
		return nil
	}
	return a.log
}

func (a *App) limits() ingest.Limits {
	c := &a.current.Load().Ingest
	return ingest.Limits{Event: int64(c.MaxEvent), Batch: int64(c.MaxBatch)}
}

// ready says why events can't be taken; nil when they can.
func (a *App) ready() error { return a.journal.Refuse() }

func (a *App) sourceRows() []source.Row {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sources.set.Rows()
}

func (a *App) inlet(name string) (*source.Inlet, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sources.set.Inlet(name)
}
