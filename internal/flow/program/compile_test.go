package program_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
)

// TestProblems checks what is said about documents that can't be compiled.
func TestProblems(t *testing.T) {
	const head = "document: {dsl: '1.0.3', namespace: test, name: a-test, version: '1.0.0'}\n"
	for _, c := range []struct{ document, path, problem, instead string }{
		{"", "", "the document is empty", ""},
		{"a: [", "", "this is no YAML", ""},
		{"[1]", "", "a flow is an object, not a list", ""},
		{"---\na: 1\n---\nb: 2", "", "there is a second document", "a file of its own"},
		{"do: [{a: {set: {}}}]", "", "the document has no header", "dsl: '1.0.3'"},
		{"document: {dsl: '0.8', namespace: n, name: n, version: '1.0.0'}\ndo: [{a: {set: {}}}]", "/document/dsl", "version 0.8", "1.0.3"},
		{"document: {dsl: '1.0.0', namespace: n, name: 'a b', version: '1.0.0'}\ndo: [{a: {set: {}}}]", "/document/name", `"a b" is no name`, "letters"},
		{"document: {dsl: '1.0.0', namespace: n, name: n, version: v1}\ndo: [{a: {set: {}}}]", "/document/version", "no semantic version", "1.0.0"},
		{"document: {dsl: '1.0.0', namespace: n, name: n}\ndo: [{a: {set: {}}}]", "/document", "version is missing", "1.0.0"},
		{head, "", "nothing to do", "do:"},
		{head + "do: []", "/do", "the list of tasks is empty", ""},
		{head + "do: {a: {set: {}}}", "/do", "tasks are a list", "- name"},
		{head + "dos: []\ndo: [{a: {set: {}}}]", "/dos", `the key "dos" is not known here`, "write do"},
		{head + "do: [{a: {sett: {}}}]", "/do/0/a", "does not say what to do", "write set instead of sett"},
		{head + "do: [{a: {set: {}, wait: PT1S}}]", "/do/0/a", "is a set and a wait", "two tasks"},
		{head + "do: [{a: {set: {}}}, {a: {set: {}}}]", "/do/1", "two tasks with the name", "another name"},
		{head + "do: [{end: {set: {}}}]", "/do/0", "can't be the name", "another name"},
		{head + "do: [{a: {set: {}, then: bb}}, {b: {set: {}}}]", "/do/0/a/then", `there is no task "bb"`, "write then: b"},
		{head + "do: [{a: {set: {}, ten: b}}]", "/do/0/a/ten", `"ten" is not known`, "write then"},
		{head + "do: [{a: {set: 5}}]", "/do/0/a/set", "not a number", "set: {name: value}"},
		{head + "do: [{a: {set: {x: '${ .a | }'}}}]", "/do/0/a/set/x", "does not compile: unexpected EOF", ""},
		{head + "do: [{a: {set: {x: '${ .a } and ${ .b }'}}}]", "/do/0/a/set/x", "does not compile", "one expression"},
		{head + "do: [{a: {set: {x: '${ $nope }'}}}]", "/do/0/a/set/x", "variable not defined: $nope; there are $context", ""},
		{head + "do: [{a: {set: {x: '${ input }'}}}]", "/do/0/a/set/x", "input can't be used here", ""},
		{head + "do: [{a: {set: {x: '${ $secrets.key }'}}}]", "/do/0/a/set/x", `the secret "key" is not declared`, "use.secrets"},
		{head + "do: [{a: {run: {shell: {command: ls}}}}]", "/do/0/a/run/shell", "unsupported task: run shell", "flows.commands"},
		{head + "do: [{a: {call: grpc, with: {}}}]", "/do/0/a/call", "unsupported task: call grpc", "call: http"},
		{head + "do: [{a: {call: htpp, with: {}}}]", "/do/0/a/call", `there is no function "htpp"`, "write call: http"},
		{head + "do: [{a: {call: silence, with: {rule: 1, rul: 1}}}]", "/do/0/a/with/rul", `"rul" is not known`, "write rule"},
		{head + "do: [{a: {call: silence}}]", "/do/0/a", "silence needs rule", ""},
		{head + "do: [{a: {call: http, with: {method: get, endpoint: ftp://x}}}]", "/do/0/a/with/endpoint", "absolute URI", ""},
		{head + "do: [{a: {call: http, with: {method: fetch, endpoint: https://x}}}]", "/do/0/a/with/method", "no method", ""},
		{head + "do: [{a: {call: http, with: {endpoint: https://x}}}]", "/do/0/a/with", "method is missing", ""},
		{head + "do: [{a: {switch: [{x: {then: end}}, {y: {when: .a, then: end}}]}}]", "/do/0/a/switch/0/x", "those behind it are never reached", "put it last"},
		{head + "do: [{a: {wait: {fortnights: 1}}}]", "/do/0/a/wait/fortnights", "not known", "days"},
		{head + "do: [{a: {wait: P1Y}}]", "/do/0/a/wait", "years and months have no fixed length", ""},
		{head + "do: [{a: {wait: 30s}}]", "/do/0/a/wait", "no duration", "PT30S"},
		{head + "do: [{a: {try: [{b: {set: {}}}], catch: {retry: standard}}}]", "/do/0/a/catch/retry", `use.retries has no "standard"`, "define it"},
		{head + "use: {retries: {standart: {delay: PT1S}}}\ndo: [{a: {try: [{b: {set: {}}}], catch: {retry: standard}}}]", "/do/0/a/catch/retry", `use.retries has no "standard"`, "write standart"},
		{head + "use: {functions: {f: {call: g}, g: {call: f}}}\ndo: [{a: {call: f}}]", "/use/functions/f", "calls itself", ""},
		{head + "use: {extensions: [{x: {extend: all}}]}\ndo: [{a: {set: {}}}]", "/use/extensions", "unsupported: use.extensions", ""},
		{head + "schedule: {cron: '61 * * * *'}\ndo: [{a: {set: {}}}]", "/schedule/cron", "minute, column 1", ""},
		{head + "schedule: {every: PT0.1S}\ndo: [{a: {set: {}}}]", "/schedule/every", "at least a second", ""},
		{head + "schedule: {on: {one: {with: {type: x, data: '${ . == $context }'}}}}\ndo: [{a: {set: {}}}]", "/schedule/on", "can't depend on", ""},
		{head + "do: [{a: {input: {schema: {document: {type: objekt}}}, set: {}}}]", "/do/0/a/input/schema/document", "does not compile", ""},
		{head + "do: [{a: {input: {schema: {document: {$ref: 'https://x/y'}}}, set: {}}}]", "/do/0/a/input/schema/document", "does not point into the schema", ""},
		{head + "do: [{a: {input: {schema: {document: {$defs: {a: {items: {$ref: '#/$defs/a'}}}, $ref: '#/$defs/a'}}}, set: {}}}]", "/do/0/a/input/schema/document", "refers to itself", ""},
		{head + "do: [{a: &x {set: *x}}]", "", "", ""},
		{head + "do: [{a: {set: {a: 1, a: 2}}}]", "/do/0/a/set", `the key "a" is there twice`, ""},
		{head + "do: [{a: {set: {<<: {b: 1}}}}]", "/do/0/a/set", "merge keys", ""},
		{head + "do: [{a: {set: {a: .nan}}}]", "/do/0/a/set/a", "no number of JSON", ""},
		{head + "evaluate: {mode: loose}\ndo: [{a: {set: {}}}]", "/evaluate/mode", "loose is not understood", "strict"},
		{head + "do: [{a: {listen: {to: {one: {with: {type: x}}, any: []}}}}]", "/do/0/a/listen/to/any", "not two of them", ""},
		{head + "do: [{a: {emit: {event: {with: {type: x, sequence: 1}}}}}]", "/do/0/a/emit/event/with/sequence", "the server sets sequence", "leave it out"},
		{`{"document": {"dsl": "1.0.3", "namespace": "n", "name": "n", "version": "1.0.0"},` + "\n\t" + `"do": [{"a": {"sett": {}}}]}`, "/do/0/a", "does not say", "write set"},
	} {
		_, err := program.Compile([]byte(c.document), program.Options{Functions: map[string]program.Function{
			"silence": {Parameters: []program.Parameter{{Name: "rule", Required: true}}},
		}})
		bad, ok := errors.AsType[*program.InvalidError](err)
		if !ok || !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%s: got %v", c.document, err)
			continue
		}
		p := bad.Problems[0]
		if p.Path != c.path && c.problem != "" || !strings.Contains(p.Problem, c.problem) || !strings.Contains(p.Instead, c.instead) {
			t.Errorf("%s:\n got %q %q %q,\nwant %q %q %q", c.document, p.Path, p.Problem, p.Instead, c.path, c.problem, c.instead)
		}
	}
}

// TestPlaces checks that all problems are named, each with its line and column.
func TestPlaces(t *testing.T) {
	_, err := program.Compile([]byte(`document:
  dsl: '1.0.3'
  namespace: n
  name: n
  version: '1.0.0'
do:
  - a:
      set:
        x: ${ .a | }
  - b:
      wiat: PT1S
  - c:
      set: {}
      then: nowhere
`), program.Options{})
	bad, ok := errors.AsType[*program.InvalidError](err)
	if !ok {
		t.Fatal(err)
	}
	var got []string
	for _, p := range bad.Problems {
		got = append(got, fmt.Sprintf("%d:%d %s", p.Line, p.Column, p.Path))
	}
	if diff := cmp.Diff([]string{"9:12 /do/0/a/set/x", "11:7 /do/1/b", "14:13 /do/2/c/then"}, got); diff != "" {
		t.Error(diff)
	}
	if want := "(and 2 more)"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v does not end with %s", err, want)
	}
}

// TestForms compiles one flow as YAML and as JSON, with tabs and a mark of its byte
// order.
func TestForms(t *testing.T) {
	yaml := "document: {dsl: 1.0.3, namespace: n, name: n, version: 1.0.0}\non: 1\ndo: [{a: {set: {on: yes, big: 12345678901234567890, hex: 0x10, day: 2026-01-02}}}]"
	if _, err := program.Compile([]byte(yaml), program.Options{}); err == nil || !strings.Contains(err.Error(), `the key "on"`) {
		t.Errorf("on became something else: %v", err)
	}
	yaml = strings.Replace(yaml, "on: 1\n", "", 1)
	p, err := program.Compile([]byte(yaml), program.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := newJournal().run(t, p, nil)
	if err := same(got.Output, "{on: 'yes', big: 12345678901234567890, hex: 16, day: '2026-01-02'}"); err != nil {
		t.Error(err)
	}
	json := "\ufeff{\n\t\"document\": {\"dsl\": \"1.0.3\", \"namespace\": \"n\", \"name\": \"n\", \"version\": \"1.0.0\"},\n\t\"do\": [{\"a\": {\"set\": {\"smile\": \"\\ud83d\\ude00\\/\", \"n\": 1.5}}}]\n}"
	other, err := program.Compile([]byte(json), program.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := newJournal().run(t, other, nil); same(got.Output, "{smile: \"😀/\", n: 1.5}") != nil {
		t.Errorf("got %v", got.Output)
	}
	if p.Hash() == other.Hash() || len(p.Hash()) != 64 {
		t.Errorf("hashes %s and %s", p.Hash(), other.Hash())
	}
}

// TestDocumentation compiles the flow in docs/flows-language.md.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "flows-language.md"))
	if err != nil {
		t.Fatal(err)
	}
	var flow []string
	for line := range strings.Lines(string(page)) {
		code, is := strings.CutPrefix(line, "    ")
		if !is && len(flow) > 0 {
			break
		}
		if is {
			flow = append(flow, code)
		}
	}
	p, err := program.Compile([]byte(strings.Join(flow, "")), program.Options{Functions: map[string]program.Function{"command": {}, "notify": {}}})
	if err != nil || p.Name != "restart-unit" || p.Metadata["tocsin"] == nil {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestHeader(t *testing.T) {
	p := compile(t, "schedule: {cron: '*/5 * * * *'}\nuse: {secrets: [a, b]}\ndo: [{a: {set: {}}}]")
	if p.Name != "a-test" || p.Namespace != "test" || p.Schedule().Cron != "*/5 * * * *" || !cmp.Equal(p.Secrets(), []string{"a", "b"}) {
		t.Errorf("got %+v %+v", p, p.Schedule())
	}
	for body, want := range map[string]program.Schedule{
		"schedule: {every: {minutes: 5}}\ndo: [{a: {set: {}}}]": {Every: 5 * time.Minute},
		"schedule: {after: PT1H}\ndo: [{a: {set: {}}}]":         {After: time.Hour},
	} {
		if got := *compile(t, body).Schedule(); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	on := compile(t, "schedule: {on: {any: [{with: {type: x, data: '${ .n > 1 }'}}, {with: {type: y}}]}}\ndo: [{a: {set: {}}}]").Schedule().On
	if diff := cmp.Diff([]string{"x", "y"}, on.Types()); diff != "" {
		t.Error(diff)
	}
	if _, done := on.Offer(map[string]any{"type": "x", "data": map[string]any{"n": 1}}); done {
		t.Error("took an event that does not match")
	}
	if _, done := on.Offer(map[string]any{"type": "x", "data": map[string]any{"n": 2}}); !done {
		t.Error("did not take an event that matches")
	}
}

// TestHostile compiles and runs what would not end, or would take all memory.
func TestHostile(t *testing.T) {
	bomb := []string{"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"}
	functions, defs, many := []string{"f0: {set: {}}"}, []string{"a0: {type: string}"}, []string{}
	for i := 1; i < 40; i++ {
		bomb = append(bomb, fmt.Sprintf("a%d: &a%d [%s]", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", ")))
		functions = append(functions, fmt.Sprintf("f%d: {do: [{a: {call: f%d}}, {b: {call: f%d}}]}", i, i-1, i-1))
		defs = append(defs, fmt.Sprintf("a%d: {allOf: [{$ref: '#/$defs/a%d'}, {$ref: '#/$defs/a%d'}]}", i, i-1, i-1))
	}
	for i := range 20_000 {
		many = append(many, fmt.Sprintf("k%d: '${ map(.) }'", i))
	}
	const head = "document: {dsl: 1.0.3, namespace: n, name: n, version: 1.0.0}\n"
	for name, document := range map[string]string{
		"a bomb of aliases":            strings.Join(bomb, "\n"),
		"deep":                         strings.Repeat("[", 100_000),
		"deep and closed":              strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000),
		"deep JSON":                    strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000),
		"large":                        strings.Repeat("x", 2<<20),
		"functions that multiply":      head + "use: {functions: {" + strings.Join(functions, ", ") + "}}\ndo: [{a: {call: f39}}]",
		"a schema that multiplies":     head + "do: [{a: {input: {schema: {document: {$ref: '#/$defs/a39', $defs: {" + strings.Join(defs, ", ") + "}}}}, set: {}}}]",
		"an expression that is nested": head + "do: [{a: {set: {x: '${ " + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + " }'}}}]",
		"many expressions":             head + "do: [{a: {set: {" + strings.Join(many, ", ") + "}}}]",
	} {
		before := time.Now()
		if _, err := program.Compile([]byte(document), program.Options{}); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
		if took := time.Since(before); took > time.Minute {
			t.Errorf("%s: took %v", name, took)
		}
	}
	for name, c := range map[string]struct{ body, want string }{
		"endless jumps":        {"do: [{a: {set: {}, then: a}}]", "more than 100000 steps"},
		"nested loops":         {"do: [{a: {for: {in: '[range(1000)]'}, do: [{b: {for: {in: '[range(1000)]'}, do: [{c: {set: {}}}]}}]}}]", "more than 100000 steps"},
		"endless recursion":    {"do: [{a: {set: {x: '${ def f: f; f }'}}}]", "took longer than"},
		"a large array":        {"do: [{a: {set: {x: '${ [range(3000000)] }'}}}]", ""},
		"many large parts":     {"do: [{a: {set: {l: '${ \"x\" * 900000 }'}}}, {b: {set: {a: '${ .l }', b: '${ .l }', c: '${ .l }'}}}]", "larger than"},
		"branches with much":   {"do: [{l: {set: {l: '${ \"x\" * 900000 }'}}}, {f: {fork: {branches: [{a: {set: '${ . }'}}, {b: {set: '${ . }'}}]}}}]", "larger than"},
		"retry without end":    {"do: [{a: {try: [{b: {raise: {error: {type: x, status: 1}}}}], catch: {retry: {}}}}]", "more than 100000 steps"},
		"a schema of an array": {"do: [{a: {set: {l: '${ [range(20000)] }'}}}, {b: {input: {schema: {document: {properties: {l: {items: {allOf: [" + strings.TrimSuffix(strings.Repeat("{type: integer}, ", 300), ", ") + "]}}}}}}, set: {}}}]", "too large for a schema"},
		"a limit is final":     {"do: [{a: {try: [{b: {set: {x: '${ def f: f; f }'}}}], catch: {}}}]", "took longer than"},
	} {
		before := time.Now()
		got := newJournal().run(t, compile(t, c.body), nil)
		if got.State != program.Faulted || !strings.Contains(got.Err.Error(), c.want) {
			t.Errorf("%s: got %s %v, want %q", name, got.State, got.Err, c.want)
		}
		if took := time.Since(before); took > time.Minute {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

func TestMaxTime(t *testing.T) {
	p := compile(t, "do: [{a: {set: '${ {l: [range(2000)] } }', then: a}}]")
	got := newJournal().run(t, p, nil, func(r *program.Run) { r.MaxTime = 50 * time.Millisecond })
	if got.State != program.Faulted || !strings.Contains(got.Err.Error(), "computed for more than 50ms") || !got.Err.Final {
		t.Errorf("got %+v", got)
	}
}

func TestDescribe(t *testing.T) {
	p := compile(t, "do: [{a: {switch: [{x: {when: .n == 1, then: c}}, {y: {when: .n == 2, then: end}}]}}, {b: {try: [{t: {set: {}}}], catch: {do: [{h: {set: {}}}]}}}, {c: {call: http, with: {method: get, endpoint: 'https://x.example/{id}'}}}]")
	g := p.Describe()
	var nodes, edges []string
	for _, n := range g.Nodes {
		nodes = append(nodes, strings.TrimSpace(n.ID+" in "+n.Parent+" "+n.Kind+" "+n.Label))
	}
	for _, e := range g.Edges {
		edges = append(edges, strings.TrimSpace(e.From+" → "+e.To+" "+e.Label))
	}
	wantNodes := []string{
		"#start in  start", "/do/0/a in  switch", "/do/1/b in  try",
		"/do/1/b#0 in /do/1/b group", "/do/1/b#0#start in /do/1/b#0 start", "/do/1/b/try/0/t in /do/1/b#0 set", "/do/1/b#0#end in /do/1/b#0 end",
		"/do/1/b#1 in /do/1/b group", "/do/1/b#1#start in /do/1/b#1 start", "/do/1/b/catch/do/0/h in /do/1/b#1 set", "/do/1/b#1#end in /do/1/b#1 end",
		"/do/2/c in  call get https://x.example/{id}", "#end in  end",
	}
	if diff := cmp.Diff(wantNodes, nodes); diff != "" {
		t.Error(diff)
	}
	wantEdges := []string{
		"/do/0/a → /do/2/c x: .n == 1", "/do/0/a → #end y: .n == 2", "/do/0/a → /do/1/b else",
		"/do/1/b/try/0/t → /do/1/b#0#end", "/do/1/b#0#start → /do/1/b/try/0/t", "/do/1/b/catch/do/0/h → /do/1/b#1#end", "/do/1/b#1#start → /do/1/b/catch/do/0/h",
		"/do/1/b → /do/2/c", "/do/2/c → #end", "#start → /do/0/a",
	}
	if diff := cmp.Diff(wantEdges, edges); diff != "" {
		t.Error(diff)
	}
}
