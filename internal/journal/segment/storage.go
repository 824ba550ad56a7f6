package segment

import (
	"errors"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

// storage is the content of a segment: mapped into memory where the file is a
// real one, else read piece by piece.
type storage struct {
	file   vfs.File // nil where it is mapped: the mapping outlives it, and files in use are few
	mapped []byte
	size   uint64
}

func openStorage(file vfs.File) (storage, error) {
	size, err := file.Size()
	if err != nil {
		return storage{}, err
	}
	s := storage{file: file, size: uint64(size)}
	if f, ok := file.(interface{ Fd() uintptr }); ok && size > 0 {
		// Where mapping fails, as it does on some network file systems, reading works.
		if m, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED); err == nil {
			_ = file.Close() // nothing was written through it
			return storage{mapped: m, size: s.size}, nil
		}
	}
	return s, nil
}

// at gives n bytes from an offset. They must not be changed, nor used after
// close.
func (s *storage) at(offset, n uint64) ([]byte, error) {
	if offset > s.size || n > s.size-offset {
		return nil, errSection
	}
	if s.mapped != nil {
		return s.mapped[offset:][:n:n], nil
	}
	b := make([]byte, n)
	if n, err := s.file.ReadAt(b, int64(offset)); n < len(b) {
		return nil, err
	}
	return b, nil
}

func (s *storage) close() error {
	if s.mapped != nil {
		return unix.Munmap(s.mapped)
	}
	return s.file.Close()
}

var errFault = errors.New("the file could not be read where it is mapped into memory")

// guarded calls fn, and turns a fault of mapped memory (a bad sector, a file
// that somebody cut) into an error instead of the end of the process.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if _, fault := r.(interface{ Addr() uintptr }); !fault {
				panic(r)
			}
			err = errFault
		}
	}()
	return fn()
}
