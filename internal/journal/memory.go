package journal

import (
	"context"
	"slices"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/wal"
)

const classes = wal.Classes

// maxWaiting is how many full tables may wait to be sealed before appends wait.
const maxWaiting = 3

// Head is the end of one class's hash chain.
type Head struct {
	Last event.Seq    // of the class's last event; 0 when there was none
	Hash segment.Hash // after it
}

// sealTask is a full table with what must be known to seal it.
type sealTask struct {
	table  *segment.Table
	starts [classes]Head // of the chains before its first event
	ends   [classes]Head // and behind its last one
	last   event.Seq
}

// memory is the journal's sink: the table that takes new events, and the chains.
// All methods belong to the goroutine that commits.
type memory struct {
	j      *Journal
	table  *segment.Table
	rows   int // in the table, published or not
	bytes  int64
	opened int64         // when the table's first event was recorded; 0 for an empty one
	starts [classes]Head // before the table
	ends   [classes]Head
	staged event.Seq // the last sequence that was added
	hasher segment.Hasher
}

var _ sink = (*memory)(nil)

func (m *memory) heads() [classes]Head { return m.ends }

func (m *memory) add(entries []*segment.Entry) {
	for _, e := range entries {
		end := &m.ends[e.Class]
		*end = Head{e.Seq, m.hasher.Next(end.Hash, e.Seq, e.Recorded, e.Body)}
		m.table.Add(e)
		m.rows++
		m.bytes += int64(len(e.Body))
		m.staged = e.Seq
		if m.opened == 0 {
			m.opened = e.Recorded
		}
	}
}

func (m *memory) publish() {
	m.table.Publish()
	m.j.mu.Lock()
	m.j.last, m.j.ends, m.j.opened = m.staged, m.ends, m.opened
	m.j.mu.Unlock()
	m.j.grow()
}

func (m *memory) full() bool {
	return m.rows >= m.j.o.MemEvents || m.bytes >= m.j.o.MemBytes
}

// room hands a full table to the sealer. While too many wait there, so does the
// committer, unless the sealer itself is waiting for disk space.
func (m *memory) room(ctx context.Context) error {
	for m.full() {
		m.j.mu.Lock()
		waiting, err, moved := len(m.j.sealing), m.j.sealErr, m.j.sealed
		m.j.mu.Unlock()
		switch {
		case m.j.stopReason() != nil:
			return m.j.stopReason()
		case waiting < maxWaiting:
			m.rotate()
			return nil
		case err != nil:
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// rotate gives the table to the sealer and begins a new one.
func (m *memory) rotate() {
	if m.rows == 0 {
		return
	}
	task := &sealTask{table: m.table, starts: m.starts, ends: m.ends, last: m.staged}
	m.starts = m.ends
	rows := m.rows
	m.table, m.rows, m.bytes, m.opened = segment.NewTable(), 0, 0, 0
	if m.j.o.MemEvents <= 2*rows { // a full table is mostly followed by another
		m.table.Reserve(m.j.o.MemEvents)
	}
	j := m.j
	j.mu.Lock()
	defer j.mu.Unlock()
	j.opened = 0
	j.sealing = append(j.sealing, task)
	j.setView(append(slices.Clone(j.view.tables), m.table), j.view.readers)
	select {
	case j.toSeal <- struct{}{}:
	default:
	}
}
