package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/jq"
	"github.com/tocsin-events/tocsin/internal/state"
)

// StartRun starts a run by hand, of the present version of a flow. With a key, the
// same key again finds the same run. The error is of class event.ErrInvalid for a
// flow that is not valid, and for input that is none.
func (e *Engine) StartRun(ctx context.Context, by state.Cause, flow state.ObjectID, input json.RawMessage, key string) (Run, error) {
	d, err := e.GetFlow(ctx, flow)
	if err != nil {
		return Run{}, err
	}
	if d.Value.State != Valid {
		return Run{}, event.Conflictf("flow %s is not valid: %s", d.Value.Name, d.Value.Reason)
	}
	if len(input) == 0 {
		input = json.RawMessage("{}")
	}
	if len(input) > maxInput {
		return Run{}, event.Invalidf("the input has %d bytes; at most %d are taken", len(input), maxInput)
	}
	if _, err := jq.Decode(input); err != nil {
		return Run{}, event.Invalidf("input: %w", err)
	}
	id := runOf("hand", string(event.NewID()))
	if key != "" {
		id = runOf("key", by.AuthType, by.AuthID, flow.String(), key)
	}
	now := time.Now().UTC()
	r := Run{ID: id, State: Queued, Flow: flow, Queued: now, Due: now, Document: Document{Input: input, Status: unknownStatus, By: by.AuthName, OriginFlow: flow.String(), Correlation: by.CorrelationID}}
	r.pin(&flowHead{flow, d.Value.Name, d.Value.Namespace, d.Value.Hash, d.Value.Scopes})
	return e.submit(ctx, by, &r)
}

// submit stores a run that somebody has started, with the record of it.
func (e *Engine) submit(ctx context.Context, by state.Cause, r *Run) (Run, error) {
	fresh := false
	err := e.o.State.Write(ctx, by, func(tx *state.Tx) (err error) {
		if fresh, err = r.insert(tx); err != nil || !fresh {
			return err
		}
		return tx.Raise(producer, "flow.run.started", "flow/"+r.Flow.String(), map[string]any{
			"run_id": string(r.ID), "flow_id": r.Flow.String(), "flow_name": r.FlowName, "retry_of": string(r.RetryOf),
		})
	})
	if fresh || err != nil {
		e.pushStored(ctx, r, err)
	}
	if err != nil {
		return Run{}, err
	}
	if fresh {
		return *r, nil
	}
	return e.GetRun(ctx, r.ID)
}

// pushStored lets a run that was just stored begin: also where that could not be
// recorded yet, such as since who asked for it has gone.
func (e *Engine) pushStored(ctx context.Context, r *Run, err error) {
	if err != nil {
		now, gone := findRun(context.WithoutCancel(ctx), e.o.State.Reader(), r.ID)
		if gone == nil && now.State == Queued {
			e.queue.awake(r.ID) // it is read anew: it may be another one under this id
		}
		return
	}
	e.queue.push(r)
	e.announce()
}

// CancelRun ends a run. What it has done outside stays done. The error is of class
// event.ErrConflict for one that is over.
func (e *Engine) CancelRun(ctx context.Context, by state.Cause, id RunID) (Run, error) {
	r, err := e.GetRun(ctx, id)
	if err != nil {
		return r, err
	}
	if r.State.Over() {
		return r, event.Conflictf("run %s is over: it is %s", id, r.State)
	}
	err = e.o.State.Write(ctx, by, func(tx *state.Tx) error {
		return tx.Raise(producer, "flow.run.cancelled", "flow/"+r.Flow.String(), map[string]any{"run_id": string(id), "flow_id": r.Flow.String(), "flow_name": r.FlowName})
	})
	if err != nil {
		return r, err
	}
	e.cancel(id, "by "+by.AuthName)
	return e.await(ctx, id)
}

// await waits a while for a run to be over.
func (e *Engine) await(ctx context.Context, id RunID) (Run, error) {
	limit := time.NewTimer(5 * time.Second)
	defer limit.Stop()
	for {
		changed := e.Changed()
		r, err := e.GetRun(ctx, id)
		if err != nil || r.State.Over() {
			return r, err
		}
		select {
		case <-changed:
		case <-limit.C:
			return r, nil
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}

// cancel ends a run for a reason: one that is worked on by its context, any other
// in the database.
func (e *Engine) cancel(id RunID, why string) {
	stop := &stopError{why}
	if e.queue.stop(id, stop) {
		return
	}
	e.aside.Go(func() { // the caller may be the follower, which must not wait for the writer
		ctx := context.Background()
		r, err := findRun(ctx, e.o.State.Reader(), id)
		if errors.Is(err, event.ErrNotFound) || err == nil && r.State.Over() || e.queue.stop(id, stop) {
			return
		}
		if err == nil {
			err = e.finish(ctx, &r, end{state: Cancelled, err: stop.Error()})
		}
		if err != nil {
			if !errors.Is(err, errEnded) {
				e.o.Logger.Warn("a run can't be cancelled", "run", string(id), "err", err)
			}
			return
		}
		e.queue.over(id, r.Trigger, stop) // somebody may have begun to work on it
		e.announce()
	})
}

// RetryRun starts a run anew from where it failed: what its effects came to is
// taken over, but for those that failed. The error is of class event.ErrConflict
// for one that has not failed.
func (e *Engine) RetryRun(ctx context.Context, by state.Cause, id RunID) (Run, error) {
	old, err := e.GetRun(ctx, id)
	if err != nil {
		return old, err
	}
	if old.State != Faulted && old.State != Cancelled {
		return old, event.Conflictf("run %s is %s: only one that has failed or was cancelled can be tried again", id, old.State)
	}
	if old.Failure != "" && old.Hash == "" {
		return old, event.Conflictf("run %s had no flow: %s", id, old.Failure)
	}
	answers, err := answersOf(ctx, e.o.State.Reader(), id)
	if err != nil {
		return old, err
	}
	now := time.Now().UTC()
	r := Run{ID: runOf("retry", string(id), string(event.NewID())), State: Queued, Flow: old.Flow, Priority: old.Priority, Queued: now, Due: now, Document: old.Document}
	r.RetryOf, r.By, r.Started, r.Output, r.Error, r.Fault, r.Failure, r.Steps, r.Status, r.StatusMsg, r.Parent, r.ParentKey = id, by.AuthName, old.Started, nil, "", nil, "", nil, unknownStatus, "", "", ""
	err = e.o.State.Write(ctx, by, func(tx *state.Tx) error {
		for key, a := range answers {
			if a.Err == nil {
				if err := putAnswer(tx, r.ID, key, &a); err != nil {
					return err
				}
			}
		}
		if _, err := r.insert(tx); err != nil {
			return err
		}
		return tx.Raise(producer, "flow.run.started", "flow/"+r.Flow.String(), map[string]any{
			"run_id": string(r.ID), "flow_id": r.Flow.String(), "flow_name": r.FlowName, "retry_of": string(id),
		})
	})
	e.pushStored(ctx, &r, err)
	if err != nil {
		return Run{}, fmt.Errorf("retry run %s: %w", id, err)
	}
	return r, nil
}
