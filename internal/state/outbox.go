package state

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Pending is an event of the outbox.
type Pending struct {
	Seq   int64
	Event event.Event
}

// Outbox returns the events behind a row number that are not recorded yet, in
// the order in which they were made. What this process has committed lately
// comes from memory, all else from the table; both hold the same bytes.
func (s *State) Outbox(ctx context.Context, after int64, limit int) ([]Pending, error) {
	rows, known := s.recent.behind(after, limit)
	if !known {
		var err error
		if rows, err = s.outboxRows(ctx, after, limit); err != nil {
			return nil, fmt.Errorf("read the outbox: %w", err)
		}
	}
	var all []Pending
	for _, r := range rows {
		e, err := event.Decode([]byte(r.event))
		if err != nil {
			return nil, fmt.Errorf("outbox row %d: %w", r.seq, err)
		}
		all = append(all, Pending{r.seq, e})
	}
	return all, nil
}

func (s *State) outboxRows(ctx context.Context, after int64, limit int) ([]outboxRow, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT seq, event FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2`, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []outboxRow
	for rows.Next() {
		var r outboxRow
		if err := rows.Scan(&r.seq, &r.event); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// Recorded notes that every outbox row up to seq is in the journal. The rows
// are deleted by the next write, so that this costs no transaction; after a
// crash they are offered again, and the journal knows their ids.
func (s *State) Recorded(seq int64) { s.recent.recorded(seq) }

// outboxRow is a row as it is stored.
type outboxRow struct {
	seq   int64
	event string
}

// What is remembered of the outbox, at most. It is more than waits while the
// journal takes events; when it takes none, the table has them.
const (
	recentRows  = 4096
	recentBytes = 8 << 20
)

// recent is the end of the outbox table in memory, so that what carries it need
// not read it back. It never knows less than it says: behind floor it has every
// row that is committed and not recorded. Rows are added in the order of their
// numbers, after their transaction is committed.
type recent struct {
	mu      sync.Mutex // guards all below
	floor   int64
	rows    []outboxRow
	bytes   int
	drained int64 // every row up to this one is in the journal
}

// behind returns the rows behind a number; false where the table must be asked.
func (r *recent) behind(after int64, limit int) ([]outboxRow, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if after < r.floor {
		return nil, false
	}
	at := r.upTo(after)
	return slices.Clone(r.rows[at:min(len(r.rows), at+limit)]), true
}

// upTo is how many rows have numbers up to seq.
func (r *recent) upTo(seq int64) int {
	return sort.Search(len(r.rows), func(i int) bool { return r.rows[i].seq > seq })
}

// add remembers rows that are committed.
func (r *recent) add(rows []outboxRow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range rows {
		r.rows = append(r.rows, row)
		r.bytes += len(row.event)
	}
	if len(r.rows) > recentRows || r.bytes > recentBytes {
		r.drop(len(r.rows))
	}
}

// forget leaves rows up to seq to the table: nobody knows whether they are
// committed.
func (r *recent) forget(seq int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(len(r.rows))
	r.floor = max(r.floor, seq)
}

func (r *recent) recorded(seq int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drained = max(r.drained, seq)
	r.drop(r.upTo(seq))
}

// drop removes the first n rows.
func (r *recent) drop(n int) {
	for _, row := range r.rows[:n] {
		r.bytes -= len(row.event)
		r.floor = row.seq
	}
	clear(r.rows[:n])
	r.rows = r.rows[n:]
}

// done is the number up to which rows are in the journal.
func (r *recent) done() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.drained
}
