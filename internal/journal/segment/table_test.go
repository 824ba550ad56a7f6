package segment

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 3)) }

// TestConcurrent reads a table while it is written; it is meant for -race.
// Readers see whole publications only.
func TestConcurrent(t *testing.T) {
	const batch, batches = 7, 300
	table := NewTable()
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for last := event.Seq(0); ; {
				n := table.Len()
				hits, err := After(context.Background(), []Source{table}, 0, 0)
				if err != nil || len(hits) < n || len(hits)%batch != 0 || table.Last() < last {
					t.Errorf("%d events, %d before: %v", len(hits), n, err)
					return
				}
				last = table.Last()
				text, match := textOf("needle")
				q := Query{Plan: &filter.Node{Op: filter.OpOr, Kids: []*filter.Node{text, in(filter.ColumnActor, "alice")}}, Match: match, Limit: 20}
				if _, err := Search(context.Background(), []Source{table}, &q); err != nil {
					t.Error(err)
				}
				if _, err := Volume(context.Background(), []Source{table}, &VolumeQuery{By: ByType, Step: time.Hour}); err != nil {
					t.Error(err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	r := newRand(1)
	for b := range batches {
		for i := range batch {
			rec := someRecord(r, event.Seq(b*batch+i+1))
			rec.entry.Expiry = 0
			table.Add(&rec.entry)
		}
		if table.Len() != b*batch {
			t.Error("Add published")
		}
		table.Publish()
	}
	close(done)
	readers.Wait()
	if table.Len() != batch*batches || table.First() != 1 || table.Last() != batch*batches || table.Bytes() == 0 {
		t.Errorf("the table holds %d..%d, %d events, %d bytes", table.First(), table.Last(), table.Len(), table.Bytes())
	}
}

// TestUnlinked reads on after retention has removed the file.
func TestUnlinked(t *testing.T) {
	table := newGenerator(3, time.Second).table(t, 500)
	path, err := Write(vfs.OS{}, t.TempDir(), table, table.Parts()[0], Hash{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(vfs.OS{}, path)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Retain() {
		t.Fatal("a new Reader can't be retained")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.Release()
	if hits, err := After(context.Background(), []Source{r}, 0, 0); err != nil || len(hits) != 500 {
		t.Fatalf("%d events: %v", len(hits), err)
	}
	r.Release()
	if r.Retain() {
		t.Error("a closed Reader can be retained")
	}
}

// TestTruncated cuts a file that is mapped: an error, not the end of the process.
func TestTruncated(t *testing.T) {
	table := newGenerator(3, time.Second).table(t, 2000)
	path, err := Write(vfs.OS{}, t.TempDir(), table, table.Parts()[0], Hash{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(vfs.OS{}, path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if hits, err := After(context.Background(), []Source{r}, 0, 0); err == nil || len(hits) != 0 {
		t.Errorf("%d events: %v", len(hits), err)
	}
	if err := r.Verify(context.Background()); err == nil {
		t.Error("Verify found nothing wrong")
	}
}

func TestKeys(t *testing.T) {
	records, sources := someStore(t, 5)
	seen := 0
	for _, s := range sources {
		r, ok := s.(*Reader)
		if !ok {
			seen += s.(*Table).Len()
			continue
		}
		if err := r.Keys(func(seq event.Seq, key Key) bool {
			if key != records[seq-1].entry.Key {
				t.Errorf("key of %d is %x", seq, key)
			}
			seen++
			return true
		}); err != nil {
			t.Error(err)
		}
	}
	if seen != len(records) {
		t.Errorf("%d keys of %d events", seen, len(records))
	}
}

// TestParts keeps an unbroken chain for each class when the clock steps back.
func TestParts(t *testing.T) {
	table := NewTable()
	r := newRand(1)
	for i, recorded := range []int64{0, day, day - 1, 2 * day, day, 5} {
		rec := someRecord(r, event.Seq(i+1))
		rec.entry.Recorded, rec.entry.Class = recorded, Long
		table.Add(&rec.entry)
	}
	table.Publish()
	want := []Part{{Long, 0}, {Long, 1}, {Long, 2}}
	parts := table.Parts()
	if len(parts) != 3 || parts[0] != want[0] || parts[1] != want[1] || parts[2] != want[2] {
		t.Fatalf("parts %v, want %v", parts, want)
	}
	var last event.Seq
	var out Hash
	for _, s := range writeAll(t, t.TempDir(), table) {
		i := s.(*Reader).Info()
		if i.First <= last || i.In != out {
			t.Errorf("segment %d..%d does not go on from %d", i.First, i.Last, last)
		}
		last, out = i.Last, i.Out
	}
}
