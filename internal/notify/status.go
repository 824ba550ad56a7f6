package notify

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// What the pages ask besides lists: how destinations stand, what a replay would
// send, what a row of the ledger says, and what waits for somebody.

// Destination is how a transport stands, from the ledger. Times are zero where
// there was nothing.
type Destination struct {
	Waiting           int       // messages that are queued or retried
	Oldest            time.Time // when the one was made that waits longest
	Delivered, Failed time.Time // newest success and failure
	Error             string    // of the newest failure
}

// recentRows is how far back in the ledger Destinations looks for successes and
// failures: so many of the newest rows.
const recentRows = 20_000

// Destinations tells how all transports stand; one that has had nothing to do is
// not in the map.
func (n *Notify) Destinations(ctx context.Context) (map[state.ObjectID]Destination, error) {
	found := map[state.ObjectID]Destination{}
	rows, err := n.o.State.Reader().QueryContext(ctx, `SELECT transport, count(*), min(created) FROM deliveries
		WHERE state IN ('queued', 'retrying') GROUP BY transport`)
	if err != nil {
		return nil, fmt.Errorf("destinations: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id state.ObjectID
		var d Destination
		var oldest int64
		if err := rows.Scan(&id, &d.Waiting, &oldest); err != nil {
			return nil, fmt.Errorf("destinations: %w", err)
		}
		d.Oldest = time.Unix(0, oldest).UTC()
		found[id] = d
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("destinations: %w", err)
	}
	return found, n.recentOutcomes(ctx, found)
}

// recentOutcomes adds the newest success and failure of each transport. A
// message that was replayed after a failure counts by what came of it last.
func (n *Notify) recentOutcomes(ctx context.Context, found map[state.ObjectID]Destination) error {
	rows, err := n.o.State.Reader().QueryContext(ctx, `SELECT transport,
			max(CASE WHEN state = 'delivered' THEN finished ELSE 0 END),
			max(CASE WHEN state = 'dead' OR state = 'retrying' THEN id ELSE 0 END)
		FROM (SELECT id, transport, state, finished FROM deliveries ORDER BY id DESC LIMIT $1) AS newest
		WHERE transport <> 0 GROUP BY transport`, recentRows)
	if err != nil {
		return fmt.Errorf("outcomes: %w", err)
	}
	defer rows.Close()
	failed := map[state.ObjectID]int64{}
	for rows.Next() {
		var id state.ObjectID
		var delivered, delivery int64
		if err := rows.Scan(&id, &delivered, &delivery); err != nil {
			return fmt.Errorf("outcomes: %w", err)
		}
		d := found[id]
		if delivered > 0 {
			d.Delivered = time.Unix(0, delivered).UTC()
		}
		if delivery > 0 {
			failed[id] = delivery
		}
		found[id] = d
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("outcomes: %w", err)
	}
	for id, delivery := range failed {
		var at int64
		d := found[id]
		err := n.o.State.Reader().QueryRowContext(ctx, `SELECT time, error FROM attempts WHERE delivery = $1 ORDER BY number DESC LIMIT 1`, delivery).Scan(&at, &d.Error)
		if errors.Is(err, sql.ErrNoRows) { // given up without an attempt
			continue
		}
		if err != nil {
			return fmt.Errorf("outcomes: %w", err)
		}
		d.Failed = time.Unix(0, at).UTC()
		found[id] = d
	}
	return nil
}

// Replayable counts what Replay would send again.
func (n *Notify) Replayable(ctx context.Context, q DeliveryQuery) (count int, err error) {
	err = n.o.State.Reader().QueryRowContext(ctx, `SELECT count(*) FROM deliveries
		WHERE ($1 = 0 OR rule = $1) AND ($2 = 0 OR transport = $2) AND (state = $3 OR $3 = '' AND state IN ('dead', 'delivered')) AND state IN ('dead', 'delivered')
		AND ($4 = 0 OR seq = $4) AND transport IN (SELECT id FROM objects WHERE model = 'transport' AND doc NOT LIKE '%"mode":"inbox"%')`,
		int64(q.Rule), int64(q.Transport), q.State, int64(q.Sequence)).Scan(&count)
	if err != nil {
		return 0, fmt.Errorf("replayable: %w", err)
	}
	return count, nil
}

// Words are title, text and severity of what a row of the ledger says. They are
// those of now: of a message that is about an event, as it would be sent again.
// told is the event; nil where the row is about none, or it is gone.
func (n *Notify) Words(ctx context.Context, d *Delivery, told *event.Event) (title, text string, severity event.Severity, err error) {
	if told == nil && d.Details.Title == "" {
		return "", "", 0, event.NotFoundf("the event is no longer in the journal")
	}
	var words *Template
	if told != nil {
		t, found, err := n.TemplateOf(ctx, told.Type)
		if err != nil {
			return "", "", 0, err
		}
		if found {
			words = &t.Value
		}
	}
	m := n.message(&d.Details, told, words, d.Rule, "")
	return m.Title, m.Text, m.Severity, nil
}

// TemplateOf is the template that stands in place of the catalog's words for a
// type; found is false where the catalog's hold.
func (n *Notify) TemplateOf(ctx context.Context, t event.Type) (r state.Record[Template], found bool, err error) {
	r, err = templates.Find(ctx, n.o.State.Reader(), "type", string(t))
	if errors.Is(err, event.ErrNotFound) {
		return r, false, nil
	}
	return r, err == nil, err
}

// Escalating reports whether what a delivery has told is told again until
// somebody acknowledges it.
func (n *Notify) Escalating(ctx context.Context, delivery state.ObjectID) (bool, error) {
	var rule int64
	var thread, doc string
	db := n.o.State.Reader()
	err := db.QueryRowContext(ctx, `SELECT rule, thread FROM deliveries WHERE id = $1`, int64(delivery)).Scan(&rule, &thread)
	if err == nil {
		_, group, _ := strings.Cut(thread, "/")
		err = db.QueryRowContext(ctx, `SELECT doc FROM cells WHERE rule = $1 AND grp = $2`, rule, group).Scan(&doc)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("escalation: %w", err)
	}
	var c cell
	if err := json.Unmarshal([]byte(doc), &c); err != nil {
		return false, fmt.Errorf("escalation: %w", err)
	}
	return c.Next > 0 && c.Alert != nil, nil
}

// Mute keeps a rule from telling a person, until Resubscribe.
func (n *Notify) Mute(ctx context.Context, by state.Cause, rule, user state.ObjectID) error {
	if _, err := n.GetRule(ctx, rule); err != nil {
		return err
	}
	err := n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		return putMute(tx, mute{rule.String(), user.String()})
	})
	n.touch()
	return err
}

// EndSilence lets what a silence covers be told again. One that has begun stays
// in the list, as expired; one that has not is removed.
func (n *Notify) EndSilence(ctx context.Context, by state.Cause, id state.ObjectID) error {
	now := time.Now().UTC()
	return n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		found, err := silences.Get(ctx, tx, id)
		if err != nil {
			return err
		}
		if now.Before(found.Value.StartsAt) {
			_, err = silences.Delete(tx, id, found.Version)
			return err
		}
		_, err = silences.Update(tx, id, found.Version, func(s *Silence) error {
			if !now.Before(s.ExpiresAt) {
				return event.Conflictf("the silence has expired already")
			}
			s.ExpiresAt = now
			return nil
		})
		return err
	})
}
