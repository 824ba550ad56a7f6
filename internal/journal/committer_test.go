package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/vfs/faultfs"
	"github.com/tocsin-events/tocsin/internal/journal/wal"
)

// recorder is a sink that keeps everything, and fails a test at once when it is
// called out of order.
type recorder struct {
	t         *testing.T
	full      error
	entries   []segment.Entry
	published int
	ends      [classes]Head
}

func (r *recorder) room(context.Context) error { return r.full }

func (r *recorder) heads() [classes]Head { return r.ends }

func (r *recorder) add(entries []*segment.Entry) {
	for _, e := range entries {
		own := *e
		own.Body = append([]byte(nil), e.Body...)
		if want := event.Seq(len(r.entries) + 1); own.Seq != want {
			r.t.Errorf("the sink got sequence %d, want %d", own.Seq, want)
		}
		if n := len(r.entries); n > 0 && own.Recorded < r.entries[n-1].Recorded {
			r.t.Errorf("sequence %d was recorded before the one in front of it", own.Seq)
		}
		r.ends[own.Class] = Head{own.Seq, segment.Next(r.ends[own.Class].Hash, own.Seq, own.Recorded, own.Body)}
		r.entries = append(r.entries, own)
	}
}

func (r *recorder) publish() { r.published = len(r.entries) }

func (r *recorder) stored(seq event.Seq) (segment.Hit, error) {
	if seq == 0 || int(seq) > r.published {
		return segment.Hit{}, event.NotFoundf("no sequence %d", seq)
	}
	return segment.Hit{Seq: seq, Body: r.entries[seq-1].Body}, nil
}

// testCommitter is what every committer must do; open gives a new one with an
// empty log. A committer whose log has other writers passes it, too, while it
// is alone.
func testCommitter(t *testing.T, open func(*testing.T, sink, lookup) committer) {
	t.Helper()
	commit := func(t *testing.T, c committer, calls ...[]event.Event) ([][]Result, error) {
		t.Helper()
		g := &group{started: time.Now()}
		for _, events := range calls {
			r := newRequest().(*request)
			r.encode(events, &seed{}, func(*event.Event) segment.Class { return segment.Default })
			g.requests = append(g.requests, r)
		}
		err := c.Commit(t.Context(), g)
		var results [][]Result
		for _, r := range g.requests {
			results = append(results, r.results)
		}
		return results, err
	}
	make1 := func(id, data string) event.Event {
		return event.Event{ID: event.ID(id), Source: "/s", Type: "t", Data: []byte(data)}
	}
	t.Run("order", func(t *testing.T) {
		rec := &recorder{t: t}
		c := open(t, rec, rec.stored)
		next := event.Seq(1)
		for i := range 50 {
			results, err := commit(t, c, []event.Event{make1(fmt.Sprint("a", i), "1"), make1(fmt.Sprint("b", i), "1")}, []event.Event{make1(fmt.Sprint("c", i), "1")})
			if err != nil {
				t.Fatal(err)
			}
			want := [][]Result{{{Seq: next}, {Seq: next + 1}}, {{Seq: next + 2}}}
			if diff := cmp.Diff(want, results); diff != "" {
				t.Fatalf("results (-want +got):\n%s", diff)
			}
			next += 3
			if rec.published != int(next-1) {
				t.Fatalf("%d events are published when Commit returns, want %d", rec.published, next-1)
			}
			if i%10 == 9 {
				if err := c.Release(next - 1); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	t.Run("duplicates", func(t *testing.T) {
		rec := &recorder{t: t}
		c := open(t, rec, rec.stored)
		results, err := commit(t, c, []event.Event{make1("x", "1"), make1("x", "1")}, []event.Event{make1("x", "2"), make1("y", "1")})
		want := [][]Result{{{Seq: 1}, {1, true, false}}, {{1, true, true}, {Seq: 2}}}
		if diff := cmp.Diff(want, results); err != nil || diff != "" {
			t.Fatalf("one group: %v (-want +got):\n%s", err, diff)
		}
		results, err = commit(t, c, []event.Event{make1("y", "1"), make1("x", "3"), make1("z", "1")})
		want = [][]Result{{{2, true, false}, {1, true, true}, {Seq: 3}}}
		if diff := cmp.Diff(want, results); err != nil || diff != "" {
			t.Fatalf("a later group: %v (-want +got):\n%s", err, diff)
		}
		if len(rec.entries) != 3 {
			t.Errorf("%d events were recorded, want 3", len(rec.entries))
		}
	})
	t.Run("full", func(t *testing.T) {
		rec := &recorder{t: t, full: ErrFull}
		c := open(t, rec, rec.stored)
		if _, err := commit(t, c, []event.Event{make1("x", "1")}); !errors.Is(err, ErrFull) {
			t.Fatalf("commit: %v, want ErrFull", err)
		}
		rec.full = nil
		results, err := commit(t, c, []event.Event{make1("x", "1")})
		if err != nil || results[0][0] != (Result{Seq: 1}) {
			t.Errorf("the same again: %+v, %v; want sequence 1 and no duplicate", results, err)
		}
	})
}

func TestFilesCommitter(t *testing.T) {
	testCommitter(t, func(t *testing.T, s sink, stored lookup) committer {
		t.Helper()
		fsys := faultfs.New()
		if err := fsys.MkdirAll("/wal"); err != nil {
			t.Fatal(err)
		}
		log, err := wal.Open(wal.Options{FS: fsys, Dir: "/wal", FileSize: 4 << 10, Logger: slog.New(slog.DiscardHandler)}, wal.Contents{})
		if err != nil {
			t.Fatal(err)
		}
		seen, err := newDedupe(1000)
		if err != nil {
			t.Fatal(err)
		}
		f := &files{fs: fsys, dir: "/", log: log, seen: seen, stored: stored, sink: s}
		f.start()
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
		return f
	})
}
