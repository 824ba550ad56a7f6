// Package vfs is the small door through which the journal reaches the file
// system, so that tests can inject faults: a short write, a failed sync, a full
// disk, a crash at any byte.
//
// It promises what POSIX promises and no more: bytes written are durable only
// after File.Sync, a new or renamed name only after FS.SyncDir of its folder.
package vfs

import (
	"io"
	"os"
)

// File is an open file. Every method may fail, and a failed Sync means that
// nothing is known about what reached the disk.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes all written bytes durable (fdatasync).
	Sync() error
	Truncate(size int64) error
	// Size is the file's length in bytes.
	Size() (int64, error)
}

// FS opens and names files. Paths are absolute or relative to the process.
type FS interface { //nolint:interfacebloat // a file system has that many operations, and splitting it would only hide them
	// Create makes an empty file that can be read and written; an older one of
	// the same name is emptied.
	Create(path string) (File, error)
	// Open opens a file for reading and, where write is true, for writing.
	Open(path string, write bool) (File, error)
	Remove(path string) error
	Rename(from, to string) error
	MkdirAll(path string) error
	// List gives the names in a folder, sorted.
	List(path string) ([]string, error)
	// SyncDir makes the names in a folder durable.
	SyncDir(path string) error
	// Free is the number of bytes that may still be written below a path.
	Free(path string) (int64, error)
}

// OS is the real file system.
type OS struct{}

var _ FS = OS{}

type osFile struct{ *os.File }
