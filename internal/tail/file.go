package tail

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

// mark is a place in a file, and by what the file is known again.
type mark struct {
	Inode  uint64 `json:"inode"`
	Device uint64 `json:"device"`
	Offset int64  `json:"offset"`
	Head   uint64 `json:"head"`           // hash of the first bytes, at most headBytes and none behind Offset
	Skip   bool   `json:"skip,omitempty"` // the place is within a line that was too long
}

// headBytes is how much of a file's beginning tells it from another that got
// the same inode.
const headBytes = 256

// file is a file that is read.
type file struct {
	path string
	key  string // of its place: the path, unless another file has that now
	f    *os.File
	at   mark
	buf  []byte

	until time.Time // when one that has gone from its path is closed
}

// openFile opens a regular file at its beginning.
func openFile(path string) (*file, error) {
	// Without blocking: a pipe in the place of a log must not hold us.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "tail", Path: path, Err: errors.New("is no regular file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	one := &file{path: path, key: path, f: f}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		one.at.Inode, one.at.Device = st.Ino, st.Dev
	}
	return one, nil
}

func (f *file) close() { _ = f.f.Close() } // it was only read

// is tells whether the file is the one that a mark is of.
func (f *file) is(m mark) bool {
	if f.at.Inode != m.Inode || f.at.Device != m.Device {
		return false
	}
	head, err := f.head(m.Offset)
	return err == nil && head == m.Head
}

// still tells whether the path leads to this file.
func (f *file) still() bool {
	now, err := os.Stat(f.path)
	if err != nil {
		return false
	}
	mine, err := f.f.Stat()
	return err == nil && os.SameFile(now, mine)
}

// head is the hash of the file's first bytes before an offset.
func (f *file) head(offset int64) (uint64, error) {
	buf := make([]byte, min(offset, headBytes))
	if _, err := f.f.ReadAt(buf, 0); err != nil && (len(buf) > 0 || !errors.Is(err, io.EOF)) {
		return 0, err
	}
	h := fnv.New64a()
	_, _ = h.Write(buf)
	return h.Sum64(), nil
}

// toEnd goes behind the last whole line.
func (f *file) toEnd() error {
	info, err := f.f.Stat()
	if err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	end := info.Size()
	buf := make([]byte, min(end, Longest))
	if _, err := f.f.ReadAt(buf, end-int64(len(buf))); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("tail: %w", err)
	}
	return f.moveTo(end - int64(len(buf)) + int64(bytes.LastIndexByte(buf, '\n')+1))
}

// truncated begins anew where the file was cut, or written from its beginning.
func (f *file) truncated() error {
	info, err := f.f.Stat()
	if err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	if info.Size() == f.at.Offset {
		return nil
	}
	head, err := f.head(f.at.Offset)
	if info.Size() < f.at.Offset || err != nil || head != f.at.Head && f.at.Offset > 0 {
		f.at.Skip = false
		return f.moveTo(0)
	}
	return nil
}

// moveTo sets the place.
func (f *file) moveTo(offset int64) error {
	head, err := f.head(offset)
	if err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	f.at.Offset, f.at.Head = offset, head
	return nil
}

// lines are the next whole lines, at most Batch; none at the end.
func (f *file) lines() ([]Line, error) {
	if f.buf == nil {
		f.buf = make([]byte, 4*Longest)
	}
	for {
		n, err := f.f.ReadAt(f.buf, f.at.Offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("tail %s: %w", f.path, err)
		}
		lines, used := f.cut(f.buf[:n])
		if used == 0 {
			f.buf = nil // idle: many files must not cost much memory
			return nil, nil
		}
		if err := f.moveTo(f.at.Offset + int64(used)); err != nil {
			return nil, err
		}
		if len(lines) > 0 {
			return lines, nil
		}
	}
}

// cut takes lines from what was read, and says how many bytes that used.
func (f *file) cut(buf []byte) (lines []Line, used int) {
	for len(lines) < Batch {
		rest := buf[used:]
		end := bytes.IndexByte(rest, '\n')
		long := end > Longest || end < 0 && len(rest) > Longest
		switch {
		case end < 0 && f.at.Skip:
			return lines, len(buf)
		case end < 0 && !long:
			return lines, used
		}
		if !f.at.Skip {
			text := rest[:min(max(end, 0), Longest)]
			if end < 0 {
				text = rest[:Longest]
			}
			lines = append(lines, Line{Path: f.path, Offset: f.at.Offset + int64(used), Text: clean(text)})
		}
		if f.at.Skip = end < 0; f.at.Skip {
			return lines, len(buf)
		}
		used += end + 1
	}
	return lines, used
}

// clean makes text of a line: without a carriage return, and in UTF-8.
func clean(line []byte) string {
	return strings.ToValidUTF8(strings.TrimSuffix(string(line), "\r"), "\uFFFD")
}

// escape makes a path a pattern that matches it alone (filepath.Match).
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
