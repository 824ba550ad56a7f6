package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// sealRetry is how long the sealer waits for disk space before it tries again.
const sealRetry = time.Second

// sealLoop is the goroutine that turns full tables into segments.
func (j *Journal) sealLoop() {
	for {
		j.mu.Lock()
		var task *sealTask
		if len(j.sealing) > 0 {
			task = j.sealing[0]
		}
		j.mu.Unlock()
		if task == nil {
			select {
			case <-j.toSeal:
				continue
			case <-j.quit:
				return
			}
		}
		err := j.seal(task)
		switch {
		case err == nil:
		case errors.Is(err, syscall.ENOSPC):
			j.sealFailed(fmt.Errorf("%w: %w", ErrFull, err))
		default:
			j.halt(err)
			return
		}
		if err == nil {
			select {
			case <-j.quit: // what is left stays in the log
				return
			default:
			}
			continue
		}
		select {
		case <-time.After(sealRetry):
		case <-j.quit:
			return
		}
	}
}

func (j *Journal) sealFailed(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.sealErr == nil {
		j.o.Logger.WarnContext(context.Background(), "a segment could not be written; trying again every second", "err", err)
	}
	j.sealErr = err
	j.moved()
}

// seal makes segments of a table, and lets the log go.
func (j *Journal) seal(t *sealTask) error {
	if err := j.write(t); err != nil {
		return err
	}
	return j.log.Release(t.last)
}

// write writes the segments of a table and shows them to readers in its place.
// A second try after a failure writes the same files again.
func (j *Journal) write(t *sealTask) error {
	var fresh []*segment.Reader
	defer func() { // the view has references of its own
		for _, r := range fresh {
			r.Release()
		}
	}()
	ends := t.starts
	for _, p := range t.table.Parts() {
		r, err := j.sealPart(t.table, p, ends[p.Class].Hash)
		if err != nil {
			return err
		}
		fresh = append(fresh, r)
		ends[p.Class] = Head{r.Last(), r.Info().Out}
	}
	if ends != t.ends { // the log has other hashes: memory has changed under us
		return fmt.Errorf("%w: the segments up to sequence %d do not end the hash chains as the log does", ErrDamaged, t.last)
	}
	j.mu.Lock()
	j.sealing = slices.DeleteFunc(j.sealing, func(o *sealTask) bool { return o == t })
	tables := slices.DeleteFunc(slices.Clone(j.view.tables), func(o *segment.Table) bool { return o == t.table })
	readers := append(slices.Clone(j.view.readers), fresh...)
	slices.SortFunc(readers, func(a, b *segment.Reader) int { return cmp.Compare(a.First(), b.First()) })
	j.setView(tables, readers)
	j.sealErr = nil
	j.moved()
	j.mu.Unlock()
	return nil
}

func (j *Journal) sealPart(t *segment.Table, p segment.Part, in segment.Hash) (*segment.Reader, error) {
	path, err := segment.Write(j.o.FS, filepath.Join(j.o.Dir, segmentDir), t, p, in)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	r, err := segment.Open(j.o.FS, path)
	if err != nil {
		return nil, fmt.Errorf("open a sealed segment: %w", err)
	}
	return r, nil
}

// Seal makes segments of everything that was recorded before it was called, and
// waits until they are on disk.
func (j *Journal) Seal(ctx context.Context) error {
	var last event.Seq
	err := j.run(ctx, func() error {
		j.memory.rotate()
		last = j.memory.staged
		return nil
	})
	for err == nil {
		j.mu.Lock()
		done := len(j.sealing) == 0 || j.sealing[0].table.First() > last
		failed, moved := j.sealErr, j.sealed
		j.mu.Unlock()
		switch {
		case done:
			return nil
		case j.stopReason() != nil:
			return j.stopReason()
		case failed != nil:
			return failed
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-j.quit:
			return ErrClosed
		}
	}
	return err
}
