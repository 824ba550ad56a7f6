package notify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/state"
	"github.com/tocsin-events/tocsin/internal/transport"
)

const (
	// senderLease is how long a node that has gone leaves messages unsent.
	senderLease = 30 * time.Second
	// lookEvery is how often the ledger is searched for what other nodes queued.
	lookEvery = 2 * time.Second
	// chunk is how many messages to one destination may be sent and not noted yet:
	// as many can be doubled by a crash.
	chunk = 64
	// gather is the least time between two transactions of results, unless there are
	// many: what comes in the meantime shares one.
	gather = 5 * time.Millisecond
	// most is how many messages to one destination are read from the ledger at once.
	most = 512
	// lanes is how many messages to one destination are under way at once. Those
	// of one thread keep their order.
	lanes = 4
	// sendTime is how long one attempt may take.
	sendTime = time.Minute
	// tolerated is how many attempts in a row may fail before the destination is
	// left alone for a while.
	tolerated = 3
	maxPause  = time.Minute
	// keepLedger is how long rows are kept that are over; dead ones live longer.
	keepLedger, keepDead = 30 * 24 * time.Hour, 365 * 24 * time.Hour
)

// sender sends what is queued: a worker for each transport.
type sender struct {
	n       *Notify
	results chan result

	workers map[state.ObjectID]*worker // of lead's goroutine alone
	wake    chan struct{}
}

// result is what came of an attempt, on its way to the ledger.
type result struct {
	d       *Delivery
	attempt Attempt
	state   string
	reason  string
	due     time.Time
	event   *event.Event // that was told
	err     error
	mail    *transport.Mail
	way     state.Record[Transport]
	noted   func() // called when it is in the ledger
}

func newSender(n *Notify) *sender {
	return &sender{n: n, results: make(chan result, chunk), workers: map[state.ObjectID]*worker{}, wake: make(chan struct{}, 1)}
}

// look makes the sender look for work.
func (s *sender) look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run sends while this node has the lease, until ctx ends.
func (s *sender) run(ctx context.Context) error {
	const name = "notify.send"
	owner := s.n.o.Owner
	defer func() {
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), senderLease)
		defer cancel()
		if err := s.n.o.State.Unlease(leave, name, owner); err != nil {
			s.n.o.Logger.WarnContext(leave, "the lease is kept", "lease", name, "err", err)
		}
	}()
	for ctx.Err() == nil {
		mine, err := s.n.o.State.Lease(ctx, name, owner, senderLease)
		if err == nil && mine {
			err = s.lead(ctx, name)
		}
		if err != nil && ctx.Err() == nil {
			s.n.o.Logger.WarnContext(ctx, "notify: sending begins again", "err", err)
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
		}
	}
	return nil
}

// lead runs the workers and the notary until the lease or ctx is gone.
func (s *sender) lead(ctx context.Context, lease string) error {
	ctx, stop := context.WithCancelCause(ctx)
	var all sync.WaitGroup
	// The notary outlives the workers: what was sent is noted.
	noting, stopNoting := context.WithCancel(context.WithoutCancel(ctx))
	var notary sync.WaitGroup
	notary.Go(func() { s.note(noting, stop) })
	defer func() {
		stop(nil)
		all.Wait()
		stopNoting()
		notary.Wait()
		clear(s.workers)
	}()
	cleaned, renewed := time.Time{}, time.Now()
	for {
		if now := time.Now(); now.Sub(renewed) > senderLease/3 {
			mine, err := s.n.o.State.Lease(ctx, lease, s.n.o.Owner, senderLease)
			if err != nil || !mine {
				return errors.Join(context.Cause(ctx), err)
			}
			renewed = now
		}
		next, err := s.dispatch(ctx, &all)
		if err != nil {
			return err
		}
		if now := time.Now(); now.Sub(cleaned) > time.Hour {
			if err := s.clean(ctx, now); err != nil {
				return err
			}
			cleaned = now
		}
		select {
		case <-s.wake:
		case <-time.After(max(time.Until(next), time.Millisecond)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// dispatch wakes a worker for each transport that has something to do, and says
// when to look again.
func (s *sender) dispatch(ctx context.Context, all *sync.WaitGroup) (next time.Time, err error) {
	now := time.Now()
	next = now.Add(lookEvery)
	// The first row of each transport in the index, however many rows wait.
	rows, err := s.n.o.State.Reader().QueryContext(ctx, `SELECT id, (SELECT min(due) FROM deliveries WHERE transport = objects.id AND state IN ('queued', 'retrying'))
		FROM objects WHERE model = $1`, transports.Model)
	if err != nil {
		return next, fmt.Errorf("what is due: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id state.ObjectID
		var due sql.NullInt64
		if err := rows.Scan(&id, &due); err != nil {
			return next, fmt.Errorf("what is due: %w", err)
		}
		switch at := time.Unix(0, due.Int64); {
		case !due.Valid:
		case at.After(now):
			if at.Before(next) {
				next = at
			}
		default:
			s.worker(ctx, id, all).look()
		}
	}
	return next, rows.Err()
}

// worker is the one of a transport; it is started when it is first needed.
func (s *sender) worker(ctx context.Context, id state.ObjectID, all *sync.WaitGroup) *worker {
	w := s.workers[id]
	if w == nil {
		w = &worker{s: s, id: id, wake: make(chan struct{}, 1), unnoted: make(chan struct{}, chunk), begun: map[state.ObjectID]bool{}}
		s.workers[id] = w
		all.Go(func() { w.run(ctx) })
	}
	return w
}

// clean removes rows that are long over, and chains that have ended.
func (s *sender) clean(ctx context.Context, now time.Time) error {
	return s.n.o.State.Write(ctx, state.System(), func(tx *state.Tx) error {
		old, dead := now.Add(-keepLedger).UnixNano(), now.Add(-keepDead).UnixNano()
		for _, q := range []string{
			`DELETE FROM attempts WHERE delivery IN (SELECT id FROM deliveries WHERE finished > 0 AND (finished < $2 OR finished < $1 AND state <> 'dead'))`,
			`DELETE FROM deliveries WHERE finished > 0 AND (finished < $2 OR finished < $1 AND state <> 'dead')`,
			`DELETE FROM inbox WHERE seen > 0 AND seen < $1 OR created < $2`,
		} {
			if _, err := tx.ExecContext(ctx, q, old, dead); err != nil {
				return fmt.Errorf("clean: %w", err)
			}
		}
		// What was decided while its transport was removed, or was under way then.
		_, err := tx.ExecContext(ctx, `UPDATE deliveries SET state = 'dead', reason = 'the transport was removed', finished = $1
			WHERE state IN ('queued', 'retrying') AND transport NOT IN (SELECT id FROM objects WHERE model = 'transport')`, now.UnixNano())
		if err != nil {
			return fmt.Errorf("clean: %w", err)
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM chains WHERE begun < $1`, now.Add(-chainLife).UnixNano())
		return err
	})
}

// note writes results to the ledger, as many at once as there are. What can't be
// written ends the lead: the rows are as they were, and are sent again.
func (s *sender) note(ctx context.Context, failed context.CancelCauseFunc) {
	wrote := time.Time{}
	for {
		group := s.gather(ctx, wrote.Add(gather))
		if len(group) == 0 {
			return
		}
		err := s.n.o.State.Write(ctx, state.System(), func(tx *state.Tx) error { return s.n.writeResults(tx, group) })
		if err != nil && !errors.Is(err, event.ErrUnavailable) { // then it is stored, and recorded later
			failed(fmt.Errorf("note what was sent: %w", err))
		}
		for _, r := range group {
			s.n.o.Metrics.Attempted(r.way.Value.Name, r.state)
			r.noted()
		}
		s.n.touch() // there is a next attempt to be planned
		wrote = time.Now()
	}
}

// gather waits for results, and for others that come until a time, as long as the
// workers need not wait for the ledger. None: ctx has ended.
func (s *sender) gather(ctx context.Context, until time.Time) (group []result) {
	select {
	case r := <-s.results:
		group = append(group, r)
	case <-ctx.Done():
		return nil
	}
	soon := time.NewTimer(time.Until(until))
	defer soon.Stop()
	for len(group) < chunk/2 {
		select {
		case r := <-s.results:
			group = append(group, r)
			continue
		case <-soon.C:
		case <-ctx.Done():
		}
		break
	}
	for len(group) < 4*chunk {
		select {
		case r := <-s.results:
			group = append(group, r)
			continue
		default:
		}
		break
	}
	return group
}

// writeResults stores attempts and what follows from them.
func (n *Notify) writeResults(tx *state.Tx, group []result) error {
	attempt, err := tx.PrepareContext(tx.Context(), insertAttempt)
	if err != nil {
		return fmt.Errorf("attempt: %w", err)
	}
	defer func() { _ = attempt.Close() }() // it is the transaction's
	outcome, err := tx.PrepareContext(tx.Context(), `UPDATE deliveries SET state = $2, reason = $3, attempts = $4, due = $5, finished = $6 WHERE id = $1`)
	if err != nil {
		return fmt.Errorf("delivery: %w", err)
	}
	defer func() { _ = outcome.Close() }()
	ctx := uninterrupted(tx)
	for i := range group {
		r := &group[i]
		a, finished := &r.attempt, int64(0)
		if r.state == Delivered || r.state == Dead {
			finished = a.Time.Add(a.Latency).UnixNano()
		}
		if _, err := attempt.ExecContext(ctx, int64(r.d.ID), a.Time.UnixNano(), a.Status, int64(a.Latency), redact.Text(a.Answer), redact.Text(a.Error)); err != nil {
			return fmt.Errorf("attempt: %w", err)
		}
		if _, err := outcome.ExecContext(ctx, int64(r.d.ID), r.state, redact.Text(r.reason), a.Number, r.due.UnixNano(), finished); err != nil {
			return fmt.Errorf("delivery: %w", err)
		}
		if err := n.raiseOutcome(tx, r); err != nil {
			return err
		}
	}
	return nil
}

// uninterrupted is a context for many statements in a row: for each that could be
// interrupted, the driver starts a goroutine. The transaction itself can be.
func uninterrupted(tx *state.Tx) context.Context { return context.WithoutCancel(tx.Context()) }

// raiseOutcome raises what an attempt leaves on record.
func (n *Notify) raiseOutcome(tx *state.Tx, r *result) error {
	by := causedBy(r.event)
	about := "transport/" + r.d.Transport.String()
	raise := func(t event.Type, data any) error {
		e, err := by.Event(n.o.Source+"/"+producer, t, about, data)
		if err == nil {
			tx.Emit(e)
		}
		return err
	}
	if r.state == Delivered && r.mail != nil {
		return raise("email_sent", map[string]any{
			"subject": r.mail.Subject, "body": r.mail.Body, "from_email": r.mail.From, "to_email": r.mail.To, "to": r.mail.To,
		})
	}
	if m, ok := errors.AsType[*transport.MappingError](r.err); ok {
		if err := raise("property_mapping_exception", map[string]any{
			"message": "Failed to execute property mapping: " + m.Error(), "expression": m.Expression, "exception": exceptionOf(m.Part, m.Err),
			"mapping": model("transport", r.d.Transport.String(), r.way.Value.Name+": "+m.Part),
		}); err != nil {
			return err
		}
	}
	if r.state != Dead {
		return nil
	}
	return raise("notification.delivery.failed", map[string]any{
		"transport": model("transport", r.d.Transport.String(), r.way.Value.Name), "rule": r.d.Rule.String(), "delivery": r.d.ID.String(),
		"recipient": idOrEmpty(r.d.Recipient), "attempts": r.attempt.Number, "reason": r.reason, "sequence": r.d.Sequence.String(),
	})
}

// backoff is how long to wait before the next attempt.
func backoff(r Retry, attempt int, asked time.Duration) time.Duration {
	d := min(time.Duration(r.First)<<min(attempt-1, 30), time.Duration(r.Most))
	if d <= 0 {
		d = time.Duration(r.Most)
	}
	d += time.Duration(rand.Int64N(int64(d)/5 + 1)) //nolint:gosec // chance, not a secret
	return max(d, min(asked, 24*time.Hour))
}
