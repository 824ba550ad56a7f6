package journal_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
	"github.com/tocsin-events/tocsin/internal/journal/vfs/faultfs"
)

// small makes a journal whose files and tables are full after a few events, so
// that a short test sees them all turn over.
func small(fsys vfs.FS) journal.Options {
	return journal.Options{
		Dir: "/data/journal", FS: fsys, Window: 1000, MemEvents: 8, MemBytes: 1 << 20,
		WALBytes: 8 << 10, Reserve: -1, Classify: classify,
	}
}

// classify takes the class from the type: "t.long" is kept long.
func classify(e *event.Event) segment.Class {
	switch {
	case strings.HasSuffix(string(e.Type), ".long"):
		return segment.Long
	case strings.HasSuffix(string(e.Type), ".short"):
		return segment.Short
	case strings.HasSuffix(string(e.Type), ".transient"):
		return segment.Transient
	}
	return segment.Default
}

func open(t *testing.T, o journal.Options) *journal.Journal {
	t.Helper()
	j, err := journal.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil && !errors.Is(err, faultfs.ErrCrashed) {
			t.Errorf("close: %v", err)
		}
	})
	return j
}

func closeJournal(t *testing.T, j *journal.Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func ev(id string) event.Event {
	return event.Event{
		ID: event.ID(id), Source: "/test", Type: "t", Kind: event.KindCustom,
		Data: []byte(fmt.Sprintf(`{"text":"event %s"}`, id)),
	}
}

func typed(id string, typ event.Type) event.Event {
	e := ev(id)
	e.Type = typ
	return e
}

func appendAll(t *testing.T, j *journal.Journal, events ...event.Event) []journal.Result {
	t.Helper()
	results, err := j.Append(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// ids reads the whole journal through After, and checks that sequences rise.
func ids(t *testing.T, j *journal.Journal) []string {
	t.Helper()
	var out []string
	var seq event.Seq
	for {
		hits, err := j.After(t.Context(), seq, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(hits) == 0 {
			return out
		}
		for _, h := range hits {
			if h.Seq <= seq {
				t.Fatalf("sequence %d came after %d", h.Seq, seq)
			}
			seq = h.Seq
			e, err := event.Decode(h.Body)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(e.ID))
		}
	}
}

func verify(t *testing.T, j *journal.Journal) journal.Report {
	t.Helper()
	report, err := j.Verify(t.Context(), journal.VerifyOptions{})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	return report
}

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("e", i+1)
	}
	return out
}

func TestAppendAndReopen(t *testing.T) {
	o := small(faultfs.New())
	j := open(t, o)
	want := names(100)
	for i, id := range want {
		typ := []event.Type{"t", "t.long", "t.short"}[i%3]
		events := []event.Event{typed(id, typ)}
		results, err := j.Append(t.Context(), events)
		if err != nil {
			t.Fatal(err)
		}
		if got := (journal.Result{Seq: event.Seq(i + 1)}); results[0] != got {
			t.Fatalf("result %+v, want %+v", results[0], got)
		}
		if events[0].Sequence != event.Seq(i+1) || events[0].RecordedTime.IsZero() {
			t.Fatalf("the event was not told its sequence and time: %+v", events[0])
		}
	}
	for range 3 {
		if diff := cmp.Diff(want, ids(t, j)); diff != "" {
			t.Fatalf("events (-want +got):\n%s", diff)
		}
		if report := verify(t, j); report.Events != 100 {
			t.Errorf("verify counted %d events, want 100", report.Events)
		}
		closeJournal(t, j)
		j = open(t, o)
	}
	if j.First() != 1 || j.Last() != 100 {
		t.Errorf("first %d, last %d; want 1 and 100", j.First(), j.Last())
	}
	if s := j.Stats(); s.Events != 100 || s.Segments == 0 || s.DedupeKeys != 100 {
		t.Errorf("stats %+v", s)
	}
}

func TestRealFileSystem(t *testing.T) {
	o := small(nil)
	o.Dir, o.WALBytes = t.TempDir(), 64<<10
	j := open(t, o)
	for _, id := range names(50) {
		appendAll(t, j, ev(id))
	}
	if _, err := journal.Open(t.Context(), o); !errors.Is(err, vfs.ErrLocked) || !strings.Contains(err.Error(), "process ") {
		t.Errorf("second open: %v, want ErrLocked that names a process", err)
	}
	closeJournal(t, j)
	j = open(t, o)
	if diff := cmp.Diff(names(50), ids(t, j)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	verify(t, j)
}

// 64 writers at once: every sequence once, and none missing.
func TestConcurrentWriters(t *testing.T) {
	const writers, each = 64, 50
	o := small(faultfs.New())
	o.MemEvents, o.WALBytes, o.Window = 500, 64<<10, 10_000
	j := open(t, o)
	seqs := make([][]event.Seq, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				results, err := j.Append(t.Context(), []event.Event{ev(fmt.Sprintf("%d-%d", w, i))})
				if err != nil {
					t.Error(err)
					return
				}
				seqs[w] = append(seqs[w], results[0].Seq)
			}
		})
	}
	wg.Wait()
	var all []event.Seq
	for w := range seqs {
		if !slices.IsSorted(seqs[w]) {
			t.Errorf("writer %d: sequences do not rise: %v", w, seqs[w])
		}
		all = append(all, seqs[w]...)
	}
	slices.Sort(all)
	for i, s := range all {
		if s != event.Seq(i+1) {
			t.Fatalf("sequence %d at place %d: a gap or a double", s, i+1)
		}
	}
	if got := ids(t, j); len(got) != writers*each {
		t.Errorf("%d events read, want %d", len(got), writers*each)
	}
	verify(t, j)
}

func TestInvalidEventNamesItsIndex(t *testing.T) {
	j := open(t, small(faultfs.New()))
	_, err := j.Append(t.Context(), []event.Event{ev("a"), {}})
	if !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), "event 1") {
		t.Errorf("%v, want ErrInvalid for event 1", err)
	}
	if j.Last() != 0 {
		t.Errorf("last is %d, want 0: nothing of the call is recorded", j.Last())
	}
}

// An append wakes whoever took Grown before it looked.
func TestGrown(t *testing.T) {
	j := open(t, small(faultfs.New()))
	grown := j.Grown()
	select {
	case <-grown:
		t.Fatal("grown before anything was appended")
	default:
	}
	appendAll(t, j, ev("a"))
	<-grown
	select {
	case <-j.Grown():
		t.Error("a new channel is closed already")
	default:
	}
}

// A frame greater than a log file gets a file of its own size.
func TestOversizedGroup(t *testing.T) {
	fsys := faultfs.New()
	o := small(fsys)
	j := open(t, o)
	appendAll(t, j, ev("first"))
	var events []event.Event
	want := []string{"first"}
	for i := range 100 {
		id := fmt.Sprint("big", i)
		e := ev(id)
		e.Data = []byte(`"` + strings.Repeat("x", 1000) + `"`)
		events = append(events, e)
		want = append(want, id)
	}
	appendAll(t, j, events...)
	appendAll(t, j, ev("last"))
	want = append(want, "last")
	for range 2 {
		if diff := cmp.Diff(want, ids(t, j)); diff != "" {
			t.Fatalf("events (-want +got):\n%s", diff)
		}
		verify(t, j)
		closeJournal(t, j)
		j = open(t, o)
	}
}

func TestEventWithoutTimeAndExpiry(t *testing.T) {
	j := open(t, small(faultfs.New()))
	e := ev("gone")
	e.ExpiryTime = time.Now().Add(-time.Second)
	appendAll(t, j, e, ev("stays"))
	if diff := cmp.Diff([]string{"stays"}, ids(t, j)); diff != "" {
		t.Errorf("an expired event is returned (-want +got):\n%s", diff)
	}
	if _, err := j.Get(1); !errors.Is(err, event.ErrNotFound) {
		t.Errorf("get: %v, want ErrNotFound", err)
	}
}
