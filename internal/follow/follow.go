// Package follow reads the journal with a durable cursor, for whatever works on
// what happened: telling, acting, publishing.
//
// It promises: a follower sees every event once, in order; what it makes of
// them is committed in one transaction with the cursor, so that a crash neither
// loses nor doubles it; of several nodes one follows, the holder of the lease;
// and following slows nobody who records. A batch of which nothing comes moves
// the cursor in memory, and on disk once a second at most.
package follow

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Journal is what is followed.
type Journal interface {
	After(ctx context.Context, seq event.Seq, limit int) ([]segment.Hit, error)
	Grown() <-chan struct{}
	Last() event.Seq
}

// Commit writes what came of a batch. It may run more than once, if the
// transaction is not taken; nil where there is nothing to write.
type Commit func(tx *state.Tx) error

// Handler makes something of events.
type Handler interface {
	// Begin is called before the first batch and after each failure: what was
	// learnt of batches that are not committed is to be forgotten.
	Begin(ctx context.Context) error
	// Handle works on events, in order. hits is empty where only time has passed.
	// An error makes the follower wait, and begin again behind its last commit.
	Handle(ctx context.Context, hits []segment.Hit, now time.Time) (Commit, error)
	// Committed is called when what Handle returned is on disk.
	Committed(ctx context.Context)
	// Due is when Handle wants to be called though nothing happened; zero: never.
	Due() time.Time
}

// Options configure a Follower. All but Lag and Lost must be set.
type Options struct {
	Name    string // of the cursor and the lease
	Owner   string // of this node
	Journal Journal
	State   *state.State
	Handler Handler
	Logger  *slog.Logger
	Lag     func(events uint64) // told after each batch
	Lost    func(err error)     // told of events that can't be read; they are passed over
}

// Batch is how many events are handled at once. What comes of them is one
// transaction, for which other writers of the state database wait.
const Batch = 250

const (
	// lease is how long a node that has gone leaves the work undone.
	lease = 30 * time.Second
	// idle is how often a cursor is stored behind which nothing came of events.
	idle = time.Second
	// gather is the least time between two transactions of a follower that keeps
	// up: what comes in the meantime shares one.
	gather = 3 * time.Millisecond
	// longest wait after a failure.
	longest = 30 * time.Second
)

// Follower follows the journal.
type Follower struct {
	o       Options
	wake    chan struct{}
	at      event.Seq // how far we are
	stored  event.Seq // how far the state database knows
	storeBy time.Time // when at is stored although nothing came of the events
	renew   time.Time
	wrote   time.Time // when what came of events was committed last
	full    bool      // the last batch was a whole one: there is more
}

// New returns a follower. One that has never been at work begins behind the
// journal's present end: what happened before is nobody's business any more.
func New(ctx context.Context, o Options) (*Follower, error) {
	f := &Follower{o: o, wake: make(chan struct{}, 1)}
	_, found, err := o.State.Cursor(ctx, o.Name)
	if err != nil || found {
		return f, err
	}
	return f, o.State.Write(ctx, state.System(), func(tx *state.Tx) error { return tx.Advance(o.Name, o.Journal.Last()) })
}

// Wake makes the follower ask its handler anew when it is due.
func (f *Follower) Wake() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	defer func() {
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), lease)
		defer cancel()
		if err := f.o.State.Unlease(leave, f.o.Name, f.o.Owner); err != nil {
			f.o.Logger.WarnContext(leave, "the lease is kept", "follower", f.o.Name, "err", err)
		}
	}()
	wait := time.Second
	for ctx.Err() == nil {
		began := time.Now()
		err := f.lead(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > longest {
			wait = time.Second
		}
		if err != nil {
			f.o.Logger.WarnContext(ctx, "the follower begins again", "follower", f.o.Name, "in", wait, "err", err)
		}
		sleep(ctx, nil, nil, wait)
		wait = min(2*wait, longest)
	}
	return nil
}

// lead follows while this node has the lease. nil: another one has it.
func (f *Follower) lead(ctx context.Context) error {
	f.renew = time.Time{}
	if mine, err := f.mine(ctx); err != nil || !mine {
		return err
	}
	at, _, err := f.o.State.Cursor(ctx, f.o.Name)
	if err != nil {
		return err
	}
	f.at, f.stored, f.storeBy = at, at, time.Time{}
	if err := f.o.Handler.Begin(ctx); err != nil {
		return err
	}
	for {
		mine, err := f.mine(ctx)
		if err != nil || !mine {
			return err
		}
		if pause := gather - time.Since(f.wrote); pause > 0 && !f.full {
			sleep(ctx, nil, nil, pause)
		}
		grown := f.o.Journal.Grown() // before After, so that no event slips between
		more, err := f.step(ctx)
		if err != nil {
			return err
		}
		if more {
			continue
		}
		sleep(ctx, grown, f.wake, f.pause(time.Now()))
		if ctx.Err() != nil {
			return f.store(context.WithoutCancel(ctx))
		}
	}
}

// mine renews the lease in good time.
func (f *Follower) mine(ctx context.Context) (bool, error) {
	now := time.Now()
	if now.Before(f.renew) {
		return true, nil
	}
	f.renew = now.Add(lease / 3)
	return f.o.State.Lease(ctx, f.o.Name, f.o.Owner, lease)
}

// step handles one batch; more says that another one may be there already.
func (f *Follower) step(ctx context.Context) (more bool, err error) {
	hits, err := f.o.Journal.After(ctx, f.at, Batch)
	if err != nil {
		if ctx.Err() != nil {
			return false, nil //nolint:nilerr // the server stops
		}
		if f.o.Lost != nil {
			f.o.Lost(err)
		}
		f.o.Logger.ErrorContext(ctx, "events can't be read and are passed over", "follower", f.o.Name, "err", err)
	}
	f.full = len(hits) == Batch
	commit, err := f.o.Handler.Handle(ctx, hits, time.Now())
	if err != nil {
		if ctx.Err() != nil {
			return false, nil //nolint:nilerr // the server stops
		}
		return false, fmt.Errorf("handle events from %d on: %w", f.at+1, err)
	}
	if len(hits) > 0 {
		f.at = hits[len(hits)-1].Seq
	}
	if f.o.Lag != nil {
		f.o.Lag(uint64(f.o.Journal.Last() - min(f.at, f.o.Journal.Last())))
	}
	if commit == nil {
		return len(hits) > 0, f.storeLater(ctx)
	}
	err = f.o.State.Write(ctx, state.System(), func(tx *state.Tx) error {
		if err := commit(tx); err != nil {
			return err
		}
		return f.advance(tx)
	})
	if err != nil {
		return false, err
	}
	f.stored, f.storeBy, f.wrote = f.at, time.Time{}, time.Now()
	f.o.Handler.Committed(ctx)
	return true, nil
}

// storeLater stores a cursor behind which nothing came of the events, when it is
// time.
func (f *Follower) storeLater(ctx context.Context) error {
	now := time.Now()
	switch {
	case f.at == f.stored:
		return nil
	case f.storeBy.IsZero():
		f.storeBy = now.Add(idle)
		return nil
	case now.Before(f.storeBy):
		return nil
	}
	return f.store(context.WithoutCancel(ctx)) // a stop at this moment keeps it, too
}

func (f *Follower) store(ctx context.Context) error {
	if f.at == f.stored {
		return nil
	}
	if err := f.o.State.Write(ctx, state.System(), func(tx *state.Tx) error { return tx.Advance(f.o.Name, f.at) }); err != nil {
		return err
	}
	f.stored, f.storeBy = f.at, time.Time{}
	return nil
}

// pause is how long there is nothing to do unless something happens.
func (f *Follower) pause(now time.Time) time.Duration {
	next := f.renew
	if due := f.o.Handler.Due(); !due.IsZero() && due.Before(next) {
		next = due
	}
	if !f.storeBy.IsZero() && f.storeBy.Before(next) {
		next = f.storeBy
	}
	return max(next.Sub(now), time.Millisecond)
}

// sleep waits for time to pass, for the journal, or for a call.
func sleep(ctx context.Context, grown, wake <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-grown:
	case <-wake:
	case <-ctx.Done():
	}
}
