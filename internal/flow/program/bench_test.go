package program_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/flow/speed"
)

func benchRun(tb testing.TB, c speed.Case) func() program.Result {
	tb.Helper()
	p, err := program.Compile([]byte(c.Document), program.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	r := program.Run{ID: "1", Input: speed.Input(), StartedAt: time.Unix(1700000000, 0)}
	return func() program.Result {
		result, err := p.Run(tb.Context(), r)
		if err != nil || result.State != program.Completed {
			tb.Fatal(result, err)
		}
		return result
	}
}

func BenchmarkRun(b *testing.B) {
	for _, c := range speed.Cases() {
		b.Run(c.Name, func(b *testing.B) {
			run := benchRun(b, c)
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
		b.Run(c.Name+"/bare", func(b *testing.B) {
			run, err := c.Bare()
			if err != nil {
				b.Fatal(err)
			}
			input := speed.Input()
			b.ReportAllocs()
			for b.Loop() {
				run(input)
			}
		})
	}
}

// TestSpeed holds the cases against their bare calls, and keeps them below their
// allocations.
func TestSpeed(t *testing.T) {
	for _, c := range speed.Cases() {
		bare, err := c.Bare()
		if err != nil {
			t.Fatal(err)
		}
		run := benchRun(t, c)
		if diff := cmp.Diff(bare(speed.Input()), run().Output); diff != "" {
			t.Errorf("%s: %s", c.Name, diff)
		}
		if n := testing.AllocsPerRun(100, func() { run() }); n > c.Allocations {
			t.Errorf("%s: %v allocations, want at most %v", c.Name, n, c.Allocations)
		}
	}
}
