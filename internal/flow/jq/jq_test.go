package jq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/itchyny/gojq"

	"github.com/tocsin-events/tocsin/internal/flow/jq"
)

func run(t *testing.T, program string, input any) (any, error) {
	t.Helper()
	code, err := jq.Compile(program, "$context")
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	m := jq.NewMeter(t.Context(), 100*time.Millisecond)
	defer m.Stop()
	return code.Run(m, input, jq.Values{Vars: []any{map[string]any{"n": 7}}, Now: time.Unix(1700000000, 0)})
}

const sample = `{"a":{"b":[3,1,2]},"s":"hello world","n":2.5,"o":[{"k":"x","v":1},{"k":"y","v":2},{"k":"x","v":3}],"null":null,"t":"2026-01-02T03:04:05Z"}`

// TestSameAsGojq holds programs with guards against gojq without them.
func TestSameAsGojq(t *testing.T) {
	programs := []string{
		".", ".a", ".a.b", ".a.b[0]", ".nothing.at.all", ".s.x", `.a + {"c": 1}`, ".a.b + [4]", ".n + 1", ".n * 2", `.s * 3`, `.s - 1`, ".a.b - [1]", ".n - 1",
		".a * {b: {c: 1}}", "[.a.b[] | . * 2]", "{x: .a, y: .s}", `"\(.s) and \(.n)"`, ".a.b | map(. + 1)", ".o | group_by(.k)", ".o | sort_by(-.v)",
		".o | unique_by(.k)", ".o | min_by(.v), max_by(.v)", ".o | map(.v) | add", ".o | add(.[].v)", "[.o[].k] | unique", ".o | INDEX(.k)",
		"to_entries", "with_entries(.key |= ascii_upcase)", "walk(if type == \"number\" then . + 1 else . end)", ".a.b[1] = 9", ".a.b[] |= . + 1",
		".a.b[0] += 5", ".a.b[1] *= 5", ".s += \"!\"", ".n -= 1", ".a.b |= sort", "del(.a.b[0])", "[paths]", "[.. | numbers]", "reduce .a.b[] as $x (0; . + $x)",
		"[foreach .a.b[] as $x (0; . + $x)]", "[limit(2; .a.b[])]", "first(.a.b[])", ".a.b | contains([1])", ".s | index(\"o\")", ".a.b | index(1)", ".s | test(\"wor\")",
		".s | [match(\"o\"; \"g\").offset]", ".s | gsub(\"o\"; \"0\")", ".s | gsub(\"(?<x>[lo])\"; \"<\\(.x)>\")", ".s | sub(\"l\"; \"L\", \"M\")", ".s | gsub(\"\"; \"-\")", ".s | gsub(\"L\"; \"_\"; \"i\")", ".s | sub(\"zzz\"; \"\")", ".s | split(\" \")", ".s | split(\"o\"; null)", ".a.b | join(\",\")", ".s | @base64", `@json "x\(.a)"`,
		". as {a: {b: [$x, $y]}} | $x + $y", "def f(g): [g, g]; f(.n)", "def f($x): $x + 1; f(.n)", "def map: 1; map", ".a.b | map_values(. + 1)", "getpath([\"a\",\"b\"])",
		"setpath([\"a\",\"z\"]; 1)", "path(..)", "[range(5)]", "[.[]?]", "try error(\"x\") catch .", ".a.b as [$x] | {$x}", "{s, n: 1}", "{(.s): 1}", `{"a\(.n)": 1}`,
		".t | fromdateiso8601", "\"12.5\" | tonumber", "\"[1,2]\" | fromjson", ".s | indices(\"o\")", ".t | fromdate | todate", "0 | todate", "0 | strftime(\"%Y\")", "[.o[] | select(.v > 1)] | length", "if .n > 2 then \"big\" elif .n > 1 then \"mid\" else \"small\" end",
		".a.b | any(. > 2)", ".a.b | all(. > 2)", "[.a.b, [1,2,3]] | transpose", ".a.b | combinations(2)", "[.a.b | combinations(2)]", "label $f | 1, break $f",
		".x // \"d\"", ".a.b[1:]", ".a.b[1:] = [9]", ".a | keys", ".a | has(\"b\")", "-(.n)", "-.n", ".a.b | reverse", ".a.b | flatten", "[splits(\"x\")]?", ".s | ascii_upcase | ltrimstr(\"HE\")",
		"nth(1; .a.b[])", ".a.b | nth(1)", "pick(.a.b[1])", "[.a.b[] as $x | $x * 2]", "until(.n > 100; .n *= 2) | .n", "[recurse(if . < 3 then . + 1 else empty end; true)]?", "1 + null", "null + 1", "\"a\" + 1", "{} - 1", "[] * 2",
		"9007199254740993 + 1", "1e1000", "[nan]", "4611686018427387904 + 4611686018427387904", "\"x\" * 0", "tojson", "tojson | fromjson", "ascii", "@text", "splits(1)", "$context.n", "(.a.b[0], .n) = 1", "limit(1; .a.b[] |= 3)",
	}
	input, err := jq.Decode([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		query, err := gojq.Parse(program)
		if err != nil {
			t.Fatalf("%s: %v", program, err)
		}
		bare, err := gojq.Compile(query, gojq.WithVariables([]string{"$context"}))
		if err != nil {
			if _, compileErr := jq.Compile(program, "$context"); compileErr == nil {
				t.Errorf("%s: compiles, but gojq says %v", program, err)
			}
			continue
		}
		want, _ := bare.Run(input, map[string]any{"n": 7}).Next()
		got, err := run(t, program, input)
		if wantErr, bad := want.(error); bad {
			if err == nil || err.Error() != wantErr.Error() {
				t.Errorf("%s: got error %v, want %v", program, err, wantErr)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", program, err)
			continue
		}
		if want := asJSON(t, want); !jq.Equal(got, want) {
			t.Errorf("%s: %s", program, cmp.Diff(want, got))
		}
	}
}

// asJSON is a value of gojq with the numbers that we use.
func asJSON(t *testing.T, v any) any {
	t.Helper()
	text, err := gojq.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	v, err = jq.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ program, want string }{
		{"input", "only one input"},
		{"[inputs]", "only one input"},
		{"debug", "dry run"},
		{"$ENV.PATH", "use.secrets"},
		{"env", "use.secrets"},
		{"halt", "write error"},
		{"localtime", "time zone"},
		{`import "x" as x; .`, "no modules"},
		{`_multiply("x"; 1e9)`, "no name of jq"},
		{`def f(_multiply): .; _multiply("x"; 1e9)`, "no name of jq"},
		{`def f($input): .; input`, "only one input"},
		{"def _tocsin_size: .; .", "taken"},
		{". as $__tocsin_meter | 1", "taken"},
		{"$__tocsin_meter", "no name of jq"},
		{".a |", "unexpected EOF"},
		{".a b", "at column"},
		{"$nothing", "there are $context"},
		{strings.Repeat("(", 300) + "." + strings.Repeat(")", 300), "nested too deeply"},
		{strings.Repeat(" ", 70000) + ".", "longer than"},
	} {
		_, err := jq.Compile(c.program, "$context")
		var bad *jq.Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40s: got %v, want %q", c.program, err, c.want)
		}
	}
}

// TestNoPlaceEscapes puts what is refused into each place of the syntax that can
// hold an expression.
func TestNoPlaceEscapes(t *testing.T) {
	for _, place := range []string{
		"%s", "(%s)", "[%s]", "[1, %s]", "{a: %s}", "{(%s | tostring): 1}", `{"a\(%s)": 1}`, `{"a\(%s)"}`, `"a\(%s)"`, `@json "a\(%s)"`, `@base64 "\(%s)"`, ".[%s]", ".[%s:]", ".[:%s]", `."a\(%s)"`,
		`."a\(%s)".b`, ".a[%s]", `.a."b\(%s)"`, "-(%s)", "%s | 1", "1 | %s", "1, %s", "%s // 1", "1 + %s", "%s and true", "if %s then 1 else 2 end", "if 1 then %s else 2 end", "if 1 then 2 else %s end",
		"if 1 then 2 elif %s then 3 else 4 end", "if 1 then 2 elif 3 then %s end", "try %s", "try error(1) catch %s", "reduce %s as $x (0; 1)", "reduce 1 as $x (%s; 1)", "reduce 1 as $x (0; %s)",
		"foreach %s as $x (0; 1)", "foreach 1 as $x (%s; 1)", "foreach 1 as $x (0; %s)", "foreach 1 as $x (0; 1; %s)", "label $f | %s", "def f: %s; f", "def f(g): g; f(%s)", "def f: def g: %s; g; f",
		"%s as $x | 1", "1 as $x | %s", ". as {(%s): $x} | 1", `. as {"a\(%s)": $x} | 1`, ". as [$x, {(%s): $y}] | 1", ". as [$x] ?// {(%s): $y} | 1", "map(%s)", "limit(1; %s)", "path(%s)", ".a = %s", ".a |= %s", ".a += %s", ".a *= %s", ".a //= %s",
		"(.a | %s) = 1", "first(%s)", "sort_by(%s)", "(1 | %s)?", "%s?", "[.[] | {a: [%s]}]", "reduce 1 as [$a, {(%s): $b}] (0; 1)", "..|%s",
	} {
		for _, bad := range []string{"input", "env", "_multiply(1; 2)", "$__tocsin_meter"} {
			program := fmt.Sprintf(place, bad)
			if _, err := jq.Compile(program); err == nil || !strings.Contains(err.Error(), "can't be used here") && !strings.Contains(err.Error(), "no name of jq") {
				t.Errorf("%s: %v", program, err)
			}
		}
	}
}

// TestHostile runs what would take gigabytes or hours if nothing stopped it.
func TestHostile(t *testing.T) {
	input, err := jq.Decode([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{
		"def f: f; f", "def f: 1 + f; f", "[range(3000000)]", "[limit(3000000; repeat(1))]", "map(range(3000000))", "last(range(1e15))", "until(false; .)",
		`reduce range(60) as $i ("x"; . + .)`, `reduce range(60) as $i ("x"; "\(.)\(.)")`, `reduce range(60) as $i ([1]; . + .)`, `reduce range(60) as $i (1; [., .])`,
		`reduce range(60) as $i (1; {a: ., b: .})`, `reduce range(60) as $i (1; [., .]) | . == .`, `reduce range(60) as $i (1; [., .]) | tojson`,
		`reduce range(100000) as $i (1; [.])`, `reduce range(100000) as $i (1; {a: .})`, `"x" * 1e9`, `{s: "x"} | .s *= 1e9`, `{s: "xxxxxxxx"} | until(false; .s += .s)`,
		".x[500000000] = 1", `.x | setpath([500000000]; 1)`, `[500000000] as $p | getpath($p) = 1`, ".x |= (.[500000000] = 1)", `nth(500000000) = 1`, `1e8 as $i | .x[$i] = 1`,
		"reduce range(60) as $i (10; . * .)", "[range(60000)] | . - [range(60000; 120000)] | length", "[range(60000)] | contains([range(60000; 120000)])", "[range(60000) | 1] | indices([range(30000) | 1])",
		`("x" * 1000000) | [match(""; "g")] | length`, `("x" * 16000) | gsub(""; "y" * 1000000)`, "[[range(50000)], (range(50000) | [])] | transpose", `[range(50000) | ""] | join("x" * 100000)`,
		`("x" * 1000000) as $big | [range(100000)] | sort_by($big)`, `("x" * 1000000) as $big | [range(1000) | $big] | add`, `"[" * 100000 | fromjson`, `("[" * 5000) + ("]" * 5000) | fromjson`,
		`@text "\("x" * 1e9)"`, `@json "\([range(3000000)])"`, `{"a": "\("x" * 1e9)"}`, `."\("x" * 1e9)"`, `reduce ("x" * 1e9) as $x (0; 1)`,
		`"9" * 4000000 | tonumber`, `"9" * 4000000 | fromjson`, `("9" * 400000 | tonumber) / 3`, `("x" * 1000000) | indices("x")`,
		`("%c" * 100000) as $f | 0 | strftime($f)`, "[repeat(.)]", `[.] | until(false; [.[], .[]])`, "def f(x): f(x | x); f(.)", "[combinations(1e9)]",
		`with_entries(.value = [range(3000000)])`, "reduce range(1e9) as $i ({}; .[\"\\($i)\"] = $i)", "[splits(\"\")] | until(false; . + .)", "0 | strftime(\"%1000000000Y\")",
	} {
		start := time.Now()
		v, err := run(t, program, input)
		if took := time.Since(start); took > 10*time.Second { // a machine can be busy
			t.Errorf("%s: took %v", program, took)
		}
		if err == nil {
			if size, _ := jq.Size(v, 1<<30); size > jq.MaxResult {
				t.Errorf("%s: gives %d bytes", program, size)
			} else {
				t.Logf("%s: gives %.60s", program, fmt.Sprint(v))
			}
		} else if testing.Verbose() {
			t.Logf("%s: %v (%v)", program, err, time.Since(start))
		}
	}
}

func TestEndOfContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("shut down")
	code, err := jq.Compile("last(range(1e15))")
	if err != nil {
		t.Fatal(err)
	}
	m := jq.NewMeter(ctx, 100*time.Millisecond)
	defer m.Stop()
	cancel(why)
	if _, err := code.Run(m, nil, jq.Values{}); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestClock(t *testing.T) {
	got, err := run(t, "now", nil)
	if err != nil || got != 1.7e9 {
		t.Errorf("now gives %v, %v", got, err)
	}
}

func TestNumbers(t *testing.T) {
	got, err := run(t, "[1, 2.5, 1e999, nan, 123456789012345678901234567890, -infinite]", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range got.([]any) {
		switch v.(type) {
		case int, float64, nil:
		default:
			t.Errorf("%v is a %T", v, v)
		}
	}
}
