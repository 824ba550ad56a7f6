package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// RuleCount is what the ledger has of a rule.
type RuleCount struct {
	Told       int // messages, those that are still on their way among them
	Suppressed int // tellings that were not made
}

// CountTold counts what each rule has told since a time. The newest rows alone are
// read.
func (n *Notify) CountTold(ctx context.Context, since time.Time) (map[state.ObjectID]RuleCount, error) {
	db := n.o.State.Reader()
	// Ids grow with time, which no index is over: the first row is looked for.
	var low, high int64
	if err := db.QueryRowContext(ctx, `SELECT COALESCE(min(id), 0), COALESCE(max(id), 0) + 1 FROM deliveries`).Scan(&low, &high); err != nil {
		return nil, fmt.Errorf("deliveries: %w", err)
	}
	for low < high {
		middle := low + (high-low)/2
		var newer bool
		err := db.QueryRowContext(ctx, `SELECT COALESCE((SELECT created >= $2 FROM deliveries WHERE id >= $1 ORDER BY id LIMIT 1), 1 = 1)`, middle, since.UnixNano()).Scan(&newer)
		if err != nil {
			return nil, fmt.Errorf("deliveries: %w", err)
		}
		if newer {
			high = middle
		} else {
			low = middle + 1
		}
	}
	rows, err := db.QueryContext(ctx, `SELECT rule, state = 'suppressed', sum(count) FROM deliveries WHERE id >= $1 GROUP BY 1, 2`, low)
	if err != nil {
		return nil, fmt.Errorf("deliveries: %w", err)
	}
	defer rows.Close()
	all := map[state.ObjectID]RuleCount{}
	for rows.Next() {
		var rule state.ObjectID
		var suppressed bool
		var count int
		if err := rows.Scan(&rule, &suppressed, &count); err != nil {
			return nil, fmt.Errorf("deliveries: %w", err)
		}
		c := all[rule]
		if suppressed {
			c.Suppressed = count
		} else {
			c.Told = count
		}
		all[rule] = c
	}
	return all, rows.Err()
}

// RuleVerdict is what one rule makes of an event.
type RuleVerdict struct {
	Rule        state.Record[Rule]
	Explanation Explanation
}

// ExplainAll asks every rule about an event: those that fire, and of the others
// the first thing that stands in the way. It records nothing. A rule that does
// not compile has the reason why.
func (n *Notify) ExplainAll(ctx context.Context, seq event.Seq) ([]RuleVerdict, error) {
	e, err := n.event(seq)
	if err != nil {
		return nil, err
	}
	s, err := n.load(ctx, nil)
	if err != nil {
		return nil, err
	}
	sub := newSubject(e)
	db := n.o.State.Reader()
	var all []RuleVerdict
	err = eachOf(ctx, db, &rules, func(r state.Record[Rule]) error {
		v := RuleVerdict{Rule: r, Explanation: Explanation{Event: e}}
		c := s.byID[r.ID]
		if c == nil {
			var broken error
			if c, broken = n.compile(r.ID, r.Value, storedPolicy(ctx, db)); broken != nil {
				v.Explanation.Reason = "the rule is broken: " + broken.Error()
				all = append(all, v)
				return nil //nolint:nilerr // it is part of the answer
			}
			c.created = r.Created
		}
		n.check(ctx, c, s, sub, &v.Explanation)
		all = append(all, v)
		return nil
	})
	return all, err
}

func storedPolicy(ctx context.Context, db state.Querier) func(state.ObjectID) (*Policy, error) {
	return func(id state.ObjectID) (*Policy, error) {
		p, err := policies.Get(ctx, db, id)
		return &p.Value, err
	}
}

// event reads an event from the journal.
func (n *Notify) event(seq event.Seq) (*event.Event, error) {
	hit, err := n.o.Journal.Get(seq)
	if err != nil {
		return nil, err
	}
	e, err := event.Decode(hit.Body)
	if err != nil {
		return nil, fmt.Errorf("event %d: %w", seq, err)
	}
	e.Sequence, e.RecordedTime = hit.Seq, time.Unix(0, hit.Recorded).UTC()
	return &e, nil
}
