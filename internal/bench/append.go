package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

// shape is how events come: so many producers, each of which hands in so many
// at once and waits until they are durable.
type shape struct {
	name             string
	producers, batch int
	total            int // events in one round
	disk, sqlite     float64
}

// recorder takes a batch and returns when it is durable.
type recorder func(ctx context.Context, events []event.Event) error

// appends compares the journal with plain writes of the same bytes, and with
// SQLite.
func (b *bench) appends(ctx context.Context) error {
	for _, s := range []shape{
		{"single events from 64 producers", 64, 1, b.s.single, 0.9, 5},
		{"batches of 500 from 4 producers", 4, 500, b.s.batch, 0.5, 8},
	} {
		if err := b.appendShape(ctx, &s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (b *bench) appendShape(ctx context.Context, s *shape) error {
	var ours, growing, recycled, rival, groups samples
	for round := range b.s.rounds {
		b.o.Say(fmt.Sprintf("append, %s: round %d of %d", s.name, round+1, b.s.rounds))
		dir, err := b.folder("append")
		if err != nil {
			return err
		}
		work := b.prepare(s.producers, s.batch, s.total, round)
		rate, group, err := appendJournal(ctx, filepath.Join(dir, "journal"), work)
		if err != nil {
			return err
		}
		ours, groups = append(ours, rate), append(groups, group)
		pieces := encodeGroups(work, int(group+0.5))
		for _, bound := range []struct {
			to      *samples
			recycle bool
		}{{&growing, false}, {&recycled, true}} {
			rate, err := writeGroups(filepath.Join(dir, "bound"), pieces, bound.recycle)
			if err != nil {
				return err
			}
			*bound.to = append(*bound.to, rate*group)
		}
		if rate, err = appendRival(ctx, filepath.Join(dir, "sqlite"), work); err != nil {
			return err
		}
		rival = append(rival, rate)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	const unit, section = "events/s", "Journal: recording"
	against := func(what string) string { return fmt.Sprintf("%s, groups of %.0f", what, groups.median()) }
	row := Row{Section: section, What: s.name, Ours: ours.median(), Unit: unit, Sense: More}
	row.Theirs, row.Against, row.Goal = growing.median(), against("write + fdatasync, growing file"), s.disk
	b.report.add(row)
	row.Theirs, row.Against, row.Goal = recycled.median(), against("write + fdatasync, recycled file"), 0
	b.report.add(row)
	row.Theirs, row.Against, row.Goal = rival.median(), "SQLite", s.sqlite
	b.report.add(row)
	b.report.note("%s: journal %s events/s, growing file %s, recycled %s, SQLite %s in the rounds; ratio to the growing file round by round %s.",
		s.name, list(ours), list(growing), list(recycled), list(rival), list(ratios(ours, growing)))
	return nil
}

func list(s samples) string {
	texts := make([]string, len(s))
	for i, v := range s {
		texts[i] = figure(v)
	}
	return strings.Join(texts, " / ")
}

// prepare makes the batches of each producer.
func (b *bench) prepare(producers, batch, total, round int) [][][]event.Event {
	work := make([][][]event.Event, producers)
	g := NewGenerator(b.seed+uint64(round)*7919+uint64(batch), total, b.s.needleDistance, time.Now())
	for range max(total/producers/batch, 1) {
		for p := range producers {
			events := make([]event.Event, batch)
			for i := range events {
				events[i] = g.Next()
			}
			work[p] = append(work[p], events)
		}
	}
	runtime.GC()
	return work
}

// produce hands everything in, and gives the rate in events a second.
func produce(ctx context.Context, work [][][]event.Event, record recorder) (float64, error) {
	var all sync.WaitGroup
	var total atomic.Int64
	failed := make([]error, len(work))
	began := time.Now()
	for p := range work {
		all.Go(func() {
			for _, events := range work[p] {
				if failed[p] = record(ctx, events); failed[p] != nil {
					return
				}
				total.Add(int64(len(events)))
			}
		})
	}
	all.Wait()
	return float64(total.Load()) / time.Since(began).Seconds(), errors.Join(failed...)
}

// groupMeter measures the journal's groups.
type groupMeter struct{ groups, events atomic.Int64 }

// Committed implements journal.Observer.
func (m *groupMeter) Committed(s journal.GroupStats) {
	m.groups.Add(1)
	m.events.Add(int64(s.Events))
}

// appendJournal gives events a second, and events a group.
func appendJournal(ctx context.Context, dir string, work [][][]event.Event) (rate, group float64, err error) {
	var meter groupMeter
	j, err := journal.Open(ctx, journal.Options{Dir: dir, Observer: &meter})
	if err != nil {
		return 0, 0, err
	}
	rate, err = produce(ctx, work, func(ctx context.Context, events []event.Event) error {
		_, err := j.Append(ctx, events)
		return err
	})
	return rate, float64(meter.events.Load()) / float64(max(meter.groups.Load(), 1)), errors.Join(err, j.Close())
}

// encodeGroups gives the bytes of the same events, as the journal stores them,
// in groups of a size.
func encodeGroups(work [][][]event.Event, size int) [][]byte {
	var pieces [][]byte
	var piece []byte
	n := 0
	for k := range work[0] {
		for p := range work {
			for i := range work[p][k] {
				piece = work[p][k][i].AppendStored(piece)
				if n++; n == max(size, 1) {
					pieces, piece, n = append(pieces, piece), make([]byte, 0, len(piece)+1024), 0
				}
			}
		}
	}
	if len(pieces) == 0 {
		pieces = append(pieces, piece)
	}
	return pieces
}

// writeGroups writes and syncs one piece after the other, and gives pieces a
// second. A recycled file has been written in full before.
func writeGroups(path string, pieces [][]byte, recycle bool) (rate float64, err error) {
	f, err := vfs.OS{}.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if recycle {
		if _, err := writePieces(f, pieces, false); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	n, err := writePieces(f, pieces, true)
	return float64(n) / time.Since(began).Seconds(), err
}

func writePieces(f vfs.File, pieces [][]byte, sync bool) (int, error) {
	at := int64(0)
	for _, p := range pieces {
		n, err := f.WriteAt(p, at)
		if err == nil && sync {
			err = f.Sync()
		}
		if err != nil {
			return 0, err
		}
		at += int64(n)
	}
	return len(pieces), nil
}

// appendRival gives SQLite's events a second.
func appendRival(ctx context.Context, dir string, work [][][]event.Event) (rate float64, err error) {
	db, err := openRival(ctx, dir, true)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	stop := db.serve(ctx)
	rate, err = produce(ctx, work, db.record)
	return rate, errors.Join(err, stop())
}
