package flow

import (
	"encoding/json"
	"fmt"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/jq"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/state"
)

// A document may say itself when it runs, in its schedule block (DSL reference,
// "Schedule"). That becomes a trigger, which people see, disable and ask like any
// other; it changes and goes with the flow.

// ownTrigger makes the trigger of a flow's schedule block, or changes it, or removes
// it where the block is gone.
func (e *Engine) ownTrigger(tx *state.Tx, r *state.Record[Definition]) error {
	var block *program.Schedule
	if p, err := e.programs.compile(r.Value.Document); err == nil {
		block = p.Schedule()
	}
	if block == nil {
		if r.Value.State == Invalid {
			return nil // it stays as it was until the flow is mended
		}
		return e.dropOwnTrigger(tx, r.ID)
	}
	want, err := triggerOf(block, r)
	if err != nil {
		return err
	}
	old, err := ownTriggerOf(tx, r.ID)
	if err != nil {
		return err
	}
	if old == nil {
		_, err := triggers.Insert(tx, want)
		return err
	}
	_, err = triggers.Update(tx, old.ID, state.AnyVersion, func(t *Trigger) error {
		if sameBlock(t, &want) {
			t.Name = want.Name
			return nil
		}
		want.Enabled = t.Enabled
		*t = want
		return nil
	})
	return err
}

// sameBlock reports whether two triggers come of the same block: what people have
// changed besides stays.
func sameBlock(a, b *Trigger) bool {
	return a.Kind == b.Kind && a.Cron == b.Cron && a.Every == b.Every && a.After == b.After && string(a.On) == string(b.On)
}

// triggerOf translates a schedule block.
func triggerOf(block *program.Schedule, r *state.Record[Definition]) (Trigger, error) {
	t := NewTrigger()
	t.Name, t.Flow, t.Origin = fmt.Sprintf("schedule of %s (flow %s)", r.Value.Name, r.ID), r.ID.String(), r.ID.String()
	t.Kind = OnSchedule
	switch {
	case block.Every > 0:
		t.Every, t.Overlap = config.Duration(block.Every), OverlapAllow
	case block.After > 0:
		t.After = config.Duration(block.After)
	case block.Cron != "":
		t.Cron, t.Overlap = block.Cron, OverlapAllow
	default:
		on, err := json.Marshal(block.On)
		if err != nil {
			return t, fmt.Errorf("schedule of %s: %w", r.Value.Name, err)
		}
		t.Kind, t.On, t.Types = OnEvent, on, block.On.Types()
		if t.Types == nil {
			t.Types = []string{}
		}
	}
	return t, nil
}

// ownTriggerOf finds the trigger of a flow's schedule block; nil for none.
func ownTriggerOf(tx *state.Tx, flow state.ObjectID) (*state.Record[Trigger], error) {
	for after := state.ObjectID(0); ; {
		found, err := triggers.List(tx.Context(), tx, after, pageSize)
		if err != nil {
			return nil, err
		}
		for i := range found {
			after = found[i].ID
			if t := &found[i].Value; t.Origin == flow.String() && !t.Once {
				return &found[i], nil
			}
		}
		if len(found) < pageSize {
			return nil, nil //nolint:nilnil // a flow without a schedule block
		}
	}
}

func (e *Engine) dropOwnTrigger(tx *state.Tx, flow state.ObjectID) error {
	old, err := ownTriggerOf(tx, flow)
	if err != nil || old == nil {
		return err
	}
	if _, err := triggers.Delete(tx, old.ID, state.AnyVersion); err != nil {
		return err
	}
	return forgetSlot(tx, old.ID)
}

// listens shows an event to a trigger that listens as its document says, and starts
// a run when it has heard what it wants. The run's input is the array of the events.
func (b *batch) listens(t *trigger, ev *event.Event) {
	doc := t.On
	if c := b.d.cells.all[cellKey{t.id, ""}]; c != nil && len(c.On) > 0 {
		doc = c.On
	}
	l, err := program.ReadListen(doc)
	value, wrong := jq.Decode(ev.AppendJSON(nil))
	object, ok := value.(map[string]any)
	if err != nil || wrong != nil || !ok {
		b.skip(t, FilterError, ev.Sequence)
		return
	}
	changed, done := l.Offer(object)
	if !changed {
		b.skip(t, FilterFalse, ev.Sequence)
		return
	}
	c := b.d.cells.get(t.id, "")
	b.cells = true
	switch {
	case !done:
		if doc, err = json.Marshal(l); err == nil {
			c.On = doc
		}
	default:
		c.On = nil
		b.start(t, ev, runOfEvent(t.id, ev.Sequence), func() (json.RawMessage, error) {
			heard, err := json.Marshal(l.Heard)
			if err != nil {
				return nil, err
			}
			return t.mapped(heard)
		})
	}
}
