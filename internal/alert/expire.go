package alert

import (
	"context"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/state"
)

// leaseTime is how long one node is the one that ends alerts.
const leaseTime = time.Minute

// patience is how long Run sleeps at most: the clock may jump.
const patience = 30 * time.Second

// Run ends the alerts that were not sent again in time, until ctx ends. An alert without an end lasts resolveTimeout; told is called whenever
// something was recorded.
func (s *Store) Run(ctx context.Context, resolveTimeout time.Duration, told func()) error {
	s.mu.Lock()
	s.told, s.last = told, resolveTimeout
	s.mu.Unlock()
	for {
		next, err := s.expire(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			return err
		}
		wait := time.NewTimer(next)
		select {
		case <-wait.C:
		case <-s.wake:
			wait.Stop()
		case <-ctx.Done():
			wait.Stop()
			return nil
		}
	}
}

// expireBatch is how many alerts end in one transaction.
const expireBatch = 500

// expire ends the alerts whose time has passed and says after which time there
// may be more. What ended while this server was not running waits a little: it
// may still fire.
func (s *Store) expire(ctx context.Context, now time.Time) (next time.Duration, err error) {
	due, err := s.due(ctx, s.State.Reader(), now)
	if err != nil {
		return 0, err
	}
	old, err := rowsOf(ctx, s.State.Reader(), `WHERE firing = 0 AND ends < $1 LIMIT 1`, now.Add(-keepResolved).UnixNano())
	if err != nil {
		return 0, err
	}
	if len(due)+len(old) > 0 {
		mine, err := s.State.Lease(ctx, "alerts", s.owner, leaseTime)
		if err != nil || !mine {
			return patience, err
		}
		if err := s.end(ctx, now); err != nil {
			return 0, err
		}
		if len(due) == expireBatch {
			return 0, nil
		}
	}
	coming, err := rowsOf(ctx, s.State.Reader(), `WHERE firing = 1 AND ends > $1 ORDER BY ends LIMIT 1`, now.UnixNano())
	if err != nil || len(coming) == 0 {
		return patience, err
	}
	return max(0, min(patience, coming[0].EndsAt.Sub(now))), nil
}

// due are the alerts that are over and still said to fire.
func (s *Store) due(ctx context.Context, q state.Querier, now time.Time) ([]Row, error) {
	since := s.started
	if now.Sub(s.started) > graceAtStart {
		since = time.Unix(0, 0)
	}
	return rowsOf(ctx, q, `WHERE firing = 1 AND ends <= $1 AND ends >= $2 ORDER BY ends LIMIT $3`, now.UnixNano(), since.UnixNano(), expireBatch)
}

// end resolves what is due, and forgets what was over long ago.
func (s *Store) end(ctx context.Context, now time.Time) error {
	changed := false
	err := s.State.Write(ctx, state.System(), func(tx *state.Tx) error {
		due, err := s.due(ctx, tx, now)
		if err != nil {
			return err
		}
		for n := range due {
			r := &due[n]
			r.firing = false
			if err := save(tx, r); err != nil {
				return err
			}
			if err := s.raise(tx, r, r.EndsAt); err != nil {
				return err
			}
		}
		changed = len(due) > 0
		if _, err := tx.ExecContext(ctx, `DELETE FROM alerts WHERE firing = 0 AND ends < $1`, now.Add(-keepResolved).UnixNano()); err != nil {
			return fmt.Errorf("forget alerts: %w", err)
		}
		return nil
	})
	if err == nil && changed {
		told, _ := s.running()
		told()
	}
	return err
}
