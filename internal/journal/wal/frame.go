// Package wal is the journal's write-ahead log: frames of events in files that
// are written in full once and then used again and again, because a write into
// blocks that a file already has costs half of one that grows it.
//
// It promises: after Sync has returned nil, what Append wrote before is found
// by Scan, in order; a stale frame of a file's earlier use is never taken for a
// new one, since every frame carries the number of its file's use (generation)
// under its CRC; a torn end is told from damage, because only damage has a
// valid frame of the same generation, or of a later file, behind it. A failed
// Sync is never repeated: the caller must stop. Scan changes nothing.
//
// Frame, all numbers little-endian:
//
//	 0  magic      4 bytes, the first of which is in no UTF-8 text
//	 4  crc        CRC-32C of everything behind it
//	 8  length     u32, of the payload
//	12  count      u32, of events
//	16  generation u64
//	24  first      u64, sequence of the first event; the others follow
//	32  recorded   i64, ns since 1970, of all its events
//	40  before     a hash for each class, of the chains before the frame
//	168 payload    records: class u8, expiry i64, key 16 bytes, length u32, body
package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"iter"
	"math"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// Classes is the number of retention classes, each with a hash chain.
const Classes = 4

const (
	// HeaderSize is the length of a frame's header in bytes.
	HeaderSize = 40 + Classes*len(segment.Hash{})

	magic        = "\xFFTW\x01"
	recordHeader = 1 + 8 + len(segment.Key{}) + 4

	// MaxPayload is the most that one frame can carry, in bytes.
	MaxPayload = math.MaxInt32 - HeaderSize
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // a constant table, which Go can't write as one

// Header is what a frame says about its events.
type Header struct {
	First    event.Seq
	Count    int
	Recorded int64 // ns since 1970
	Before   [Classes]segment.Hash
}

// Last is the sequence of the frame's last event.
func (h *Header) Last() event.Seq { return h.First + event.Seq(h.Count) - 1 }

// Frame is a frame that was read. Its payload aliases the reader's buffer.
type Frame struct {
	Header
	Path    string
	Offset  int64
	payload []byte
}

// Record is one event of a frame.
type Record struct {
	Class  segment.Class
	Expiry int64 // ns since 1970, 0 for none
	Key    segment.Key
	Body   []byte
}

// RecordSize is the length of a record with a body of n bytes.
func RecordSize(n int) int { return recordHeader + n }

// AppendRecord appends the encoded record.
func AppendRecord(dst []byte, r *Record) []byte {
	dst = append(dst, byte(r.Class))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Expiry))
	dst = append(dst, r.Key[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(r.Body)))
	return append(dst, r.Body...)
}

// Records gives the frame's events in order. Bodies alias the frame.
func (f *Frame) Records() iter.Seq2[event.Seq, Record] {
	return func(yield func(event.Seq, Record) bool) {
		p := f.payload
		for i := range f.Count {
			n := binary.LittleEndian.Uint32(p[recordHeader-4:])
			r := Record{
				Class:  segment.Class(p[0]),
				Expiry: int64(binary.LittleEndian.Uint64(p[1:])),
				Key:    segment.Key(p[9:]),
				Body:   p[recordHeader:][:n:n],
			}
			if !yield(f.First+event.Seq(i), r) {
				return
			}
			p = p[recordHeader+int(n):]
		}
	}
}

// seal fills in the header of the frame whose payload is buf[HeaderSize:].
func seal(buf []byte, generation uint64, h *Header) {
	copy(buf, magic)
	binary.LittleEndian.PutUint32(buf[8:], uint32(len(buf)-HeaderSize))
	binary.LittleEndian.PutUint32(buf[12:], uint32(h.Count))
	binary.LittleEndian.PutUint64(buf[16:], generation)
	binary.LittleEndian.PutUint64(buf[24:], uint64(h.First))
	binary.LittleEndian.PutUint64(buf[32:], uint64(h.Recorded))
	for i := range h.Before {
		copy(buf[40+i*len(h.Before[i]):], h.Before[i][:])
	}
	binary.LittleEndian.PutUint32(buf[4:], crc32.Checksum(buf[8:], castagnoli))
}

var (
	errNoFrame = errors.New("no frame of this generation")
	errTorn    = errors.New("a frame that is cut short or altered")
)

// parse reads the frame at the start of b and gives its length. errNoFrame
// means that none of this generation begins here, errTorn that one does, and is
// not whole.
func parse(b []byte, generation uint64) (Frame, int, error) {
	if len(b) < HeaderSize || string(b[:4]) != magic || binary.LittleEndian.Uint64(b[16:]) != generation {
		return Frame{}, 0, errNoFrame
	}
	length := int64(binary.LittleEndian.Uint32(b[8:]))
	end := int64(HeaderSize) + length
	if end > int64(len(b)) || binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:end], castagnoli) {
		return Frame{}, 0, errTorn
	}
	f := Frame{Header: Header{
		Count:    int(binary.LittleEndian.Uint32(b[12:])),
		First:    event.Seq(binary.LittleEndian.Uint64(b[24:])),
		Recorded: int64(binary.LittleEndian.Uint64(b[32:])),
	}, payload: b[HeaderSize:end:end]}
	for i := range f.Before {
		f.Before[i] = segment.Hash(b[40+i*len(f.Before[i]):])
	}
	if !f.sound() {
		return Frame{}, 0, errTorn
	}
	return f, int(end), nil
}

// sound checks that the payload holds Count records and nothing else, so that
// Records can't fail on a frame that somebody forged.
func (f *Frame) sound() bool {
	p := f.payload
	for range f.Count {
		if len(p) < recordHeader || p[0] >= Classes {
			return false
		}
		n := int64(binary.LittleEndian.Uint32(p[recordHeader-4:]))
		if int64(len(p)-recordHeader) < n {
			return false
		}
		p = p[recordHeader+int(n):]
	}
	return len(p) == 0 && f.Count > 0 && f.First > 0
}

// SetBodySize completes a record that was appended without its body, once the
// body stands behind it.
func SetBodySize(record []byte) {
	binary.LittleEndian.PutUint32(record[recordHeader-4:], uint32(len(record)-recordHeader))
}
