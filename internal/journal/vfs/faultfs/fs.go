// Package faultfs is a file system in memory that behaves as badly as a real
// one may: it keeps what was written and what is durable apart, and crashes,
// fails, tears and fills up where a test says so. Only tests import it.
//
// Its model of a disk: a write is durable once a later Sync of its file has
// returned nil; until then a crash keeps it, loses it, or keeps any of its
// 512-byte sectors, independently of other writes. What was pending when a Sync
// failed stays visible to readers, and no later Sync makes it durable (as on
// Linux, where a failed write-back marks pages clean). Names are durable after
// SyncDir; before it a crash keeps any prefix of a folder's changes, a rename
// as one of them. Folders themselves are durable at once.
//
// It promises that nothing it reports as durable is ever lost, and that the same
// script and seed fail in the same way. It is safe for concurrent use.
package faultfs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

// ErrCrashed is what every operation returns between a crash and Recover.
var ErrCrashed = errors.New("faultfs: the machine is down")

// Kind is the sort of an operation that changes something.
type Kind string

// The kinds of operation.
const (
	Create   Kind = "create"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
	Remove   Kind = "remove"
	Rename   Kind = "rename"
	SyncDir  Kind = "syncdir"
)

// Op is an operation about to happen. N counts from 1 since New or Recover.
type Op struct {
	N    int
	Kind Kind
	Path string
	Size int // bytes to write
}

// Fault is what happens instead of the operation.
type Fault struct {
	// Err is returned, after the first Written bytes of a write took place.
	Err     error
	Written int
	// Crash takes the machine down in the middle of the operation: it was
	// issued, so that Recover may find all, some or nothing of it.
	Crash bool
}

// FS is the file system. Use New.
type FS struct {
	mu       sync.Mutex
	folders  map[string]*folder
	locks    map[string]bool
	inject   func(Op) *Fault
	ops      int
	epoch    int
	down     bool
	capacity int64
}

var (
	_ vfs.FS     = (*FS)(nil)
	_ vfs.Locker = (*FS)(nil)
)

type folder struct {
	names   map[string]*node
	durable map[string]*node
	pending []change
}

// change gives names new nodes; nil takes a name away.
type change []struct {
	name string
	node *node
}

// node is a file's content: durable, then what is pending on top of it.
type node struct {
	now     []byte
	durable []byte
	pending []write
	lost    []write // pending when a Sync failed: a crash may still keep them
}

type write struct {
	at       int64
	data     []byte
	truncate bool // to at bytes
}

// New makes an empty file system without limit or faults.
func New() *FS {
	return &FS{
		folders:  map[string]*folder{"/": newFolder(), ".": newFolder()},
		locks:    make(map[string]bool),
		capacity: math.MaxInt64,
	}
}

func newFolder() *folder {
	return &folder{names: make(map[string]*node), durable: make(map[string]*node)}
}

// Inject calls f before every operation that changes something; a result other
// than nil happens instead. f runs under the file system's lock. Nil ends it.
func (s *FS) Inject(f func(Op) *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inject = f
}

// SetCapacity limits the sum of all file sizes, in bytes.
func (s *FS) SetCapacity(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = bytes
}

// Ops is the number of changing operations since New or Recover.
func (s *FS) Ops() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ops
}

// Down reports whether the machine has crashed.
func (s *FS) Down() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// Crash takes the machine down now.
func (s *FS) Crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
}

// begin counts an operation. It returns the fault to act out, and the error of
// a machine that is down.
func (s *FS) begin(kind Kind, path string, size int) (*Fault, error) {
	if s.down {
		return nil, fmt.Errorf("%s %s: %w", kind, path, ErrCrashed)
	}
	s.ops++
	if s.inject == nil {
		return nil, nil
	}
	f := s.inject(Op{N: s.ops, Kind: kind, Path: path, Size: size})
	if f == nil {
		return nil, nil
	}
	if f.Crash {
		s.down = true
		f.Err = cmp.Or(f.Err, ErrCrashed)
	}
	return f, nil
}

func (s *FS) split(path string) (*folder, string, error) {
	dir, name := filepath.Split(filepath.Clean(path))
	f := s.folders[filepath.Clean(dir)]
	if f == nil {
		return nil, "", &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return f, name, nil
}

// alter applies a change of names, or fails as the fault says.
func (s *FS) alter(kind Kind, path string, f *folder, c change) error {
	fault, err := s.begin(kind, path, 0)
	if err != nil {
		return err
	}
	if fault != nil && !fault.Crash {
		return fmt.Errorf("%s %s: %w", kind, path, fault.Err)
	}
	f.pending = append(f.pending, c)
	apply(f.names, c)
	if fault != nil {
		return fmt.Errorf("%s %s: %w", kind, path, fault.Err)
	}
	return nil
}

func apply(names map[string]*node, c change) {
	for _, set := range c {
		if set.node == nil {
			delete(names, set.name)
		} else {
			names[set.name] = set.node
		}
	}
}

// Create implements vfs.FS.
func (s *FS) Create(path string) (vfs.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, name, err := s.split(path)
	if err != nil {
		return nil, err
	}
	n := f.names[name]
	if n != nil { // emptied, in place
		fault, err := s.begin(Create, path, 0)
		if err == nil && fault != nil {
			err = fault.Err
		}
		if err != nil {
			return nil, err
		}
		n.put(write{truncate: true})
		return &file{fs: s, node: n, path: path, epoch: s.epoch, write: true}, nil
	}
	n = &node{}
	if err := s.alter(Create, path, f, change{{name, n}}); err != nil {
		return nil, err
	}
	return &file{fs: s, node: n, path: path, epoch: s.epoch, write: true}, nil
}

// Open implements vfs.FS.
func (s *FS) Open(path string, write bool) (vfs.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, fmt.Errorf("open %s: %w", path, ErrCrashed)
	}
	f, name, err := s.split(path)
	if err != nil {
		return nil, err
	}
	n := f.names[name]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return &file{fs: s, node: n, path: path, epoch: s.epoch, write: write}, nil
}

// Remove implements vfs.FS.
func (s *FS) Remove(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, name, err := s.split(path)
	if err != nil {
		return err
	}
	if f.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	return s.alter(Remove, path, f, change{{name, nil}})
}

// Rename implements vfs.FS, within one folder.
func (s *FS) Rename(from, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, name, err := s.split(from)
	if err != nil {
		return err
	}
	g, other, err := s.split(to)
	if err != nil {
		return err
	}
	n := f.names[name]
	switch {
	case n == nil:
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	case f != g:
		return fmt.Errorf("rename %s to %s: %w", from, to, errors.ErrUnsupported)
	}
	return s.alter(Rename, to, f, change{{name, nil}, {other, n}})
}

// MkdirAll implements vfs.FS.
func (s *FS) MkdirAll(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return ErrCrashed
	}
	for p := filepath.Clean(path); s.folders[p] == nil; p = filepath.Dir(p) {
		s.folders[p] = newFolder()
	}
	return nil
}

// List implements vfs.FS.
func (s *FS) List(path string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, ErrCrashed
	}
	path = filepath.Clean(path)
	f := s.folders[path]
	if f == nil {
		return nil, &fs.PathError{Op: "list", Path: path, Err: fs.ErrNotExist}
	}
	var names []string
	for name := range f.names {
		names = append(names, name)
	}
	for p := range s.folders {
		if p != path && filepath.Dir(p) == path {
			names = append(names, filepath.Base(p))
		}
	}
	slices.Sort(names)
	return names, nil
}

// SyncDir implements vfs.FS.
func (s *FS) SyncDir(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folders[filepath.Clean(path)]
	if f == nil {
		return &fs.PathError{Op: "syncdir", Path: path, Err: fs.ErrNotExist}
	}
	fault, err := s.begin(SyncDir, path, 0)
	switch {
	case err != nil:
		return err
	case fault != nil:
		return fmt.Errorf("syncdir %s: %w", path, fault.Err)
	}
	for _, c := range f.pending {
		apply(f.durable, c)
	}
	f.pending = nil
	return nil
}

// Free implements vfs.FS.
func (s *FS) Free(string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return 0, ErrCrashed
	}
	return s.free(), nil
}

func (s *FS) free() int64 {
	left := s.capacity
	for _, f := range s.folders {
		for _, n := range f.names {
			left -= int64(len(n.now))
		}
	}
	return max(left, 0)
}

// Lock implements vfs.Locker within this file system.
func (s *FS) Lock(path string) (io.Closer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, ErrCrashed
	}
	if s.locks[path] {
		return nil, fmt.Errorf("%s: %w: process 1", path, vfs.ErrLocked)
	}
	s.locks[path] = true
	return &lock{fs: s, path: path, epoch: s.epoch}, nil
}

type lock struct {
	fs    *FS
	path  string
	epoch int
}

func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.epoch == l.fs.epoch {
		delete(l.fs.locks, l.path)
	}
	return nil
}

// room is how many of n more bytes fit, and the error where not all do.
func (s *FS) room(n int64) (int64, error) {
	if free := s.free(); n > free {
		return free, syscall.ENOSPC
	}
	return n, nil
}
