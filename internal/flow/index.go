package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/flow/jq"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/state"
)

// trigger is a trigger that is ready to be asked.
type trigger struct {
	id      state.ObjectID
	version int64
	Trigger

	target state.ObjectID // the flow
	flow   *flowHead      // nil where there is none
	filter *filter.Filter
	groups []*filter.Expression
	input  *jq.Code
	on     bool  // it listens as its document says
	broken error // why it can't work, since it was stored by another version
}

// flowHead is what a trigger must know of its flow.
type flowHead struct {
	id     state.ObjectID
	name   string
	space  string
	hash   string
	scopes []string
}

// index finds the triggers that an event may start: by its type first, since most
// triggers name types. It is never changed, but replaced.
type index struct {
	byType    map[event.Type][]*trigger // those that name the type exactly
	patterns  []*trigger                // those with wildcards, or for all types
	schedules []*trigger
	byID      map[state.ObjectID]*trigger
	flows     map[state.ObjectID]*flowHead
}

// of are the triggers of a type in the order in which they start: the greatest
// priority first, then the oldest.
func (x *index) of(t event.Type) []*trigger {
	exact := x.byType[t]
	var more []*trigger
	for _, p := range x.patterns {
		if len(p.Types) == 0 || slices.ContainsFunc(p.Types, func(pattern string) bool { return filter.Glob(pattern, string(t)) }) {
			more = append(more, p)
		}
	}
	if len(more) == 0 {
		return exact
	}
	all := append(slices.Clone(exact), more...)
	sortTriggers(all)
	return slices.CompactFunc(all, func(a, b *trigger) bool { return a.id == b.id })
}

func sortTriggers(all []*trigger) {
	slices.SortStableFunc(all, func(a, b *trigger) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.id, b.id))
	})
}

// pageSize is how many objects are read at once.
const pageSize = 500

// load reads all triggers and what they need of their flows.
func (e *Engine) load(ctx context.Context) (*index, error) {
	x := &index{byType: map[event.Type][]*trigger{}, byID: map[state.ObjectID]*trigger{}, flows: map[state.ObjectID]*flowHead{}}
	q := e.o.State.Reader()
	for after := state.ObjectID(0); ; {
		found, err := definitions.List(ctx, q, after, pageSize)
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			x.flows[r.ID] = &flowHead{r.ID, r.Value.Name, r.Value.Namespace, r.Value.Hash, r.Value.Scopes}
			after = r.ID
		}
		if len(found) < pageSize {
			break
		}
	}
	for after := state.ObjectID(0); ; {
		found, err := triggers.List(ctx, q, after, pageSize)
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			x.add(e.prepare(r, x.flows))
			after = r.ID
		}
		if len(found) < pageSize {
			break
		}
	}
	for _, list := range x.byType {
		sortTriggers(list)
	}
	sortTriggers(x.patterns)
	return x, nil
}

func (x *index) add(t *trigger) {
	x.byID[t.id] = t
	if t.Kind == OnSchedule {
		x.schedules = append(x.schedules, t)
		return
	}
	exact := len(t.Types) > 0
	for _, pattern := range t.Types {
		exact = exact && !strings.ContainsAny(pattern, "*?")
	}
	if !exact {
		x.patterns = append(x.patterns, t)
		return
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(t.Types))) {
		x.byType[event.Type(name)] = append(x.byType[event.Type(name)], t)
	}
}

// prepare compiles what a trigger consists of.
func (e *Engine) prepare(r state.Record[Trigger], flows map[state.ObjectID]*flowHead) *trigger {
	t := &trigger{id: r.ID, version: r.Version, Trigger: r.Value}
	var errs []error
	note := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	target, err := state.ParseID(r.Value.Flow)
	note("flow", err)
	t.target, t.flow = target, flows[target]
	if r.Value.Filter != "" {
		t.filter, err = e.o.Filters.Compile(r.Value.Filter)
		note("filter", err)
	}
	if r.Value.Throttle != nil {
		for _, g := range r.Value.Throttle.GroupBy {
			x, err := e.o.Filters.CompileExpression(g)
			note("throttle.group_by", err)
			t.groups = append(t.groups, x)
		}
	}
	if r.Value.Input != "" {
		t.input, err = jq.Compile(r.Value.Input)
		note("input", err)
	}
	if t.on = len(r.Value.On) > 0; t.on {
		_, err = program.ReadListen(r.Value.On)
		note("on", err)
	}
	t.broken = errors.Join(errs...)
	return t
}

// current is the index, read anew where triggers or flows have changed.
func (e *Engine) current(ctx context.Context) (x *index, fresh bool, err error) {
	e.mu.Lock()
	stale := e.stale
	e.stale = false
	x = e.active
	e.mu.Unlock()
	if !stale {
		return x, false, nil
	}
	x, err = e.load(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.stale = true
		return nil, false, err
	}
	e.active = x
	return x, true, nil
}
