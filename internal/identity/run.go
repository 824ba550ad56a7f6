package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// sweepEvery is how often what has expired is removed.
const sweepEvery = time.Minute

// Run does what no request waits for, until ctx ends: it sends password resets
// on their way, ends impersonations that have run out, and removes what has
// expired.
func (i *Identity) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		var err error
		select {
		case job := <-i.later:
			err = job(ctx)
		case <-tick.C:
			err = i.sweep(ctx)
		case <-ctx.Done():
			return nil
		}
		if err != nil && ctx.Err() == nil {
			i.log.WarnContext(ctx, "background work of identity failed", "err", err)
		}
	}
}

// sweep removes what has expired. It is harmless on several nodes at once: what
// one has removed, the others don't find.
func (i *Identity) sweep(ctx context.Context) error {
	now := time.Now().UnixNano()
	ended, err := i.expiredImpersonations(ctx, now)
	if err != nil {
		return err
	}
	return i.state.Write(ctx, state.System(), func(tx *state.Tx) error {
		for _, row := range ended {
			u, err := users.Get(ctx, tx, row.user)
			if errors.Is(err, event.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if err := i.endSession(tx, row, u, map[string]any{"reason": "its time was over"}); err != nil {
				return err
			}
		}
		for _, table := range []string{"sessions", "links", "signatures", "revoked_tokens"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE expires < $1`, now); err != nil {
				return fmt.Errorf("sweep %s: %w", table, err)
			}
		}
		return nil
	})
}

func (i *Identity) expiredImpersonations(ctx context.Context, now int64) ([]sessionRow, error) {
	return findSessions(ctx, i.state.Reader(), `expires < $1 AND actor <> ''`, now)
}
