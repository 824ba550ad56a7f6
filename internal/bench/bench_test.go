package bench_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/bench"
	"github.com/tocsin-events/tocsin/internal/event"
)

func generate(seed uint64, total, distance int) (*bench.Generator, []event.Event) {
	g := bench.NewGenerator(seed, total, distance, time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC))
	events := make([]event.Event, total)
	for i := range events {
		events[i] = g.Next()
	}
	return g, events
}

func TestGeneratorIsDeterministic(t *testing.T) {
	g, events := generate(7, 500, 200)
	again, same := generate(7, 500, 200)
	if diff := cmp.Diff(events, same); diff != "" {
		t.Errorf("the same seed makes other events (-first +second):\n%s", diff)
	}
	other, others := generate(8, 500, 200)
	if events[0].ID == others[0].ID {
		t.Errorf("another seed makes the same id %s", events[0].ID)
	}
	if diff := cmp.Diff(g.Texts(), again.Texts()); diff != "" {
		t.Errorf("the same seed plants other texts:\n%s", diff)
	}
	if slices.Equal(g.Texts(), other.Texts()) {
		t.Errorf("another seed plants the same texts: %v", g.Texts())
	}
}

// TestGeneratorDistribution holds the generator to what docs/benchmarks.md says.
func TestGeneratorDistribution(t *testing.T) {
	const total = 200_000
	_, events := generate(1, total, 50_000)
	types, actors, addresses := map[string]int{}, map[string]int{}, map[string]int{}
	ids := map[event.ID]bool{}
	bytes := 0
	for i := range events {
		e := &events[i]
		types[string(e.Type)]++
		actors[e.AuthID]++
		addresses[e.ClientIP]++
		ids[e.ID] = true
		bytes += len(e.AppendJSON(nil))
		if i > 0 && e.Time.Before(events[i-1].Time) {
			t.Fatalf("event %d happens before the one before it", i)
		}
	}
	if mean := bytes / total; mean < 630 || mean > 690 {
		t.Errorf("an event has %d bytes, not about 660", mean)
	}
	if len(ids) != total {
		t.Errorf("%d different ids among %d events", len(ids), total)
	}
	if first, last := events[0].Time, events[total-1].Time; last.Sub(first) < bench.Span-time.Minute || last.Sub(first) > bench.Span {
		t.Errorf("the events span %s, not 30 days", last.Sub(first))
	}
	for _, d := range []struct {
		what string
		of   map[string]int
		n    int
	}{{"types", types, bench.Types}, {"actors", actors, bench.Actors}, {"addresses", addresses, bench.Addresses}} {
		if len(d.of) > d.n || len(d.of) < d.n*9/10 {
			t.Errorf("%d %s, want nearly %d", len(d.of), d.what, d.n)
		}
		checkZipf(t, d.what, d.of, total, d.n)
	}
}

// checkZipf compares the three most frequent values with a Zipf distribution:
// the k'th of n has a share of k^-1.1 / sum(i^-1.1).
func checkZipf(t *testing.T, what string, counts map[string]int, total, n int) {
	t.Helper()
	sorted := make([]int, 0, len(counts))
	for _, c := range counts {
		sorted = append(sorted, c)
	}
	slices.SortFunc(sorted, func(a, b int) int { return b - a })
	sum := 0.0
	for i := 1; i <= n; i++ {
		sum += math.Pow(float64(i), -1.1)
	}
	for k := range 3 {
		want := math.Pow(float64(k+1), -1.1) / sum
		if got := float64(sorted[k]) / float64(total); math.Abs(got-want) > want/10 {
			t.Errorf("%s: number %d has a share of %.4f, want %.4f", what, k+1, got, want)
		}
	}
}

func TestGeneratorEvents(t *testing.T) {
	hexID := regexp.MustCompile(`^[0-9a-f]{32}$`)
	g, events := generate(3, 2000, 1000)
	planted, released := map[string]int{}, map[string]int{}
	for i := range events {
		e := &events[i]
		decoded, err := event.Decode(e.AppendJSON(nil))
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		var data struct {
			Message string
			Request string `json:"request_id"`
			Release string
		}
		if err := json.Unmarshal(decoded.Data, &data); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		if !hexID.MatchString(data.Request) {
			t.Fatalf("event %d: request_id %q is not 32 hexadecimal digits", i, data.Request)
		}
		for _, text := range g.Texts() {
			if strings.Contains(data.Message, text) {
				planted[text]++
			}
		}
		released[data.Release]++
	}
	for i, text := range g.Texts() {
		if planted[text] != 2 {
			t.Errorf("text %q is in %d of 2000 events, want 2: one in each 1000", text, planted[text])
		}
		if n := released[g.Releases()[i]]; n != 20 {
			t.Errorf("release %q is in %d of 2000 events, want 20: ten in each 1000", g.Releases()[i], n)
		}
	}
}

// TestQuick runs everything, small. That both sides of a search answer alike is
// checked by Run itself; here every row must have both figures.
func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program and takes half a minute")
	}
	program := filepath.Join(t.TempDir(), "tocsin")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/tocsin-events/tocsin/cmd/tocsin").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	r, err := bench.Run(t.Context(), bench.Options{Quick: true, Dir: t.TempDir(), Program: program})
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Goal == 0 && row.Theirs == 0 {
			continue // nothing is left of the other side
		}
		if !(row.Ours > 0) || !(row.Theirs > 0) || row.Against == "" || row.Section == "" {
			t.Errorf("row %q lacks a figure: %+v", row.What, row)
		}
		if ratio := row.Ratio(); !(ratio > 0) || math.IsInf(ratio, 0) {
			t.Errorf("row %q has the ratio %v", row.What, ratio)
		}
	}
	if _, goals := r.Missed(); goals != 70 {
		t.Errorf("%d rows have a goal, want 70", goals)
	}
	var page bytes.Buffer
	if err := r.WritePage(&page, "tocsin bench --quick"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"$ tocsin bench --quick", "A quick run", "| rare substring |", "| batches of 500 from 4 producers |"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestRow(t *testing.T) {
	tests := []struct {
		row   bench.Row
		ratio float64
		met   bool
	}{
		{bench.Row{Ours: 90, Theirs: 100, Sense: bench.More, Goal: 0.9}, 0.9, true},
		{bench.Row{Ours: 89, Theirs: 100, Sense: bench.More, Goal: 0.9}, 0.89, false},
		{bench.Row{Ours: 2, Theirs: 100, Sense: bench.Less, Goal: 50}, 50, true},
		{bench.Row{Ours: 2, Theirs: 99, Sense: bench.Less, Goal: 50}, 49.5, false},
		{bench.Row{Ours: 8, Theirs: 2, Sense: bench.AtMost, Goal: 4}, 4, true},
		{bench.Row{Ours: 9, Theirs: 2, Sense: bench.AtMost, Goal: 4}, 4.5, false},
	}
	for _, tt := range tests {
		if got := tt.row.Ratio(); got != tt.ratio || tt.row.Met() != tt.met {
			t.Errorf("%+v: ratio %v, met %v; want %v, %v", tt.row, got, tt.row.Met(), tt.ratio, tt.met)
		}
	}
}
