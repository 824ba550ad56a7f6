package segment

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Class is a retention class. A segment holds events of one class only, so that
// retention is always an unlink.
type Class uint8

// The retention classes.
const (
	Default Class = iota
	Long
	Short
	Transient // gone after an hour, hidden unless asked for

	classes = 4
)

// String gives the class's name, as it stands in file names.
func (c Class) String() string {
	switch c {
	case Default:
		return "default"
	case Long:
		return "long"
	case Short:
		return "short"
	case Transient:
		return "transient"
	default:
		return fmt.Sprintf("class%d", uint8(c))
	}
}

// Key is a 128-bit hash of (source, id), by which the journal finds duplicates.
type Key [16]byte

// Hash is a link of the hash chain that proves that nothing was altered or
// removed. There is one chain for each class.
type Hash [sha256.Size]byte

// Next links an event to the chain: SHA-256 of the hash before, the sequence
// and the time of recording (nanoseconds since 1970; both as 8 bytes, big
// endian), and the stored body.
func Next(h Hash, seq event.Seq, recorded int64, body []byte) Hash {
	return new(Hasher).Next(h, seq, recorded, body)
}

// Hasher is Next with a buffer, for one goroutine.
type Hasher struct{ buf []byte }

// Next is the function Next.
func (s *Hasher) Next(h Hash, seq event.Seq, recorded int64, body []byte) Hash {
	s.buf = append(s.buf[:0], h[:]...)
	s.buf = binary.BigEndian.AppendUint64(s.buf, uint64(seq))
	s.buf = binary.BigEndian.AppendUint64(s.buf, uint64(recorded))
	s.buf = append(s.buf, body...)
	return sha256.Sum256(s.buf)
}

// Entry is one event on its way into a Table: its stored form, and the
// attributes that have a column. Times are nanoseconds since 1970.
type Entry struct {
	Seq            event.Seq
	Recorded, Time int64
	Expiry         int64 // 0: the event does not expire
	Type, Kind     string
	Source         string
	Actor          string // authid
	ClientIP       string
	Severity       event.Severity
	Class          Class
	Key            Key
	Body           []byte // as event.AppendStored gives it
}

// Part names one segment among those into which a sealed table splits.
type Part struct {
	Class Class
	Day   int64 // days since 1970-01-01 in UTC, of the time of recording
}

// Info is what a segment says about itself. Times are nanoseconds since 1970.
type Info struct {
	Path        string
	First, Last event.Seq
	Count       int
	Part
	In, Out Hash  // the chain before the first event and after the last
	Bytes   int64 // size of the file

	MinTime, MaxTime     int64
	MinExpiry, MaxExpiry int64 // among those that expire; 0 when none does
}

// Hit is an event that was found. Body is its stored form; the caller owns it.
type Hit struct {
	Seq      event.Seq
	Recorded int64
	Body     []byte
}

// DamageError reports events that can't be read because a checksum or the hash
// chain does not hold. They lie between First and Last.
type DamageError struct {
	Path        string
	First, Last event.Seq
	Err         error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s: sequences %d to %d are damaged: %v", e.Path, e.First, e.Last, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }
