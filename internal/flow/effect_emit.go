package flow

import (
	"context"
	"encoding/json"
	"maps"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/jq"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/state"
)

// emit writes an event into this server's record, in the transaction that journals
// the answer: it is recorded once, also over a crash. Its attributes say of which
// chain it comes, for the loop rules.
func init() { registerKind(program.EffectEmit, emit) }

func emit(_ context.Context, e *Engine, r *Run, f *program.Effect) (outcome, error) {
	if !r.may(identity.Emit) {
		return failed(program.Failure(program.TypeAuthorization, 403, "the flow emits events, which needs the scope emit: write it into document.metadata.tocsin.scopes")), nil
	}
	attributes, ok := f.Arguments.(map[string]any)
	if !ok {
		return failed(program.Failure(program.TypeExpression, 400, "an event is an object")), nil
	}
	ev, err := e.eventOf(r, attributes)
	if err != nil {
		return failed(program.Failure(program.TypeValidation, 400, "the event is refused: %v", err)), nil
	}
	out, err := jq.Decode(ev.AppendJSON(nil))
	if err != nil {
		return failed(program.Failure(program.TypeValidation, 400, "the event is refused: %v", err)), nil
	}
	return outcome{answer: program.Answer{Output: out}, write: func(tx *state.Tx) error {
		tx.Emit(ev)
		return nil
	}}, nil
}

// own are the attributes that only the server sets.
var own = []string{"sequence", "recordedtime", "recordedby", "causationdepth", "causationid", "brand", "authtype", "authid", "authname", "authemail", "onbehalfof", sourceFlow, originFlow, originTrigger} //nolint:gochecknoglobals // a constant table

// eventOf makes the event of what a flow has said of it.
func (e *Engine) eventOf(r *Run, attributes map[string]any) (event.Event, error) {
	given := make(map[string]any, len(attributes)+1)
	maps.Copy(given, attributes)
	for _, name := range own {
		delete(given, name)
	}
	given["specversion"] = "1.0"
	// A source of the server's own would speak for another part of it. Whatever it is,
	// the account and sourceflowid say which flow has emitted the event.
	if source, ok := given["source"].(string); !ok || source == e.o.Source || strings.HasPrefix(source, e.o.Source+"/") {
		given["source"] = e.o.Source + "/" + producer + "/" + r.Flow.String()
	}
	body, err := json.Marshal(given)
	if err != nil {
		return event.Event{}, err
	}
	ev, err := event.Decode(body)
	if err != nil {
		return ev, err
	}
	if entry, ok := e.o.Catalog.Get(ev.Type); ok && entry.Kind != event.KindCustom && entry.Kind != event.KindHost {
		return ev, event.Deniedf("%s is a type of the kind %s, which only the server itself raises", ev.Type, entry.Kind)
	}
	if misfit := e.o.Catalog.Check(&ev); misfit != nil && !misfit.Unknown {
		return ev, misfit
	}
	by := r.cause()
	ev.AuthType, ev.AuthID, ev.AuthName, ev.CausationID = by.AuthType, by.AuthID, by.AuthName, string(by.CausationID)
	if ev.CorrelationID == "" {
		ev.CorrelationID = by.CorrelationID
	}
	if ev.Host == "" {
		ev.Host = e.o.Host
	}
	if r.Depth+1 > ingest.MaxDepth {
		return ev, event.Deniedf("the chain of causes is %d long; more is taken for a loop", r.Depth+1)
	}
	r.chain(&ev)
	return ev, nil
}
