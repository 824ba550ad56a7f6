package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/geo"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/source"
	"github.com/tocsin-events/tocsin/internal/spool"
	"github.com/tocsin-events/tocsin/internal/state"
)

// drainTime is how long a shutdown waits for requests that are under way.
const drainTime = 20 * time.Second

// Run serves until ctx ends, whose cause is recorded as the reason, and returns
// when everything has ended.
func (a *App) Run(ctx context.Context, started func()) error {
	// The parts outlive ctx: a shutdown has things to record.
	parts, stop := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	failed := make(chan error, 8)
	part := func(name string, run func(context.Context) error) {
		all.Go(func() {
			if err := run(parts); err != nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	// The outbox outlives the other parts: what they write last is recorded, too.
	recording, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	var outbox sync.WaitGroup
	outbox.Go(func() {
		if err := a.outbox.Run(recording); err != nil {
			failed <- fmt.Errorf("outbox: %w", err)
		}
	})
	a.state.SetRecorder(a.outbox.Record)
	err := a.begin(ctx)
	if err == nil {
		part("folder", a.folder.Run)
		part("geo", a.refreshGeo)
		part("identity", a.identity.Run)
		part("mail", a.mail.Run)
		part("notify", a.notify.Run)
		part("flow", a.flow.Run)
		part("flows of files", func(ctx context.Context) error {
			return a.flow.WatchFolder(ctx, func() string { return a.current.Load().Flows.Folder })
		})
		part("agents", a.agents.Run)
		part("forward", a.forward.run)
		part("http", func(context.Context) error { return serve(a.http, a.secure.listen(a.tcp)) })
		part("socket", func(context.Context) error { return serve(a.http, a.socket) })
		part("watchdog", func(ctx context.Context) error { return a.manager.watch(ctx, a.touch) })
		part("memory", giveBack)
		a.sources.start(parts)
		a.manager.ready(a.Address())
		if started != nil {
			started()
		}
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
		a.manager.stopping()
		err = errors.Join(err, a.end(parts, context.Cause(ctx)))
	}
	stop()
	all.Wait()
	stopRecording()
	outbox.Wait()
	close(failed)
	for f := range failed {
		err = errors.Join(err, f)
	}
	return errors.Join(err, a.close())
}

// giveBack returns to the kernel what start-up alone needed, such as the memory of
// password hashes, which an idle server would keep for minutes.
func giveBack(ctx context.Context) error {
	select {
	case <-time.After(startUp):
		debug.FreeOSMemory()
	case <-ctx.Done():
	}
	return nil
}

const startUp = 5 * time.Second

func (a *App) refreshGeo(ctx context.Context) error {
	tick := time.NewTicker(geo.RefreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.geo.Load().Refresh(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

func serve(s *http.Server, l net.Listener) error {
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const runningFact = "server.running"

// begin creates the first administrator and records that the server is ready.
func (a *App) begin(ctx context.Context) error {
	password, created, err := a.identity.FirstAdmin(ctx, a.o.AdminPassword)
	if err != nil {
		return err
	}
	if created {
		a.FirstPassword = password
	}
	if err := a.notify.Defaults(ctx); err != nil {
		return err
	}
	before, err := a.state.Fact(ctx, runningFact)
	if err != nil {
		return err
	}
	if err := a.state.SetFact(ctx, runningFact, "yes"); err != nil {
		return err
	}
	if err := a.takeSpool(ctx); err != nil {
		a.log.WarnContext(ctx, "events wait in the spool", "err", err)
	}
	return a.own(ctx, "server.ready", map[string]any{"version": a.o.Version, "listen": a.Address(), "recovered": before == "yes"})
}

// takeSpool records what tocsin run and emit could not send while no server ran.
func (a *App) takeSpool(ctx context.Context) error {
	return spool.Each(spool.Dir(a.o.Config.Data), func(e *event.Event) error {
		answer, err := a.ingest.Accept(ctx, ingest.Sender{Name: "spool"}, []ingest.Incoming{{Event: *e}})
		if err != nil {
			return err
		}
		return answer.Results[0].Err
	})
}

// end stops what produces, records the shutdown, and waits for what is under way.
func (a *App) end(ctx context.Context, why error) error {
	a.mu.Lock()
	sources := a.sources
	a.mu.Unlock()
	sources.stop()
	reason := "a part of the server has failed"
	if why != nil {
		reason = why.Error()
	}
	err := a.own(ctx, "server.shutdown", map[string]any{"reason": reason})
	a.web.EndStreams()
	drain, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if shutErr := a.http.Shutdown(drain); shutErr != nil {
		err = errors.Join(err, fmt.Errorf("requests are broken off: %w", shutErr), a.http.Close())
	}
	return errors.Join(err, a.state.SetFact(ctx, runningFact, "no"))
}

// own records an event of the server itself.
func (a *App) own(ctx context.Context, t event.Type, data map[string]any) error {
	e, err := state.System().Event(a.o.Config.PublicURL+"/server", t, "server/"+a.host, data)
	if err != nil {
		return err
	}
	e.Host = a.host
	return a.ingest.Own(ctx, e)
}

// running is a set of sources at work.
type running struct {
	set    *source.Set
	cancel context.CancelFunc
	done   chan struct{}
}

func (a *App) openSources(c *config.Config) (*running, error) {
	options, err := c.SourceOptions()
	if err != nil {
		return nil, err
	}
	env := source.Env{
		Host: a.host, Base: c.PublicURL, Version: a.o.Version, HTTP: &http.Client{Transport: a.egress.RoundTripper()}, Log: a.log.With("component", "source"), Memory: memory{a.state},
		History: history{a.journal}, Alerts: a.alerts, Emit: a.ingest.Own,
	}
	set, err := source.Open(options, env, a.taskFailed)
	if err != nil {
		return nil, err
	}
	return &running{set: set, done: make(chan struct{})}, nil
}

func (r *running) start(ctx context.Context) {
	ctx, r.cancel = context.WithCancel(ctx)
	go func() {
		defer close(r.done)
		_ = r.set.Run(ctx) // always nil: each source's error is in its row
	}()
}

func (r *running) stop() {
	r.cancel()
	<-r.done
}

// memory lets sources remember, in the state database.
type memory struct{ state *state.State }

func (m memory) Load(ctx context.Context, key string) (string, error) { return m.state.Fact(ctx, key) }

func (m memory) Store(ctx context.Context, key, value string) error {
	return m.state.SetFact(ctx, key, value)
}

// Reload reads the configuration anew and puts what can change while the server
// runs to work: sources, geo files and retention. Where the new configuration
// is wrong, the old one stays and the mistake is recorded.
// by is who wants it.
func (a *App) Reload(ctx context.Context, by state.Cause) error {
	defer a.manager.reloading()()
	err := a.reload(ctx, by)
	a.metrics.Reloaded(err == nil, time.Now())
	if err != nil {
		return errors.Join(err, a.recordRefused(ctx, by, err))
	}
	a.log.InfoContext(ctx, "configuration is reloaded")
	return nil
}

func (a *App) reload(ctx context.Context, by state.Cause) error {
	c, err := a.o.Load()
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	read := c
	if err := a.settle(ctx, &c); err != nil {
		return err
	}
	if err := fixed(a.current.Load(), &c); err != nil {
		return err
	}
	g, err := geo.Open(geo.Files(c.Geo), ownNetworks(&c), a.log.With("component", "geo"))
	if err != nil {
		return err
	}
	proxies, err := prefixes(c.Proxies)
	if err != nil {
		return err
	}
	sources, err := a.openSources(&c)
	if err != nil {
		return err
	}
	next, err := a.newForwarder(ctx, &c)
	if err != nil {
		return err
	}
	if err := a.secure.check(&c.TLS); err != nil {
		return err
	}
	way, err := egress.PolicyOf(c.Egress)
	if err != nil {
		return err
	}
	signIn, err := providers(&c)
	if err != nil {
		return err
	}
	pipeline, err := a.openTraces(&c)
	if err != nil {
		return err
	}
	// All is built: from here on nothing can fail but the database.
	if err := a.recordReload(ctx, by, a.current.Load(), &c); err != nil {
		a.closeTraces(pipeline)
		return err
	}
	a.current.Store(&c)
	a.read.Store(&read)
	before := a.traces.Use(pipeline)
	defer a.closeTraces(before)
	keep, err := a.settings.Retention(ctx)
	if err != nil {
		return err
	}
	a.keep.Store(&keep)
	a.egress.Apply(way)
	a.forward.use(next)
	a.useProviders(signIn)
	a.geo.Store(g)
	a.proxies.Store(&proxies)
	a.sources.stop()
	sources.start(context.WithoutCancel(ctx))
	a.sources = sources
	return a.notify.Defaults(ctx) // there may be a mail server now
}

// fixed refuses a change of what only a restart can change.
func fixed(old, now *config.Config) error {
	for _, k := range []struct{ name, old, now string }{
		{"listen", old.Listen, now.Listen},
		{"data", old.Data, now.Data},
		{"database", old.Database, now.Database},
		{"public_url", old.PublicURL, now.PublicURL},
		{"significant.source_base", old.Significant.SourceBase, now.Significant.SourceBase},
		{"tls.cert_file", old.TLS.CertFile, now.TLS.CertFile},
		{"tls.key_file", old.TLS.KeyFile, now.TLS.KeyFile},
		{"tls.client_ca_file", old.TLS.ClientCAFile, now.TLS.ClientCAFile},
	} {
		if k.old != k.now {
			return event.Conflictf("%s changes from %q to %q: that needs a restart", k.name, k.old, k.now)
		}
	}
	return nil
}

// CheckSources finds mistakes in the options of sources, for tocsin check.
func CheckSources(c *config.Config) error {
	options, err := c.SourceOptions()
	if err != nil {
		return err
	}
	_, err = source.Open(options, source.Env{}, nil)
	return err
}
