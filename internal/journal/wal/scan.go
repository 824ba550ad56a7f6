package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

const suffix = ".wal"

// File is what Scan found in one file of the log.
type File struct {
	Path        string
	Generation  uint64
	Size        int64
	First, Last event.Seq // 0 when it holds no frame
	Final, End  int64     // offsets of the last valid frame and behind it
	Torn        bool      // an unfinished frame begins at End
}

// DamageError is a place where frames that were there are not any more: valid frames
// follow it. The events after After and before Before are lost.
type DamageError struct {
	Path          string
	Offset        int64
	After, Before event.Seq
}

// Error names file, offset and sequences.
func (d *DamageError) Error() string {
	if d.Before <= d.After {
		return fmt.Sprintf("%s: damaged at offset %d: event %d follows event %d", d.Path, d.Offset, d.Before, d.After)
	}
	return fmt.Sprintf("%s: damaged at offset %d: events %d to %d are missing, and later ones follow",
		d.Path, d.Offset, d.After+1, d.Before-1)
}

// Contents is what Scan found, files in the order of their use.
type Contents struct {
	Files  []File
	Damage []DamageError
}

// Scan reads all files of the log in dir and calls visit for every valid frame,
// in order; a frame's bytes are good until visit returns. It holds one file in
// memory at a time.
func Scan(fsys vfs.FS, dir string, visit func(*Frame) error) (Contents, error) {
	var c Contents
	names, err := fsys.List(dir)
	if err != nil {
		return c, fmt.Errorf("list the log: %w", err)
	}
	s := scanner{visit: visit, contents: &c}
	for _, name := range names { // names have a fixed width, so they sort by generation
		generation, ok := parseName(name)
		if !ok {
			continue
		}
		if err := s.file(fsys, filepath.Join(dir, name), generation); err != nil {
			return c, err
		}
	}
	return c, nil
}

type scanner struct {
	visit    func(*Frame) error
	contents *Contents
	last     event.Seq
	end      int64 // behind the last valid frame, in the file at path
	path     string
}

func (s *scanner) file(fsys vfs.FS, path string, generation uint64) error {
	b, err := readAll(fsys, path)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	f := File{Path: path, Generation: generation, Size: int64(len(b))}
	for at := 0; ; {
		frame, n, err := parse(b[at:], generation)
		if err != nil {
			torn := errors.Is(err, errTorn)
			skip := nextFrame(b[at:], generation)
			if skip < 0 {
				f.Torn = torn
				break
			}
			at += skip
			continue
		}
		frame.Path, frame.Offset = path, int64(at)
		if err := s.frame(&frame, &f); err != nil {
			return err
		}
		f.Final = int64(at)
		at += n
		f.End, s.end, s.path = int64(at), int64(at), path
	}
	s.contents.Files = append(s.contents.Files, f)
	return nil
}

func (s *scanner) frame(frame *Frame, f *File) error {
	if s.last != 0 && frame.First != s.last+1 {
		d := DamageError{Path: s.path, Offset: s.end, After: s.last, Before: frame.First}
		s.contents.Damage = append(s.contents.Damage, d)
		if frame.First <= s.last { // a second claim to a sequence: the first one counts
			return nil
		}
	}
	if f.First == 0 {
		f.First = frame.First
	}
	f.Last, s.last = frame.Last(), frame.Last()
	return s.visit(frame)
}

// nextFrame finds the offset of the next valid frame behind the start of b, or
// -1. The magic's first byte is in no event's text, so nobody can plant one.
func nextFrame(b []byte, generation uint64) int {
	for at := 1; at < len(b); at++ {
		i := bytes.Index(b[at:], []byte(magic))
		if i < 0 {
			return -1
		}
		at += i
		if _, _, err := parse(b[at:], generation); err == nil {
			return at
		}
	}
	return -1
}

func readAll(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path, false)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); err != nil && (n < len(b) || !errors.Is(err, io.EOF)) {
		return nil, err
	}
	return b, nil
}

func fileName(generation uint64) string {
	return fmt.Sprintf("%016x%s", generation, suffix)
}

func parseName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, err == nil
}
