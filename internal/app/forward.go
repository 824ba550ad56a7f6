package app

import (
	"context"
	"sync"

	"github.com/tocsin-events/tocsin/internal/agent"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/publish"
	"github.com/tocsin-events/tocsin/internal/web"
)

// forwarding is what makes this server an agent. A reload puts another forwarder,
// or none, in place of the one that runs.
type forwarding struct {
	mu  sync.Mutex // guards all below
	now *publish.Forwarder
	new chan struct{} // closed when now is replaced
}

func (f *forwarding) get() (*publish.Forwarder, chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.new == nil {
		f.new = make(chan struct{})
	}
	return f.now, f.new
}

// use replaces the forwarder that runs.
func (f *forwarding) use(next *publish.Forwarder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = next
	if f.new != nil {
		close(f.new)
	}
	f.new = make(chan struct{})
}

// run runs the forwarder that there is, until ctx ends.
func (f *forwarding) run(ctx context.Context) error {
	for ctx.Err() == nil {
		now, replaced := f.get()
		one, cancel := context.WithCancel(ctx)
		var all sync.WaitGroup
		if now != nil {
			all.Go(func() { _ = now.Run(one) }) // always nil: what goes wrong is in its Problem
		}
		select {
		case <-replaced:
		case <-ctx.Done():
		}
		cancel()
		all.Wait()
	}
	return nil
}

// agentFact is the name under which this host reports, made once.
const agentFact = "agent.id"

// newForwarder is what a configuration makes of this server; nil where it is no
// agent.
func (a *App) newForwarder(ctx context.Context, c *config.Config) (*publish.Forwarder, error) {
	if c.Forward.URL == "" {
		return nil, nil //nolint:nilnil // no agent
	}
	peer, err := publish.OpenPeer(&c.Forward, a.o.Version)
	if err != nil {
		return nil, err
	}
	id, err := a.state.Fact(ctx, agentFact)
	if err != nil {
		return nil, err
	}
	if id == "" {
		id = string(event.NewID())
		if err := a.state.SetFact(ctx, agentFact, id); err != nil {
			return nil, err
		}
	}
	return publish.NewForwarder(ctx, publish.ForwardOptions{
		ID: id, Peer: peer, Journal: a.journal, State: a.state, Source: c.PublicURL + "/agent", Logger: a.log.With("component", "forward"),
		Lag: func(n uint64) { a.metrics.Lag("forward", n) }, Report: a.report,
	})
}

func (a *App) openForward(ctx context.Context, c *config.Config) error {
	f, err := a.newForwarder(ctx, c)
	if err == nil {
		a.forward.use(f)
	}
	return err
}

// CheckForward finds mistakes in the files that the configuration names for an
// agent, for tocsin check.
func CheckForward(c *config.Config) error {
	if c.Forward.URL == "" {
		return nil
	}
	_, err := publish.OpenPeer(&c.Forward, "")
	return err
}

// report is how this host fares.
func (a *App) report() agent.Report {
	r := agent.Report{Name: a.host, Version: a.o.Version, Started: a.started, Labels: a.current.Load().Forward.Labels}
	for _, row := range a.sourceRows() {
		if row.Path == "" {
			r.Sources = append(r.Sources, agent.Source{Name: row.Name, Status: string(row.Status), LastEvent: row.LastEvent, LastError: row.LastError, Lacks: row.Lacks})
		}
	}
	return r
}

// forwards tells the pages whether this server is an agent.
func (a *App) forwards() *web.Forwarding {
	f, _ := a.forward.get()
	if f == nil {
		return nil
	}
	return &web.Forwarding{URL: a.current.Load().Forward.URL, Lag: f.Lag(), Problem: f.Problem()}
}

// stamp says from where events are that do not say it: the name of this host and
// its labels, where it is an agent or has any.
func (a *App) stamp() (string, []event.Attribute) {
	f := &a.current.Load().Forward
	if f.URL == "" && len(f.Labels) == 0 {
		return "", nil
	}
	labels := make([]event.Attribute, 0, len(f.Labels))
	for _, name := range f.LabelNames() {
		labels = append(labels, event.Attribute{Name: name, Value: f.Labels[name]})
	}
	return a.host, labels
}
