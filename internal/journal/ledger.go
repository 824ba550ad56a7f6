package journal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"
	"syscall"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

const ledgerName = "removed.jsonl"

// Removed is what is kept of events that are gone: enough to go on with the
// hash chain of their class.
type Removed struct {
	Class segment.Class
	// First and Last bound the sequences; other classes' lie between them, too.
	First, Last event.Seq
	// Count is the number of events. Of a loss that broke several chains, the
	// first entry has the sum.
	Count   int
	In, Out segment.Hash // the chain before and after
	Bytes   int64        // of the segment's file
	When    time.Time
	Why     string
	Lost    bool // not by retention: an operator has accepted the loss
}

// removedJSON is an entry as it stands in the ledger: a line for each removal,
// with its CRC-32C in hex and an array of entries.
type removedJSON struct {
	Class string    `json:"class"`
	First event.Seq `json:"first"`
	Last  event.Seq `json:"last"`
	Count int       `json:"count"`
	In    string    `json:"hash_in"`
	Out   string    `json:"hash_out"`
	Bytes int64     `json:"bytes,omitempty"`
	When  time.Time `json:"when"`
	Why   string    `json:"why"`
	Lost  bool      `json:"lost,omitempty"`
}

// MarshalJSON writes hashes in hex and the class by name.
func (r Removed) MarshalJSON() ([]byte, error) {
	return json.Marshal(removedJSON{
		r.Class.String(), r.First, r.Last, r.Count, hex.EncodeToString(r.In[:]), hex.EncodeToString(r.Out[:]),
		r.Bytes, r.When.UTC(), r.Why, r.Lost,
	})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Removed) UnmarshalJSON(b []byte) error {
	var j removedJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*r = Removed{First: j.First, Last: j.Last, Count: j.Count, Bytes: j.Bytes, When: j.When, Why: j.Why, Lost: j.Lost}
	class, err := parseClass(j.Class)
	r.Class = class
	return errors.Join(err, parseHash(&r.In, j.In), parseHash(&r.Out, j.Out))
}

func parseClass(name string) (segment.Class, error) {
	for c := range segment.Class(classes) {
		if c.String() == name {
			return c, nil
		}
	}
	return 0, event.Invalidf("retention class %q is unknown", name)
}

func parseHash(to *segment.Hash, text string) error {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(to) {
		return event.Invalidf("%q is not a hash of %d bytes in hex", text, len(to))
	}
	copy(to[:], b)
	return nil
}

// ledgerStep is how far ahead the ledger's file is filled with empty lines: to
// remove events must be possible on a full disk.
const ledgerStep = 64 << 10

// ledger is the append-only file of what was removed.
type ledger struct {
	file    vfs.File
	end     int64 // behind the last entry
	size    int64 // of the file; empty lines in between
	entries []Removed
}

// readLedger reads the file; end is where its whole lines end. What follows was
// never acknowledged, and may be torn, unless there is a whole line behind it:
// then it is damage.
func readLedger(fsys vfs.FS, path string) (entries []Removed, end int64, err error) {
	text, err := readFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the ledger: %w", err)
	}
	for int(end) < len(text) {
		line, rest, whole := bytes.Cut(text[end:], []byte("\n"))
		removed, ok := parseLine(line)
		if !whole || !ok {
			for later := range bytes.Lines(rest) {
				if _, ok := parseLine(bytes.TrimSuffix(later, []byte("\n"))); ok {
					return entries, end, fmt.Errorf("%w: %s: the line at offset %d is altered", ErrDamaged, path, end)
				}
			}
			return entries, end, nil
		}
		entries = append(entries, removed...)
		end += int64(len(line)) + 1
	}
	return entries, end, nil
}

func parseLine(line []byte) ([]Removed, bool) {
	var removed []Removed
	sum, text, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return nil, false
	}
	crc, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(crc) != crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)) {
		return nil, false
	}
	return removed, json.Unmarshal(text, &removed) == nil
}

// openLedger cuts a torn end and makes durable what was found.
func openLedger(fsys vfs.FS, dir, path string) (*ledger, error) {
	entries, end, err := readLedger(fsys, path)
	if err != nil {
		return nil, err
	}
	f, err := fsys.Open(path, true)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = fsys.Create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	l := &ledger{file: f, end: end, size: end, entries: entries}
	// Written over itself: what a failed sync left can be read, and is not on disk.
	text := make([]byte, end)
	if _, err = f.ReadAt(text, 0); err == nil || errors.Is(err, io.EOF) {
		_, err = f.WriteAt(text, 0)
	}
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		err = l.fill(0)
	}
	if err = errors.Join(err, f.Sync(), fsys.SyncDir(dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("sync the ledger: %w", err), f.Close())
	}
	return l, nil
}

// fill puts empty lines behind need bytes from the end on. A full disk is no
// error: then there are fewer.
func (l *ledger) fill(need int) error {
	if l.size >= l.end+int64(need)+ledgerStep/2 {
		return nil
	}
	n, err := l.file.WriteAt(bytes.Repeat([]byte("\n"), ledgerStep), l.size)
	l.size += int64(n)
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

// add makes entries durable, all or none.
func (l *ledger) add(entries []Removed) error {
	if len(entries) == 0 {
		return nil
	}
	line, err := json.Marshal(entries)
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	text := fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(line, crc32.MakeTable(crc32.Castagnoli)), line)
	if _, err := l.file.WriteAt(text, l.end); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	l.size = max(l.size, l.end+int64(len(text)))
	if err := l.fill(len(text)); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		return stopped(fmt.Errorf("sync the ledger: %w", err))
	}
	l.end += int64(len(text))
	l.entries = append(l.entries, entries...)
	return nil
}

func readFile(fsys vfs.FS, path string) ([]byte, error) {
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
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}

func className(class int) string { return segment.Class(class).String() }
