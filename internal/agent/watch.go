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
	found, err := all(ctx, a.State.Reader())
	if err != nil {
		return err
	}
	var quiet []stored
	for i := range found {
		if !found[i].silent && now.Sub(a.heardOf(found[i].id)) > a.SilentAfter() {
			quiet = append(quiet, found[i])
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

// heardOf is when an agent was heard, by the running clock; the start of this
// process for one that was not heard since.
func (a *Agents) heardOf(id string) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, ok := a.heard[id]; ok {
		return at
	}
	return a.start
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
