package journal

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
	"github.com/tocsin-events/tocsin/internal/journal/wal"
)

// freeEvery is how long a look at the free disk space counts.
const freeEvery = time.Second

// files is the committer of one machine: the write-ahead log in files, and the
// dedupe table in memory. All but release belongs to the committing goroutine.
type files struct {
	fs      vfs.FS
	dir     string
	reserve int64
	log     *wal.Log
	seen    *dedupe
	stored  lookup
	sink    sink

	last     event.Seq
	recorded int64 // of the last group
	free     int64
	looked   time.Time
	syncs    chan struct{}
	synced   chan error

	buf     []byte
	entries []*segment.Entry
	inGroup map[segment.Key]*item
}

var _ committer = (*files)(nil)

// start begins the goroutine that syncs while this one fills the memory.
func (f *files) start() {
	f.syncs, f.synced = make(chan struct{}), make(chan error)
	f.inGroup = make(map[segment.Key]*item)
	go func() {
		for range f.syncs {
			f.synced <- f.log.Sync()
		}
		close(f.synced)
	}()
}

// Commit implements committer: one write, one sync.
func (f *files) Commit(ctx context.Context, g *group) error {
	if err := f.space(g.urgent); err != nil {
		return err
	}
	if err := f.sink.room(ctx); err != nil {
		return err
	}
	recorded := max(time.Now().UnixNano(), f.recorded)
	f.order(g, recorded)
	if len(f.entries) == 0 {
		return nil // nothing but duplicates
	}
	h := wal.Header{First: f.last + 1, Count: len(f.entries), Recorded: recorded}
	for c, head := range f.sink.heads() {
		h.Before[c] = head.Hash
	}
	if err := f.log.Append(&h, f.buf); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			f.looked = time.Time{}
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		return stopped(err)
	}
	f.syncs <- struct{}{}
	f.sink.add(f.entries)
	err := f.remember()
	if err := errors.Join(<-f.synced, err); err != nil {
		return stopped(err)
	}
	f.last, f.recorded = h.Last(), recorded
	f.sink.publish()
	return nil
}

// space refuses when the disk is full but for the reserve, which is for events
// of the kinds sys and audit.
func (f *files) space(urgent bool) error {
	if time.Since(f.looked) >= freeEvery {
		free, err := f.fs.Free(f.dir)
		if err != nil {
			return stopped(err)
		}
		f.free, f.looked = free, time.Now()
	}
	if f.free < f.reserve && !urgent {
		return fmt.Errorf("%w: %d bytes are left, of which %d are reserved for events of the kinds sys and audit", ErrFull, f.free, f.reserve)
	}
	return nil
}

// order finds duplicates, gives sequences, and collects what is new: its records
// behind room for the frame's header.
func (f *files) order(g *group, recorded int64) {
	f.buf = append(f.buf[:0], make([]byte, wal.HeaderSize)...)
	f.entries = f.entries[:0]
	clear(f.inGroup)
	next := f.last
	for _, r := range g.requests {
		r.recorded = recorded
		for i := range r.items {
			it := &r.items[i]
			if res, dup := f.duplicate(it); dup {
				r.results[i] = res
				continue
			}
			next++
			record(&it.entry, next, recorded)
			r.results[i] = Result{Seq: next}
			f.inGroup[it.entry.Key] = it
			f.entries = append(f.entries, &it.entry)
			f.buf = append(f.buf, it.rec...)
		}
	}
	if cap(f.buf) > 4*maxGroupBytes && len(f.buf) < maxGroupBytes {
		f.buf = append([]byte(nil), f.buf...) // one huge group does not stay for ever
	}
}

func (f *files) duplicate(it *item) (Result, bool) {
	if it.known != 0 {
		return Result{Seq: it.known, Duplicate: true, Conflict: it.clash}, true
	}
	if first, ok := f.inGroup[it.entry.Key]; ok {
		same, conflict := sameEvent(first.entry.Body, it.entry.Body, it.entry.Source, it.id)
		return Result{Seq: first.entry.Seq, Duplicate: same, Conflict: conflict}, same
	}
	seq, ok := f.seen.find(it.entry.Key)
	if !ok {
		return Result{}, false
	}
	same, conflict := recordedAs(f.stored, seq, it)
	return Result{Seq: seq, Duplicate: same, Conflict: conflict}, same
}

// recordedAs compares an event with the one that its key was found for. One
// that retention has removed, or that has expired, counts as the same: the key
// is a keyed hash of 128 bits.
func recordedAs(stored lookup, seq event.Seq, it *item) (same, conflict bool) {
	hit, err := stored(seq)
	if err != nil {
		return true, false
	}
	return sameEvent(hit.Body, it.entry.Body, it.entry.Source, it.id)
}

// remember takes the keys of the group into the dedupe table. It runs while the
// group is being synced: should that fail, nothing is answered any more.
func (f *files) remember() error {
	for _, e := range f.entries {
		if err := f.seen.add(e.Seq, e.Key); err != nil {
			return err
		}
	}
	return nil
}

// Release implements committer.
func (f *files) Release(seq event.Seq) error { return f.log.Release(seq) }

// Close implements committer.
func (f *files) Close() error {
	if f.syncs != nil {
		close(f.syncs)
		for range f.synced { // until the goroutine has ended
		}
	}
	f.seen.close()
	return f.log.Close()
}
