package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// inboxItem is a message that is to be stored.
type inboxItem struct {
	user, rule  state.ObjectID
	delivery    int64
	seq         event.Seq
	severity    event.Severity
	title, text string
	created     time.Time
}

func putInbox(tx *state.Tx, i inboxItem) error {
	id, err := tx.Next("inbox", 1)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(tx.Context(), `INSERT INTO inbox (id, user_id, delivery, rule, seq, severity, title, body, created, seen)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)`,
		id, int64(i.user), i.delivery, int64(i.rule), int64(i.seq), int(i.severity), i.title, i.text, i.created.UnixNano())
	if err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	return nil
}

// InboxItem is a message to a person, in the pages.
type InboxItem struct {
	ID, Rule, Delivery state.ObjectID
	Sequence           event.Seq // 0 where it is not about one event
	Severity           event.Severity
	Title, Text        string
	Created, Seen      time.Time // Seen is zero while it is new
}

// InboxOf lists a person's messages, newest first.
func (n *Notify) InboxOf(ctx context.Context, user, before state.ObjectID, unseen bool, limit int) ([]InboxItem, error) {
	rows, err := n.o.State.Reader().QueryContext(ctx, `SELECT id, rule, delivery, seq, severity, title, body, created, seen FROM inbox
		WHERE user_id = $1 AND ($2 = 0 OR id < $2) AND ($3 = 0 OR seen = 0) ORDER BY id DESC LIMIT $4`, int64(user), int64(before), boolInt(unseen), limit)
	if err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	defer rows.Close()
	var all []InboxItem
	for rows.Next() {
		var i InboxItem
		var created, seen int64
		if err := rows.Scan(&i.ID, &i.Rule, &i.Delivery, &i.Sequence, &i.Severity, &i.Title, &i.Text, &created, &seen); err != nil {
			return nil, fmt.Errorf("inbox: %w", err)
		}
		i.Created = time.Unix(0, created).UTC()
		if seen > 0 {
			i.Seen = time.Unix(0, seen).UTC()
		}
		all = append(all, i)
	}
	return all, rows.Err()
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Unseen is how many messages of a person are new.
func (n *Notify) Unseen(ctx context.Context, user state.ObjectID) (count int, err error) {
	err = n.o.State.Reader().QueryRowContext(ctx, `SELECT count(*) FROM inbox WHERE user_id = $1 AND seen = 0`, int64(user)).Scan(&count)
	if err != nil {
		return 0, fmt.Errorf("inbox: %w", err)
	}
	return count, nil
}

// MarkSeen notes that a person has seen a message, or all of them where id is 0;
// seen false makes it new again. It returns how many have changed.
func (n *Notify) MarkSeen(ctx context.Context, by state.Cause, user, id state.ObjectID, seen bool) (count int, err error) {
	at := int64(0)
	if seen {
		at = time.Now().UnixNano()
	}
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		r, err := tx.ExecContext(ctx, `UPDATE inbox SET seen = $3 WHERE user_id = $1 AND ($2 = 0 OR id = $2) AND (seen = 0) = ($4 = 1)`,
			int64(user), int64(id), at, boolInt(seen))
		if err != nil {
			return fmt.Errorf("inbox: %w", err)
		}
		affected, err := r.RowsAffected()
		count = int(affected)
		return err
	})
	n.touch()
	return count, err
}

// InboxItemOf is one message of a person.
func (n *Notify) InboxItemOf(ctx context.Context, user, id state.ObjectID) (InboxItem, error) {
	found, err := n.InboxOf(ctx, user, id+1, false, 1)
	if err != nil {
		return InboxItem{}, err
	}
	if len(found) == 0 || found[0].ID != id {
		return InboxItem{}, event.NotFoundf("there is no message %s in your inbox", id)
	}
	return found[0], nil
}
