package flow

import (
	"context"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// outcome is what came of an effect.
type outcome struct {
	answer program.Answer
	// write is done in the transaction that journals the answer; nil for nothing.
	write func(tx *state.Tx) error
	// later says that the answer comes otherwise: the run waits for it.
	later bool
}

// doer does one kind of effect. An error is the engine's, not the flow's: the
// effect is tried again with the run. What a flow can catch is in the answer.
type doer func(ctx context.Context, e *Engine, r *Run, f *program.Effect) (outcome, error)

// kinds and functions are filled by the init functions of this package's files
// alone: one file is one kind of effect.
var (
	kinds     = map[program.EffectKind]doer{} //nolint:gochecknoglobals // the registry: values only, written by init
	functions = map[string]function{}         //nolint:gochecknoglobals // likewise
)

// function is something that a flow may call by its name.
type function struct {
	program.Function

	scope identity.Scope // that the flow needs; empty for none
	do    doer
}

func registerKind(kind program.EffectKind, do doer) { kinds[kind] = do }

func registerFunction(name string, f function) { functions[name] = f }

// Functions are what flows may call by name, for the documentation and the editor.
func Functions() map[string]program.Function {
	all := make(map[string]program.Function, len(functions))
	for name, f := range functions {
		all[name] = f.Function
	}
	return all
}

// perform does an effect, if the flow may.
func (e *Engine) perform(ctx context.Context, r *Run, f *program.Effect) (outcome, error) {
	do := kinds[f.Kind]
	if f.Kind == program.EffectCall {
		fn, ok := functions[f.Function]
		if !ok {
			return failed(program.Failure(program.TypeConfiguration, 400, "this version has no function %s", f.Function)), nil
		}
		if fn.scope != "" && !r.may(fn.scope) {
			return failed(program.Failure(program.TypeAuthorization, 403, "the flow calls %s, which needs the scope %s: write it into document.metadata.tocsin.scopes", f.Function, fn.scope)), nil
		}
		do = fn.do
	}
	if do == nil {
		return outcome{}, event.Invalidf("there is nothing that does effects of the kind %s", f.Kind)
	}
	return do(ctx, e, r, f)
}

// failed is the outcome of an effect that a flow may catch.
func failed(err *program.Error) outcome { return outcome{answer: program.Answer{Err: err}} }

// may reports whether the flow's account has a scope.
func (r *Run) may(scope identity.Scope) bool {
	p := identity.Principal{}
	for _, s := range r.Scopes {
		p.Scopes = append(p.Scopes, identity.Scope(s))
	}
	return p.Can(scope)
}

// cause is the flow's account as the one who does what the run does.
func (r *Run) cause() state.Cause {
	by := state.Cause{AuthType: "service_account", AuthID: "flow/" + r.Flow.String(), AuthName: r.FlowName, CorrelationID: r.Correlation}
	if r.Event != nil {
		by.CausationID = r.Event.ID
	}
	return by
}

// key is the idempotency key of an effect: the same whenever it is tried again.
func (r *Run) key(f *program.Effect) string { return string(r.ID) + f.Key }
