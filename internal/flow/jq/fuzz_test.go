package jq_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/jq"
)

// FuzzRun compiles and runs programs: each ends in time, and gives JSON of a bounded
// size or an error.
func FuzzRun(f *testing.F) {
	for _, program := range []string{
		".a.b", "[range(10)]", "reduce .a.b[] as $x (0; . + $x)", "def f: f; f", `"\(.s)" * 9`, ".a.b |= sort", "to_entries", "walk(.)", "[paths]", `.s | gsub("o"; "0")`,
		"try error(.) catch .", "limit(3; repeat(1))", ".x[9] = 1", "group_by(.)", ". as [$a, {b: $c}] | $a", "@json", "input", "$ENV", "label $f | break $f", "now | todate",
	} {
		f.Add(program)
	}
	input, err := jq.Decode([]byte(sample))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, program string) {
		code, err := jq.Compile(program, "$context")
		if err != nil {
			if _, ok := errors.AsType[*jq.Error](err); !ok {
				t.Fatalf("%q: %v", program, err)
			}
			return
		}
		m := jq.NewMeter(t.Context(), 50*time.Millisecond)
		defer m.Stop()
		began := time.Now()
		v, err := code.Run(m, input, jq.Values{Vars: []any{nil}, Now: began})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%q took %v", program, took)
		}
		if err == nil {
			if size, err := jq.Size(v, jq.MaxResult); err != nil {
				t.Errorf("%q gives %d bytes: %v", program, size, err)
			}
		}
	})
}
