package flow

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

type cellKey struct {
	trigger state.ObjectID
	group   string
}

// cell is what a throttled trigger remembers of one group.
type cell struct {
	Until time.Time   `json:"until"` // no run before it; with Seqs, when they become a run
	Seqs  []event.Seq `json:"seqs,omitempty"`
	// On is what a trigger with On has heard so far.
	On    json.RawMessage `json:"on,omitempty"`
	dirty bool
}

// cells are all of them, in memory and in the table trigger_cells.
type cells struct {
	all map[cellKey]*cell
}

func openCells(ctx context.Context, q state.Querier) (*cells, error) {
	found, err := q.QueryContext(ctx, `SELECT trigger_id, grouping, doc FROM trigger_cells`)
	if err != nil {
		return nil, fmt.Errorf("read throttles: %w", err)
	}
	defer found.Close()
	c := &cells{all: map[cellKey]*cell{}}
	for found.Next() {
		var id int64
		var group, doc string
		one := &cell{}
		if err := found.Scan(&id, &group, &doc); err != nil {
			return nil, fmt.Errorf("read throttles: %w", err)
		}
		if err := json.Unmarshal([]byte(doc), one); err != nil {
			return nil, fmt.Errorf("stored throttle of trigger %d: %w", id, err)
		}
		c.all[cellKey{state.ObjectID(id), group}] = one
	}
	return c, wrap("read throttles", found.Err())
}

// maxCells bounds the groups that are kept apart: those beyond it share one.
const maxCells = 100_000

// get is the cell of a group, which is about to change.
func (c *cells) get(trigger state.ObjectID, group string) *cell {
	k := cellKey{trigger, group}
	if c.all[k] == nil && len(c.all) >= maxCells {
		k.group = ""
	}
	one := c.all[k]
	if one == nil {
		one = &cell{}
		c.all[k] = one
	}
	one.dirty = true
	return one
}

// due is when the next cell becomes a run; zero for never.
func (c *cells) due() time.Time {
	var next time.Time
	for _, one := range c.all {
		if len(one.Seqs) > 0 && (next.IsZero() || one.Until.Before(next)) {
			next = one.Until
		}
	}
	return next
}

// over are the cells that become runs until a time, the earliest first.
func (c *cells) over(until time.Time) []cellKey {
	var keys []cellKey
	for k, one := range c.all {
		if len(one.Seqs) > 0 && !one.Until.After(until) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b cellKey) int {
		return cmp.Or(c.all[a].Until.Compare(c.all[b].Until), cmp.Compare(a.trigger, b.trigger), cmp.Compare(a.group, b.group))
	})
	return keys
}

// keep forgets the cells of triggers that are gone or throttle no more. What their
// events came to is not told: the triggers are not there.
func (c *cells) keep(x *index) {
	for k, one := range c.all {
		if t := x.byID[k.trigger]; t == nil || t.Throttle == nil && !t.on {
			one.Seqs, one.On, one.Until, one.dirty = nil, nil, time.Time{}, true
		}
	}
}

// idle reports whether a cell says nothing any more.
func (c *cell) idle(now time.Time) bool {
	return len(c.Seqs) == 0 && len(c.On) == 0 && !c.Until.After(now)
}

// save writes what has changed, and forgets what says nothing any more.
func (c *cells) save(tx *state.Tx, now time.Time) error {
	for k, one := range c.all {
		if one.idle(now) {
			if _, err := tx.ExecContext(tx.Context(), `DELETE FROM trigger_cells WHERE trigger_id = $1 AND grouping = $2`, int64(k.trigger), k.group); err != nil {
				return fmt.Errorf("forget a throttle: %w", err)
			}
			continue
		}
		if !one.dirty {
			continue
		}
		doc, err := json.Marshal(one)
		if err != nil {
			return fmt.Errorf("throttle: %w", err)
		}
		_, err = tx.ExecContext(tx.Context(), `INSERT INTO trigger_cells (trigger_id, grouping, until, doc) VALUES ($1, $2, $3, $4)
			ON CONFLICT (trigger_id, grouping) DO UPDATE SET until = $3, doc = $4`, int64(k.trigger), k.group, nanos(one.Until), string(doc))
		if err != nil {
			return fmt.Errorf("save a throttle: %w", err)
		}
	}
	return nil
}

// saved forgets in memory what save has forgotten on disk.
func (c *cells) saved(now time.Time) {
	for k, one := range c.all {
		one.dirty = false
		if one.idle(now) {
			delete(c.all, k)
		}
	}
}
