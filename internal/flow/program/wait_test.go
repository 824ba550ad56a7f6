package program_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tocsin-events/tocsin/internal/flow/program"
)

func failing(status int) func(context.Context, program.Effect) (program.Answer, error) {
	return func(context.Context, program.Effect) (program.Answer, error) {
		return program.Answer{Err: program.Failure(program.TypeCommunication, status, "it is away")}, nil
	}
}

func TestWait(t *testing.T) {
	p := compile(t, "do: [{a: {call: silence, with: {rule: 1}}}, {b: {wait: {days: 90}}}, {c: {set: '${ {now: now} }'}}]")
	j := newJournal()
	got := j.run(t, p, nil)
	due := start.Add(time.Second + 90*24*time.Hour)
	if got.State != program.Suspended || !got.NextAt().Equal(due) || got.Waits[0].Kind != program.EffectWait || got.Waits[0].Key != "/do/1/b" {
		t.Fatalf("got %+v", got)
	}
	j.now = due.Add(-time.Nanosecond)
	if got = j.run(t, p, nil); got.State != program.Suspended {
		t.Fatalf("a nanosecond early: %+v", got)
	}
	j.now = due.Add(5 * time.Hour) // nobody was there when it was due
	got = j.run(t, p, nil)
	if want := float64(due.Unix()); got.State != program.Completed || !cmp.Equal(got.Output, any(map[string]any{"now": want})) {
		t.Errorf("got %+v, want the time that was waited for", got)
	}
	if diff := cmp.Diff([]string{"/do/0/a"}, j.done); diff != "" {
		t.Errorf("effects: %s", diff)
	}
}

func TestPatience(t *testing.T) {
	p := compile(t, "do: [{a: {wait: {milliseconds: 500}}}, {b: {set: {x: 1}}}]")
	synctest.Test(t, func(t *testing.T) {
		before := time.Now()
		got, err := p.Run(t.Context(), program.Run{StartedAt: before, Patience: time.Second})
		if err != nil || got.State != program.Completed || time.Since(before) != 500*time.Millisecond {
			t.Errorf("got %+v, %v after %v", got, err, time.Since(before))
		}
	})
}

func TestRetry(t *testing.T) {
	for _, c := range []struct {
		name, retry string
		want        []time.Duration // between the attempts
	}{
		{"constant", "{delay: {seconds: 3}, limit: {attempt: {count: 3}}}", []time.Duration{3 * time.Second, 3 * time.Second, 3 * time.Second}},
		{"linear", "{delay: {seconds: 2}, backoff: {linear: {}}, limit: {attempt: {count: 3}}}", []time.Duration{2 * time.Second, 4 * time.Second, 6 * time.Second}},
		{"exponential", "{delay: {seconds: 1}, backoff: {exponential: {maxDelay: {seconds: 3}}}, limit: {attempt: {count: 4}}}", []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second}},
		{"none", "{limit: {attempt: {count: 0}}}", nil},
		{"limited in all", "{delay: {seconds: 10}, limit: {duration: {seconds: 25}}}", []time.Duration{10 * time.Second, 10 * time.Second}},
		{"when", "{when: $error.status == 500, delay: {seconds: 3}}", nil},
		{"exceptWhen", "{exceptWhen: $error.status == 503, delay: {seconds: 3}}", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := compile(t, "do: [{a: {try: [{b: {call: silence, with: {rule: 1}}}], catch: {retry: "+c.retry+", do: [{c: {set: {gave: up}}}]}}}]")
			j := newJournal()
			j.do = failing(503)
			var got []time.Duration
			result := j.run(t, p, nil)
			for ; result.State == program.Suspended; result = j.run(t, p, nil) {
				got = append(got, result.NextAt().Sub(j.now))
				j.now = result.NextAt()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if len(j.done) != len(c.want)+1 || result.State != program.Completed {
				t.Errorf("%d attempts, then %s", len(j.done), result.State)
			}
			if last := j.effects[j.done[len(j.done)-1]]; last.Attempt != len(c.want) {
				t.Errorf("the last attempt is number %d", last.Attempt)
			}
		})
	}
}

func TestJitter(t *testing.T) {
	p := compile(t, "do: [{a: {try: [{b: {call: silence, with: {rule: 1}}}], catch: {retry: {jitter: {from: {seconds: 1}, to: {seconds: 9}}}}}}]")
	j := newJournal()
	j.do = failing(503)
	first := j.run(t, p, nil).NextAt()
	if d := first.Sub(j.now); d < time.Second || d > 9*time.Second {
		t.Errorf("waits %v", d)
	}
	if again := j.run(t, p, nil).NextAt(); !again.Equal(first) {
		t.Errorf("a replay waits until %v, not %v", again, first)
	}
}

func TestTimeout(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"of a wait", "do: [{a: {timeout: {after: {seconds: 5}}, wait: {hours: 1}}}]", "[408] Timeout Error at /do/0/a: not done by 2026-01-02T03:04:10Z"},
		{"of the flow", "timeout: {after: {seconds: 5}}\ndo: [{a: {wait: {hours: 1}}}]", "[408] Timeout Error at /: not done by 2026-01-02T03:04:10Z"},
		{"by name", "use: {timeouts: {short: {after: PT5S}}}\ndo: [{a: {timeout: short, wait: {hours: 1}}}]", "[408] Timeout Error at /do/0/a: not done by 2026-01-02T03:04:10Z"},
		{"is not caught inside of it", "do: [{a: {timeout: {after: {seconds: 5}}, do: [{b: {try: [{c: {wait: {hours: 1}}}], catch: {}}}]}}]", "[408] Timeout Error at /do/0/a: not done by 2026-01-02T03:04:10Z"},
		{"the outer one strikes first", "do: [{a: {timeout: {after: {seconds: 5}}, do: [{b: {timeout: {after: {minutes: 5}}, wait: {hours: 1}}}]}}]", "[408] Timeout Error at /do/0/a: not done by 2026-01-02T03:04:10Z"},
		{"of a listen", "do: [{a: {timeout: {after: {seconds: 5}}, listen: {to: {one: {with: {type: x}}}}}}]", "[408] Timeout Error at /do/0/a: not done by 2026-01-02T03:04:10Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJournal()
			got := j.run(t, compile(t, c.body), nil)
			if got.State != program.Suspended || !got.NextAt().Equal(start.Add(5*time.Second)) {
				t.Fatalf("got %+v", got)
			}
			j.now = got.NextAt()
			got = j.run(t, compile(t, c.body), nil)
			if got.State != program.Faulted || got.Err.Error() != c.want {
				t.Errorf("got %s %v", got.State, got.Err)
			}
		})
	}
}

// TestTimeoutOfEffect lets an effect outlive a timeout around it.
func TestTimeoutOfEffect(t *testing.T) {
	p := compile(t, "do: [{a: {try: [{b: {timeout: {after: {seconds: 5}}, call: silence, with: {rule: 1}}}], catch: {errors: {with: {type: timeout}}, do: [{c: {set: {late: true}}}]}}}]")
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		j.do = func(ctx context.Context, _ program.Effect) (program.Answer, error) {
			<-ctx.Done()
			return program.Answer{}, ctx.Err()
		}
		got, err := p.Run(t.Context(), program.Run{StartedAt: time.Now(), Effects: j})
		if err != nil || got.State != program.Completed || !cmp.Equal(got.Output, any(map[string]any{"late": true})) {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	j := newJournal() // the answer came, but too late
	j.answers["/do/0/a/try/0/b"] = program.Answer{Output: "ok", At: start.Add(6 * time.Second)}
	if got := j.run(t, p, nil); !cmp.Equal(got.Output, any(map[string]any{"late": true})) {
		t.Errorf("got %+v", got)
	}
}

func TestSubflow(t *testing.T) {
	p := compile(t, "do: [{a: {run: {workflow: {namespace: n, name: other, version: '1.0.0', input: {k: '${ .k }'}}}}}, {b: {run: {workflow: {namespace: n, name: third}, await: false}}}]")
	if diff := cmp.Diff([]program.Subflow{{Namespace: "n", Name: "other", Version: "1.0.0", Await: true}, {Namespace: "n", Name: "third"}}, p.Subflows()); diff != "" {
		t.Error(diff)
	}
	j := newJournal()
	j.do = func(_ context.Context, e program.Effect) (program.Answer, error) {
		if e.Workflow.Await {
			return program.Answer{}, program.ErrSuspended
		}
		return program.Answer{Output: "run-2"}, nil
	}
	got := j.run(t, p, object(t, "{k: 1}"))
	if got.State != program.Suspended || len(got.Waits) != 1 || !cmp.Equal(got.Waits[0].Workflow.Input, any(map[string]any{"k": 1})) || !got.NextAt().IsZero() {
		t.Fatalf("got %+v", got)
	}
	j.answers["/do/0/a"] = program.Answer{Output: map[string]any{"r": 1}, At: j.now}
	if got = j.run(t, p, object(t, "{k: 1}")); !cmp.Equal(got.Output, any(map[string]any{"r": 1})) {
		t.Errorf("got %+v", got)
	}
}

// TestFork has branches that wait, win, fail and lose.
func TestFork(t *testing.T) {
	const all = "do: [{f: {fork: {branches: [{a: {call: silence, with: {rule: 1}}}, {b: {wait: {hours: 1}}}, {c: {wait: {hours: 2}}}]}}}]"
	j := newJournal()
	got := j.run(t, compile(t, all), nil)
	if got.State != program.Suspended || len(got.Waits) != 2 || !got.NextAt().Equal(start.Add(time.Hour)) {
		t.Fatalf("got %+v", got)
	}
	j.now = start.Add(3 * time.Hour)
	if got = j.run(t, compile(t, all), nil); got.State != program.Completed || len(j.done) != 1 {
		t.Errorf("got %+v after %v", got, j.done)
	}

	const compete = "do: [{f: {fork: {compete: true, branches: [{a: {wait: {hours: 5}}}, {b: {do: [{x: {wait: {hours: 1}}}, {y: {set: {won: b}}, }]}}]}}}, {g: {call: notify, with: {m: 1}}}]"
	j = newJournal()
	if got = j.run(t, compile(t, compete), nil); got.State != program.Suspended {
		t.Fatalf("got %+v", got)
	}
	j.now = start.Add(time.Hour)
	got = j.run(t, compile(t, compete), nil)
	if !cmp.Equal(got.Output, any(map[string]any{"won": "b"})) || !slices.Equal(j.done, []string{"/do/0/f", "/do/1/g"}) {
		t.Fatalf("got %+v after %v", got, j.done)
	}
	j.now = start.Add(9 * time.Hour) // now a would be first, had it not been decided
	var ran []string
	got = j.run(t, compile(t, compete), nil, func(r *program.Run) { r.OnStep = func(s program.Step) { ran = append(ran, s.Name) } })
	if !cmp.Equal(got.Output, any(map[string]any{"won": "b"})) || len(j.done) != 2 || slices.Contains(ran, "a") {
		t.Errorf("a replay gives %+v after %v, by %v", got, j.done, ran)
	}

	const fault = "do: [{f: {fork: {branches: [{a: {wait: {hours: 5}}}, {b: {call: silence, with: {rule: 1}}}]}}}]"
	j = newJournal()
	j.do = failing(500)
	for range 2 {
		if got = j.run(t, compile(t, fault), nil); got.State != program.Faulted || got.Err.Instance != "/do/0/f/fork/branches/1/b" {
			t.Errorf("got %+v", got)
		}
	}
}

// TestReplay cuts runs off after any of their effects, and goes on with what was
// journalled: the result is the same, and no effect that was answered is done again.
func TestReplay(t *testing.T) {
	bodies := []string{
		"do: [{a: {call: notify, with: {n: 1}}}, {b: {for: {in: '[1,2,3]'}, do: [{c: {call: silence, with: {rule: '${ $item }'}}}, {d: {emit: {event: {with: {type: x, data: '${ . }'}}}}}]}}, {e: {set: {all: '${ . }'}}}]",
		"do: [{a: {set: {n: 0}}}, {b: {call: silence, with: {rule: '${ .n + 1 }'}}}, {c: {set: '${ {n: .rule} }'}}, {d: {switch: [{more: {when: .n < 4, then: b}}, {no: {then: end}}]}}]",
		"do: [{f: {fork: {branches: [{a: {call: silence, with: {rule: 1}}}, {b: {do: [{x: {call: silence, with: {rule: 2}}}, {y: {wait: {seconds: 30}}}, {z: {call: silence, with: {rule: 3}}}]}}]}}}, {g: {call: silence, with: {rule: '${ . | length }'}}}]",
		"do: [{t: {try: [{a: {call: silence, with: {rule: fail}}}], catch: {as: e, retry: {delay: {seconds: 2}, limit: {attempt: {count: 2}}}, do: [{h: {call: notify, with: {m: '${ $e.detail }'}}}, {k: {set: {gave: '${ $e.status }'}}}]}}}]",
	}
	rapid.Check(t, func(r *rapid.T) {
		body := rapid.SampledFrom(bodies).Draw(r, "flow")
		p := compile(t, body)
		effect := func(_ context.Context, e program.Effect) (program.Answer, error) {
			if m, ok := e.Arguments.(map[string]any); ok && m["rule"] == "fail" {
				return program.Answer{Err: program.Failure(program.TypeCommunication, 503, "no")}, nil
			}
			return program.Answer{Output: e.Arguments}, nil
		}
		whole, _ := cutRun(t, p, effect, nil)
		cuts := rapid.SliceOfN(rapid.IntRange(0, 12), 1, 4).Draw(r, "cuts")
		cut, done := cutRun(t, p, effect, cuts)
		if diff := cmp.Diff(plainResult(whole), plainResult(cut)); diff != "" {
			r.Fatalf("%s: cut after %v: %s", body, cuts, diff)
		}
		slices.Sort(done)
		if compact := slices.Compact(slices.Clone(done)); len(compact) != len(done) {
			r.Fatalf("%s: done twice: %v", body, done)
		}
	})
}

func plainResult(r program.Result) any {
	text, err := json.Marshal([]any{r.State, r.Output, r.Err, r.Status})
	if err != nil {
		return err
	}
	s := string(text)
	if i := strings.Index(s, `"time":"`); i >= 0 { // of an emitted event: the clock's
		s = s[:i] + s[i+len(`"time":"2026-01-02T03:04:05.000Z`):]
	}
	return s
}

// cutRun runs a program to its end. The engine stops working after so many effects
// as each of cuts says, one cut after the other.
func cutRun(t *testing.T, p *program.Program, effect func(context.Context, program.Effect) (program.Answer, error), cuts []int) (program.Result, []string) {
	t.Helper()
	j := newJournal()
	down := errors.New("down")
	for round := range 100 {
		left := 1000
		if round < len(cuts) {
			left = cuts[round]
		}
		j.do = func(ctx context.Context, e program.Effect) (program.Answer, error) {
			if left--; left < 0 {
				j.done = j.done[:len(j.done)-1]
				return program.Answer{}, down
			}
			return effect(ctx, e)
		}
		answers := map[string]program.Answer{}
		j.mu.Lock()
		maps.Copy(answers, j.answers)
		now := j.now
		j.mu.Unlock()
		result, err := p.Run(t.Context(), program.Run{ID: "r", StartedAt: start, Answers: answers, Effects: j, Now: func() time.Time { return now }})
		switch {
		case errors.Is(err, down):
		case err != nil:
			t.Fatal(err)
		case result.State == program.Suspended:
			j.now = result.NextAt()
		default:
			return result, j.done
		}
	}
	t.Fatal("the run does not end")
	return program.Result{}, nil
}

// TestImmutable runs one program many times at once: under the race detector nothing
// of it may be written to, and its definition stays what it was.
func TestImmutable(t *testing.T) {
	body := "do: [{a: {set: {list: [3, 1, 2], deep: {x: {y: 1}}}}}, {b: {set: '${ .list |= sort | .deep.x.y += 1 | .list[0] = 9 }'}}, {c: {export: {as: '$workflow.definition.do[0].a'}, set: '${ $workflow.definition.do[0].a.set | .deep.x.y = 5 }'}}, {d: {set: '${ $context | .set.deep.x.y = 7 }'}}]"
	p := compile(t, body)
	want := plainResult(newJournal().run(t, p, nil))
	graph := p.Describe()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				got, err := p.Run(context.Background(), program.Run{ID: "r", StartedAt: start})
				if err != nil || plainResult(got) != want {
					t.Errorf("got %v, want %v", plainResult(got), want)
				}
			}
		})
	}
	all.Wait()
	if !reflect.DeepEqual(p.Describe(), graph) || plainResult(newJournal().run(t, p, nil)) != want {
		t.Error("the program has changed")
	}
}
