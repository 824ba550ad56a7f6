package state

import (
	"context"
	"fmt"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Pending is an event of the outbox.
type Pending struct {
	Seq   int64
	Event event.Event
}

// Outbox returns the events behind a row number that are not recorded yet, in
// the order in which they were made.
func (s *State) Outbox(ctx context.Context, after int64, limit int) ([]Pending, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT seq, event FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	defer rows.Close()
	var all []Pending
	for rows.Next() {
		var p Pending
		var body string
		if err := rows.Scan(&p.Seq, &body); err != nil {
			return nil, fmt.Errorf("read the outbox: %w", err)
		}
		if p.Event, err = event.Decode([]byte(body)); err != nil {
			return nil, fmt.Errorf("outbox row %d: %w", p.Seq, err)
		}
		all = append(all, p)
	}
	return all, rows.Err()
}

// Recorded notes that every outbox row up to seq is in the journal. The rows
// are deleted by the next write, so that this costs no transaction; after a
// crash they are offered again, and the journal knows their ids.
func (s *State) Recorded(seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drained = max(s.drained, seq)
}

func (s *State) recorded() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drained
}
