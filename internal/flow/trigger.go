package flow

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/cron"
	"github.com/tocsin-events/tocsin/internal/flow/jq"
	"github.com/tocsin-events/tocsin/internal/state"
)

// TriggerKind says what starts a trigger's runs.
type TriggerKind string

// The kinds of triggers.
const (
	OnEvent    TriggerKind = "event"
	OnSchedule TriggerKind = "schedule"
)

// Trigger says when a flow runs (DESIGN 8).
type Trigger struct {
	Name        string       `json:"name"`
	Kind        TriggerKind  `json:"kind"`
	Flow        string       `json:"flow"` // id
	Enabled     bool         `json:"enabled"`
	Priority    int          `json:"priority"` // greater runs first
	Input       string       `json:"input"`    // jq over the event; empty for the event itself, or the static data
	Concurrency *Concurrency `json:"concurrency"`
	Emit        Emit         `json:"emit"`

	Types    []string  `json:"types"`  // patterns; none for every type
	Filter   string    `json:"filter"` // CEL
	Throttle *Throttle `json:"throttle"`
	// On is what a document's schedule block listens for, as program.Listen; null for
	// a trigger that somebody made.
	On json.RawMessage `json:"on,omitempty"`

	Cron          string          `json:"cron"`
	Every         config.Duration `json:"every"`
	After         config.Duration `json:"after,omitempty"` // since the end of the run before
	At            *time.Time      `json:"at"`
	ExpiresAfter  config.Duration `json:"expires_after"` // of at: too late to run
	Timezone      string          `json:"timezone"`
	Missed        string          `json:"missed"` // skip, last or all
	CatchupWindow config.Duration `json:"catchup_window"`
	Overlap       string          `json:"overlap"` // skip, buffer_one, buffer_all, cancel or allow
	Jitter        config.Duration `json:"jitter"`
	Data          json.RawMessage `json:"data"` // static input; null for none

	// Origin is the flow whose document or run has made the trigger; empty for one
	// that somebody made.
	Origin string `json:"origin,omitempty"`
	Once   bool   `json:"once,omitempty"` // it is removed when it has run
	// Chain is that of the run that has made the trigger: its runs are a part of it.
	Chain *Chain `json:"chain,omitempty"`
}

// Chain says where a chain of triggers and flows began (LPR1 and LPR3).
type Chain struct {
	Flow    string `json:"originflowid"`
	Trigger string `json:"origintriggerid"`
}

// Concurrency bounds how many runs of a trigger are under way.
type Concurrency struct {
	Limit    int    `json:"limit"`
	WhenFull string `json:"when_full"` // queue, skip or cancel_oldest
}

// Emit says which result events a trigger raises; both unless it says otherwise.
type Emit struct {
	OK      *bool           `json:"ok,omitempty"`
	Error   *bool           `json:"error,omitempty"`
	Expires config.Duration `json:"expires,omitempty"` // after which they may go; 0 for the record's own rules
}

// Throttle makes one run of many events.
type Throttle struct {
	OnceWithin config.Duration `json:"once_within"`
	Accumulate *Accumulate     `json:"accumulate"`
	GroupBy    []string        `json:"group_by"` // CEL: each value has a throttle of its own
}

// Accumulate collects events until there are so many, or the time is over.
type Accumulate struct {
	Within config.Duration `json:"within"`
	Count  int             `json:"count"`
}

// What is done with slots that were missed, and where the run before is still under way.
const (
	MissedSkip = "skip"
	MissedLast = "last"
	MissedAll  = "all"

	OverlapSkip      = "skip"
	OverlapBufferOne = "buffer_one"
	OverlapBufferAll = "buffer_all"
	OverlapCancel    = "cancel"
	OverlapAllow     = "allow"

	FullQueue        = "queue"
	FullSkip         = "skip"
	FullCancelOldest = "cancel_oldest"
)

// Defaults and limits of triggers.
const (
	defaultWindow = time.Hour
	maxCatchup    = 1000    // missed slots that are made up for
	maxInput      = 1 << 20 // bytes of a run's input
	maxAccumulate = 1000
)

var triggers = state.Collection[Trigger]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "flow", Model: "trigger",
	Name:      func(t *Trigger) string { return t.Name },
	Keys:      func(t *Trigger) map[string]string { return map[string]string{"name": t.Name} },
	Relations: map[string]func(*state.Tx, string) string{},
}

// NewTrigger has the defaults, for what somebody leaves out.
func NewTrigger() Trigger {
	return Trigger{Kind: OnEvent, Enabled: true, Missed: MissedLast, CatchupWindow: config.Duration(defaultWindow), Overlap: OverlapSkip, Types: []string{}}
}

// check refuses a trigger that can't work. What it needs of the rest, such as that
// its flow exists, is checked when it runs: a flow may come later.
func (e *Engine) check(t *Trigger) error {
	if t.Name == "" || len(t.Name) > 120 || strings.TrimSpace(t.Name) != t.Name {
		return event.Invalidf("name: a trigger needs a name of 1 to 120 bytes")
	}
	if _, err := state.ParseID(t.Flow); err != nil {
		return event.Invalidf("flow: %q is not the id of a flow", t.Flow)
	}
	if c := t.Concurrency; c != nil && (c.Limit < 1 || c.Limit > 1000 || c.WhenFull != FullQueue && c.WhenFull != FullSkip && c.WhenFull != FullCancelOldest) {
		return event.Invalidf("concurrency: limit must be 1 to 1000, when_full queue, skip or cancel_oldest")
	}
	if t.Input != "" {
		if _, err := jq.Compile(t.Input); err != nil {
			return event.Invalidf("input: %w", err)
		}
	}
	switch t.Kind {
	case OnEvent:
		return e.checkEvent(t)
	case OnSchedule:
		return t.checkSchedule()
	}
	return event.Invalidf("kind: %q is unknown: write event or schedule", t.Kind)
}

func (e *Engine) checkEvent(t *Trigger) error {
	if t.Cron != "" || t.Every != 0 || t.After != 0 || t.At != nil {
		return event.Invalidf("kind: cron, every and at are of triggers of the kind schedule")
	}
	if t.Filter != "" {
		if _, err := e.o.Filters.Compile(t.Filter); err != nil {
			return event.Invalidf("filter: %w", err)
		}
	}
	th := t.Throttle
	if th == nil {
		return nil
	}
	if (th.OnceWithin > 0) == (th.Accumulate != nil) {
		return event.Invalidf("throttle: give once_within or accumulate")
	}
	if a := th.Accumulate; a != nil && (a.Count < 1 || a.Count > maxAccumulate || a.Within <= 0) {
		return event.Invalidf("throttle.accumulate: count must be 1 to %d, within a duration such as 10s", maxAccumulate)
	}
	for _, g := range th.GroupBy {
		if _, err := e.o.Filters.CompileExpression(g); err != nil {
			return event.Invalidf("throttle.group_by: %w", err)
		}
	}
	return nil
}

func (t *Trigger) checkSchedule() error {
	if len(t.Types) > 0 || t.Filter != "" || t.Throttle != nil {
		return event.Invalidf("kind: types, filter and throttle are of triggers of the kind event")
	}
	given := 0
	for _, has := range []bool{t.Cron != "", t.Every != 0, t.After != 0, t.At != nil} {
		if has {
			given++
		}
	}
	zone, err := t.zone()
	switch {
	case err != nil:
		return err
	case given != 1:
		return event.Invalidf("a schedule needs one of cron, every, after and at")
	case t.Every != 0 && time.Duration(t.Every) < time.Second, t.After != 0 && time.Duration(t.After) < time.Second:
		return event.Invalidf("every and after: at least 1s")
	case t.Missed != MissedSkip && t.Missed != MissedLast && t.Missed != MissedAll:
		return event.Invalidf("missed: %q is unknown: write skip, last or all", t.Missed)
	case t.CatchupWindow < 0 || t.Jitter < 0 || t.ExpiresAfter < 0:
		return event.Invalidf("catchup_window, jitter and expires_after must not be negative")
	}
	switch t.Overlap {
	case OverlapSkip, OverlapBufferOne, OverlapBufferAll, OverlapCancel, OverlapAllow:
	default:
		return event.Invalidf("overlap: %q is unknown: write skip, buffer_one, buffer_all, cancel or allow", t.Overlap)
	}
	if t.Cron != "" {
		if _, err := cron.Parse(t.Cron, zone); err != nil {
			return event.Invalidf("cron: %w", err)
		}
	}
	return nil
}

// zone is the time zone of a schedule; UTC unless it names one.
func (t *Trigger) zone() (*time.Location, error) {
	if t.Timezone == "" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(t.Timezone)
	if err != nil || t.Timezone == "Local" {
		return nil, event.Invalidf("timezone: %q is not the name of a time zone such as Europe/Berlin", t.Timezone)
	}
	return zone, nil
}

// CreateTrigger stores a trigger.
func (e *Engine) CreateTrigger(ctx context.Context, by state.Cause, t Trigger) (r state.Record[Trigger], err error) {
	if err := e.check(&t); err != nil {
		return r, err
	}
	err = e.o.State.Write(ctx, by, func(tx *state.Tx) (err error) {
		r, err = triggers.Insert(tx, t)
		return err
	})
	e.changedBy(err)
	return r, err
}

// UpdateTrigger changes a trigger, also while it runs.
func (e *Engine) UpdateTrigger(ctx context.Context, by state.Cause, id state.ObjectID, version int64, change func(*Trigger) error) (r state.Record[Trigger], err error) {
	err = e.o.State.Write(ctx, by, func(tx *state.Tx) (err error) {
		r, err = triggers.Update(tx, id, version, func(t *Trigger) error {
			if err := change(t); err != nil {
				return err
			}
			return e.check(t)
		})
		if err != nil {
			return err
		}
		return forgetSlot(tx, id)
	})
	e.changedBy(err)
	return r, err
}

// DeleteTrigger removes a trigger. Runs that it has started go on.
func (e *Engine) DeleteTrigger(ctx context.Context, by state.Cause, id state.ObjectID, version int64) error {
	err := e.o.State.Write(ctx, by, func(tx *state.Tx) error {
		if _, err := triggers.Delete(tx, id, version); err != nil {
			return err
		}
		return forgetSlot(tx, id)
	})
	e.changedBy(err)
	return err
}

// GetTrigger returns one trigger.
func (e *Engine) GetTrigger(ctx context.Context, id state.ObjectID) (state.Record[Trigger], error) {
	return triggers.Get(ctx, e.o.State.Reader(), id)
}

// ListTriggers lists triggers by id.
func (e *Engine) ListTriggers(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[Trigger], error) {
	return triggers.List(ctx, e.o.State.Reader(), after, limit)
}
