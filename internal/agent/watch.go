package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// look is how often the agents are looked at.
const look = 5 * time.Second

// lease is how long a node that has gone leaves the work undone.
const lease = time.Minute

// Run says which agents have fallen silent, until ctx ends.
func (a *Agents) Run(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := a.check(ctx, time.Now()); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// check finds the agents that were not heard for too long.
func (a *Agents) check(ctx context.Context, now time.Time) error {
	found, err := times(ctx, a.State.Reader())
	if err != nil {
		return err
	}
	var quiet []stored
	for _, s := range found {
		if now.Sub(a.heardOf(&s, now)) > a.SilentAfter() {
			quiet = append(quiet, s)
		}
	}
	if len(quiet) == 0 {
		return nil
	}
	mine, err := a.State.Lease(ctx, "agents", a.owner, lease)
	if err != nil || !mine {
		return err
	}
	return a.State.Write(ctx, state.System(), func(tx *state.Tx) error {
		for i := range quiet {
			if err := a.silence(tx, &quiet[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// silence marks an agent, unless it was heard since it was looked at.
func (a *Agents) silence(tx *state.Tx, was *stored) error {
	s, err := find(tx.Context(), tx, was.id)
	if err != nil || s == nil || s.silent || s.last != was.last {
		return err
	}
	s.silent = true
	if err := s.save(tx); err != nil {
		return err
	}
	var d document
	if err := json.Unmarshal([]byte(s.doc), &d); err != nil {
		return fmt.Errorf("stored agent %s: %w", s.id, err)
	}
	return a.raise(tx, "agent.silent", s.id, &d, time.Unix(0, s.last))
}

// heardOf is when an agent was heard, by the running clock: here, or by another node,
// which is seen by its row; the start of this process for one that was not heard since.
func (a *Agents) heardOf(s *stored, now time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.heard[s.id]
	switch {
	case !ok:
		known = heard{at: a.start, last: s.last}
	case known.last != s.last:
		known = heard{at: now, last: s.last}
	}
	a.heard[s.id] = known
	return known.at
}

// times reads when agents that are not silent were heard: not their reports, which
// are large.
func times(ctx context.Context, q state.Querier) ([]stored, error) {
	found, err := q.QueryContext(ctx, `SELECT id, last_seen FROM agents WHERE silent = 0 ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	defer found.Close()
	var rows []stored
	for found.Next() {
		var s stored
		if err := found.Scan(&s.id, &s.last); err != nil {
			return nil, fmt.Errorf("read agents: %w", err)
		}
		rows = append(rows, s)
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	return rows, nil
}

// Forget removes an agent, which may join anew. The error is of class
// event.ErrNotFound where there is none.
func (a *Agents) Forget(ctx context.Context, by state.Cause, id string) error {
	return a.State.Write(ctx, by, func(tx *state.Tx) error {
		s, err := find(tx.Context(), tx, id)
		if err != nil {
			return err
		}
		if s == nil {
			return event.NotFoundf("there is no agent %s", id)
		}
		row, err := s.row()
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(tx.Context(), `DELETE FROM agents WHERE id = $1`, id); err != nil {
			return fmt.Errorf("remove agent %s: %w", id, err)
		}
		return tx.Deleted("agent", "agent", id, row.Name, map[string]any{"name": row.Name, "token": row.Token})
	})
}
