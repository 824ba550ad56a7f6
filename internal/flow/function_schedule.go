package flow

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// schedule runs a flow once, later: after a delay, and not when it has become too
// late. It makes a schedule trigger that goes when it has run.
func init() {
	registerFunction("schedule", function{
		Function: program.Function{
			Doc: "Run a flow once, later.",
			Parameters: []program.Parameter{
				{Name: "flow", Doc: "Name of the flow; this one unless it says otherwise."},
				{Name: "delay", Doc: "How long to wait, such as 30m; now without it."},
				{Name: "expiry", Doc: "How long after the delay it may still run, such as 3h; for ever without it."},
				{Name: "input", Doc: "Input of the flow."},
				{Name: "name", Doc: "Name of the trigger; made up without it."},
			},
			PassesInput: true,
		},
		scope: identity.Emit,
		do:    scheduleFlow,
	})
}

// forEver is a window of catching up that does not end.
const forEver = 100 * 365 * 24 * time.Hour

func scheduleFlow(ctx context.Context, e *Engine, r *Run, f *program.Effect) (outcome, error) {
	with, _ := f.Arguments.(map[string]any)
	wrong := func(format string, args ...any) outcome {
		return failed(program.Failure(program.TypeValidation, 400, format, args...))
	}
	text := func(name string) string { s, _ := with[name].(string); return s }
	target := &flowHead{id: r.Flow}
	if name := text("flow"); name != "" && name != r.FlowName {
		found, err := e.flowNamed(ctx, "", name)
		if err != nil {
			return outcome{}, err
		}
		if found == nil {
			return wrong("there is no valid flow %s", name), nil
		}
		target = found
	}
	var delay, expiry time.Duration
	for name, into := range map[string]*time.Duration{"delay": &delay, "expiry": &expiry} {
		if text(name) == "" {
			continue
		}
		d, err := event.ParseDuration(text(name))
		if err != nil || d < 0 {
			return wrong("%s: %q is no duration such as 30m", name, text(name)), nil //nolint:nilerr // told to the flow
		}
		*into = d
	}
	data, err := json.Marshal(with["input"])
	if err != nil || len(data) > maxInput {
		return wrong("input: at most %d bytes of JSON", maxInput), nil //nolint:nilerr // told to the flow
	}
	t := NewTrigger()
	at := time.Now().UTC().Add(delay)
	t.Kind, t.Flow, t.At, t.ExpiresAfter, t.Data, t.Once, t.Origin = OnSchedule, target.id.String(), &at, config.Duration(expiry), data, true, r.Flow.String()
	if expiry == 0 {
		t.CatchupWindow = config.Duration(forEver)
	}
	t.Chain = &Chain{r.OriginFlow, r.OriginTrigger}
	if t.Name = text("name"); t.Name == "" {
		t.Name = "once " + string(runOf("once", string(r.ID), f.Key))[:12] + " of " + r.FlowName
	}
	if err := e.check(&t); err != nil {
		return wrong("%v", err), nil
	}
	// It is written by the flow's account, and found again under its name where the
	// task is tried once more.
	by := r.cause()
	err = e.o.State.Write(ctx, by, func(tx *state.Tx) error {
		if _, err := triggers.Find(tx.Context(), tx, "name", t.Name); err == nil {
			return nil
		}
		_, err := triggers.Insert(tx, t)
		return err
	})
	if err != nil {
		return outcome{}, err
	}
	e.reload()
	return outcome{answer: program.Answer{Output: map[string]any{"trigger": t.Name, "at": at.Format(time.RFC3339)}}}, nil
}
