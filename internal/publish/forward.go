package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin-events/tocsin/internal/agent"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/follow"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// ForwardOptions configure NewForwarder.
type ForwardOptions struct {
	ID      string // of this agent
	Peer    *Peer
	Journal follow.Journal
	State   *state.State
	Source  string // of events about what was refused
	Logger  *slog.Logger
	Lag     func(events uint64)
	// Report says how this host fares; lag and refused are added.
	Report func() agent.Report
}

const (
	// maxRequest is the size of a request from which on no event is added to it.
	maxRequest = 1 << 20
	// firstPause and lastPause bound the waiting between two tries.
	firstPause = 500 * time.Millisecond
	lastPause  = 30 * time.Second
	// reportEvery is how often this host says how it fares.
	reportEvery = 20 * time.Second
)

// Forwarder sends every event on to another Tocsin.
type Forwarder struct {
	o        ForwardOptions
	follower *follow.Follower
	lag      atomic.Uint64
	refused  atomic.Uint64
	wake     chan struct{} // the link is back: report at once

	mu      sync.Mutex // guards all below
	problem string     // what keeps events from being forwarded
	unheard string     // why the server does not take reports
}

// NewForwarder returns a Forwarder. Its cursor is named by the server's address:
// another server gets what is recorded from then on.
func NewForwarder(ctx context.Context, o ForwardOptions) (*Forwarder, error) {
	f := &Forwarder{o: o, wake: make(chan struct{}, 1)}
	var err error
	f.follower, err = follow.New(ctx, follow.Options{
		Name: "forward " + o.Peer.Address(), Owner: o.ID, Journal: o.Journal, State: o.State, Handler: &sending{f: f}, Logger: o.Logger,
		Lag: func(n uint64) {
			f.lag.Store(n)
			o.Lag(n)
		},
	})
	return f, err
}

// Run forwards until ctx ends.
func (f *Forwarder) Run(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { f.report(ctx) })
	err := f.follower.Run(ctx)
	all.Wait()
	return err
}

// Problem says what keeps events from being forwarded, or else why the server does
// not take reports; empty for nothing.
func (f *Forwarder) Problem() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return cmp.Or(f.problem, f.unheard)
}

// Lag is how many events are recorded and not forwarded yet.
func (f *Forwarder) Lag() uint64 { return f.lag.Load() }

// say logs a change of how it goes, once.
func (f *Forwarder) say(ctx context.Context, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	f.mu.Lock()
	before := f.problem
	f.problem = text
	f.mu.Unlock()
	switch {
	case (text == "") == (before == ""):
	case text == "":
		f.o.Logger.InfoContext(ctx, "events are forwarded again", "to", f.o.Peer.Address())
		select {
		case f.wake <- struct{}{}:
		default:
		}
	default:
		f.o.Logger.WarnContext(ctx, "events wait here: the server can't be reached or does not take them", "to", f.o.Peer.Address(), "err", err)
	}
}

// sayUnheard logs once that the server refuses reports, which says nothing of events:
// those may be taken all the same.
func (f *Forwarder) sayUnheard(ctx context.Context, err error) {
	text := ""
	if errors.Is(err, event.ErrDenied) || errors.Is(err, event.ErrInvalid) {
		text = "reports of this host are refused: " + err.Error()
	}
	f.mu.Lock()
	before := f.unheard
	f.unheard = text
	f.mu.Unlock()
	if text != "" && before == "" {
		f.o.Logger.WarnContext(ctx, "the server refuses this host's reports, and will take it for silent", "to", f.o.Peer.Address(), "err", err)
	}
}

// report tells the server how this host fares: at the start, when the link is
// back, and every now and then. A report that does not arrive is no loss: the
// next one says more.
func (f *Forwarder) report(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		r := f.o.Report()
		r.Lag, r.Refused, r.Now = f.lag.Load(), f.refused.Load(), time.Now().UTC()
		if err := f.o.Peer.Report(ctx, f.o.ID, r); err != nil && ctx.Err() == nil {
			f.o.Logger.DebugContext(ctx, "the report did not arrive", "err", err)
			f.sayUnheard(ctx, err)
		} else if err == nil {
			f.sayUnheard(ctx, nil)
		}
		select {
		case <-tick.C:
		case <-f.wake:
		case <-ctx.Done():
			return
		}
	}
}

// sending is the follower's handler.
type sending struct{ f *Forwarder }

// Begin implements follow.Handler.
func (s *sending) Begin(context.Context) error { return nil }

// Due implements follow.Handler.
func (s *sending) Due() time.Time { return time.Time{} }

// Committed implements follow.Handler.
func (s *sending) Committed(context.Context) {}

// Handle implements follow.Handler: it returns when the server has the events.
// While the server is away it waits here, and the cursor with it.
func (s *sending) Handle(ctx context.Context, hits []segment.Hit, _ time.Time) (follow.Commit, error) {
	var refused refusals
	for len(hits) > 0 {
		n, size := 0, 0
		for n < len(hits) && (n == 0 || size+len(hits[n].Body) < maxRequest) {
			size += len(hits[n].Body)
			n++
		}
		if err := s.f.deliver(ctx, hits[:n], &refused); err != nil {
			return nil, err
		}
		hits = hits[n:]
	}
	if refused.count == 0 {
		return nil, nil
	}
	return s.f.note(refused), nil
}

// refusals are the events that the server does not take.
type refusals struct {
	count       int
	first, last event.Seq
	reason      string
}

// add counts one. An event about refusals that is refused itself is passed over:
// there would be no end of them.
func (r *refusals) add(hit *segment.Hit, reason string) {
	if e, err := event.DecodeStored(hit.Body); err == nil && e.Type == "agent.refused" {
		return
	}
	if r.count == 0 {
		r.first, r.reason = hit.Seq, reason
	}
	r.count++
	r.last = hit.Seq
}

// deliver sends events until the server has answered for them. It fails only when
// ctx ends.
func (f *Forwarder) deliver(ctx context.Context, hits []segment.Hit, refused *refusals) error {
	pause := firstPause
	for {
		bad, wait, err := f.o.Peer.Send(ctx, hits)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.say(ctx, err)
		if err == nil {
			for _, b := range bad {
				refused.add(&hits[b.Index], b.Reason)
			}
			return nil
		}
		f.lag.Store(uint64(f.o.Journal.Last() - hits[0].Seq + 1))
		f.o.Lag(f.lag.Load())
		t := time.NewTimer(max(pause, wait))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		pause = min(2*pause, lastPause)
	}
}

// note records what was refused, with the cursor.
func (f *Forwarder) note(r refusals) follow.Commit {
	f.refused.Add(uint64(r.count))
	return func(tx *state.Tx) error {
		e, err := state.System().Event(f.o.Source, "agent.refused", "", map[string]any{
			"server": f.o.Peer.Address(), "count": r.count, "reason": r.reason, "first": r.first.String(), "last": r.last.String(),
		})
		if err != nil {
			return fmt.Errorf("forward: %w", err)
		}
		tx.Emit(e)
		return nil
	}
}
