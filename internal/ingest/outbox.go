package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Outbox carries the server's own events from the state database into the
// journal: those of committed changes, in the order in which they were made,
// many changes in one append. What a crash left behind is carried at the start;
// since ids are fixed, the journal knows what it has already.
//
// Whoever waits for a change carries it, and with it all that came before and
// wait, too, while nobody else carries: from one client, no other goroutine takes
// part; from many, those that come during an append share the next one.
type Outbox struct {
	ingest *Ingest
	state  *state.State
	log    *slog.Logger
	wake   chan struct{} // tells Run that rows wait that nobody may wait for

	lag func(events uint64) // told how many are waited for

	turn chan struct{} // full while somebody carries

	mu     sync.Mutex // guards all below
	done   int64      // rows up to here are recorded
	wanted int64      // the newest row that somebody waited for
	queue  []waiter   // those who wait
}

// waiter is one Record.
type waiter struct {
	seq  int64
	over chan error // has room for the outcome
}

// NewOutbox returns an outbox; its Run must be running, to carry what nobody
// waits for. lag is told how many events wait, after each step; it must not block.
func NewOutbox(i *Ingest, s *state.State, log *slog.Logger, lag func(events uint64)) *Outbox {
	return &Outbox{ingest: i, state: s, log: log, lag: lag, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
}

const (
	outboxBatch = 500
	outboxRetry = time.Second
)

// Record returns when the row seq is in the journal. It is a state.Recorder. An
// error says that it is not there yet: Run goes on trying.
func (o *Outbox) Record(ctx context.Context, seq int64) (err error) {
	w := o.enter(seq)
	defer func() {
		if err != nil {
			o.leave(w)
		}
	}()
	select {
	case err = <-w.over:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case o.turn <- struct{}{}:
	}
	defer func() { <-o.turn }()
	// Others may wait for this append, too: it does not end with this request,
	// nor is it part of its trace alone.
	o.settle(o.carry(context.Background(), seq)) //nolint:contextcheck // see above
	return <-w.over
}

// enter adds somebody who waits.
func (o *Outbox) enter(seq int64) waiter {
	w := waiter{seq, make(chan error, 1)}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wanted = max(o.wanted, seq)
	o.queue = append(o.queue, w)
	return w
}

// leave removes somebody whose event is not recorded, and leaves it to Run.
func (o *Outbox) leave(w waiter) {
	o.mu.Lock()
	o.queue = slices.DeleteFunc(o.queue, func(other waiter) bool { return other == w })
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// settle tells those who wait what came of it: success to those whose rows are
// recorded, and an error to all others.
func (o *Outbox) settle(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = slices.DeleteFunc(o.queue, func(w waiter) bool {
		switch {
		case w.seq <= o.done:
			w.over <- nil
		case err != nil:
			w.over <- err
		default:
			return false
		}
		return true
	})
	o.lag(uint64(max(0, o.wanted-o.done)))
}

// Run carries what was left behind, and what nobody waits for, until ctx ends,
// and then what is left. While the journal accepts nothing it tries again every
// second.
func (o *Outbox) Run(ctx context.Context) error {
	waiting := false
	for {
		err := o.carryAll(ctx)
		if err != nil && ctx.Err() == nil && !waiting { // say it once
			o.log.WarnContext(ctx, "own events wait in the outbox", "err", err)
		}
		waiting = err != nil
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
			return o.carryAll(last)
		}
	}
}

func (o *Outbox) carryAll(ctx context.Context) error {
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-o.turn }()
	err := o.carry(ctx, math.MaxInt64)
	o.settle(err)
	return err
}

// carry brings rows into the journal, in their order, until those up to seq are
// there or no more are. The caller has the turn.
func (o *Outbox) carry(ctx context.Context, seq int64) error {
	for {
		o.mu.Lock()
		after := o.done
		o.mu.Unlock()
		if after >= seq {
			return nil
		}
		rows, err := o.state.Outbox(ctx, after, outboxBatch)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			if seq == math.MaxInt64 {
				return nil
			}
			return fmt.Errorf("row %d of the outbox is gone", seq)
		}
		if err := o.append(ctx, rows); err != nil {
			return err
		}
		o.mu.Lock()
		o.done = rows[len(rows)-1].Seq
		o.mu.Unlock()
		o.settle(nil)
	}
}

// append brings some rows into the journal.
func (o *Outbox) append(ctx context.Context, rows []state.Pending) error {
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
	o.state.Recorded(rows[len(rows)-1].Seq)
	return nil
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
