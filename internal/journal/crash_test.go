package journal_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/vfs/faultfs"
)

// step is one move of a script: an append of events (some repeated), or
// something else that writes.
type step struct {
	kind   string // append, seal, reopen, retain
	events []event.Event
}

func drawScript(t *rapid.T) []step {
	next := 0
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		kind := rapid.SampledFrom([]string{"append", "append", "append", "append", "append", "seal", "reopen", "retain"}).Draw(t, "kind")
		s := step{kind: kind}
		if kind != "append" {
			return s
		}
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			id := next
			if next > 0 && rapid.IntRange(0, 9).Draw(t, "repeat") == 0 {
				id = rapid.IntRange(0, next-1).Draw(t, "which")
			} else {
				next++
			}
			// The type follows from the id, so that a repeated event has the same content.
			types := []event.Type{"t", "t", "t.long", "t.short"}
			s.events = append(s.events, typed(fmt.Sprint("e", id), types[id%len(types)]))
		}
		return s
	}), 3, 14).Draw(t, "script")
}

// fataler is a test, or one run of a property.
type fataler interface {
	Context() context.Context
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// world is what a script has been told, to compare with what is found.
type world struct {
	acked    map[event.Seq]string
	tried    map[string]bool
	retained bool // retention has run, so that events may be gone
}

// play runs a script until its end, or until the file system stops it.
func play(t fataler, fsys *faultfs.FS, script []step, w *world) {
	j, err := journal.Open(t.Context(), small(fsys))
	if err != nil {
		return
	}
	defer func() { _ = j.Close() }()
	for _, s := range script {
		switch s.kind {
		case "append":
			for i := range s.events {
				w.tried[string(s.events[i].ID)] = true
			}
			var results []journal.Result
			if results, err = j.Append(t.Context(), s.events); err == nil {
				w.note(t, s.events, results)
			}
		case "seal":
			err = j.Seal(t.Context())
		case "retain":
			w.retained = true
			_, err = j.Retain(t.Context(), journal.Policy{MaxBytes: 2000})
		case "reopen":
			if err = j.Close(); err == nil {
				var again *journal.Journal
				if again, err = journal.Open(t.Context(), small(fsys)); err == nil {
					j = again
				}
			}
		}
		if err != nil {
			return
		}
	}
}

func (w *world) note(t fataler, events []event.Event, results []journal.Result) {
	for i, r := range results {
		id := string(events[i].ID)
		if other, ok := w.acked[r.Seq]; ok && other != id {
			t.Fatalf("sequence %d was given to %s and to %s", r.Seq, other, id)
		}
		if r.Conflict {
			t.Fatalf("%s is in conflict with itself", id)
		}
		w.acked[r.Seq] = id
	}
}

// inspect reopens the journal and compares it with what was acknowledged.
func (w *world) inspect(t fataler, fsys *faultfs.FS) {
	j, err := journal.Open(t.Context(), small(fsys))
	if err != nil {
		t.Fatalf("open after the fault: %v", err)
	}
	defer func() {
		if err := j.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}()
	report, err := j.Verify(t.Context(), journal.VerifyOptions{})
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	found := map[event.Seq]string{}
	ids := map[string]bool{}
	for seq := event.Seq(0); ; {
		hits, err := j.After(t.Context(), seq, 5)
		if err != nil {
			t.Fatal(err)
		}
		if len(hits) == 0 {
			break
		}
		for _, h := range hits {
			e, err := event.Decode(h.Body)
			if err != nil {
				t.Fatal(err)
			}
			id := string(e.ID)
			if ids[id] || !w.tried[id] {
				t.Fatalf("%s is there twice, or was never sent", id)
			}
			seq, found[h.Seq], ids[id] = h.Seq, id, true
		}
	}
	gone := 0
	for seq, id := range w.acked {
		switch found[seq] {
		case id:
		case "":
			gone++
		default:
			t.Fatalf("sequence %d is %s, and was acknowledged as %s", seq, found[seq], id)
		}
	}
	if gone > 0 && (!w.retained || int64(gone) > report.Removed) {
		t.Fatalf("%d acknowledged events are lost, %d were removed", gone, report.Removed)
	}
	if int64(len(found))+report.Removed != int64(j.Last()) {
		t.Fatalf("%d events and %d removed of %d: a gap", len(found), report.Removed, j.Last())
	}
	w.goOn(t, j, found)
}

// goOn checks that the journal still knows its events, and takes new ones.
func (w *world) goOn(t fataler, j *journal.Journal, found map[event.Seq]string) {
	last := j.Last()
	results, err := j.Append(t.Context(), []event.Event{ev("new")})
	if err != nil || results[0].Seq != last+1 {
		t.Fatalf("append after the fault: %+v, %v; want sequence %d", results, err, last+1)
	}
	w.tried["new"] = true
	w.acked[last+1] = "new"
	for seq, id := range found {
		hit, err := j.Get(seq)
		if err != nil {
			t.Fatal(err)
		}
		e, err := event.Decode(hit.Body)
		if err != nil {
			t.Fatal(err)
		}
		results, err := j.Append(t.Context(), []event.Event{e})
		if want := (journal.Result{Seq: seq, Duplicate: true}); err != nil || results[0] != want {
			t.Fatalf("%s again: %+v, %v; want %+v", id, results, err, want)
		}
	}
}

// faults are what may happen at an operation.
var faults = map[string]func(op faultfs.Op) *faultfs.Fault{
	"crash": func(faultfs.Op) *faultfs.Fault { return &faultfs.Fault{Crash: true} },
	"error": func(faultfs.Op) *faultfs.Fault { return &faultfs.Fault{Err: syscall.EIO} },
	"short": func(op faultfs.Op) *faultfs.Fault {
		return &faultfs.Fault{Err: syscall.EIO, Written: op.Size / 2}
	},
	"full": func(op faultfs.Op) *faultfs.Fault {
		if op.Kind == faultfs.Sync || op.Kind == faultfs.SyncDir {
			return nil
		}
		return &faultfs.Fault{Err: syscall.ENOSPC, Written: op.Size / 3}
	},
}

// Whatever fails, and wherever: after a restart every acknowledged event is
// there once, in its place, there is no gap, and Verify passes. Each of a few
// scripts is run once for every operation that it makes on the file system.
func TestFaultAtEveryPoint(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for example := range 2 {
				script := rapid.Custom(drawScript).Example(example)
				dry, w := faultfs.New(), newWorld()
				play(t, dry, script, w)
				total := dry.Ops()
				w.inspect(t, dry)
				for n := 1; n <= total; n++ {
					strike(t, script, name, fault, n, uint64(n))
				}
			}
		})
	}
}

// The same for any script, one place at a time.
func TestFaultAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		script := drawScript(t)
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(faults))).Draw(t, "fault")
		seed := rapid.Uint64().Draw(t, "seed")
		for range 3 {
			n := rapid.IntRange(1, 200).Draw(t, "operation")
			strike(t, script, name, faults[name], n, seed)
		}
	})
}

// strike runs a script with a fault at its n-th operation, restarts, and looks.
func strike(t fataler, script []step, name string, fault func(faultfs.Op) *faultfs.Fault, n int, seed uint64) {
	fsys, w := faultfs.New(), newWorld()
	fsys.Inject(func(op faultfs.Op) *faultfs.Fault {
		if op.N != n {
			return nil
		}
		return fault(op)
	})
	play(t, fsys, script, w)
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	if name == "crash" || r.IntN(2) == 0 { // else only the process ends
		fsys.Crash()
		fsys.Recover(r)
	}
	fsys.Inject(nil)
	w.inspect(t, fsys)
	// And once more, now that recovery itself has written.
	fsys.Crash()
	fsys.Recover(r)
	w.inspectAgain(t, fsys)
}

func newWorld() *world {
	return &world{acked: map[event.Seq]string{}, tried: map[string]bool{}}
}

func (w *world) inspectAgain(t fataler, fsys *faultfs.FS) {
	report, err := journal.VerifyDir(t.Context(), fsys, small(fsys).Dir, journal.VerifyOptions{})
	if err != nil {
		t.Fatalf("verify the folder: %v", err)
	}
	last := slices.Max(append([]event.Seq{0}, keys(w.acked)...))
	if report.Last < last {
		t.Fatalf("the journal ends at %d, and %d was acknowledged", report.Last, last)
	}
}

func keys(m map[event.Seq]string) []event.Seq {
	out := make([]event.Seq, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// A crash while Open repairs what an earlier crash left.
func TestCrashDuringRecovery(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		script := drawScript(t)
		first := rapid.IntRange(1, 150).Draw(t, "first")
		second := rapid.IntRange(1, 12).Draw(t, "second")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		fsys, w := faultfs.New(), newWorld()
		at := first
		crash := func(op faultfs.Op) *faultfs.Fault {
			if op.N == at {
				return &faultfs.Fault{Crash: true}
			}
			return nil
		}
		fsys.Inject(crash)
		play(t, fsys, script, w)
		fsys.Crash()
		fsys.Recover(r)
		at = second
		fsys.Inject(crash)
		if j, err := journal.Open(t.Context(), small(fsys)); err == nil {
			_ = j.Close()
		} else if !errors.Is(err, faultfs.ErrCrashed) {
			t.Fatalf("open: %v", err)
		}
		fsys.Crash()
		fsys.Recover(r)
		w.inspect(t, fsys)
	})
}
