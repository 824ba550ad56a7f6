package journal_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/vfs/faultfs"
)

// bubble runs f in a bubble of synctest. Segments are compressed by pooled
// coders, which have channels of their own; two collections empty the pools, so
// that none from inside is used outside, which is fatal.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, f)
	runtime.GC()
	runtime.GC()
}

// A disk that fills up refuses, loses nothing, and goes on by itself.
func TestDiskFullAndRecovery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		t.Helper()
		fsys := faultfs.New()
		o := small(fsys)
		j := open(t, o)
		appendAll(t, j, ev("e1"))
		free, err := fsys.Free(o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		used := int64(1<<63-1) - free
		fsys.SetCapacity(used + 4<<10)
		want := []string{"e1"}
		refused := 0
		for i := range 300 {
			id := fmt.Sprint("f", i)
			_, err := j.Append(t.Context(), []event.Event{ev(id)})
			switch {
			case err == nil:
				want = append(want, id)
			case errors.Is(err, journal.ErrFull) && errors.Is(err, event.ErrUnavailable):
				refused++
			default:
				t.Fatalf("append: %v, want ErrFull", err)
			}
		}
		if refused == 0 {
			t.Fatal("nothing was refused on a full disk")
		}
		fsys.SetCapacity(1 << 40)
		time.Sleep(3 * time.Second) // fake: the sealer tries again, and free space is looked at again
		appendAll(t, j, ev("after"))
		want = append(want, "after")
		for range 2 {
			if diff := cmp.Diff(want, ids(t, j)); diff != "" {
				t.Fatalf("events (-want +got):\n%s", diff)
			}
			verify(t, j)
			closeJournal(t, j)
			j = open(t, o)
		}
		closeJournal(t, j)
	})
}

// What is left of the disk below the reserve is for sys and audit alone.
func TestReserve(t *testing.T) {
	bubble(t, func(t *testing.T) {
		t.Helper()
		fsys := faultfs.New()
		fsys.SetCapacity(1 << 20)
		o := small(fsys)
		o.Reserve = 2 << 20
		j := open(t, o)
		defer closeJournal(t, j)
		if _, err := j.Append(t.Context(), []event.Event{ev("a")}); !errors.Is(err, journal.ErrFull) {
			t.Errorf("custom: %v, want ErrFull", err)
		}
		sys, audit := ev("s"), ev("t")
		sys.Kind, audit.Kind = event.KindSys, event.KindAudit
		appendAll(t, j, sys, audit)
		if _, err := j.Append(t.Context(), []event.Event{typed("x", "t"), sys}); !errors.Is(err, journal.ErrFull) {
			t.Errorf("mixed: %v, want ErrFull", err)
		}
		fsys.SetCapacity(1 << 30)
		time.Sleep(time.Second)
		appendAll(t, j, ev("a"))
	})
}

// After a failed sync nothing is accepted and no sync is tried again.
func TestFailedSyncStops(t *testing.T) {
	fsys := faultfs.New()
	j := open(t, small(fsys))
	appendAll(t, j, ev("a"))
	var mu sync.Mutex
	syncs := 0
	fsys.Inject(func(op faultfs.Op) *faultfs.Fault {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind == faultfs.Sync {
			syncs++
			return &faultfs.Fault{Err: syscall.EIO}
		}
		return nil
	})
	for range 3 {
		if _, err := j.Append(t.Context(), []event.Event{ev("b")}); !errors.Is(err, journal.ErrStopped) {
			t.Errorf("append: %v, want ErrStopped", err)
		}
	}
	if syncs != 1 {
		t.Errorf("%d syncs, want one that failed and no other", syncs)
	}
	if diff := cmp.Diff([]string{"a"}, ids(t, j)); diff != "" {
		t.Errorf("reads go on with what was acknowledged (-want +got):\n%s", diff)
	}
	if s := j.Stats(); !errors.Is(s.Refuse, journal.ErrStopped) {
		t.Errorf("stats say %v, want ErrStopped", s.Refuse)
	}
}

// While the sealer can't keep up, appends wait; a caller may give up, and what
// he withdrew is not recorded.
func TestBackPressure(t *testing.T) {
	fsys := faultfs.New()
	o := small(fsys)
	j := open(t, o)
	gate := make(chan struct{})
	reached := make(chan struct{})
	var once sync.Once
	o2 := &gatedFS{FS: fsys, gate: gate, reached: func() { once.Do(func() { close(reached) }) }}
	closeJournal(t, j)
	o.FS = o2
	j = open(t, o)
	// One table with the sealer, two more that wait, and one that is full.
	n := 0
	for ; n < 8*4; n++ {
		appendAll(t, j, ev(fmt.Sprint("e", n)))
	}
	<-reached
	ctx, cancel := context.WithCancel(t.Context())
	blocked := make(chan error, 2)
	go func() {
		_, err := j.Append(ctx, []event.Event{ev("first in the queue")})
		blocked <- err
	}()
	select {
	case err := <-blocked:
		t.Fatalf("append did not wait: %v", err)
	default:
	}
	cancel()
	if err := <-blocked; !errors.Is(err, context.Canceled) {
		t.Errorf("append: %v, want context.Canceled", err)
	}
	if j.Last() != event.Seq(n) {
		t.Errorf("last is %d, want %d", j.Last(), n)
	}
	close(gate)
	appendAll(t, j, ev("goes on"))
	verify(t, j)
}

// The time of recording never goes back, and transient events and old segments
// go when their time is over. The bubble's clock starts in the year 2000.
func TestRetention(t *testing.T) {
	bubble(t, func(t *testing.T) {
		t.Helper()
		fsys := faultfs.New()
		o := small(fsys)
		o.Policy = func() journal.Policy {
			return journal.Policy{Keep: map[segment.Class]time.Duration{segment.Default: 48 * time.Hour, segment.Short: time.Hour}}
		}
		j := open(t, o)
		for day := range 6 {
			for i := range 10 {
				typ := []event.Type{"t", "t.long", "t.short", "t.transient"}[i%4]
				appendAll(t, j, typed(fmt.Sprintf("d%d-%d", day, i), typ))
			}
			time.Sleep(24 * time.Hour)
			synctest.Wait()
		}
		days := map[string]int{}
		for _, id := range ids(t, j) {
			e, err := event.ParseSeq(id[1:2])
			if err != nil {
				t.Fatal(err)
			}
			days[fmt.Sprint(e)]++
		}
		report := verify(t, j)
		if report.Removed == 0 || report.Events+report.Removed != 60 {
			t.Errorf("%d events and %d removed, want 60 together", report.Events, report.Removed)
		}
		for _, hit := range hits(t, j) {
			e, err := event.Decode(hit.Body)
			if err != nil {
				t.Fatal(err)
			}
			age := time.Since(time.Unix(0, hit.Recorded))
			if limit := map[event.Type]time.Duration{"t": 72 * time.Hour, "t.short": 25 * time.Hour, "t.transient": time.Hour, "t.long": 1000 * time.Hour}[e.Type]; age > limit+time.Minute {
				t.Errorf("%s of type %s is still there after %s", e.ID, e.Type, age)
			}
		}
		closeJournal(t, j)
		j = open(t, o)
		if again := verify(t, j); again.Removed != report.Removed {
			t.Errorf("after a restart %d events are known as removed, want %d", again.Removed, report.Removed)
		}
		if got := j.Preview(journal.Policy{MaxBytes: 1, Hold: func(segment.Info) bool { return true }}); len(got) != 0 {
			t.Errorf("a legal hold would be broken: %+v", got)
		}
		preview := j.Preview(journal.Policy{MaxBytes: 1})
		removed, err := j.Retain(t.Context(), journal.Policy{MaxBytes: 1})
		if err != nil || len(removed) != len(preview) || len(removed) == 0 {
			t.Errorf("removed %d segments, %v; previewed %d", len(removed), err, len(preview))
		}
		verify(t, j)
		if left := files(fsys, segment.Suffix); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
		appendAll(t, j, ev("new"))
		closeJournal(t, j)
		j = open(t, o)
		verify(t, j)
		closeJournal(t, j)
	})
}

func hits(t *testing.T, j *journal.Journal) []segment.Hit {
	t.Helper()
	var out []segment.Hit
	if err := j.Export(t.Context(), 0, 0, func(h segment.Hit) error {
		out = append(out, h)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// A clock that steps back between two runs moves no event before an earlier one.
func TestClockJumpsBack(t *testing.T) {
	fsys := faultfs.New()
	o := small(fsys)
	j := open(t, o)
	appendAll(t, j, ev("a"))
	closeJournal(t, j)
	bubble(t, func(t *testing.T) { // in here it is the year 2000
		t.Helper()
		j, err := journal.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			appendAll(t, j, ev(fmt.Sprint("past", i)))
		}
		all := hits(t, j)
		for i := 1; i < len(all); i++ {
			if all[i].Recorded < all[i-1].Recorded {
				t.Errorf("event %d was recorded before event %d", all[i].Seq, all[i-1].Seq)
			}
		}
		if len(all) != 21 {
			t.Errorf("%d events, want 21", len(all))
		}
		verify(t, j)
		closeJournal(t, j)
	})
}

// Close in the middle of a load: whoever was told yes finds his event again.
func TestCloseUnderLoad(t *testing.T) {
	o := small(faultfs.New())
	o.Window = 100_000
	j := open(t, o)
	var mu sync.Mutex
	acked := map[event.Seq]string{}
	var wg sync.WaitGroup
	started := make(chan struct{}, 16)
	for w := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d", w, i)
				results, err := j.Append(t.Context(), []event.Event{ev(id)})
				if errors.Is(err, journal.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[results[0].Seq] = id
				mu.Unlock()
				if i == 20 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 16 {
		<-started
	}
	closeJournal(t, j)
	wg.Wait()
	j = open(t, o)
	all := hits(t, j)
	if len(all) != len(acked) {
		t.Errorf("%d events, %d were acknowledged", len(all), len(acked))
	}
	for _, h := range all {
		e, err := event.Decode(h.Body)
		if err != nil || acked[h.Seq] != string(e.ID) {
			t.Errorf("sequence %d is %s, want %s (%v)", h.Seq, e.ID, acked[h.Seq], err)
		}
	}
	verify(t, j)
}

// Import appends what Export gave, and finds its own repetition.
func TestExportImport(t *testing.T) {
	from := open(t, small(faultfs.New()))
	for _, id := range names(20) {
		appendAll(t, from, ev(id))
	}
	to := open(t, small(faultfs.New()))
	events := func(yield func(event.Event, error) bool) {
		for _, h := range hits(t, from) {
			if e, err := event.Decode(h.Body); !yield(e, err) {
				return
			}
		}
	}
	for _, want := range []journal.Imported{{Events: 20}, {Duplicates: 20}} {
		got, err := to.Import(t.Context(), events)
		if err != nil || got != want {
			t.Errorf("import: %+v, %v; want %+v", got, err, want)
		}
	}
	if diff := cmp.Diff(ids(t, from), ids(t, to)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
