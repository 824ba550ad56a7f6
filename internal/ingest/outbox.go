package ingest

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Outbox carries the server's own events from the state database into the
// journal: those of committed changes, in the order in which they were made,
// many changes in one append. What a crash left behind is carried at the start;
// since ids are fixed, the journal knows what it has already.
type Outbox struct {
	ingest *Ingest
	state  *state.State
	log    *slog.Logger
	wake   chan struct{}

	lag func(events uint64) // told how many are waited for

	mu     sync.Mutex // guards all below
	done   int64      // rows up to here are recorded
	wanted int64      // the newest row that somebody waits for
	failed error      // of the last try; nil after a success
	moved  chan struct{}
}

// NewOutbox returns an outbox; its Run must be running for writes to return.
// lag is told how many events wait, after each step; it must not block.
func NewOutbox(i *Ingest, s *state.State, log *slog.Logger, lag func(events uint64)) *Outbox {
	return &Outbox{ingest: i, state: s, log: log, lag: lag, wake: make(chan struct{}, 1), moved: make(chan struct{})}
}

const (
	outboxBatch = 500
	outboxRetry = time.Second
)

// Record waits until the row seq is in the journal. It is a state.Recorder.
func (o *Outbox) Record(ctx context.Context, seq int64) error {
	o.mu.Lock()
	o.wanted = max(o.wanted, seq)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
	for {
		o.mu.Lock()
		done, failed, moved := o.done, o.failed, o.moved
		o.mu.Unlock()
		if done >= seq {
			return nil
		}
		if failed != nil {
			return failed
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Run carries events until ctx ends, and then what is left. While the journal
// accepts nothing it tries again every second.
func (o *Outbox) Run(ctx context.Context) error {
	waiting := false
	for {
		err := o.drain(ctx)
		if err != nil && ctx.Err() == nil && !waiting { // say it once
			o.log.WarnContext(ctx, "own events wait in the outbox", "err", err)
		}
		waiting = err != nil
		o.settle(err)
		retry := (<-chan time.Time)(nil)
		if err != nil {
			retry = time.After(outboxRetry)
		}
		select {
		case <-o.wake:
		case <-retry:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			err := o.drain(last)
			o.settle(err)
			return err
		}
	}
}

func (o *Outbox) settle(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = err
	o.lag(uint64(max(0, o.wanted-o.done)))
	close(o.moved)
	o.moved = make(chan struct{})
}

func (o *Outbox) drain(ctx context.Context) error {
	for {
		o.mu.Lock()
		after := o.done
		o.mu.Unlock()
		rows, err := o.state.Outbox(ctx, after, outboxBatch)
		if err != nil || len(rows) == 0 {
			return err
		}
		events := make([]Incoming, len(rows))
		for n := range rows {
			events[n].Event = rows[n].Event
		}
		answer, err := o.ingest.Accept(ctx, Sender{Name: "tocsin", Own: true}, events)
		if err != nil {
			return err
		}
		for n, r := range answer.Results {
			if r.Err != nil { // nothing that the server says of itself may get lost unseen
				o.log.ErrorContext(ctx, "own event refused", "type", string(rows[n].Event.Type), "id", string(r.ID), "err", r.Err)
			}
		}
		last := rows[len(rows)-1].Seq
		o.state.Recorded(last)
		o.mu.Lock()
		o.done = last
		o.mu.Unlock()
	}
}

// Own records events of the server that belong to no change of state, such as
// server.ready. It returns when they are durable.
func (i *Ingest) Own(ctx context.Context, events ...event.Event) error {
	in := make([]Incoming, len(events))
	for n := range events {
		in[n].Event = events[n]
	}
	answer, err := i.Accept(ctx, Sender{Name: "tocsin", Own: true}, in)
	if err != nil {
		return err
	}
	for _, r := range answer.Results {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}
