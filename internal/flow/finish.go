package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/jq"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/state"
)

// end is what a run has come to.
type end struct {
	state   RunState
	output  json.RawMessage
	err     string         // an error after the flow has begun
	failure string         // why it could not begin, with its prefix
	fault   *program.Error // for who waits for the run
}

// finish writes the end of a run: its row, its result event, the answer for the run
// that waits for it, and, where that is due, that its trigger is disabled. All is
// one transaction.
func (e *Engine) finish(ctx context.Context, r *Run, how end) error {
	r.State, r.Output, r.Error, r.Fault, r.Failure, r.Finished, r.Due = how.state, how.output, how.err, how.fault, how.failure, time.Now().UTC(), time.Time{}
	if how.failure != "" {
		r.Error = how.failure
	}
	doc, err := r.text()
	if err != nil {
		return err
	}
	disabled := false
	err = e.writes.do(context.WithoutCancel(ctx), func(tx *state.Tx) error {
		switch err := r.save(tx, doc); {
		case errors.Is(err, errOver):
			return nil // it was cancelled at the same moment
		case err != nil:
			return err
		}
		if err := e.forget(tx, r); err != nil {
			return err
		}
		if err := e.result(tx, r); err != nil {
			return err
		}
		var err error
		if disabled, err = e.disable(tx, r); err != nil {
			return err
		}
		return e.answerParent(tx, r)
	})
	// It may be stored although its event is not recorded yet.
	if !r.bare {
		e.waits.drop(r.ID, "")
	}
	if r.Parent != "" && r.ParentKey != "" {
		e.queue.awake(r.Parent)
	}
	if disabled {
		e.reload()
	}
	if err != nil {
		return err
	}
	e.o.Metrics.Ran(r.FlowName, string(r.State), time.Duration(r.Millis)*time.Millisecond)
	return nil
}

// forget removes what only a run that is not over needs. The answers of one that
// has failed stay: it can be tried again from there.
func (e *Engine) forget(tx *state.Tx, r *Run) error {
	if r.bare {
		return nil
	}
	if _, err := tx.ExecContext(tx.Context(), `DELETE FROM run_listens WHERE run = $1`, r.ID); err != nil {
		return fmt.Errorf("end the listens of run %s: %w", r.ID, err)
	}
	if r.State != Completed {
		return nil
	}
	_, err := tx.ExecContext(tx.Context(), `DELETE FROM run_answers WHERE run = $1`, r.ID)
	return wrap("forget the answers of run "+string(r.ID), err)
}

// result raises the event of seed 001 that says what a run has come to.
func (e *Engine) result(tx *state.Tx, r *Run) error {
	if r.Trigger == 0 {
		return nil // somebody, or another flow, has started it, and sees it there
	}
	family := "trigger." + string(r.Kind) + "."
	ok := r.State == Completed
	t, data := family+"ok", r.resultData(ok)
	switch {
	case r.Failure != "":
		t = family + "failed"
		data = map[string]any{"trigger_id": r.Trigger.String(), "flow_id": r.Flow.String(), "error": r.Failure}
		if r.Kind == OnEvent {
			data["event_id"] = string(r.Event.ID)
		}
	case !ok:
		t = family + "error"
	}
	if wants := r.Emit.OK; ok && wants != nil && !*wants {
		return nil
	}
	if wants := r.Emit.Error; t == family+"error" && wants != nil && !*wants {
		return nil
	}
	return e.raise(tx, r, event.Type(t), "result", data)
}

// resultData is the data of .ok and .error, with exactly the seed's fields.
func (r *Run) resultData(ok bool) map[string]any {
	data := map[string]any{
		"flow_id": r.Flow.String(), "flow_name": r.FlowName, "inputs": items(r.Input), "outputs": items(r.Output), "duration_ms": r.Millis,
		"ok": ok, "status": r.Status, "status_msg": r.StatusMsg,
	}
	if !ok {
		data["error"] = r.Error
	}
	if r.Kind == OnSchedule {
		data["schedule_id"], data["schedule_name"] = r.Trigger.String(), r.TriggerName
		return data
	}
	data["trigger_id"], data["trigger_name"], data["trigger_priority"] = r.Trigger.String(), r.TriggerName, r.Priority
	data["event_id"], data["event_type"] = string(r.Event.ID), string(r.Event.Type)
	return data
}

// items counts data items: those of an array, none of null, else one.
func items(body json.RawMessage) int {
	if len(body) == 0 || string(body) == "null" {
		return 0
	}
	var list []json.RawMessage
	if body[0] == '[' && json.Unmarshal(body, &list) == nil {
		return len(list)
	}
	return 1
}

// raise emits an event about a run. Its id is made of the run's: it is recorded
// once, whatever happens.
func (e *Engine) raise(tx *state.Tx, r *Run, t event.Type, what string, data map[string]any) error {
	ev, err := r.cause().Event(e.o.Source+"/"+producer, t, "trigger/"+r.Trigger.String(), data)
	if err != nil {
		return err
	}
	ev.ID, ev.Host = event.ID(what+"-"+string(r.ID)), e.o.Host
	r.chain(&ev)
	if d := time.Duration(r.Emit.Expires); d > 0 {
		ev.ExpiryTime = time.Now().UTC().Add(d)
	}
	tx.Emit(ev)
	return nil
}

// chain writes into an event of which chain it is a part (LPR1 to 3).
func (r *Run) chain(ev *event.Event) {
	for name, value := range map[string]string{sourceFlow: r.Flow.String(), originFlow: r.OriginFlow, originTrigger: r.OriginTrigger} {
		if value != "" {
			ev.SetExtension(name, value)
		}
	}
}

// disables reports whether a failure disables its trigger (seed 001).
func (r *Run) disables() bool {
	if strings.HasPrefix(r.Failure, prefixValid) {
		return true
	}
	return r.Kind == OnSchedule && (strings.HasPrefix(r.Failure, prefixInput) || strings.HasPrefix(r.Failure, prefixRejected))
}

// disable disables the trigger of a run that can't work, if it is enabled still and
// as it was; only then that is said, behind the failure.
func (e *Engine) disable(tx *state.Tx, r *Run) (bool, error) {
	if r.Trigger == 0 || !r.disables() {
		return false, nil
	}
	found, err := triggers.List(tx.Context(), tx, r.Trigger-1, 1)
	if err != nil || len(found) == 0 || found[0].ID != r.Trigger || !found[0].Value.Enabled || found[0].Value.Flow != r.Flow.String() {
		return false, err
	}
	if found[0].Version != r.TriggerVersion {
		return false, nil // it was changed in the meantime
	}
	if _, err := triggers.Update(tx, r.Trigger, found[0].Version, func(t *Trigger) error {
		t.Enabled = false
		return nil
	}); err != nil {
		return false, err
	}
	return true, e.raise(tx, r, event.Type("trigger."+string(r.Kind)+".disabled"), "disabled", map[string]any{
		"trigger_id": r.Trigger.String(), "flow_id": r.Flow.String(), "reason": r.Failure,
	})
}

// answerParent hands what a run has come to to the run that waits for it.
func (e *Engine) answerParent(tx *state.Tx, r *Run) error {
	if r.Parent == "" || r.ParentKey == "" {
		return nil
	}
	a := program.Answer{At: r.Finished, Err: r.Fault}
	switch {
	case r.State == Completed && len(r.Output) > 0:
		value, err := jq.Decode(r.Output)
		if err != nil {
			return fmt.Errorf("output of run %s: %w", r.ID, err)
		}
		a.Output = value
	case r.State != Completed && a.Err == nil:
		a.Err = program.Failure(program.TypeRuntime, 500, "run %s of %s: %s", r.ID, r.FlowName, r.Error)
	}
	if a.Err != nil {
		a.Err.Instance = "" // it is the other flow's
	}
	if err := putAnswer(tx, r.Parent, r.ParentKey, &a); err != nil {
		return err
	}
	return wake(tx, r.Parent, r.Finished)
}
