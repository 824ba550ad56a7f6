package spool_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/spool"
)

func put(t *testing.T, dir, id string) {
	t.Helper()
	e := event.Event{ID: event.ID(id), Source: "/s", Type: "t", Time: time.Unix(1, 0).UTC(), Data: []byte(`{"x":1}`)}
	if err := spool.Put(dir, &e); err != nil {
		t.Fatal(err)
	}
}

func TestSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	if err := spool.Each(dir, func(*event.Event) error { return nil }); err != nil {
		t.Errorf("a spool that is not there: %v", err)
	}
	for _, id := range []string{"1", "2", "3"} {
		put(t, dir, id)
	}
	if err := os.WriteFile(filepath.Join(dir, "zz.json"), []byte("{broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	away := event.Unavailablef("no server")
	err := spool.Each(dir, func(e *event.Event) error {
		got = append(got, string(e.ID))
		if e.ID == "2" {
			return away
		}
		return nil
	})
	if diff := cmp.Diff([]string{"1", "2"}, got); !errors.Is(err, event.ErrUnavailable) || diff != "" {
		t.Errorf("the first round: %v %s", err, diff)
	}
	got = nil
	if err := spool.Each(dir, func(e *event.Event) error { got = append(got, string(e.ID)); return nil }); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"2", "3"}, got); diff != "" {
		t.Errorf("the second round: %s", diff)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "zz.json.bad" {
		t.Errorf("left over: %v, %v; what can't be read is set aside", entries, err)
	}
}

func TestRefusedIsSetAside(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "1")
	put(t, dir, "2")
	taken := 0
	err := spool.Each(dir, func(e *event.Event) error {
		if e.ID == "1" {
			return event.Invalidf("no such type")
		}
		taken++
		return nil
	})
	if err != nil || taken != 1 {
		t.Errorf("Each = %v, %d taken: one bad event must not block the others", err, taken)
	}
}
