package faultfs

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// file is an open file. It dies in a crash.
type file struct {
	fs     *FS
	node   *node
	path   string
	epoch  int
	write  bool
	closed bool
}

func (f *file) check(write bool) error {
	switch {
	case f.fs.down || f.epoch != f.fs.epoch:
		return fmt.Errorf("%s: %w", f.path, ErrCrashed)
	case f.closed:
		return &fs.PathError{Op: "use", Path: f.path, Err: fs.ErrClosed}
	case write && !f.write:
		return &fs.PathError{Op: "write", Path: f.path, Err: fs.ErrPermission}
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check(false); err != nil {
		return 0, err
	}
	if off >= int64(len(f.node.now)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.now[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check(true); err != nil {
		return 0, err
	}
	fault, err := f.fs.begin(Write, f.path, len(p))
	if err != nil {
		return 0, err
	}
	n := len(p)
	if fault != nil && !fault.Crash {
		n, err = min(fault.Written, n), fmt.Errorf("write %s: %w", f.path, fault.Err)
	} else if grow := off + int64(n) - int64(len(f.node.now)); grow > 0 {
		var fits int64
		if fits, err = f.fs.room(grow); err != nil {
			n, err = max(n-int(grow-fits), 0), fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	if n > 0 {
		f.node.put(write{at: off, data: slices.Clone(p[:n])})
	}
	if fault != nil && fault.Crash {
		return 0, fault.Err
	}
	return n, err
}

// Sync implements vfs.File.
func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check(false); err != nil {
		return err
	}
	fault, err := f.fs.begin(Sync, f.path, 0)
	if err != nil {
		return err
	}
	n := f.node
	if fault != nil {
		if !fault.Crash {
			n.lost = append(n.lost, n.pending...)
			n.pending = nil
		}
		return fmt.Errorf("sync %s: %w", f.path, fault.Err)
	}
	for _, w := range n.pending {
		n.durable = w.apply(n.durable)
	}
	n.pending = nil
	return nil
}

// Truncate implements vfs.File.
func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check(true); err != nil {
		return err
	}
	fault, err := f.fs.begin(Truncate, f.path, 0)
	if err != nil {
		return err
	}
	if fault != nil && !fault.Crash {
		return fmt.Errorf("truncate %s: %w", f.path, fault.Err)
	}
	f.node.put(write{at: size, truncate: true})
	if fault != nil {
		return fault.Err
	}
	return nil
}

// Size implements vfs.File.
func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.now)), f.check(false)
}

// Close implements io.Closer; it makes nothing durable.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.closed = true
	return nil
}

func (n *node) put(w write) {
	n.now = w.apply(n.now)
	n.pending = append(n.pending, w)
}

func (w write) apply(b []byte) []byte {
	if w.truncate {
		if int64(len(b)) > w.at {
			return slices.Clone(b[:w.at])
		}
		return append(b, make([]byte, w.at-int64(len(b)))...)
	}
	if short := w.at + int64(len(w.data)) - int64(len(b)); short > 0 {
		b = append(b, make([]byte, short)...)
	}
	copy(b[w.at:], w.data)
	return b
}
