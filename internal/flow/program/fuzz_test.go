package program_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/flow/speed"
)

// FuzzCompile compiles what it is given, and runs what compiles: it ends, and a
// second run gives the same.
func FuzzCompile(f *testing.F) {
	for _, c := range speed.Cases() {
		f.Add([]byte(c.Document))
	}
	f.Add([]byte(`{"document": {"dsl": "1.0.3", "namespace": "n", "name": "n", "version": "1.0.0"}, "do": [{"a": {"wait": "PT1S"}}]}`))
	examples, err := filepath.Glob(filepath.Join("..", "..", "..", "..", "shared", "conformance", "ows", "examples", "*.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range examples {
		document, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(document)
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		p, err := program.Compile(document, program.Options{})
		if err != nil {
			if !errors.Is(err, event.ErrInvalid) || err.Error() == "" {
				t.Fatalf("got %v", err)
			}
			return
		}
		p.Describe()
		run := func() string {
			j := newJournal()
			return plainText(t, j, p)
		}
		if first, second := run(), run(); first != second {
			t.Fatalf("two runs differ:\n%s\n%s", first, second)
		}
	})
}

func plainText(t *testing.T, j *journal, p *program.Program) string {
	t.Helper()
	limits := func(r *program.Run) {
		r.MaxSteps, r.MaxTime, r.MaxEval, r.Instant = 500, 5*time.Second, 500*time.Millisecond, true
	}
	got := j.run(t, p, map[string]any{"a": 1, "items": []any{1, 2}}, limits)
	if got.State == program.Completed || got.State == program.Suspended || got.Err == nil {
		return string(got.State)
	}
	return string(got.State) + got.Err.Type
}
