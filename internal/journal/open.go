package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
	"github.com/tocsin-events/tocsin/internal/journal/wal"
)

// Open opens the journal in a folder, or makes one. It takes the folder's lock
// (vfs.ErrLocked names the process that has it), reads the log back into
// memory, cuts a torn end, and starts the goroutines that Close ends. A journal
// that has lost events opens, too, and refuses writes with ErrDamaged.
func Open(ctx context.Context, o Options) (*Journal, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	lock, err := prepareFolder(o.FS, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j := &Journal{
		o: o, lock: lock, queue: newQueue(),
		retaining: make(chan struct{}, 1), toSeal: make(chan struct{}, 1),
		quit: make(chan struct{}), sealed: make(chan struct{}),
	}
	j.requests.New = newRequest
	j.retaining <- struct{}{}
	if err := j.recover(ctx); err != nil {
		return nil, fmt.Errorf("open the journal: %w", errors.Join(err, j.free()))
	}
	j.start()
	return j, nil
}

func prepareFolder(fsys vfs.FS, dir string) (io.Closer, error) {
	for _, sub := range []string{logDir, segmentDir} {
		if err := fsys.MkdirAll(filepath.Join(dir, sub)); err != nil {
			return nil, err
		}
	}
	lock, err := lockFolder(fsys, dir)
	if err != nil {
		return nil, err
	}
	// What a killed process renamed is visible, and perhaps not yet durable.
	for _, d := range []string{filepath.Dir(dir), dir, filepath.Join(dir, logDir), filepath.Join(dir, segmentDir)} {
		if err := fsys.SyncDir(d); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	return lock, removeTemporary(fsys, dir)
}

func lockFolder(fsys vfs.FS, dir string) (io.Closer, error) {
	locker, ok := fsys.(vfs.Locker)
	if !ok {
		return io.NopCloser(nil), nil
	}
	return locker.Lock(filepath.Join(dir, lockName))
}

// removeTemporary removes files that were being written when the last process
// ended.
func removeTemporary(fsys vfs.FS, dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, logDir), filepath.Join(dir, segmentDir)} {
		names, err := fsys.List(d)
		if err != nil {
			return err
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".tmp") {
				if err := fsys.Remove(filepath.Join(d, name)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// recover brings memory to where the files are.
func (j *Journal) recover(ctx context.Context) error {
	var err error
	if j.identity, err = ensureIdentity(j.o.FS, j.o.Dir); err != nil {
		return err
	}
	if j.ledger, err = openLedger(j.o.FS, j.o.Dir, filepath.Join(j.o.Dir, ledgerName)); err != nil {
		return err
	}
	if j.seen, err = newDedupe(j.o.Window); err != nil {
		return err
	}
	s, err := loadSegments(j.o.FS, j.o.Dir)
	defer s.close()
	if err != nil {
		return err
	}
	j.setView([]*segment.Table{segment.NewTable()}, s.readers)
	j.memory = &memory{j: j, table: j.view.tables[0], starts: s.ends, ends: s.ends, staged: s.last}
	if err := j.replay(ctx, s); err != nil {
		return err
	}
	if err := j.rebuildDedupe(ctx, s); err != nil {
		return err
	}
	if problems := s.problems(); len(problems) > 0 {
		if !j.o.AcceptLoss && !s.whole() {
			j.damaged(ctx, problems)
			return nil
		}
		if err := j.acceptLoss(ctx, s); err != nil {
			return err
		}
	}
	if err := j.removeLeftovers(s); err != nil {
		return err
	}
	return j.openFiles(s)
}

// replay reads the log into tables.
func (j *Journal) replay(ctx context.Context, s *state) error {
	m := j.memory
	var e segment.Entry
	one := []*segment.Entry{&e}
	var failed error
	err := s.replay(j.o.FS, j.o.Dir, func(f *wal.Frame, seq event.Seq, r *wal.Record) {
		if err := replayed(&e, r, seq, f.Recorded); err != nil {
			j.o.Logger.WarnContext(ctx, "an event in the log can't be decoded; it is kept as it is", "sequence", seq, "err", err)
		}
		if err := j.seen.load(seq, r.Key); err != nil {
			failed = err
		}
		if m.full() {
			m.table.Publish()
			m.rotate()
		}
		m.add(one)
	}, func(ends [classes]Head) {
		m.table.Publish()
		m.rotate()
		m.starts, m.ends = ends, ends
	})
	m.staged = max(m.staged, s.last)
	m.publish()
	for i := range s.log.Files {
		if f := &s.log.Files[i]; f.Torn {
			j.o.Logger.WarnContext(ctx, "the log ended in an unfinished write, which nobody was told about; it is cut", "path", f.Path, "offset", f.End)
		}
	}
	return errors.Join(err, failed)
}

// rebuildDedupe reads the keys of the newest events.
func (j *Journal) rebuildDedupe(ctx context.Context, s *state) error {
	if err := j.seen.begin(s.last); err != nil {
		return err
	}
	for _, r := range slices.Backward(s.readers) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if uint64(r.Last())+uint64(j.o.Window) <= uint64(s.last) {
			continue
		}
		var failed error
		damage := r.Keys(func(seq event.Seq, key segment.Key) bool {
			failed = j.seen.load(seq, key)
			return failed == nil
		})
		if failed != nil {
			return failed
		}
		if damage != nil {
			j.o.Logger.ErrorContext(ctx, "the keys of a segment can't be read; its events may be recorded twice", "err", damage)
		}
	}
	return nil
}

// damaged makes a journal that only reads.
func (j *Journal) damaged(ctx context.Context, problems []*ProblemError) {
	err := fmt.Errorf("%w: %w", ErrDamaged, joinProblems(problems))
	j.stop.Store(&err)
	j.o.Logger.ErrorContext(ctx, "the journal is damaged and accepts no events until an operator accepts the loss", "err", err)
}

// removeLeftovers unlinks segments that the ledger says are gone.
func (j *Journal) removeLeftovers(s *state) error {
	for _, path := range s.gone {
		if err := j.o.FS.Remove(path); err != nil {
			return fmt.Errorf("finish a removal: %w", err)
		}
	}
	return nil
}

func (j *Journal) openFiles(s *state) error {
	recorded := s.newest
	if recorded == 0 && s.last != 0 { // the log is gone, or was set aside
		if hit, err := j.Get(s.last); err == nil {
			recorded = hit.Recorded
		}
	}
	log, err := wal.Open(wal.Options{
		FS: j.o.FS, Dir: filepath.Join(j.o.Dir, logDir), FileSize: j.o.WALBytes, Logger: j.o.Logger,
	}, s.log)
	if err != nil {
		return err
	}
	j.files = &files{
		fs: j.o.FS, dir: j.o.Dir, reserve: j.o.Reserve, log: log, seen: j.seen,
		stored: j.Get, sink: j.memory, last: s.last, recorded: recorded,
	}
	j.log = j.files
	oldest := s.last + 1 // of what is not sealed
	for _, t := range j.view.tables {
		if f := t.First(); f != 0 {
			oldest = min(oldest, f)
		}
	}
	return log.Release(oldest - 1)
}

func (j *Journal) start() {
	if j.log == nil { // damaged: there is nothing to write
		close(j.quit)
		j.queue.close()
		return
	}
	j.files.start()
	j.writers.Go(func() {
		defer close(j.quit)
		j.commitLoop()
	})
	j.writers.Go(j.sealLoop)
	j.writers.Go(j.maintain)
}

func (j *Journal) close() error {
	j.queue.close()
	j.writers.Wait()
	return j.free()
}

// free gives back what Open took.
func (j *Journal) free() error {
	var errs []error
	switch {
	case j.log != nil:
		errs = append(errs, j.log.Close())
	case j.seen != nil:
		j.seen.close()
	}
	j.mu.Lock()
	if j.view != nil {
		j.view.release()
		j.view = &view{}
		j.view.refs.Store(1)
	}
	j.mu.Unlock()
	if j.ledger != nil {
		errs = append(errs, j.ledger.file.Close())
	}
	return errors.Join(append(errs, j.lock.Close())...)
}
