package notify

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/follow"
	"github.com/tocsin-events/tocsin/internal/state"
)

// States of a delivery.
const (
	Queued     = "queued"
	Retrying   = "retrying"
	Delivered  = "delivered"
	Dead       = "dead"
	Suppressed = "suppressed"
)

// Delivery is a row of the ledger.
type Delivery struct {
	ID             state.ObjectID
	Key            string // idempotency key
	Rule           state.ObjectID
	Transport      state.ObjectID
	Recipient      state.ObjectID // a user; 0 for a destination of the transport's own
	Thread         string
	Sequence       event.Seq
	Details        Details
	State          string
	Reason         string
	Count          int // tellings that a suppressed row stands for
	Attempts       int
	Due            time.Time
	Created, Ended time.Time // Ended is zero while it is not over
}

// Attempt is one try of a delivery.
type Attempt struct {
	Number  int           `json:"number"`
	Time    time.Time     `json:"time"`
	Status  int           `json:"status"`
	Latency time.Duration `json:"latency"`
	Answer  string        `json:"answer"`
	Error   string        `json:"error"`
}

// commit writes what a batch gave. nil where there is nothing.
func (w *work) commit() follow.Commit {
	if len(w.rows)+len(w.suppressed)+len(w.raised) == 0 && !w.e.memo.changed() {
		return nil
	}
	return func(tx *state.Tx) error {
		if err := w.e.memo.write(tx); err != nil {
			return err
		}
		if err := w.writeRows(tx); err != nil {
			return err
		}
		if err := w.writeSuppressed(tx); err != nil {
			return err
		}
		if err := w.writeChains(tx); err != nil {
			return err
		}
		for i := range w.raised {
			tx.Emit(w.raised[i])
		}
		return nil
	}
}

const insertDelivery = `INSERT INTO deliveries (id, idempotency, rule, transport, recipient, thread, seq, doc, state, reason, count, attempts, due, created, finished)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, $12, $13, $14)`

func (w *work) writeRows(tx *state.Tx) error {
	if len(w.rows) == 0 {
		return nil
	}
	first, err := tx.Next("delivery", len(w.rows))
	if err != nil {
		return err
	}
	insert, err := tx.PrepareContext(tx.Context(), insertDelivery+` ON CONFLICT (idempotency) DO NOTHING`)
	if err != nil {
		return fmt.Errorf("delivery: %w", err)
	}
	defer func() { _ = insert.Close() }() // it is the transaction's
	ctx := uninterrupted(tx)
	for i := range w.rows {
		d := &w.rows[i]
		id, now, state, finished := first+int64(i), time.Now().UnixNano(), Queued, int64(0)
		if d.inbox != nil {
			state, finished = Delivered, now
		}
		r, err := insert.ExecContext(ctx, id, d.key, int64(d.rule), int64(d.way), int64(d.person), d.thread, int64(d.seq), d.doc, state, "", 1, now, d.created, finished)
		if err != nil {
			return fmt.Errorf("delivery: %w", err)
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 || d.inbox == nil {
			if err != nil {
				return fmt.Errorf("delivery: %w", err)
			}
			continue
		}
		d.inbox.delivery = id
		if err := putInbox(tx, *d.inbox); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) writeSuppressed(tx *state.Tx) error {
	for s, f := range w.suppressed {
		id, err := tx.Next("delivery", 1)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(tx.Context(), insertDelivery+` ON CONFLICT (idempotency) DO UPDATE SET count = deliveries.count + $11, seq = $7, finished = $14`,
			id, s.key(), int64(s.rule), int64(s.way), int64(s.person), s.rule.String()+"/", int64(f.seq), "{}", Suppressed, s.reason, f.count, 0, f.at, f.at)
		if err != nil {
			return fmt.Errorf("suppressed: %w", err)
		}
	}
	return nil
}

// DeliveryQuery says which rows of the ledger are wanted; zero values leave a
// question open.
type DeliveryQuery struct {
	Rule, Transport state.ObjectID
	State           string
	Sequence        event.Seq
	Before          state.ObjectID // rows with lower ids
	Limit           int
}

const deliveryColumns = `id, idempotency, rule, transport, recipient, thread, seq, doc, state, reason, count, attempts, due, created, finished`

func scanDelivery(scan func(...any) error) (Delivery, error) {
	var d Delivery
	var doc string
	var due, created, ended int64
	if err := scan(&d.ID, &d.Key, &d.Rule, &d.Transport, &d.Recipient, &d.Thread, &d.Sequence, &doc, &d.State, &d.Reason, &d.Count, &d.Attempts, &due, &created, &ended); err != nil {
		return d, err
	}
	d.Due, d.Created = time.Unix(0, due).UTC(), time.Unix(0, created).UTC()
	if ended > 0 {
		d.Ended = time.Unix(0, ended).UTC()
	}
	return d, json.Unmarshal([]byte(doc), &d.Details)
}

// Deliveries lists rows of the ledger, newest first.
func (n *Notify) Deliveries(ctx context.Context, q DeliveryQuery) ([]Delivery, error) {
	where, args := []string{"1 = 1"}, []any{}
	add := func(is bool, condition string, value any) {
		if is {
			args = append(args, value)
			where = append(where, condition+" $"+strconv.Itoa(len(args)))
		}
	}
	add(q.Rule != 0, "rule =", int64(q.Rule))
	add(q.Transport != 0, "transport =", int64(q.Transport))
	add(q.State != "", "state =", q.State)
	add(q.Sequence != 0, "seq =", int64(q.Sequence))
	add(q.Before != 0, "id <", int64(q.Before))
	return findDeliveries(ctx, n.o.State.Reader(), strings.Join(where, " AND ")+" ORDER BY id DESC LIMIT "+strconv.Itoa(q.Limit), args...)
}

func findDeliveries(ctx context.Context, db state.Querier, where string, args ...any) ([]Delivery, error) {
	rows, err := db.QueryContext(ctx, `SELECT `+deliveryColumns+` FROM deliveries WHERE `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("deliveries: %w", err)
	}
	defer rows.Close()
	var all []Delivery
	for rows.Next() {
		d, err := scanDelivery(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("deliveries: %w", err)
		}
		all = append(all, d)
	}
	return all, rows.Err()
}

// GetDelivery returns a row of the ledger with its attempts.
func (n *Notify) GetDelivery(ctx context.Context, id state.ObjectID) (d Delivery, tries []Attempt, err error) {
	db := n.o.State.Reader()
	d, err = scanDelivery(db.QueryRowContext(ctx, `SELECT `+deliveryColumns+` FROM deliveries WHERE id = $1`, int64(id)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return d, nil, event.NotFoundf("there is no delivery %d", id)
	}
	if err != nil {
		return d, nil, fmt.Errorf("delivery: %w", err)
	}
	rows, err := db.QueryContext(ctx, `SELECT number, time, status, latency, answer, error FROM attempts WHERE delivery = $1 ORDER BY number`, int64(id))
	if err != nil {
		return d, nil, fmt.Errorf("attempts: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var a Attempt
		var at int64
		if err := rows.Scan(&a.Number, &at, &a.Status, &a.Latency, &a.Answer, &a.Error); err != nil {
			return d, nil, fmt.Errorf("attempts: %w", err)
		}
		a.Time = time.Unix(0, at).UTC()
		tries = append(tries, a)
	}
	return d, tries, rows.Err()
}

// Replay sends deliveries again that are over, under the keys that they have: of
// a receiver that knows a key already, nothing is to be feared. It returns how
// many these are.
func (n *Notify) Replay(ctx context.Context, by state.Cause, q DeliveryQuery) (count int, err error) {
	if q.State != "" && q.State != Dead && q.State != Delivered {
		return 0, event.Invalidf("state: only what is dead or delivered can be sent again")
	}
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		r, err := tx.ExecContext(ctx, `UPDATE deliveries SET state = 'queued', reason = '', attempts = 0, due = $5, finished = 0
			WHERE ($1 = 0 OR rule = $1) AND ($2 = 0 OR transport = $2) AND (state = $3 OR $3 = '' AND state IN ('dead', 'delivered'))
			AND ($4 = 0 OR seq = $4) AND transport IN (SELECT id FROM objects WHERE model = 'transport' AND doc NOT LIKE '%"mode":"inbox"%')`,
			int64(q.Rule), int64(q.Transport), q.State, int64(q.Sequence), time.Now().UnixNano())
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		affected, err := r.RowsAffected()
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		count = int(affected)
		return tx.Raise(producer, "notification.replayed", "", map[string]any{
			"count": count, "rule": idOrEmpty(q.Rule), "transport": idOrEmpty(q.Transport), "state": q.State,
		})
	})
	n.touch()
	return count, err
}

func idOrEmpty(id state.ObjectID) string {
	if id == 0 {
		return ""
	}
	return id.String()
}

// ReplayOne sends one delivery again.
func (n *Notify) ReplayOne(ctx context.Context, by state.Cause, id state.ObjectID) (d Delivery, err error) {
	if d, _, err = n.GetDelivery(ctx, id); err != nil {
		return d, err
	}
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		d, err = scanDelivery(tx.QueryRowContext(ctx, `UPDATE deliveries SET state = 'queued', reason = '', attempts = 0, due = $2, finished = 0
			WHERE id = $1 AND state IN ('dead', 'delivered') RETURNING `+deliveryColumns, int64(id), time.Now().UnixNano()).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return event.Conflictf("delivery %d is not over, or was suppressed", id)
		}
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		t, err := transports.Get(ctx, tx, d.Transport)
		if err != nil {
			return err
		}
		if t.Value.Mode == Inbox {
			return event.Conflictf("delivery %d lies in an inbox: there is nothing to be sent", id)
		}
		return tx.Raise(producer, "notification.replayed", "delivery/"+id.String(), map[string]any{
			"count": 1, "rule": idOrEmpty(d.Rule), "transport": idOrEmpty(d.Transport), "state": d.State,
		})
	})
	n.touch()
	return d, err
}

// Acknowledge says that somebody looks after what a delivery told: its
// escalation ends.
func (n *Notify) Acknowledge(ctx context.Context, by state.Cause, id state.ObjectID) (Delivery, error) {
	d, _, err := n.GetDelivery(ctx, id)
	if err != nil {
		return d, err
	}
	_, group, _ := strings.Cut(d.Thread, "/")
	return d, n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		return tx.Raise(producer, "notification.acknowledged", "delivery/"+id.String(), map[string]any{
			"delivery": id.String(), "rule": d.Rule.String(), "group": group,
		})
	})
}

// insertAttempt writes down what came of one try.
const insertAttempt = `INSERT INTO attempts (delivery, number, time, status, latency, answer, error)
	VALUES ($1, (SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE delivery = $1), $2, $3, $4, $5, $6)`
