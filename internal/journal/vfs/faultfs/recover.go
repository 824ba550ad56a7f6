package faultfs

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// sector is what a disk writes as a whole.
const sector = 512

// Chooser decides what a crash keeps; *rand.Rand of math/rand/v2 is one.
type Chooser interface {
	IntN(n int) int
}

// Recover starts the machine again after a crash: open files are dead, locks
// are free, faults are off, and of what was not durable there is what choose
// decides. Whoever used the file system before must have stopped.
func (s *FS) Recover(choose Chooser) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.down, s.inject, s.ops = false, nil, 0
	clear(s.locks)
	done := make(map[*node]bool)
	for _, path := range sortedKeys(s.folders) {
		f := s.folders[path]
		for _, c := range f.pending[:choose.IntN(len(f.pending)+1)] {
			apply(f.durable, c)
		}
		f.pending = nil
		f.names = make(map[string]*node, len(f.durable))
		for _, name := range sortedKeys(f.durable) {
			n := f.durable[name]
			f.names[name] = n
			if !done[n] {
				done[n] = true
				n.crash(choose)
			}
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (n *node) crash(choose Chooser) {
	const (
		loseAll = iota
		keepAll
	)
	mood := choose.IntN(4) // half of the time, each write has a fate of its own
	for _, w := range append(n.lost, n.pending...) {
		switch mood {
		case loseAll:
		case keepAll:
			n.durable = w.apply(n.durable)
		default:
			n.durable = w.tear(n.durable, choose)
		}
	}
	n.lost, n.pending = nil, nil
	n.now = slices.Clone(n.durable)
}

// tear applies all, nothing or some sectors of a write.
func (w write) tear(b []byte, choose Chooser) []byte {
	switch fate := choose.IntN(3); {
	case fate == 0:
		return b
	case fate == 1 || w.truncate:
		return w.apply(b)
	}
	for from := int64(0); from < int64(len(w.data)); {
		to := min((w.at+from)/sector*sector+sector-w.at, int64(len(w.data)))
		if choose.IntN(2) == 0 {
			b = write{at: w.at + from, data: w.data[from:to]}.apply(b)
		}
		from = to
	}
	return b
}

// ReadFile gives a file's present content.
func (s *FS) ReadFile(path string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, name, err := s.split(path)
	if err != nil {
		return nil, err
	}
	n := f.names[name]
	if n == nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
	}
	return slices.Clone(n.now), nil
}

// Flip inverts bits of one byte, as a failing disk does: visible at once, and
// durable.
func (s *FS) Flip(path string, off int64, mask byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, name, err := s.split(path)
	if err != nil {
		return err
	}
	n := f.names[name]
	if n == nil || off >= int64(len(n.now)) {
		return fmt.Errorf("flip %s at %d: %w", path, off, fs.ErrNotExist)
	}
	n.now[off] ^= mask
	if off < int64(len(n.durable)) {
		n.durable[off] ^= mask
	}
	return nil
}

// Files lists the paths of all files, sorted.
func (s *FS) Files() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var paths []string
	for dir, f := range s.folders {
		for name := range f.names {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	slices.Sort(paths)
	return paths
}
