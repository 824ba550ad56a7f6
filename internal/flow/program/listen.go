package program

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/jq"
)

// A Listen is what a run listens for, and what it has heard. It is a value of its
// own: written as JSON and read again, it goes on where it was, without the program
// and the run. It is not safe for concurrent use.
type Listen struct {
	// Mode is one (the first event that a filter takes), any (the same; with an
	// until, all of them until then) or all (an event for each filter).
	Mode    string   `json:"mode"`
	Filters []Filter `json:"filters"` // none takes any event
	// UntilIs ends mode any when it holds for the array of events that were heard.
	UntilIs *Bound `json:"until_is,omitempty"`
	// Until ends mode any when it has heard what it wants; that is no event of ours.
	Until *Listen `json:"until,omitempty"`

	Heard []any `json:"heard,omitempty"` // events, in their order
	// After is the sequence of the last event that the run has handled: events after
	// it count, although they came before this began. Empty: from now on.
	After string `json:"after,omitempty"`
	// Met says which filters of mode all have had their event.
	Met []bool `json:"met,omitempty"`
	// Keys are the values of correlations, set by the first event.
	Keys map[string]any `json:"keys,omitempty"`
	// Ended says that Until or UntilIs has ended it.
	Ended bool `json:"ended,omitempty"`
}

// A Filter takes events by their attributes.
type Filter struct {
	With      map[string]Condition   `json:"with,omitempty"`
	Correlate map[string]Correlation `json:"correlate,omitempty"`
}

// A Condition is what an attribute must be: equal to a value, or such that an
// expression on it holds.
type Condition struct {
	Value any    `json:"value,omitempty"`
	Is    *Bound `json:"is,omitempty"`
}

// A Correlation ties events together: From, on the event's data, must be Expect, or
// what it was in the first event.
type Correlation struct {
	From   Bound `json:"from"`
	Expect any   `json:"expect,omitempty"`
}

// A Bound is an expression with the values of its variables.
type Bound struct {
	Source string         `json:"jq"`
	Vars   map[string]any `json:"vars,omitempty"`

	code  *jq.Code
	names []string
}

// ReadListen reads a Listen that was written as JSON.
func ReadListen(data []byte) (*Listen, error) {
	l := &Listen{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(l); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l.settle()
	return l, nil
}

// settle gives decoded numbers the types that expressions want.
func (l *Listen) settle() {
	jq.Settle(l.Heard)
	jq.Settle(l.Keys)
	l.UntilIs.settle()
	for _, f := range l.Filters {
		for name, c := range f.With {
			c.Value = jq.Settle(c.Value)
			c.Is.settle()
			f.With[name] = c
		}
		for name, c := range f.Correlate {
			c.Expect = jq.Settle(c.Expect)
			c.From.settle()
			f.Correlate[name] = c
		}
	}
	if l.Until != nil {
		l.Until.settle()
	}
}

func (b *Bound) settle() {
	if b != nil {
		jq.Settle(b.Vars)
	}
}

// Types are the types of events that can matter, sorted; nil where any can.
func (l *Listen) Types() []string {
	var types []string
	all := l.Filters
	if len(all) == 0 {
		return nil
	}
	if l.Until != nil {
		if len(l.Until.Filters) == 0 {
			return nil
		}
		all = append(slices.Clone(all), l.Until.Filters...)
	}
	for _, f := range all {
		kind, ok := f.With["type"].Value.(string)
		if !ok {
			return nil
		}
		types = append(types, kind)
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// Offer shows the Listen an event: its attributes, CloudEvents JSON as jq.Decode
// makes it. changed says that the Listen must be stored, done that it has heard all
// it wants and Answer has the answer.
func (l *Listen) Offer(event map[string]any) (changed, done bool) {
	m := jq.NewMeter(context.Background(), 100*time.Millisecond)
	defer m.Stop()
	return l.offer(m, event)
}

func (l *Listen) offer(m *jq.Meter, event map[string]any) (changed, done bool) {
	if l.Until != nil {
		if _, ended := l.Until.offer(m, event); ended {
			l.Ended = true
			return true, true
		}
	}
	i := l.takes(m, event)
	if i < 0 {
		return false, false
	}
	l.Heard = append(l.Heard, any(event))
	switch {
	case l.Mode == "all":
		if l.Met == nil {
			l.Met = make([]bool, max(1, len(l.Filters)))
		}
		l.Met[i] = true
		return true, !slices.Contains(l.Met, false)
	case l.Mode == "one":
		return true, true
	case l.UntilIs != nil:
		l.Ended = l.UntilIs.holds(m, any(l.Heard))
		return true, l.Ended || l.full() != nil
	case l.Until != nil:
		return true, l.full() != nil
	}
	return true, true
}

// takes is the index of the filter that takes the event; -1 where none does.
func (l *Listen) takes(m *jq.Meter, event map[string]any) int {
	if len(l.Filters) == 0 {
		return 0
	}
	for i := range l.Filters {
		if l.Mode == "all" && l.Met != nil && l.Met[i] {
			continue
		}
		if l.Filters[i].matches(m, event) && l.correlates(m, &l.Filters[i], event) {
			return i
		}
	}
	return -1
}

func (f *Filter) matches(m *jq.Meter, event map[string]any) bool {
	for name, want := range f.With {
		got, there := event[name]
		switch {
		case want.Is != nil:
			if !want.Is.matches(m, got) {
				return false
			}
		case !there || !jq.Equal(got, want.Value):
			return false
		}
	}
	return true
}

func (l *Listen) correlates(m *jq.Meter, f *Filter, event map[string]any) bool {
	keys := map[string]any{}
	for name, c := range f.Correlate {
		got, err := c.From.run(m, event["data"])
		if err != nil || got == nil {
			return false
		}
		want := c.Expect
		if want == nil {
			want = l.Keys[name]
		}
		if want != nil && !jq.Equal(got, want) {
			return false
		}
		keys[name] = got
	}
	for name, key := range keys {
		if l.Keys == nil {
			l.Keys = map[string]any{}
		}
		l.Keys[name] = key
	}
	return true
}

func (l *Listen) full() error {
	_, err := jq.Size(any(l.Heard), jq.MaxResult)
	return err
}

// Answer is what a run gets when the Listen is done.
func (l *Listen) Answer(at time.Time) Answer {
	if err := l.full(); err != nil {
		return Answer{Err: Failure(TypeRuntime, 500, "the events that were listened for: %v", err), At: at}
	}
	heard := l.Heard
	if heard == nil {
		heard = []any{}
	}
	return Answer{Output: map[string]any{"events": heard, "ended": l.Ended}, At: at}
}

// run evaluates the expression. What does not compile any more matches nothing.
func (b *Bound) run(m *jq.Meter, dot any) (any, error) {
	if b.code == nil {
		for name := range b.Vars {
			b.names = append(b.names, name)
		}
		code, err := jq.Compile(b.Source, b.names...)
		if err != nil {
			return nil, err
		}
		b.code = code
	}
	vars := make([]any, len(b.names))
	for i, name := range b.names {
		vars[i] = b.Vars[name]
	}
	return b.code.Run(m, dot, jq.Values{Vars: vars, Now: time.Time{}})
}

func (b *Bound) holds(m *jq.Meter, dot any) bool {
	v, err := b.run(m, dot)
	return err == nil && v != nil && v != false
}

// matches says whether the expression holds for an attribute, or gives its value.
func (b *Bound) matches(m *jq.Meter, attribute any) bool {
	v, err := b.run(m, attribute)
	if err != nil || v == nil {
		return false
	}
	if yes, isBool := v.(bool); isBool {
		return yes
	}
	return jq.Equal(v, attribute)
}
