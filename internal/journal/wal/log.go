package wal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

// DefaultFileSize is the length of a log file in bytes.
const DefaultFileSize = 16 << 20

const (
	maxSpare  = 2 // files kept for use again, beside the one in use and the next
	zeroChunk = 1 << 20
	tempName  = "next.tmp"
)

// Options say where and how the log is kept.
type Options struct {
	FS       vfs.FS
	Dir      string
	FileSize int64 // of a file; a greater frame gets a file of its own size
	Logger   *slog.Logger
}

// Log writes the log. Append, Sync and Close belong to one goroutine; Release
// and Size may be called from any.
type Log struct {
	o       Options
	current *logFile

	making sync.Mutex // held while a file is made; taken before mu
	number uint64     // the last generation given out; guarded by making

	mu    sync.Mutex // guards all below, and end, size and last of files
	live  []*logFile // in order of use, the current one last
	spare []string   // paths of whole files whose events are elsewhere, oldest first
	ready *logFile   // the next one

	kick chan struct{}
	quit chan struct{}
	done sync.WaitGroup
}

type logFile struct {
	file       vfs.File
	path       string
	generation uint64
	size       int64 // allocated
	end        int64 // behind the last frame
	last       event.Seq
}

// Open continues the log that Scan has read: it cuts a torn end, makes durable
// what was found (a killed process leaves a frame that was never synced, a
// failed sync one that is in memory only), and starts the goroutine that prepares files. Close ends it.
func Open(o Options, found Contents) (*Log, error) {
	l := &Log{o: o, kick: make(chan struct{}, 1), quit: make(chan struct{})}
	for i := range found.Files {
		f := &found.Files[i]
		l.number = max(l.number, f.Generation)
		if f.Last == 0 && !f.Torn {
			if err := l.keep(f.Path, f.Size); err != nil {
				return nil, errors.Join(err, l.closeFiles())
			}
			continue
		}
		if err := l.resume(f); err != nil {
			return nil, errors.Join(err, l.closeFiles())
		}
	}
	if n := len(l.live); n > 0 && l.live[n-1].size >= o.FileSize {
		l.current = l.live[n-1]
	}
	l.done.Go(l.prepare)
	return l, nil
}

func (l *Log) resume(f *File) error {
	file, err := l.o.FS.Open(f.Path, true)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	l.live = append(l.live, &logFile{
		file: file, path: f.Path, generation: f.Generation,
		size: f.Size, end: f.End, last: f.Last,
	})
	if f.Torn {
		if err := zero(file, f.End, f.Size); err != nil {
			return fmt.Errorf("cut the torn end of %s: %w", f.Path, err)
		}
	}
	if err := rewrite(file, f.Final, f.End); err != nil {
		return fmt.Errorf("make the end of %s durable: %w", f.Path, err)
	}
	return nil
}

// rewrite writes a part of a file over itself and syncs it. A sync alone would
// not do: after one that failed, the bytes are still to be read, and a second
// one says yes without writing them. Only the last frame can be in that state.
func rewrite(f vfs.File, from, to int64) error {
	b := make([]byte, to-from)
	if _, err := f.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err := f.WriteAt(b, from); err != nil {
		return err
	}
	return f.Sync()
}

func zero(f vfs.File, from, to int64) error {
	zeros := make([]byte, min(zeroChunk, max(to-from, 0)))
	for from < to {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// Append writes the frame whose payload is buf[HeaderSize:]; the header is
// filled in. It is durable after the next Sync. After an error for which
// errors.Is(err, syscall.ENOSPC) holds the log is as before, and Append may be
// tried again; after any other one the log must not be used any more.
func (l *Log) Append(h *Header, buf []byte) error {
	f := l.current
	if f == nil || f.end+int64(len(buf)) > f.size {
		var err error
		if f, err = l.next(); err != nil {
			return err
		}
	}
	seal(buf, f.generation, h)
	if _, err := f.file.WriteAt(buf, f.end); err != nil {
		if f.end == 0 { // a frame greater than a file: give the room back
			err = errors.Join(err, f.file.Truncate(f.size))
		}
		return fmt.Errorf("write the log: %w", err)
	}
	half := f.size / 2
	if f.end <= half && f.end+int64(len(buf)) > half {
		l.wake()
	}
	l.mu.Lock()
	f.end += int64(len(buf))
	f.size = max(f.size, f.end)
	f.last = h.Last()
	l.mu.Unlock()
	return nil
}

// Sync makes all frames durable.
func (l *Log) Sync() error {
	if err := l.current.file.Sync(); err != nil {
		return fmt.Errorf("sync the log: %w", err)
	}
	return nil
}

// next makes the next file the current one. An empty current file is kept in
// use: a failed Append leaves one behind.
func (l *Log) next() (*logFile, error) {
	if l.current != nil && l.current.end == 0 {
		return l.current, nil
	}
	if err := l.makeReady(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current, l.ready = l.ready, nil
	l.live = append(l.live, l.current)
	return l.current, nil
}

// wake asks for the next file to be prepared, so that no append waits for it.
func (l *Log) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

func (l *Log) prepare() {
	for {
		select {
		case <-l.quit:
			return
		case <-l.kick:
		}
		if err := l.makeReady(); err != nil { // the append that needs the file will tell its caller
			l.o.Logger.WarnContext(context.Background(), "the next log file could not be prepared", "err", err)
		}
	}
}

// makeReady sees to it that there is a next file: a spare one under a new name,
// or a new one, written in full. Name and blocks are durable before any frame
// can be in it.
func (l *Log) makeReady() error {
	l.making.Lock()
	defer l.making.Unlock()
	l.mu.Lock()
	have, spare := l.ready != nil, ""
	if !have && len(l.spare) > 0 {
		spare, l.spare = l.spare[0], l.spare[1:]
	}
	l.mu.Unlock()
	if have {
		return nil
	}
	f, err := l.makeFile(spare)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if spare != "" {
			l.spare = slices.Insert(l.spare, 0, spare)
		}
		return err
	}
	l.ready = f
	return nil
}

func (l *Log) makeFile(from string) (*logFile, error) {
	path := filepath.Join(l.o.Dir, fileName(l.number+1))
	if from == "" {
		from = filepath.Join(l.o.Dir, tempName)
		if err := l.create(from); err != nil {
			return nil, errors.Join(err, l.o.FS.Remove(from))
		}
	}
	if err := l.o.FS.Rename(from, path); err != nil {
		return nil, fmt.Errorf("name a log file: %w", err)
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return nil, fmt.Errorf("sync the log's folder: %w", err)
	}
	file, err := l.o.FS.Open(path, true)
	if err != nil {
		return nil, fmt.Errorf("open a log file: %w", err)
	}
	l.number++
	return &logFile{file: file, path: path, generation: l.number, size: l.o.FileSize}, nil
}

func (l *Log) create(path string) error {
	f, err := l.o.FS.Create(path)
	if err != nil {
		return fmt.Errorf("create a log file: %w", err)
	}
	err = zero(f, 0, l.o.FileSize)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("allocate a log file: %w", err)
	}
	return nil
}

// Release says that every event up to seq is durable elsewhere; files with no
// others are used again, or removed.
func (l *Log) Release(seq event.Seq) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	l.live = slices.DeleteFunc(l.live, func(f *logFile) bool {
		// The last one stays: it says where the log goes on.
		if f.last > seq || f == l.live[len(l.live)-1] {
			return false
		}
		errs = append(errs, f.file.Close(), l.keep(f.path, f.size))
		return true
	})
	return errors.Join(errs...)
}

// keep puts a whole file aside for use again. What is too much goes, the oldest
// first, so that the generations on disk stay without a gap.
func (l *Log) keep(path string, size int64) error {
	if size != l.o.FileSize {
		return l.o.FS.Remove(path)
	}
	l.spare = append(l.spare, path)
	if len(l.spare) <= maxSpare {
		return nil
	}
	path, l.spare = l.spare[0], l.spare[1:]
	return l.o.FS.Remove(path)
}

// Size is the length of all files in bytes.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := int64(len(l.spare)) * l.o.FileSize
	for _, f := range l.live {
		size += f.size
	}
	if l.ready != nil {
		size += l.ready.size
	}
	return size
}

// Close ends the preparing goroutine and closes the files. It syncs nothing:
// what was acknowledged is durable already.
func (l *Log) Close() error {
	close(l.quit)
	l.done.Wait()
	return l.closeFiles()
}

func (l *Log) closeFiles() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, f := range l.live {
		errs = append(errs, f.file.Close())
	}
	if l.ready != nil {
		errs = append(errs, l.ready.file.Close())
	}
	l.live, l.ready = nil, nil
	return errors.Join(errs...)
}

// Hold runs f while no file of the log comes, goes or changes its name. It may
// be called where Append may.
func (l *Log) Hold(f func() error) error {
	l.making.Lock()
	defer l.making.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return f()
}
