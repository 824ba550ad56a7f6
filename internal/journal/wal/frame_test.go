package wal

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

func frame(generation uint64, first event.Seq, bodies ...string) []byte {
	buf := make([]byte, HeaderSize)
	for i, b := range bodies {
		buf = AppendRecord(buf, &Record{Class: segment.Class(i % Classes), Expiry: int64(i), Key: segment.Key{byte(i)}, Body: []byte(b)})
	}
	h := Header{First: first, Count: len(bodies), Recorded: 42}
	h.Before[1] = segment.Hash{1, 2, 3}
	seal(buf, generation, &h)
	return buf
}

func TestFrameRoundTrip(t *testing.T) {
	buf := frame(7, 100, "one", "", "three")
	f, n, err := parse(append(bytes.Clone(buf), "behind"...), 7)
	if err != nil || n != len(buf) {
		t.Fatalf("parse: %d, %v; want %d", n, err, len(buf))
	}
	if f.First != 100 || f.Count != 3 || f.Last() != 102 || f.Recorded != 42 || f.Before[1] != (segment.Hash{1, 2, 3}) {
		t.Errorf("header %+v", f.Header)
	}
	want := []string{"one", "", "three"}
	for seq, r := range f.Records() {
		i := int(seq - 100)
		if string(r.Body) != want[i] || r.Class != segment.Class(i) || r.Expiry != int64(i) || r.Key != (segment.Key{byte(i)}) {
			t.Errorf("record %d: %+v", i, r)
		}
	}
}

// A frame of another generation is none; one that is altered anywhere is torn.
func TestFrameIsChecked(t *testing.T) {
	buf := frame(7, 100, "one", "two")
	if _, _, err := parse(buf, 8); !errors.Is(err, errNoFrame) {
		t.Errorf("another generation: %v, want errNoFrame", err)
	}
	for i := range buf {
		bad := bytes.Clone(buf)
		bad[i] ^= 1
		if _, _, err := parse(bad, 7); err == nil {
			t.Errorf("byte %d is altered, and nobody noticed", i)
		}
	}
	for n := HeaderSize; n < len(buf); n++ {
		if _, _, err := parse(buf[:n], 7); !errors.Is(err, errTorn) {
			t.Errorf("cut at %d: %v, want errTorn", n, err)
		}
	}
}

// Whatever a file holds, Scan's parts neither fail nor read behind the end.
func FuzzParse(f *testing.F) {
	f.Add(frame(1, 1, "a"), uint64(1))
	f.Add(frame(2, 9, "a", "bc"), uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, generation uint64) {
		// Also with a checksum that fits, as a forger would have it.
		if len(b) > HeaderSize && len(b) < 1<<20 {
			h := Header{First: 1, Count: int(b[HeaderSize])}
			seal(b, generation, &h)
		}
		frame, n, err := parse(b, generation)
		if err != nil {
			if at := nextFrame(append([]byte{0}, b...), generation); at == 1 {
				t.Error("nextFrame finds what parse refuses")
			}
			return
		}
		count := 0
		for range frame.Records() {
			count++
		}
		if n > len(b) || count != frame.Count {
			t.Errorf("%d records of %d, %d bytes of %d", count, frame.Count, n, len(b))
		}
	})
}
