package journal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/vfs/faultfs"
)

// files lists the files of a journal whose name ends in suffix.
func files(fsys *faultfs.FS, suffix string) []string {
	var out []string
	for _, f := range fsys.Files() {
		if strings.HasSuffix(f, suffix) {
			out = append(out, f)
		}
	}
	return out
}

// spoil flips a bit in the part of a file that holds text.
func spoil(t *testing.T, fsys *faultfs.FS, path, text string) {
	t.Helper()
	b, err := fsys.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte(text))
	if at < 0 {
		t.Fatalf("%q is not in %s", text, path)
	}
	if err := fsys.Flip(path, int64(at), 4); err != nil {
		t.Fatal(err)
	}
}

// logged makes a closed journal with n events in the log, and none in segments.
func logged(t *testing.T, n int) (journal.Options, *faultfs.FS) {
	t.Helper()
	fsys := faultfs.New()
	o := small(fsys)
	o.MemEvents = 1000
	j := open(t, o)
	for i, id := range names(n) {
		appendAll(t, j, typed(id, []event.Type{"t", "t.long"}[i%2]))
	}
	closeJournal(t, j)
	return o, fsys
}

// A frame that is not whole at the end of the log is cut: nobody was told.
func TestTornTail(t *testing.T) {
	o, fsys := logged(t, 3)
	spoil(t, fsys, files(fsys, ".wal")[0], "event e3")
	j := open(t, o)
	if diff := cmp.Diff([]string{"e1", "e2"}, ids(t, j)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := appendAll(t, j, ev("new"))[0].Seq; got != 3 {
		t.Errorf("the next sequence is %d, want 3", got)
	}
	closeJournal(t, j)
	j = open(t, o)
	if diff := cmp.Diff([]string{"e1", "e2", "new"}, ids(t, j)); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	verify(t, j)
}

// The same in the middle is damage: writes are refused and the place is named;
// what is whole can be read; and when the loss is accepted, everything goes on.
func TestDamageInMidLog(t *testing.T) {
	for _, place := range []struct {
		name, text string
		n          int
	}{
		{"same file", "event e3", 5},
		{"end of an older file", "", 60},
	} {
		t.Run(place.name, func(t *testing.T) {
			o, fsys := logged(t, place.n)
			path, lost := files(fsys, ".wal")[0], "e3"
			if place.text != "" {
				spoil(t, fsys, path, place.text)
			} else {
				b, err := fsys.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				at := bytes.LastIndex(b, []byte(`"event e`))
				lost = strings.Fields(string(b[at+7 : at+12]))[0]
				lost, _, _ = strings.Cut(lost, `"`)
				spoil(t, fsys, path, "event "+lost+`"`)
			}
			var want []string
			for _, id := range names(place.n) {
				if id != lost {
					want = append(want, id)
				}
			}
			j := open(t, o)
			_, err := j.Append(t.Context(), []event.Event{ev("new")})
			if !errors.Is(err, journal.ErrDamaged) || !errors.Is(err, event.ErrUnavailable) ||
				!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "offset") {
				t.Errorf("append: %v; want ErrDamaged with %s and an offset", err, path)
			}
			if diff := cmp.Diff(want, ids(t, j)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if _, err := j.Verify(t.Context(), journal.VerifyOptions{}); err == nil {
				t.Error("verify found nothing")
			}
			closeJournal(t, j)

			o.AcceptLoss = true
			j = open(t, o)
			if got := appendAll(t, j, ev("new"))[0].Seq; got != event.Seq(place.n+1) {
				t.Errorf("the next sequence is %d, want %d", got, place.n+1)
			}
			closeJournal(t, j)
			o.AcceptLoss = false
			j = open(t, o)
			if diff := cmp.Diff(append(want, "new"), ids(t, j)); diff != "" {
				t.Errorf("after the loss was accepted (-want +got):\n%s", diff)
			}
			if report := verify(t, j); report.Lost != 1 {
				t.Errorf("%d events are known as lost, want 1", report.Lost)
			}
			if aside := files(fsys, ".damaged"); len(aside) != 1 {
				t.Errorf("set aside: %v, want one file", aside)
			}
		})
	}
}

// sealed makes an open journal with n events in segments.
func sealed(t *testing.T, n int) (*journal.Journal, journal.Options, *faultfs.FS) {
	t.Helper()
	fsys := faultfs.New()
	o := small(fsys)
	j := open(t, o)
	for i, id := range names(n) {
		appendAll(t, j, typed(id, []event.Type{"t", "t.long"}[i%2]))
	}
	if err := j.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	return j, o, fsys
}

// A flipped bit anywhere in a segment is found, and the file is named.
func TestVerifyFindsEveryFlippedBit(t *testing.T) {
	j, o, fsys := sealed(t, 8)
	closeJournal(t, j)
	for _, path := range files(fsys, segment.Suffix) {
		b, err := fsys.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(b); at += 1 + len(b)/150 {
			if err := fsys.Flip(path, int64(at), 0x10); err != nil {
				t.Fatal(err)
			}
			_, err := journal.VerifyDir(t.Context(), fsys, o.Dir, journal.VerifyOptions{})
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "sequence") && !strings.Contains(err.Error(), "missing") {
				t.Errorf("byte %d of %d: %v; want an error with %s and the sequences", at, len(b), err, path)
			}
			if err := fsys.Flip(path, int64(at), 0x10); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := journal.VerifyDir(t.Context(), fsys, o.Dir, journal.VerifyOptions{}); err != nil {
		t.Errorf("all repaired: %v", err)
	}
}

func TestMissingSegment(t *testing.T) {
	j, o, fsys := sealed(t, 40)
	closeJournal(t, j)
	if err := fsys.Remove(files(fsys, segment.Suffix)[2]); err != nil {
		t.Fatal(err)
	}
	_, err := journal.VerifyDir(t.Context(), fsys, o.Dir, journal.VerifyOptions{})
	if p, ok := errors.AsType[*journal.ProblemError](err); !ok || p == nil {
		t.Fatalf("verify: %v, want a Problem", err)
	}
	j = open(t, o)
	if _, err := j.Append(t.Context(), []event.Event{ev("new")}); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("append: %v, want ErrDamaged", err)
	}
	closeJournal(t, j)
	o.AcceptLoss = true
	j = open(t, o)
	appendAll(t, j, ev("new"))
	if report := verify(t, j); report.Lost != 4 || report.Events != 37 {
		t.Errorf("lost %d, there %d; want 4 and 37", report.Lost, report.Events)
	}
}

// Heads prove that the journal still holds what it held: they pass through
// JSON, and fail on another key, another journal, and a shorter chain.
func TestVerifyAgainstHeads(t *testing.T) {
	j, o, fsys := sealed(t, 21)
	heads, err := j.Heads()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(heads)
	if err != nil {
		t.Fatal(err)
	}
	var again journal.Heads
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	for i := range 30 { // the heads come to lie inside a segment, and in the log
		check := func(when string, h *journal.Heads) {
			t.Helper()
			if _, err := j.Verify(t.Context(), journal.VerifyOptions{Against: h, PublicKey: j.PublicKey()}); err != nil {
				t.Fatalf("%s, %d events later: %v", when, i, err)
			}
		}
		check("old heads", &again)
		now, err := j.Heads()
		if err != nil {
			t.Fatal(err)
		}
		check("present heads", &now)
		appendAll(t, j, ev(fmt.Sprint("later", i)))
		check("heads before the last event", &now)
	}
	forged := again
	forged.Classes[segment.Default].Hash[0] ^= 1
	if _, err := j.Verify(t.Context(), journal.VerifyOptions{Against: &forged}); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("forged heads: %v, want ErrInvalid", err)
	}
	stranger := open(t, small(faultfs.New()))
	if _, err := stranger.Verify(t.Context(), journal.VerifyOptions{Against: &again, PublicKey: j.PublicKey()}); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("heads of another journal: %v, want ErrInvalid", err)
	}
	closeJournal(t, j)
	report, err := journal.VerifyDir(t.Context(), fsys, o.Dir, journal.VerifyOptions{Against: &again})
	if err != nil || report.Last != 51 {
		t.Errorf("stopped: %v, last %d", err, report.Last)
	}
}

func TestLostIdentityIsDamage(t *testing.T) {
	j, o, fsys := sealed(t, 3)
	closeJournal(t, j)
	if err := fsys.Remove(o.Dir + "/journal.json"); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(t.Context(), o); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("open: %v, want ErrDamaged", err)
	}
}
