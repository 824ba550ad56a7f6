package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Check is one condition of a rule and what it gave for an event.
type Check struct {
	Name   string        `json:"name"`   // severity, types, filter, policies[0], …
	Passed bool          `json:"passed"` // of policies: as the mode counts them
	Detail string        `json:"detail"`
	Parts  []filter.Part `json:"parts,omitempty"` // of an expression
}

// verdict collects what deciding has to say.
type verdict struct {
	// raise records what failed; nil where nothing is to be recorded.
	raise func(r *rule, p *policy, sub *subject, what, expression string, err error)
	// ran records that a policy was executed; nil likewise.
	ran func(r *rule, p *policy, sub *subject, passed bool, err error)
}

// decide reports whether a rule fires for an event whose type and severity fit.
func (r *rule) decide(ctx context.Context, p *people, sub *subject, v *verdict) bool {
	matched, err := r.filter.Match(sub.input())
	if err != nil && v.raise != nil {
		v.raise(r, nil, sub, "filter", r.Filter, err)
	}
	if !matched || err != nil {
		return false
	}
	if len(r.policies) == 0 {
		return true
	}
	for i := range r.policies {
		passed := r.policies[i].passes(ctx, r, p, sub, v)
		switch {
		case r.Mode == All && !passed, r.Mode == None && passed:
			return false
		case r.Mode == Any && passed:
			return true
		}
	}
	return r.Mode != Any
}

// passes executes one policy.
func (b *policy) passes(ctx context.Context, r *rule, p *people, sub *subject, v *verdict) bool {
	result, err := b.execute(ctx, p, sub)
	passed := result != b.Negate
	if err != nil {
		passed = b.OnFailure == "pass"
		if v.raise != nil {
			v.raise(r, b, sub, "policy", b.text(), err)
		}
	}
	if b.log && v.ran != nil {
		v.ran(r, b, sub, passed, err)
	}
	return passed
}

func (b *policy) text() string {
	if b.cond == nil {
		return b.name
	}
	return b.cond.text()
}

func (b *policy) execute(ctx context.Context, p *people, sub *subject) (bool, error) {
	if b.cond == nil {
		who := p.actor(sub.Event)
		if who == nil {
			return false, nil
		}
		if b.User != "" {
			return who.ID.String() == b.User, nil
		}
		return slices.Contains(who.Groups, b.Group), nil
	}
	if b.cond.matcher != nil {
		return b.cond.holds(ctx, sub)
	}
	limited, cancel := context.WithTimeout(ctx, time.Duration(b.Timeout))
	defer cancel()
	result, err := b.cond.holds(limited, sub)
	if err != nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("took longer than its timeout of %s", b.Timeout)
	}
	return result, err
}

// model names an object as audit events do.
func model(name, pk, title string) map[string]any {
	return map[string]any{"app": "tocsin_notify", "model_name": name, "pk": pk, "name": title}
}

// perMinute bounds how many exceptions and executions of one policy in one rule
// are recorded in a minute: one broken policy must not fill the journal.
const perMinute = 10

func (e *engine) mayRaise(kind string, r *rule, p *policy, at time.Time) bool {
	if m := at.Unix() / 60; m != e.minute || e.exceptions == nil {
		e.minute, e.exceptions = m, map[string]int{}
	}
	key := kind + "/" + r.id.String()
	if p != nil {
		key += "/" + p.name
	}
	e.exceptions[key]++
	return e.exceptions[key] <= perMinute
}

// raise records policy_exception (seed 003) for a policy, a rule's filter, or
// the expression of its recipients.
func (w *work) raise(r *rule, p *policy, sub *subject, what, expression string, err error) {
	if !w.e.mayRaise("exception", r, p, sub.RecordedTime) {
		w.suppress(r, 0, 0, "exception_folded", sub.Sequence)
		return
	}
	x := exceptionOf(what, err)
	data := map[string]any{
		"message": "Policy failed to execute: " + err.Error(), "exception": x, "expression": expression,
		"policy": policyOf(r, p, what), "rule": model("rule", r.id.String(), r.Name), "request": requestOf(sub),
	}
	w.emit("policy_exception", "rule/"+r.id.String(), data, sub.Event)
}

// exceptionOf is the failure of an expression as an exception: its one frame says
// where in the expression it went wrong, as far as that is known.
func exceptionOf(what string, err error) event.Exception {
	frame := event.Frame{File: what, Line: 1, Function: "column 1"}
	cause := err
	if at, ok := errors.AsType[*filter.EvalError](err); ok {
		cause = at.Err
		if at.Line > 0 {
			frame.Line, frame.Function = at.Line, fmt.Sprintf("column %d", at.Column)
		}
	}
	x := event.NewException(cause, 1)
	x.Frames, x.Cause = []event.Frame{frame}, nil
	return x
}

func policyOf(r *rule, p *policy, what string) map[string]any {
	switch {
	case p == nil:
		return model("rule", r.id.String(), r.Name+": "+what)
	case p.id != 0:
		return model("policy", p.id.String(), p.name)
	}
	return model("rule", r.id.String(), r.Name+": "+p.name)
}

func requestOf(sub *subject) map[string]any {
	return map[string]any{"event": map[string]any{"sequence": sub.Sequence.String(), "id": sub.ID, "type": sub.Type, "source": sub.Source}}
}

// ran records policy_execution (seed 003), where execution logging is on.
func (w *work) ran(r *rule, p *policy, sub *subject, passed bool, err error) {
	messages := []string{}
	if err != nil {
		messages = append(messages, err.Error())
	}
	w.emit("policy_execution", "rule/"+r.id.String(), map[string]any{
		"policy": policyOf(r, p, "policy"), "result": map[string]any{"passing": passed, "messages": messages},
		"request": requestOf(sub), "rule": model("rule", r.id.String(), r.Name),
	}, sub.Event)
}

// causedBy is the cause of what telling raises because of an event; nil where
// there is none.
func causedBy(e *event.Event) state.Cause {
	by := state.System()
	if e != nil {
		by.CausationID, by.CorrelationID, by.ClientIP, by.Brand = e.ID, cmp.Or(e.CorrelationID, string(e.ID)), e.ClientIP, e.Brand
	}
	return by
}

// emit notes an event that the batch raises.
func (w *work) emit(t event.Type, about string, data map[string]any, because *event.Event) {
	by := causedBy(because)
	e, err := by.Event(w.e.n.o.Source+"/"+producer, t, about, data)
	if err != nil {
		w.e.n.o.Logger.WarnContext(w.ctx, "notify: an event can't be raised", "type", t, "err", err)
		return
	}
	w.raised = append(w.raised, e)
}
