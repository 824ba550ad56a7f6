package flow

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/flow/jq"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Verdict is what one trigger makes of one event.
type Verdict struct {
	Trigger state.ObjectID `json:"trigger"`
	Name    string         `json:"name"`
	Flow    string         `json:"flow"`
	Matches bool           `json:"matches"` // types: whether the event is of one of its types
	Skip    Skip           `json:"skip"`    // why it does not run for the event; empty where it does
	Detail  string         `json:"detail"`
	Run     RunID          `json:"run"` // the run that it has started for the event; empty for none
}

// stored reads one recorded event.
func (e *Engine) stored(seq event.Seq) (event.Event, error) {
	hit, err := e.o.Journal.Get(seq)
	if err != nil {
		return event.Event{}, err
	}
	ev, err := event.DecodeStored(hit.Body)
	ev.Sequence, ev.RecordedTime = seq, time.Unix(0, hit.Recorded).UTC()
	return ev, err
}

// ExplainEvent says what each event trigger makes of a recorded event, as the
// triggers are now, and which runs it has started. What depends on other events,
// such as a throttle, is told by the run that is there or not.
func (e *Engine) ExplainEvent(ctx context.Context, seq event.Seq) ([]Verdict, error) {
	ev, err := e.stored(seq)
	if err != nil {
		return nil, err
	}
	x, err := e.load(ctx)
	if err != nil {
		return nil, err
	}
	matches := map[state.ObjectID]bool{}
	for _, t := range x.of(ev.Type) {
		matches[t.id] = true
	}
	var all []*trigger
	for _, t := range x.byID {
		if t.Kind == OnEvent {
			all = append(all, t)
		}
	}
	sortTriggers(all)
	in := filter.NewInput(&ev)
	verdicts := []Verdict{}
	for _, t := range all {
		v := Verdict{Trigger: t.id, Name: t.Name, Matches: matches[t.id]}
		if t.flow != nil {
			v.Flow = t.flow.name
		}
		switch {
		case !v.Matches:
			v.Detail = "the event is of another type: " + string(ev.Type)
		case ev.Text(ingest.QuarantineAttribute) == "true":
			v.Skip, v.Detail = Disabled, "the event is quarantined: nothing acts on it"
		default:
			if v.Skip, v.Detail = t.refuses(&ev, in); v.Skip == "" {
				if v.Run, v.Detail, err = e.outcome(ctx, t, &ev); err != nil {
					return nil, err
				}
			}
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

// outcome is the run that a trigger has started for an event, or why there is none
// although it may.
func (e *Engine) outcome(ctx context.Context, t *trigger, ev *event.Event) (RunID, string, error) {
	r, err := findRun(ctx, e.o.State.Reader(), runOfEvent(t.id, ev.Sequence))
	switch {
	case err == nil:
		return r.ID, "it has started a run, which is " + string(r.State), nil
	case !errors.Is(err, event.ErrNotFound):
		return "", "", err
	case t.Throttle != nil && t.Throttle.Accumulate != nil:
		return "", "it matches, and counts for a run of several events", nil
	case t.Throttle != nil:
		return "", "it matches; no run is known, so it was throttled, or came before the trigger was made", nil
	case t.Concurrency != nil && t.Concurrency.WhenFull == FullSkip:
		return "", "it matches; no run is known, so others were under way, or it came before the trigger was made", nil
	}
	return "", "it matches; no run is known, so it came before the trigger was made as it is now, or the run is forgotten", nil
}

// DryRun is a run without effects.
type DryRun struct {
	Document string          // of the flow
	Input    json.RawMessage // null where Sequence says which event
	Sequence event.Seq       // the event that is the input; 0 for none
	Trigger  *Trigger        // whose mapping is used; nil for none
}

// Rehearsal is what a dry run has come to.
type Rehearsal struct {
	Input    json.RawMessage   `json:"input"`
	State    program.State     `json:"state"`
	Output   any               `json:"output"`
	Error    string            `json:"error"`
	Status   string            `json:"status"`
	Message  string            `json:"status_msg"`
	Steps    []program.Step    `json:"steps"`
	Effects  []program.Effect  `json:"effects"` // what a real run would do
	Problems []program.Problem `json:"problems"`
}

// dryTime is how long a dry run may compute.
const dryTime = 2 * time.Second

// Rehearse runs a flow without doing anything outside: each effect is answered with
// what it was asked to do, and waits are over at once.
func (e *Engine) Rehearse(ctx context.Context, d DryRun) (Rehearsal, error) {
	out := Rehearsal{Steps: []program.Step{}, Effects: []program.Effect{}, Problems: []program.Problem{}}
	p, err := e.programs.compile(d.Document)
	if err != nil {
		out.Problems = e.Problems(d.Document)
		return out, nil //nolint:nilerr // the problems are the answer
	}
	if out.Input, err = e.rehearsalInput(&d); err != nil {
		out.Error = prefixInput + err.Error()
		out.State = program.Faulted
		return out, nil //nolint:nilerr // that is the answer
	}
	input, err := jq.Decode(out.Input)
	if err != nil {
		return out, event.Invalidf("input: %w", err)
	}
	began := time.Now().UTC() // of all rounds: a wait is counted from there
	play := &rehearsal{out: &out, now: began, answers: map[string]program.Answer{}, told: map[string]bool{}}
	steps := newRecorder(&used{})
	for range 100 { // each wait and listen is one more
		steps.all, steps.bytes = nil, 0
		got, err := p.Run(ctx, program.Run{
			ID: "dry-run", Input: input, StartedAt: began, Answers: play.answers, Effects: play, Now: func() time.Time { return play.now },
			Secret: func(string) (any, error) { return "(a secret)", nil }, Runtime: map[string]any{"name": "tocsin", "version": e.o.Version, "metadata": map[string]any{}},
			OnStep: steps.take, MaxSteps: 10_000, MaxTime: dryTime,
		})
		out.Steps = steps.all
		if err != nil {
			return out, err
		}
		out.State, out.Output, out.Status, out.Message = got.State, got.Output, got.Status, got.StatusMessage
		if got.Err != nil {
			out.Error = got.Err.Error()
			if got.Rejected {
				out.Error = prefixRejected + out.Error
			}
		}
		if got.State != program.Suspended || !play.pass(&got) {
			break
		}
	}
	return out, nil
}

func (e *Engine) rehearsalInput(d *DryRun) (json.RawMessage, error) {
	if d.Sequence == 0 {
		if len(d.Input) == 0 {
			return json.RawMessage("{}"), nil
		}
		return d.Input, nil
	}
	ev, err := e.stored(d.Sequence)
	if err != nil {
		return nil, err
	}
	t := &trigger{}
	if d.Trigger != nil && d.Trigger.Input != "" {
		if t.input, err = jq.Compile(d.Trigger.Input); err != nil {
			return nil, err
		}
	}
	return t.inputOf(&ev)
}

// rehearsal answers effects without doing them.
type rehearsal struct {
	out     *Rehearsal
	now     time.Time
	answers map[string]program.Answer
	told    map[string]bool // waits that are among the effects
}

// Do implements program.Effects.
func (r *rehearsal) Do(_ context.Context, f program.Effect) (program.Answer, error) {
	r.out.Effects = append(r.out.Effects, f)
	a := program.Answer{At: r.now, Output: f.Arguments}
	if f.Kind == program.EffectHTTP || f.Kind == program.EffectOpenAPI {
		a.Output = map[string]any{}
	}
	r.answers[f.Key] = a
	return a, nil
}

// pass lets what a run waits for be over; false where nothing can be.
func (r *rehearsal) pass(got *program.Result) bool {
	moved := false
	for _, w := range got.Waits {
		if !r.told[w.Key] {
			r.out.Effects = append(r.out.Effects, w)
		}
		r.told[w.Key] = true
		switch {
		case w.Kind == program.EffectListen:
			r.answers[w.Key] = program.Answer{At: r.now, Output: map[string]any{"events": []any{}, "ended": true}}
			moved = true
		case w.Until.After(r.now):
			r.now = w.Until
			moved = true
		}
	}
	return moved
}
