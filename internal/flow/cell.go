package flow

import (
	"cmp"
	"container/heap"
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
	On json.RawMessage `json:"on,omitempty"`

	key cellKey
}

// cells are all of them, in memory and in the table trigger_cells.
type cells struct {
	all      map[cellKey]*cell
	dirty    map[cellKey]bool // what is to be written
	ends     endings          // by time; those that were overtaken are passed over
	versions map[state.ObjectID]int64
}

// ending is when a cell says nothing any more, or becomes a run.
type ending struct {
	at  time.Time
	key cellKey
}

// endings is a heap, the earliest first.
type endings []ending

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (e endings) Len() int { return len(e) }

func (e endings) Less(i, j int) bool {
	a, b := &e[i], &e[j]
	return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.key.trigger, b.key.trigger), cmp.Compare(a.key.group, b.key.group)) < 0
}

func (e endings) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push implements heap.Interface.
func (e *endings) Push(x any) { *e = append(*e, x.(ending)) } //nolint:forcetypeassert // only this file pushes

// Pop implements heap.Interface.
func (e *endings) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// until says when a cell ends.
func (c *cells) until(one *cell, at time.Time) {
	one.Until = at
	heap.Push(&c.ends, ending{at, one.key})
	if len(c.ends) > 2*len(c.all)+1000 { // most of them are of cells that became a run before
		c.ends = c.ends[:0]
		for k, one := range c.all {
			if !one.Until.IsZero() {
				c.ends = append(c.ends, ending{one.Until, k})
			}
		}
		heap.Init(&c.ends)
	}
}

func openCells(ctx context.Context, q state.Querier) (*cells, error) {
	found, err := q.QueryContext(ctx, `SELECT trigger_id, grouping, doc FROM trigger_cells`)
	if err != nil {
		return nil, fmt.Errorf("read throttles: %w", err)
	}
	defer found.Close()
	c := &cells{all: map[cellKey]*cell{}, dirty: map[cellKey]bool{}, versions: map[state.ObjectID]int64{}}
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
		one.key = cellKey{state.ObjectID(id), group}
		c.all[one.key] = one
		if !one.Until.IsZero() {
			c.until(one, one.Until)
		}
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
		one = &cell{key: k}
		c.all[k] = one
	}
	c.dirty[k] = true
	return one
}

// due is when the next cell ends; zero for never.
func (c *cells) due() time.Time {
	for len(c.ends) > 0 && !c.holds(&c.ends[0]) {
		heap.Pop(&c.ends)
	}
	if len(c.ends) == 0 {
		return time.Time{}
	}
	return c.ends[0].at
}

// holds reports whether a cell still ends at that time.
func (c *cells) holds(e *ending) bool {
	one := c.all[e.key]
	return one != nil && one.Until.Equal(e.at)
}

// over are the cells that become runs until a time, the earliest first.
func (c *cells) over(until time.Time) []cellKey {
	var keys []cellKey
	for next := c.due(); !next.IsZero() && !next.After(until); next = c.due() {
		e, _ := heap.Pop(&c.ends).(ending)
		c.dirty[e.key] = true
		if len(c.all[e.key].Seqs) > 0 && !slices.Contains(keys[max(0, len(keys)-1):], e.key) {
			keys = append(keys, e.key)
		}
	}
	return keys
}

// keep forgets the cells of triggers that are gone, throttle no more or were changed.
// What their events came to is not told: the triggers are not there.
func (c *cells) keep(x *index) {
	for k, one := range c.all {
		t := x.byID[k.trigger]
		was, known := c.versions[k.trigger]
		if t == nil || t.Throttle == nil && !t.on || known && was != t.version {
			one.Seqs, one.On, one.Until = nil, nil, time.Time{}
			c.dirty[k] = true
		}
	}
	c.versions = make(map[state.ObjectID]int64, len(x.byID))
	for id, t := range x.byID {
		c.versions[id] = t.version
	}
}

// idle reports whether a cell says nothing any more.
func (c *cell) idle(now time.Time) bool {
	return len(c.Seqs) == 0 && len(c.On) == 0 && !c.Until.After(now)
}

// save writes what has changed, and forgets what says nothing any more.
func (c *cells) save(tx *state.Tx, now time.Time) error {
	for k := range c.dirty {
		one := c.all[k]
		if one == nil || one.idle(now) {
			if _, err := tx.ExecContext(tx.Context(), `DELETE FROM trigger_cells WHERE trigger_id = $1 AND grouping = $2`, int64(k.trigger), k.group); err != nil {
				return fmt.Errorf("forget a throttle: %w", err)
			}
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
	for k := range c.dirty {
		switch one := c.all[k]; {
		case one == nil:
		case one.idle(now):
			delete(c.all, k)
		case !one.Until.IsZero(): // so that it ends, also where it was looked at too early
			c.until(one, one.Until)
		}
	}
	clear(c.dirty)
}
