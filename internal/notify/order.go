package notify

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/tocsin-events/tocsin/internal/state"
)

// tooEarly reports whether a message tells the end of what has not arrived yet.
// It is put off until behind that: told the other way round, what is over would
// stay open for ever on the other side. Other messages pass one that is retried,
// so that none keeps a whole rule waiting.
func (w *worker) tooEarly(ctx context.Context, d *Delivery) bool {
	if !d.Details.Resolved {
		return false
	}
	var due int64
	err := w.s.n.o.State.Reader().QueryRowContext(ctx, `SELECT due FROM deliveries
		WHERE transport = $1 AND state IN ('queued', 'retrying') AND thread = $2 AND recipient = $3 AND id < $4 ORDER BY due DESC LIMIT 1`,
		int64(d.Transport), d.Thread, int64(d.Recipient), int64(d.ID)).Scan(&due)
	if errors.Is(err, sql.ErrNoRows) {
		return false
	}
	if err == nil {
		due = max(due, time.Now().UnixNano()) + 1
		err = w.s.n.o.State.Write(ctx, state.System(), func(tx *state.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE deliveries SET due = $2 WHERE id = $1 AND state IN ('queued', 'retrying')`, int64(d.ID), due)
			return err
		})
		w.s.look() // there is another time to be planned
	}
	if err != nil && ctx.Err() == nil {
		w.s.n.o.Logger.WarnContext(ctx, "notify: a message waits", "delivery", d.ID, "err", err)
	}
	return true
}
