package journal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/vfs/faultfs"
)

func changed(id string) event.Event {
	e := ev(id)
	e.Data = []byte(`{"text":"other"}`)
	return e
}

// enriched is the event with other values where the server sets them.
func enriched(id string) event.Event {
	e := ev(id)
	e.RecordedBy, e.GeoCountry, e.ASN, e.Brand, e.CausationDepth = "token/7", "SE", "AS1", "b", 2
	e.ExpiryTime = time.Now().Add(time.Hour)
	return e
}

func TestDuplicates(t *testing.T) {
	o := small(faultfs.New())
	j := open(t, o)
	other := ev("a")
	other.Source = "/other"
	for _, c := range []struct {
		name   string
		before func()
		events []event.Event
		want   []journal.Result
	}{
		{"in one call", nil, []event.Event{ev("a"), ev("b"), ev("a"), changed("b")}, []journal.Result{{Seq: 1}, {Seq: 2}, {1, true, false}, {2, true, true}}},
		{"in the table", nil, []event.Event{ev("b"), changed("a")}, []journal.Result{{2, true, false}, {1, true, true}}},
		{"another source", nil, []event.Event{other}, []journal.Result{{Seq: 3}}},
		{"what the server sets does not count", nil, []event.Event{enriched("a")}, []journal.Result{{1, true, false}}},
		{"in a segment", func() {
			if err := j.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, []event.Event{ev("a"), changed("b"), ev("c")}, []journal.Result{{1, true, false}, {2, true, true}, {Seq: 4}}},
		{"after a restart, from segment and log", func() {
			closeJournal(t, j)
			j = open(t, o)
		}, []event.Event{ev("a"), ev("c"), changed("c")}, []journal.Result{{1, true, false}, {4, true, false}, {4, true, true}}},
	} {
		if c.before != nil {
			c.before()
		}
		results := appendAll(t, j, c.events...)
		if diff := cmp.Diff(c.want, results); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	verify(t, j)
}

// Duplicates that other goroutines have in the same group are found, too: of
// 32 who send the same, one is first.
func TestDuplicatesInOneGroup(t *testing.T) {
	j := open(t, small(faultfs.New()))
	fresh := make(chan bool)
	for range 32 {
		go func() {
			results, err := j.Append(t.Context(), []event.Event{ev("same")})
			if err != nil {
				t.Error(err)
			}
			fresh <- err == nil && !results[0].Duplicate
		}()
	}
	firsts := 0
	for range 32 {
		if <-fresh {
			firsts++
		}
	}
	if firsts != 1 || j.Last() != 1 {
		t.Errorf("recorded %d times, last sequence %d; want once", firsts, j.Last())
	}
}

// The window holds the newest events, now and after a restart; older ones are
// forgotten and recorded again.
func TestWindow(t *testing.T) {
	const window = 40
	o := small(faultfs.New())
	o.Window = window
	j := open(t, o)
	for i := range 100 {
		appendAll(t, j, ev(fmt.Sprint("e", i)))
	}
	for range 2 {
		for _, i := range []int{60, 61, 80, 99} {
			want := journal.Result{Seq: event.Seq(i + 1), Duplicate: true}
			if got := appendAll(t, j, ev(fmt.Sprint("e", i)))[0]; got != want {
				t.Errorf("e%d within the window: %+v, want %+v", i, got, want)
			}
		}
		if s := j.Stats(); s.DedupeKeys != window {
			t.Errorf("%d keys, want %d", s.DedupeKeys, window)
		}
		closeJournal(t, j)
		j = open(t, o)
	}
	if got := appendAll(t, j, ev("e59"))[0]; got.Duplicate || got.Seq != 101 {
		t.Errorf("e59 is older than the window: %+v, want a new sequence", got)
	}
}
