package source

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
)

func disks(n int, key string) finding {
	return finding{producer: "disk", t: "disk_full", severity: event.Warn, subject: "filesystem/" + key, key: key, data: map[string]any{"path": fmt.Sprint("/", n)}}
}

// The first of a thing is told, the rest is counted; a restart keeps the count.
func TestFlood(t *testing.T) {
	stored := map[string]string{}
	r := newRecorder(stored)
	f := newFlood(time.Minute, 2)
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	take := func(n int, key string) {
		t.Helper()
		if err := f.take(t.Context(), &r.Env, now, disks(n, key)); err != nil {
			t.Fatal(err)
		}
	}
	told := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, r.told(t, "path", "folded", "folded_more")); diff != "" {
			t.Fatal(diff)
		}
	}
	for n := range 10_000 {
		take(n, "a")
	}
	told(`disk_full warn filesystem/a "/0" null null`)
	take(1, "b")
	for n := range 500 {
		take(n, fmt.Sprint("c", n))
	}
	told(`disk_full warn filesystem/b "/1" null null`)

	if err := f.flush(t.Context(), &r.Env, now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	f = newFlood(time.Minute, 2)
	if err := f.load(t.Context(), &r.Env); err != nil {
		t.Fatal(err)
	}
	take(3, "a")
	told()
	now = now.Add(time.Minute)
	take(4, "a")
	told(`disk_full warn filesystem/c499 "/499" 499 true`, `disk_full warn filesystem/a "/3" 9999 null`, `disk_full warn filesystem/a "/4" null null`)
	now = now.Add(time.Hour)
	take(5, "a")
	told(`disk_full warn filesystem/a "/5" null null`)

	// A clock that is set back keeps a window open no longer than it is.
	take(6, "a")
	now = now.Add(-24 * time.Hour)
	take(7, "a")
	now = now.Add(time.Minute)
	take(8, "a")
	told(`disk_full warn filesystem/a "/7" 1 null`, `disk_full warn filesystem/a "/8" null null`)
}

// What can't be recorded is told later, and what is stored but damaged is left.
func TestFloodFails(t *testing.T) {
	r := newRecorder(map[string]string{"flood": "{"})
	f := newFlood(time.Minute, 2)
	if err := f.load(t.Context(), &r.Env); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	r.fail = event.Unavailablef("the disk is full")
	if err := f.take(t.Context(), &r.Env, now, disks(1, "a")); err == nil {
		t.Error("taken although nothing was recorded")
	}
	r.fail = nil
	if err := f.take(t.Context(), &r.Env, now, disks(1, "a")); err != nil || len(r.events) != 1 {
		t.Errorf("%d events, %v", len(r.events), err)
	}
}

// What was counted is one event, also where it is told again behind a crash.
func TestFoldedOnce(t *testing.T) {
	stored := map[string]string{}
	r := newRecorder(stored)
	f := newFlood(time.Minute, 2)
	now := time.Now()
	for n := range 3 {
		if err := f.take(t.Context(), &r.Env, now.Add(time.Duration(2*n)*time.Second), disks(n, "a")); err != nil {
			t.Fatal(err)
		}
	}
	before := maps.Clone(stored)
	again := newFlood(time.Minute, 2)
	for _, f := range []*flood{f, again} {
		if err := f.flush(t.Context(), &r.Env, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		maps.Copy(stored, before) // a crash before it was stored
		if err := again.load(t.Context(), &r.Env); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.events) != 3 || r.events[1].ID != r.events[2].ID || r.events[1].ID == r.events[0].ID {
		t.Errorf("%+v", r.events)
	}
}
