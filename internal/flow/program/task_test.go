package program_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/flow/program"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func compile(t *testing.T, body string) *program.Program {
	t.Helper()
	p, err := program.Compile([]byte("document: {dsl: '1.0.3', namespace: test, name: a-test, version: '1.0.0'}\n"+body), program.Options{
		Functions: map[string]program.Function{
			"silence": {Parameters: []program.Parameter{{Name: "rule", Required: true}, {Name: "for"}}},
			"notify":  {PassesInput: true},
		},
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	return p
}

// A journal does effects as a test tells it, and keeps the answers.
type journal struct {
	mu      sync.Mutex
	now     time.Time
	answers map[string]program.Answer
	done    []string // keys, in their order
	effects map[string]program.Effect
	do      func(ctx context.Context, e program.Effect) (program.Answer, error)
}

func newJournal() *journal {
	return &journal{now: start, answers: map[string]program.Answer{}, effects: map[string]program.Effect{}}
}

func (j *journal) Do(ctx context.Context, e program.Effect) (program.Answer, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done = append(j.done, e.Key)
	j.effects[e.Key] = e
	a := program.Answer{Output: e.Arguments}
	if j.do != nil && e.Kind != program.EffectDecide {
		var err error
		if a, err = j.do(ctx, e); err != nil {
			return a, err
		}
	}
	j.now = j.now.Add(time.Second)
	a.At = j.now
	j.answers[e.Key] = a
	return a, nil
}

func (j *journal) clock() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.now
}

// run runs a program as far as it comes with the answers of now.
func (j *journal) run(t *testing.T, p *program.Program, input any, change ...func(*program.Run)) program.Result {
	t.Helper()
	answers := map[string]program.Answer{}
	maps.Copy(answers, j.answers)
	r := program.Run{ID: "run-1", Input: input, StartedAt: start, Answers: answers, Effects: j, Now: j.clock}
	for _, c := range change {
		c(&r)
	}
	result, err := p.Run(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func object(t *testing.T, text string) any {
	t.Helper()
	v, err := value(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestTasks runs small flows: what they give, or what they fail with.
func TestTasks(t *testing.T) {
	for _, c := range []struct{ name, body, input, want string }{
		{"set, an expression", "do: [{a: {set: '${ . + {b: 1} }'}}]", "{a: 1}", "{a: 1, b: 1}"},
		{"set, a text that is no expression", "do: [{a: {set: {t: .x, u: 'a ${b} c'}}}]", "{x: 1}", "{t: .x, u: 'a ${b} c'}"},
		{"set, deep", "do: [{a: {set: {l: [1, '${ .x }', {m: '${ .x + 1 }'}]}}}]", "{x: 1}", "{l: [1, 1, {m: 2}]}"},
		{"if skips and goes on", "do: [{a: {if: .x > 1, set: {y: 1}, then: end}}, {b: {set: '${ {z: .x} }'}}]", "{x: 1}", "{z: 1}"},
		{"if holds", "do: [{a: {if: .x > 1, set: {y: 1}, then: end}}, {b: {set: {z: 1}}}]", "{x: 2}", "{y: 1}"},
		{"input.from, output.as, export", "do: [{a: {input: {from: .in}, set: {v: '${ . }'}, output: {as: '{out: .v, was: $input}'}, export: {as: '{kept: .out}'}}}, {b: {set: {c: '${ $context.kept }'}}}]", "{in: 7}", "{c: 7}"},
		{"$input behind the tasks inside", "do: [{a: {input: {from: .in}, do: [{b: {input: {from: '5'}, set: {q: '${ $input }'}}}], output: {as: '{q: .q, was: $input}'}}}]", "{in: 7}", "{q: 5, was: 7}"},
		{"an object template as output", "do: [{a: {set: {v: 1}, output: {as: {w: '${ .v }', x: fixed}}}}]", "{}", "{w: 1, x: fixed}"},
		{"output of the flow", "output: {as: .v}\ndo: [{a: {set: {v: 5}}}]", "{}", "5"},
		{"exit leaves the list", "do: [{a: {do: [{b: {set: {x: 1}, then: exit}}, {c: {set: {x: 2}}}]}}, {d: {set: '${ . + {y: 1} }'}}]", "{}", "{x: 1, y: 1}"},
		{"end leaves all", "do: [{a: {do: [{b: {set: {x: 1}, then: end}}]}}, {d: {set: {y: 1}}}]", "{}", "{x: 1}"},
		{"then jumps back", "do: [{a: {set: '${ {n: (.n + 1)} }'}}, {b: {switch: [{more: {when: .n < 5, then: a}}, {done: {then: end}}]}}]", "{n: 0}", "{n: 5}"},
		{"for, while and at", "do: [{a: {for: {each: x, in: '[1,2,3,4]', at: i}, while: $x < 4, do: [{b: {set: {sum: '${ (.sum // 0) + $x * $i }'}}}]}}]", "{}", "{sum: 8}"},
		{"for over nothing", "do: [{a: {for: {in: .none}, do: [{b: {set: {x: 1}}}]}}]", "{k: 1}", "{k: 1}"},
		{"for in for", "do: [{a: {for: {in: '[1,2]'}, do: [{b: {for: {in: '[10,20]'}, do: [{c: {set: {s: '${ (.s // []) + [$item] }'}}}]}}, {d: {set: {s: '${ .s + [$item] }'}}}]}}]", "{}", "{s: [10, 20, 1, 10, 20, 2]}"},
		{"for over a number", "do: [{a: {for: {in: '5'}, do: [{b: {set: {}}}]}}]", "{}", "error: [400] Expression Error at /do/0/a: for goes through an array, not a number"},
		{"switch without a case", "do: [{a: {switch: [{x: {when: .n == 1, then: end}}]}}, {b: {set: {y: 1}}}]", "{n: 2}", "{y: 1}"},
		{"raise, computed", "do: [{a: {raise: {error: {type: https://example.com/e, status: '${ .s }', title: '${ \"no \\(.s)\" }', detail: why}}}}]", "{s: 418}", "error: [418] no 418 at /do/0/a: why"},
		{"raise, defined", "use: {errors: {gone: {type: https://example.com/gone, status: 410, title: Gone}}}\ndo: [{a: {raise: {error: gone}}}]", "{}", "error: [410] Gone at /do/0/a"},
		{"catch by status", "do: [{a: {try: [{b: {raise: {error: {type: x, status: 1}}}}], catch: {errors: {with: {status: 2}}}}}]", "{}", "error: [1] x at /do/0/a/try/0/b"},
		{"catch, and nothing to do", "do: [{a: {try: [{b: {raise: {error: {type: x, status: 1}}}}], catch: {}}}]", "{k: 1}", "{k: 1}"},
		{"catch, when", "do: [{a: {try: [{b: {raise: {error: {type: x, status: 1}}}}], catch: {when: $error.status == 2, do: [{c: {set: {}}}]}}}]", "{}", "error: [1] x at /do/0/a/try/0/b"},
		{"catch, exceptWhen", "do: [{a: {try: [{b: {raise: {error: {type: x, status: 1}}}}], catch: {exceptWhen: $error.status == 2, do: [{c: {set: {s: '${ $error.status }'}}}]}}}]", "{}", "{s: 1}"},
		{"catch by an alias of the type", "do: [{a: {try: [{b: {set: '${ .x.y.z }'}}], catch: {errors: {with: {type: https://open-workflow-specification.org/spec/1.0.0/errors/expression}}, do: [{c: {set: {t: '${ $error.type }'}}}]}}}]", "{x: 1}", "{t: https://serverlessworkflow.io/spec/1.0.0/errors/expression}"},
		{"an error in catch.do", "do: [{a: {try: [{b: {raise: {error: {type: x, status: 1}}}}], catch: {do: [{c: {raise: {error: {type: y, status: 2}}}}]}}}]", "{}", "error: [2] y at /do/0/a/catch/do/0/c"},
		{"end in a try", "do: [{a: {try: [{b: {set: {x: 1}, then: end}}], catch: {}}}, {c: {set: {y: 1}}}]", "{}", "{x: 1}"},
		{"fork, all", "do: [{a: {fork: {branches: [{b: {set: {x: 1}}}, {c: {set: {x: '${ .n }'}}}]}}}]", "{n: 2}", "[{x: 1}, {x: 2}]"},
		{"fork, the first fault", "do: [{a: {fork: {branches: [{b: {set: {x: 1}}}, {c: {raise: {error: {type: x, status: 1}}}}]}}}]", "{n: 2}", "error: [1] x at /do/0/a/fork/branches/1/c"},
		{"a function of the flow's own", "use: {functions: {double: {set: {v: '${ .n * 2 }'}}}}\ndo: [{a: {call: double, with: {n: '${ .x }'}}}]", "{x: 21}", "{v: 42}"},
		{"a function does not see its caller's variables", "use: {functions: {f: {for: {in: '[1]'}, do: [{g: {set: {v: '${ $item }'}}}]}}}\ndo: [{a: {for: {in: '[7]'}, do: [{b: {call: f}}, {c: {set: '${ . + {i: $item} }'}}]}}]", "{}", "{v: 1, i: 7}"},
		{"$task, $workflow, $runtime", "do: [{a: {set: {t: '${ $task.name + $task.reference }', w: '${ $workflow.id + $workflow.definition.document.name }', s: '${ $workflow.startedAt.epoch.seconds }', i: '${ $workflow.input.k }'}}}]", "{k: 1}", "{t: a/do/0/a, w: run-1a-test, s: 1767323045, i: 1}"},
		{"an undeclared secret form", "use: {secrets: [key]}\ndo: [{a: {set: {s: '${ $secrets | keys }'}}}]", "{}", "error: [400] Configuration Error at /do/0/a: there is no secret \"key\""},
		{"validate what a task takes", "do: [{a: {input: {schema: {document: {type: object, required: [k]}}}, set: {x: 1}}}]", "{}", "error: [400] Validation Error at /do/0/a: /: missing property 'k'"},
		{"validate what a task gives", "do: [{a: {set: {x: text}, output: {schema: {document: {properties: {x: {type: integer}}}}}}}]", "{}", "error: [400] Validation Error at /do/0/a: /x: got string, want integer"},
		{"emit", "do: [{a: {emit: {event: {with: {type: my.type, subject: '${ .s }', data: {x: 1}, id: fixed, time: now}}}}}]", "{s: unit/1}", "{specversion: '1.0', id: fixed, time: now, type: my.type, subject: unit/1, data: {x: 1}}"},
		{"emit without a type", "do: [{a: {emit: {event: {with: {type: '${ .none }'}}}}}]", "{}", "error: [400] Expression Error at /do/0/a: the type of an event is a text, not null"},
		{"call what the server offers", "do: [{a: {call: silence, with: {rule: 3, for: '${ .d }'}}}]", "{d: 2h}", "{rule: 3, for: 2h}"},
		{"a call that passes its input", "do: [{a: {call: notify, with: {rule: 3}}}]", "{k: 1}", "{k: 1}"},
		{"metadata is nobody's business", "do: [{a: {metadata: {x: {y: 1}}, set: {}}}]", "{}", "{}"},
		{"a condition written as true", "do: [{a: {if: true, set: {x: 1}}}]", "{}", "{x: 1}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := newJournal().run(t, compile(t, c.body), object(t, c.input))
			if want, faults := strings.CutPrefix(c.want, "error: "); faults {
				if got.State != program.Faulted || got.Err.Error() != want {
					t.Errorf("got %s %v, want %s", got.State, got.Err, want)
				}
				return
			}
			if got.State != program.Completed {
				t.Fatalf("%s: %v", got.State, got.Err)
			}
			if err := same(got.Output, c.want); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	p := compile(t, "do: [{a: {call: status, with: {status: one}}}, {b: {call: status, with: {status: '${ \"n\\(.n)\" }', message: well}}}, {c: {raise: {error: {type: x, status: 1}}}}]")
	got := newJournal().run(t, p, object(t, "{n: 2}"))
	if got.State != program.Faulted || got.Status != "n2" || got.StatusMessage != "well" {
		t.Errorf("got %+v", got)
	}
	got = newJournal().run(t, compile(t, "do: [{a: {set: {}}}]"), nil)
	if got.Status != "unknown" || got.StatusMessage != "" {
		t.Errorf("got %+v", got)
	}
}

func TestRejected(t *testing.T) {
	for body, want := range map[string]string{
		"input: {schema: {document: {type: object, required: [k]}}}\ndo: [{a: {set: {}}}]": "[400] Validation Error at /: /: missing property 'k'",
		"input: {from: .a.b.c}\ndo: [{a: {set: {}}}]":                                      "[400] Expression Error at /: expected an object but got: number (1)",
	} {
		steps := 0
		got := newJournal().run(t, compile(t, body), object(t, "{a: 1}"), func(r *program.Run) { r.OnStep = func(program.Step) { steps++ } })
		if !got.Rejected || got.State != program.Faulted || got.Err.Error() != want || steps != 0 {
			t.Errorf("got %+v %v after %d steps, want %s", got, got.Err, steps, want)
		}
	}
}

func TestSecrets(t *testing.T) {
	p := compile(t, "use: {secrets: [key, login]}\ndo: [{a: {set: {k: '${ $secrets.key }'}}}, {b: {call: http, with: {method: get, endpoint: {uri: 'https://example.com/', authentication: {basic: {use: login}}}}}}]")
	j := newJournal()
	got := j.run(t, p, nil, func(r *program.Run) {
		r.Secret = func(name string) (any, error) {
			if name == "login" {
				return map[string]any{"username": "me", "password": "pw"}, nil
			}
			return "s3cret", nil
		}
	})
	if got.State != program.Completed {
		t.Fatal(got.Err)
	}
	if auth := j.effects["/do/1/b"].HTTP.Auth; auth == nil || auth.Header() != "Basic bWU6cHc=" {
		t.Errorf("signs in with %+v", auth)
	}
}

// TestSteps checks what the page of a run gets.
func TestSteps(t *testing.T) {
	p := compile(t, "do: [{a: {if: false, set: {}}}, {b: {for: {in: '[1,2]'}, do: [{c: {call: silence, with: {rule: '${ $item }'}}}]}}, {d: {raise: {error: {type: x, status: 1}}}}]")
	var got []string
	j := newJournal()
	j.run(t, p, nil, func(r *program.Run) {
		r.OnStep = func(s program.Step) {
			got = append(got, fmt.Sprintf("%d %s %s %v %s %v %v", s.Index, s.Task, s.State, s.Path, s.Effect, s.Duration >= time.Second, s.Err))
		}
	})
	want := []string{
		"0 /do/0/a skipped []  false <nil>",
		"2 /do/1/b/do/0/c completed [] /do/1/b/do/0/c true <nil>",
		"3 /do/1/b/do/0/c completed [0 1 0] /do/1/b/do/0/c#0.1.0 true <nil>",
		"1 /do/1/b completed []  true <nil>",
		"4 /do/2/d faulted []  false [1] x at /do/2/d",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEngineError(t *testing.T) {
	p := compile(t, "do: [{a: {call: silence, with: {rule: 1}}}]")
	down := errors.New("the database is away")
	j := newJournal()
	j.do = func(context.Context, program.Effect) (program.Answer, error) { return program.Answer{}, down }
	_, err := p.Run(t.Context(), program.Run{Effects: j})
	if !errors.Is(err, down) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	j.do = func(ctx context.Context, _ program.Effect) (program.Answer, error) {
		cancel()
		return program.Answer{}, ctx.Err()
	}
	got, err := p.Run(ctx, program.Run{Effects: j})
	if err != nil || got.State != program.Cancelled {
		t.Errorf("got %+v, %v", got, err)
	}
}
