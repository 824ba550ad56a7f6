package flow

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/state"
)

// run workflow starts a run of another flow: a run of its own, with its own page.
// Its id is made of the run and the task that starts it, so that there is one,
// however often the task is tried.
func init() {
	registerKind(program.EffectWorkflow, subflow)
	registerKind(program.EffectDecide, decide)
}

// decide notes what a fork has come to, and does nothing.
func decide(_ context.Context, _ *Engine, _ *Run, f *program.Effect) (outcome, error) {
	return outcome{answer: program.Answer{Output: f.Arguments}}, nil
}

// maxNesting is how deep flows may run flows.
const maxNesting = 8

func subflow(ctx context.Context, e *Engine, r *Run, f *program.Effect) (outcome, error) {
	id := runOf("sub", string(r.ID), f.Key)
	if _, err := findRun(ctx, e.o.State.Reader(), id); err == nil && f.Workflow.Await {
		return outcome{later: true}, nil // it was started, whatever has become of the flow since
	}
	target, err := e.flowNamed(ctx, f.Workflow.Namespace, f.Workflow.Name)
	if err != nil {
		return outcome{}, err
	}
	if target == nil {
		return failed(program.Failure(program.TypeConfiguration, 404, "there is no valid flow %s in the namespace %s", f.Workflow.Name, f.Workflow.Namespace)), nil
	}
	depth, err := e.nesting(ctx, r)
	if err != nil {
		return outcome{}, err
	}
	if depth >= maxNesting {
		return failed(program.Failure(program.TypeRuntime, 500, "flows run flows %d deep: that is taken for a loop", depth)), nil
	}
	input, err := json.Marshal(f.Workflow.Input)
	if err != nil || len(input) > maxInput {
		return failed(program.Failure(program.TypeValidation, 400, "the input of %s is larger than %d bytes", f.Workflow.Name, maxInput)), nil //nolint:nilerr // told to the flow
	}
	now := time.Now().UTC()
	child := &Run{ID: id, State: Queued, Flow: target.id, Priority: r.Priority, Queued: now, Due: now, Document: Document{
		Input: input, Status: unknownStatus, Event: r.Event, Correlation: r.Correlation, OriginFlow: r.OriginFlow, OriginTrigger: r.OriginTrigger, Depth: r.Depth, Parent: r.ID,
	}}
	child.pin(target)
	if f.Workflow.Await {
		child.ParentKey = f.Key
	}
	put := func(tx *state.Tx) error {
		_, err := child.insert(tx)
		return err
	}
	if err := e.writes.do(ctx, put); err != nil {
		return outcome{}, err
	}
	e.queue.push(child)
	if f.Workflow.Await {
		return outcome{later: true}, nil
	}
	return outcome{answer: program.Answer{Output: f.Workflow.Input}}, nil
}

// flowNamed is the newest valid flow of a name; nil where there is none.
func (e *Engine) flowNamed(ctx context.Context, namespace, name string) (*flowHead, error) {
	var newest *flowHead
	for after := state.ObjectID(0); ; {
		found, err := definitions.List(ctx, e.o.State.Reader(), after, pageSize)
		if err != nil {
			return nil, err
		}
		for i := range found {
			d := &found[i].Value
			after = found[i].ID
			if d.Name == name && (namespace == "" || d.Namespace == namespace) && d.State == Valid {
				newest = &flowHead{found[i].ID, d.Name, d.Namespace, d.Hash, d.Scopes}
			}
		}
		if len(found) < pageSize {
			return newest, nil
		}
	}
}

// nesting is how many runs wait for this one, one for the other.
func (e *Engine) nesting(ctx context.Context, r *Run) (int, error) {
	n := 0
	for parent := r.Parent; parent != ""; n++ {
		if n > maxNesting {
			break
		}
		up, err := findRun(ctx, e.o.State.Reader(), parent)
		if errors.Is(err, event.ErrNotFound) {
			break // it is over for long
		}
		if err != nil {
			return n, err
		}
		parent = up.Parent
	}
	return n, nil
}
