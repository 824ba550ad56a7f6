package notify

import (
	"container/heap"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/state"
)

// memory holds the cells of a batch: read when they are asked for, written with
// the batch. It has one writer, the follower.
type memory struct {
	db     state.Querier
	cells  map[cellKey]*remembered // read and not written yet, or kept for the next batch
	dirty  map[cellKey]bool
	gone   map[state.ObjectID]bool // rules whose cells are to be removed
	counts map[state.ObjectID]int
	queue  dues
	soon   int64 // the earliest due on disk; 0: none
}

type cellKey struct {
	rule  state.ObjectID
	group string
}

// remembered is a cell with what telling needs when only time passes.
type remembered struct {
	cell
	Shown   string           `json:"shown,omitempty"`   // the group as people read it
	Persons []state.ObjectID `json:"persons,omitempty"` // whom its events name

	key    cellKey
	at     int64 // due
	stored bool
}

const (
	// maxCells bounds the groups of a rule; further ones share a cell, so that
	// nobody fills the disk by failing to sign in under a million names.
	maxCells = 10_000
	overflow = "(others)"
	// maxCached bounds what is kept from batch to batch.
	maxCached = 20_000
)

func openMemory(ctx context.Context, db state.Querier) (*memory, error) {
	m := &memory{db: db, cells: map[cellKey]*remembered{}, dirty: map[cellKey]bool{}, gone: map[state.ObjectID]bool{}, counts: map[state.ObjectID]int{}}
	rows, err := db.QueryContext(ctx, `SELECT rule, count(*) FROM cells GROUP BY rule`)
	if err != nil {
		return nil, fmt.Errorf("cells: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var rule state.ObjectID
		var n int
		if err := rows.Scan(&rule, &n); err != nil {
			return nil, fmt.Errorf("cells: %w", err)
		}
		m.counts[rule] = n
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("cells: %w", err)
	}
	return m, m.settle(ctx)
}

// get gives a cell, a new one where there is none.
func (m *memory) get(ctx context.Context, rule state.ObjectID, group string) (*remembered, error) {
	for {
		key := cellKey{rule, group}
		if found := m.cells[key]; found != nil {
			return found, nil
		}
		c := &remembered{key: key}
		var doc string
		err := m.db.QueryRowContext(ctx, `SELECT doc, due FROM cells WHERE rule = $1 AND grp = $2`, int64(rule), group).Scan(&doc, &c.at)
		switch {
		case errors.Is(err, sql.ErrNoRows) || err == nil && m.gone[rule]:
			if m.counts[rule] >= maxCells && group != overflow {
				group = overflow
				continue
			}
			m.counts[rule]++
			c.at = 0
		case err != nil:
			return nil, fmt.Errorf("cell: %w", err)
		default:
			c.stored = true
			if err := json.Unmarshal([]byte(doc), c); err != nil {
				return nil, fmt.Errorf("cell: %w", err)
			}
		}
		m.cells[key] = c
		return c, nil
	}
}

// find gives a cell; nil where there is none.
func (m *memory) find(ctx context.Context, rule state.ObjectID, group string) (*remembered, error) {
	if m.cells[cellKey{rule, group}] == nil {
		var one int
		err := m.db.QueryRowContext(ctx, `SELECT 1 FROM cells WHERE rule = $1 AND grp = $2`, int64(rule), group).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil //nolint:nilnil // there is none
		}
		if err != nil {
			return nil, fmt.Errorf("cell: %w", err)
		}
	}
	return m.get(ctx, rule, group)
}

// put notes a changed cell and when it is due.
func (m *memory) put(c *remembered, due int64) {
	c.at = due
	m.dirty[c.key] = true
	if due > 0 {
		heap.Push(&m.queue, dueAt{due, c.key})
	}
}

// drop forgets a cell whose rule is gone or off.
func (m *memory) drop(key cellKey) {
	if c := m.cells[key]; c != nil {
		c.cell = cell{}
		m.put(c, 0)
		return
	}
	m.cells[key] = &remembered{key: key, stored: true}
	m.dirty[key] = true
}

// plan reads which cells are due until a time.
func (m *memory) plan(ctx context.Context, until time.Time) error {
	m.queue = m.queue[:0]
	if m.soon == 0 || m.soon > until.UnixNano() {
		return nil
	}
	rows, err := m.db.QueryContext(ctx, `SELECT rule, grp, due FROM cells WHERE due > 0 AND due <= $1`, until.UnixNano())
	if err != nil {
		return fmt.Errorf("cells: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var d dueAt
		if err := rows.Scan(&d.key.rule, &d.key.group, &d.at); err != nil {
			return fmt.Errorf("cells: %w", err)
		}
		m.queue = append(m.queue, d)
	}
	heap.Init(&m.queue)
	return rows.Err()
}

// next takes the cell that is due first, if it is until a time.
func (m *memory) next(until int64) (key cellKey, at int64, ok bool) {
	for len(m.queue) > 0 && m.queue[0].at <= until {
		d := heap.Pop(&m.queue).(dueAt)
		if c := m.cells[d.key]; c != nil && c.at != d.at {
			continue // it has changed since
		}
		return d.key, d.at, true
	}
	return key, 0, false
}

// due is when the earliest cell is due; zero for none.
func (m *memory) due() time.Time {
	if m.soon == 0 {
		return time.Time{}
	}
	return time.Unix(0, m.soon)
}

// write stores what has changed.
func (m *memory) write(tx *state.Tx) error {
	for rule := range m.gone {
		if _, err := tx.ExecContext(tx.Context(), `DELETE FROM cells WHERE rule = $1`, int64(rule)); err != nil {
			return fmt.Errorf("cells: %w", err)
		}
	}
	for key := range m.dirty {
		c := m.cells[key]
		if c.empty() {
			if _, err := tx.ExecContext(tx.Context(), `DELETE FROM cells WHERE rule = $1 AND grp = $2`, int64(key.rule), key.group); err != nil {
				return fmt.Errorf("cell: %w", err)
			}
			continue
		}
		doc, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("cell: %w", err)
		}
		_, err = tx.ExecContext(tx.Context(), `INSERT INTO cells (rule, grp, doc, due) VALUES ($1, $2, $3, $4)
			ON CONFLICT (rule, grp) DO UPDATE SET doc = $3, due = $4`, int64(key.rule), key.group, string(doc), c.at)
		if err != nil {
			return fmt.Errorf("cell: %w", err)
		}
	}
	return nil
}

// settle is called when what was written is on disk.
func (m *memory) settle(ctx context.Context) error {
	for key := range m.dirty {
		if c := m.cells[key]; c.empty() {
			delete(m.cells, key)
			m.counts[key.rule] = max(0, m.counts[key.rule]-1)
		} else {
			c.stored = true
		}
	}
	clear(m.dirty)
	clear(m.gone)
	if len(m.cells) > maxCached {
		clear(m.cells)
	}
	var soon sql.NullInt64
	if err := m.db.QueryRowContext(ctx, `SELECT min(due) FROM cells WHERE due > 0`).Scan(&soon); err != nil {
		return fmt.Errorf("cells: %w", err)
	}
	m.soon = soon.Int64
	return nil
}

// fit makes the memory that of a set of rules: cells of rules that are gone are
// removed, and an absence without groups begins to wait now.
func (m *memory) fit(ctx context.Context, s *set, now time.Time) error {
	for rule := range m.counts {
		if s.known[rule] {
			continue
		}
		m.gone[rule] = true
		delete(m.counts, rule)
		for key := range m.cells {
			if key.rule == rule {
				delete(m.cells, key)
				delete(m.dirty, key)
			}
		}
	}
	for _, r := range s.rules {
		if r.Absence == nil || len(r.groupBy) > 0 || r.Recipients.ofEvent() {
			continue
		}
		c, err := m.get(ctx, r.id, "")
		if err != nil {
			return err
		}
		if c.Print != r.print {
			c.cell = cell{Print: r.print, Last: now.UnixNano()}
			m.put(c, r.due(&c.cell))
		}
	}
	return nil
}

// changed reports whether there is anything to be written.
func (m *memory) changed() bool { return len(m.dirty)+len(m.gone) > 0 }

// dues is a heap by time.
type dues []dueAt

type dueAt struct {
	at  int64
	key cellKey
}

// Len implements heap.Interface.
func (d dues) Len() int { return len(d) }

// Less implements heap.Interface.
func (d dues) Less(i, j int) bool { return d[i].at < d[j].at }

// Swap implements heap.Interface.
func (d dues) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push implements heap.Interface.
func (d *dues) Push(x any) { *d = append(*d, x.(dueAt)) }

// Pop implements heap.Interface.
func (d *dues) Pop() any {
	old := *d
	x := old[len(old)-1]
	*d = old[:len(old)-1]
	return x
}
