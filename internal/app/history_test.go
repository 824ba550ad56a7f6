package app

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal"
)

// A source sees each event of its types once, over several pages and calls.
func TestHistory(t *testing.T) {
	j, err := journal.Open(t.Context(), journal.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}()
	types := []event.Type{"backup_succeeded", "backup_failed"}
	now := time.Now().UTC()
	want := 0
	put := func(n int, at time.Time) {
		t.Helper()
		events := make([]event.Event, n)
		for i := range events {
			events[i] = event.Event{
				ID: event.NewID(), Source: "https://t.example/run", Type: append(types, "disk_full")[i%3], Time: at, Severity: event.Info,
				DataContentType: "application/json", Data: fmt.Appendf(nil, `{"n":%d}`, i),
			}
			if i%3 < 2 && at.Equal(now) {
				want++
			}
		}
		if _, err := j.Append(t.Context(), events); err != nil {
			t.Fatal(err)
		}
	}
	h, seen := history{j}, map[event.ID]bool{}
	after := event.Seq(0)
	for _, n := range []int{3*historyPage + 100, 0, 1, 50} {
		put(n+3, now)
		put(3, now.AddDate(0, 0, -100)) // too old
		var order event.Seq
		after, err = h.Each(t.Context(), types, after, now.AddDate(0, 0, -90), func(e *event.Event) error {
			if seen[e.ID] || e.Type == "disk_full" || e.Sequence <= order {
				t.Fatalf("%s (%s, %d after %d) is given wrongly", e.ID, e.Type, e.Sequence, order)
			}
			seen[e.ID], order = true, e.Sequence
			return nil
		})
		if err != nil || len(seen) != want || after != j.Last() {
			t.Errorf("%d of %d events, read to %d of %d, %v", len(seen), want, after, j.Last(), err)
		}
	}
	put(3, now)
	stop := errors.New("stop")
	if again, err := h.Each(t.Context(), types, after, now, func(*event.Event) error { return stop }); !errors.Is(err, stop) || again != after {
		t.Errorf("Each = %d, %v, want to stop at %d", again, err, after)
	}
}
