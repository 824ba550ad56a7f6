package state

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Above ten a minute, the rest of the minute is one event with a count, for each
// type and address.
func TestFold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFolder(nil)
		attempt := func(address string) bool {
			return !f.hold(address, []event.Event{{Type: "auth.error"}, {Type: "login_failed"}})
		}
		passed := 0
		for range 25 {
			if attempt("192.0.2.1") {
				passed++
			}
		}
		if passed != foldLimit || !attempt("192.0.2.2") {
			t.Errorf("%d passed one by one, want %d; another address must not suffer", passed, foldLimit)
		}
		if early := f.due(time.Now()); len(early) != 0 {
			t.Errorf("told before the minute is over: %v", early)
		}
		time.Sleep(foldWindow)
		counts := map[event.Type]any{}
		for _, e := range f.due(time.Now()) {
			n, _ := e.Extension(FoldedCount)
			counts[e.Type] = n
		}
		if counts["auth.error"] != int32(15) || counts["login_failed"] != int32(15) || len(counts) != 2 {
			t.Errorf("folded: %v, want 15 of each", counts)
		}
		if !attempt("192.0.2.1") {
			t.Error("a new minute begins anew")
		}
	})
}

// Addresses without end must not fill the memory.
func TestFoldManyAddresses(t *testing.T) {
	f := NewFolder(nil)
	for i := range foldKeys + 100 {
		f.hold(string(rune(i))+"x", []event.Event{{Type: "auth.error"}})
	}
	if len(f.open) > foldKeys+1 {
		t.Errorf("%d addresses are remembered", len(f.open))
	}
}
