package flow

import (
	"context"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Skip is why a trigger did not run.
type Skip string

// The reasons (DESIGN 14). LPR1 to 3 are the loop protection of seed 001's server.
const (
	FilterFalse Skip = "filter_false"
	FilterError Skip = "filter_error"
	Disabled    Skip = "disabled"
	Loop1       Skip = "loop1" // the event comes of a chain that this trigger began
	Loop2       Skip = "loop2" // the target flow itself has emitted it
	Loop3       Skip = "loop3" // it comes of a chain that the target flow began
	Depth       Skip = "depth" // the chain of causes is too long
	Throttled   Skip = "throttled"
	Overlap     Skip = "overlap" // an earlier run is still under way
	Missed      Skip = "missed"  // a slot of a time when no server ran, or one that has expired
)

// Attributes of what a flow emits, and of result events.
const (
	sourceFlow    = "sourceflowid"
	originFlow    = "originflowid"
	originTrigger = "origintriggerid"
)

// loop reports which of the loop rules keeps a trigger from running for an event.
func (t *trigger) loop(e *event.Event) Skip {
	id, flow := t.id.String(), t.target.String()
	switch {
	case e.Text(originTrigger) == id:
		return Loop1
	case e.Text(sourceFlow) == flow:
		return Loop2
	case e.Text(originFlow) == flow:
		return Loop3
	}
	return ""
}

type skipKey struct {
	trigger state.ObjectID
	reason  Skip
}

type skipCount struct {
	n      int64
	newest event.Seq
}

// skips counts in memory; every few seconds the counts are written.
type skips map[skipKey]skipCount

func (s skips) add(t *trigger, reason Skip, seq event.Seq) {
	c := s[skipKey{t.id, reason}]
	c.n++
	c.newest = max(c.newest, seq)
	s[skipKey{t.id, reason}] = c
}

func (s skips) save(tx *state.Tx, now time.Time) error {
	for k, c := range s {
		_, err := tx.ExecContext(tx.Context(), `INSERT INTO trigger_skips (trigger_id, reason, count, newest, at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (trigger_id, reason) DO UPDATE SET count = trigger_skips.count + $3, newest = $4, at = $5`,
			int64(k.trigger), string(k.reason), c.n, int64(c.newest), now.UnixNano())
		if err != nil {
			return fmt.Errorf("count skips: %w", err)
		}
	}
	return nil
}

// SkipCount is how often a trigger did not run for one reason.
type SkipCount struct {
	Reason Skip      `json:"reason"`
	Count  int64     `json:"count"`
	Newest event.Seq `json:"newest"` // sequence of the newest event; 0 for a slot
	At     time.Time `json:"at"`
}

// Skips are the counts of every trigger. The newest few seconds may be missing.
func (e *Engine) Skips(ctx context.Context) (map[state.ObjectID][]SkipCount, error) {
	found, err := e.o.State.Reader().QueryContext(ctx, `SELECT trigger_id, reason, count, newest, at FROM trigger_skips ORDER BY trigger_id, count DESC`)
	if err != nil {
		return nil, fmt.Errorf("read skips: %w", err)
	}
	defer found.Close()
	all := map[state.ObjectID][]SkipCount{}
	for found.Next() {
		var id, newest, at int64
		var c SkipCount
		if err := found.Scan(&id, &c.Reason, &c.Count, &newest, &at); err != nil {
			return nil, fmt.Errorf("read skips: %w", err)
		}
		c.Newest, c.At = event.Seq(newest), timeOf(at)
		all[state.ObjectID(id)] = append(all[state.ObjectID(id)], c)
	}
	return all, wrap("read skips", found.Err())
}
