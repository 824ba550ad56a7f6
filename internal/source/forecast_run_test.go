package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
)

// pastEvents is a journal in memory, which counts what it gives.
type pastEvents struct {
	mu     sync.Mutex
	events []event.Event
	given  int
	fail   error
}

func (h *pastEvents) Each(_ context.Context, types []event.Type, after event.Seq, since time.Time, give func(*event.Event) error) (event.Seq, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := int(after); i < len(h.events) && h.fail == nil; i++ {
		if e := &h.events[i]; slices.Contains(types, e.Type) && !e.Time.Before(since) {
			h.given++
			if err := give(e); err != nil {
				return after, err
			}
		}
	}
	return event.Seq(len(h.events)), h.fail
}

func (h *pastEvents) add(name string, at time.Time, data map[string]any) {
	t := event.Type("backup_succeeded")
	if data["exit_status"] != nil {
		t = "backup_failed"
	}
	data["name"] = name
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event.Event{Type: t, Time: at, Host: "web-17", Data: raw})
}

func testForecast(t *testing.T, o forecastOptions) *forecast {
	t.Helper()
	o.Enabled, o.Interval, o.Probability = true, 3e11, 0.7
	s, err := newForecast(o)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*forecast)
}

// A healthy host with four jobs tells nothing in 30 days, with a restart each
// five; then one job breaks, and is told of once.
func TestForecastHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		by := rand.New(rand.NewPCG(3, 4))
		h, stored := &pastEvents{}, map[string]string{}
		var f *forecast
		var r *recorder
		broken := false
		days := func(n int) {
			f, r = testForecast(t, forecastOptions{Targets: []string{"nightly=/srv/backup"}}), newRecorder(stored)
			f.statfs = func(string) (int64, int64, error) { return 500e9 + by.Int64N(5e9), 1000e9, nil }
			r.History = h
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- f.Run(ctx, &r.Env) }()
			for range n {
				for range 4 {
					time.Sleep(6*time.Hour - time.Second/4)
					synctest.Wait()
					h.add("database", time.Now().UTC(), map[string]any{"duration_ms": int(6e4 * (0.8 + by.Float64())), "bytes": int(1e8 * (0.7 + by.Float64()))})
				}
				now := time.Now().UTC()
				usual := func(bytes float64) map[string]any {
					return map[string]any{"duration_ms": int(6e5 * (0.8 + by.Float64())), "bytes": int(bytes * (0.7 + by.Float64()))}
				}
				if broken {
					h.add("nightly", now, map[string]any{"exit_status": 1, "error": fmt.Sprintf("read /tmp/x%d: input/output error", by.IntN(1e6))})
				} else {
					h.add("nightly", now, usual(2e9))
				}
				if day := now.Weekday(); day != time.Saturday && day != time.Sunday {
					h.add("office", now, usual(5e8))
				}
				if now.Weekday() == time.Sunday {
					h.add("weekly", now, usual(9e10))
				}
				time.Sleep(time.Second)
			}
			cancel()
			if err := <-done; err != nil || r.status != Running {
				t.Errorf("Run = %v, status %s", err, r.status)
			}
		}
		for range 6 {
			days(5)
			if got := r.told(t, "name", "reason"); got != nil {
				t.Errorf("a false alarm: %q", got)
			}
		}
		broken = true
		for i := range 3 {
			days(3)
			var want []string
			if i == 0 {
				want = []string{`backup_future_warnings warn backup/nightly "nightly" "failing" "the last 2 runs failed with the same error" 0.75`}
			}
			if diff := cmp.Diff(want, r.told(t, "name", "forecast", "reason", "probability")); diff != "" {
				t.Errorf("broken for %d days: %s", 3*i+3, diff)
			}
		}
		broken = false
		days(12)
		if got := r.told(t); got != nil {
			t.Errorf("it works again, and is told: %q", got)
		}
		broken = true
		days(3)
		if got := r.told(t); len(got) != 1 {
			t.Errorf("it is broken anew: %q", got)
		}
	})
}

// What each kind says, from events to data; a second look reads nothing twice.
func TestForecastSays(t *testing.T) {
	start := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	h := &pastEvents{}
	for i := range 20 {
		at := start.AddDate(0, 0, i)
		h.add("long", at, map[string]any{"duration_ms": 3.6e6 * (1 + 0.1*float64(i))})
		h.add("big", at, map[string]any{"bytes": 1e9, "free_bytes": 22.5e9 - 1e9*float64(i)})
		h.add("small", at, map[string]any{"bytes": []float64{1e9, 1e6}[i/18]})
		if i < 15 {
			h.add("gone", at, map[string]any{"bytes": 1e9})
		}
		h.add("fine", at, map[string]any{"bytes": 1e9, "duration_ms": 1000})
		h.add("", at, map[string]any{})
		h.add("fine", at.AddDate(1, 0, 0), map[string]any{}) // a wrong clock
	}
	h.events = append(h.events, event.Event{Type: "backup_failed", Time: start, Data: []byte(`[1`)})
	f, r := testForecast(t, forecastOptions{Windows: []string{"long=3h"}}), newRecorder(map[string]string{})
	f.jobs, r.History = map[string]*job{}, h
	now := start.AddDate(0, 0, 19).Add(time.Hour)
	for range 2 {
		if err := f.look(t.Context(), &r.Env, now); err != nil {
			t.Fatal(err)
		}
	}
	const warn = "backup_future_warnings warn backup/"
	want := []string{
		warn + `big "no_space" "2026-03-24T02:00:00Z" "3.5 GB are free, 1 GB less with each run, and the next needs 1 GB"`,
		warn + `gone "overdue" "2026-03-21T03:00:00Z" "it has not run for 5d, and usually does every 24h"`,
		warn + `long "too_long" "2026-03-21T02:00:00Z" "it takes 3h, 5.42 % more each time, and may take 3h"`,
		warn + `small "shrunk" "2026-03-23T02:00:00Z" "the last two runs saved 1 MB at most, where 1 GB are usual"`,
	}
	if diff := cmp.Diff(want, r.told(t, "forecast", "by", "reason")); diff != "" {
		t.Error(diff)
	}
	if all := len(h.events); h.given != all {
		t.Errorf("%d of %d events were read", h.given, all)
	}
	h.fail = errors.New("no disk")
	if err := f.look(t.Context(), &r.Env, now); !errors.Is(err, h.fail) {
		t.Errorf("look = %v", err)
	}
}

// Free space comes from the target, or from what is told about its file system.
func TestForecastTarget(t *testing.T) {
	start := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	for _, far := range []bool{false, true} {
		h := &pastEvents{}
		for i := range 12 {
			h.add("nightly", start.AddDate(0, 0, i), map[string]any{"bytes": 5e9})
		}
		f, r := testForecast(t, forecastOptions{Targets: []string{"nightly=/srv/backup"}}), newRecorder(map[string]string{})
		f.jobs, r.History = map[string]*job{}, h
		f.statfs = func(path string) (int64, int64, error) { return 96e9, 100e9, nil }
		if far { // on another host
			r.Host = "server"
			h.events = append(h.events, event.Event{Type: "disk_full", Time: start, Host: "web-17", Data: []byte(`{"path":"/srv","used_bytes":96e9,"limit_bytes":100e9}`)})
		}
		if err := f.look(t.Context(), &r.Env, start.AddDate(0, 0, 11)); err != nil {
			t.Fatal(err)
		}
		if len(r.events) != 1 || !strings.Contains(string(r.events[0].Data), "4 GB are free, and the next run needs 5 GB") || r.events[0].Host != "web-17" {
			t.Errorf("far %t: %+v", far, r.events)
		}
	}
}

// Ten thousand runs of one job, and of as many jobs, are bounded.
func TestForecastBounded(t *testing.T) {
	start := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	h := &pastEvents{}
	for i := range 10000 {
		h.add("one", start.Add(time.Duration(i)*time.Second), map[string]any{"bytes": 1})
		h.add(fmt.Sprint("job", i), start.Add(time.Duration(i)*time.Second), map[string]any{"bytes": 1})
	}
	f, r := testForecast(t, forecastOptions{}), newRecorder(map[string]string{})
	f.jobs, r.History = map[string]*job{}, h
	if err := f.look(t.Context(), &r.Env, start.AddDate(0, 0, 1)); err != nil || len(f.jobs) != maxJobs || len(f.jobs["web-17/one"].runs) != keptRuns || len(r.events) != 0 {
		t.Errorf("%v, %d jobs, %d events", err, len(f.jobs), len(r.events))
	}
	if err := f.look(t.Context(), &r.Env, start.AddDate(0, 6, 0)); err != nil || len(f.jobs) != 0 || r.status != Idle {
		t.Errorf("after half a year: %v, %d jobs, %s", err, len(f.jobs), r.status)
	}
}

func TestForecastOptions(t *testing.T) {
	for text, says := range map[string]string{
		"{targets: ['a=/srv'], windows: ['a=4h']}": "",
		"{interval: 59s}":                          "shorter than 1m",
		"{probability: 0}":                         "not above 0",
		"{probability: .nan}":                      "not above 0",
		"{targets: [srv]}":                         "name=/path",
		"{targets: ['a=srv']}":                     "name=/path",
		"{windows: ['a=soon']}":                    "name=4h",
	} {
		_, err := Open(options(t, "backup_future_warnings: "+text), Env{}, nil)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}
