package mail

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

const (
	// pollEvery is how often the queue is looked at for mails whose time has
	// come, and for those of other nodes.
	pollEvery = 5 * time.Second
	// claimed is how long a mail belongs to the node that has taken it.
	claimed = 2 * time.Minute
	// firstRetry is the wait before the second try; each further one doubles, up
	// to maxRetry.
	firstRetry = 10 * time.Second
	maxRetry   = 15 * time.Minute
)

// Run sends what is queued, until ctx ends.
func (m *Mail) Run(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for woken := false; ; {
		for {
			sent, err := m.next(ctx, woken)
			if err != nil && ctx.Err() == nil {
				m.o.Logger.WarnContext(ctx, "mail queue", "err", err)
			}
			if !sent || err != nil {
				break
			}
		}
		select {
		case <-m.wake:
			woken = true
		case <-tick.C:
			woken = false
		case <-ctx.Done():
			return nil
		}
	}
}

// queued is a mail of the queue.
type queued struct {
	id      string
	msg     Message
	cause   state.Cause
	tries   int
	expires time.Time
}

// next sends one mail that is due; found is false where none is.
func (m *Mail) next(ctx context.Context, woken bool) (found bool, err error) {
	q, err := m.claim(ctx, woken)
	if q == nil || err != nil {
		return false, err
	}
	failure := m.deliver(ctx, q.msg)
	if failure != nil && ctx.Err() != nil {
		return false, nil //nolint:nilerr // the server stops: the claim runs out, and the next start tries again
	}
	return true, m.o.State.Write(ctx, q.cause, func(tx *state.Tx) error {
		now := time.Now()
		wait := min(firstRetry<<min(q.tries, 10), maxRetry)
		if failure != nil && errors.Is(failure, event.ErrUnavailable) && now.Add(wait).Before(q.expires) {
			m.o.Logger.WarnContext(ctx, "mail is not sent yet", "tries", q.tries+1, "err", failure)
			_, err := tx.ExecContext(ctx, `UPDATE mails SET due = $2 WHERE id = $1`, q.id, now.Add(wait).UnixNano())
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM mails WHERE id = $1`, q.id); err != nil {
			return err
		}
		if failure == nil {
			return m.record(tx, q.cause, q.msg)
		}
		e, err := state.System().Event(m.o.Source+"/mail", "configuration_error", "", map[string]any{
			"message": fmt.Sprintf("a mail to %s could not be sent: %v", q.msg.To, failure),
		})
		if err == nil {
			e.CorrelationID = q.cause.CorrelationID
			tx.Emit(e)
		}
		return err
	})
}

// claim takes the mail that is due longest, so that no other node does. Where
// somebody has just queued one, it waits in line behind that transaction;
// otherwise it only reads, unless there is something to do.
func (m *Mail) claim(ctx context.Context, woken bool) (*queued, error) {
	if !m.Ready() {
		return nil, nil //nolint:nilnil // there is none to be sent
	}
	if !woken {
		var due int64
		err := m.o.State.Reader().QueryRowContext(ctx, `SELECT due FROM mails WHERE due <= $1 LIMIT 1`, time.Now().UnixNano()).Scan(&due)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil //nolint:nilnil // likewise
		}
		if err != nil {
			return nil, fmt.Errorf("mail queue: %w", err)
		}
	}
	var q *queued
	err := m.o.State.Write(ctx, state.System(), func(tx *state.Tx) error {
		now := time.Now()
		var one queued
		var sealed, cause string
		var expires int64
		err := tx.QueryRowContext(ctx, `UPDATE mails SET tries = tries + 1, due = $2 WHERE id =
			(SELECT id FROM mails WHERE due <= $1 ORDER BY due LIMIT 1)
			RETURNING id, recipient, subject, body, record, cause, tries, expires`, now.UnixNano(), now.Add(claimed).UnixNano()).
			Scan(&one.id, &one.msg.To, &one.msg.Subject, &sealed, &one.msg.Record, &cause, &one.tries, &expires)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("mail queue: %w", err)
		}
		if one.msg.Text, err = m.seal.Open(one.id, sealed); err != nil {
			return fmt.Errorf("mail queue: %w", err)
		}
		one.expires = time.Unix(0, expires)
		q = &one
		return json.Unmarshal([]byte(cause), &one.cause)
	})
	return q, err
}
