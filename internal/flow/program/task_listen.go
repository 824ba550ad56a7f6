package program

import (
	"slices"
	"strconv"
)

// listen: the run waits for events. The output is an array of their data, or of the
// whole events (read: envelope). With foreach, tasks run for each event.

func init() { register("listen", compileListen, "foreach") }

type listenTask struct {
	to      *listenSpec
	read    string
	foreach *list
	item    int // slot of the event; its index is in the next
	stream  bool
}

// A listenSpec is what to listen for, as the document says it.
type listenSpec struct {
	mode    string
	filters []filterSpec
	untilIs *boundSpec
	until   *listenSpec
}

type filterSpec struct {
	with      map[string]conditionSpec
	correlate map[string]correlationSpec
}

type conditionSpec struct {
	value any
	is    *boundSpec
}

type correlationSpec struct {
	from   *boundSpec
	expect *template
}

// A boundSpec is an expression whose variables are taken along when a run begins
// to listen.
type boundSpec struct {
	source string
	expr   *expression
	names  []string
	slots  []int
}

func compileListen(c *compiler, n *node, t *task) runner {
	l := &listenTask{read: "data"}
	t.effects = true
	listen := n.field("listen")
	if !c.object(listen, "listen", "to", "read") {
		return l
	}
	if read := listen.field("read"); read != nil {
		l.read, _ = read.text()
		if !slices.Contains([]string{"data", "envelope", "raw"}, l.read) {
			c.fail(read, "write read: data, envelope or raw", "read says what of an event is the output")
		}
	}
	to := listen.field("to")
	if to == nil {
		c.fail(listen, "write to: {one: {with: {type: …}}}", "listen does not say for what")
		return l
	}
	l.to = c.listen(to)
	if each := n.field("foreach"); each != nil && c.object(each, "foreach", "item", "at", "do", "output", "export") {
		slot, end := c.declare(c.variable(each, "item", "item"), c.variable(each, "at", "index"))
		defer end()
		for _, never := range []string{"output", "export"} {
			if f := each.field(never); f != nil {
				c.fail(f, "put it into the last task", "unsupported: foreach.%s", never)
			}
		}
		l.item = slot
		if do := each.field("do"); do != nil {
			l.foreach = c.list(do, t.ref+"/foreach/do")
			t.parts = []part{{"each", l.foreach}}
		} else {
			c.fail(each, "write do: with a list of tasks", "foreach has nothing to do")
		}
		l.stream = l.to != nil && l.to.mode == "any" && (l.to.until != nil || l.to.untilIs != nil)
	}
	return l
}

// listen compiles an event consumption strategy.
func (c *compiler) listen(n *node) *listenSpec {
	l := &listenSpec{}
	if !c.object(n, "what to listen for", "one", "any", "all", "until") {
		return l
	}
	for _, mode := range []string{"one", "any", "all"} {
		f := n.field(mode)
		if f == nil {
			continue
		}
		if l.mode != "" {
			c.fail(f, "", "write one, any or all, not two of them")
		}
		l.mode = mode
		switch {
		case mode == "one":
			l.filters = append(l.filters, c.filter(f))
		case f.kind != array:
			c.fail(f, "write a list of - with: {…}", "%s takes a list of filters", mode)
		default:
			if mode == "all" && len(f.items) == 0 {
				c.fail(f, "write - with: {type: …}", "all of nothing")
			}
			for _, item := range f.items {
				l.filters = append(l.filters, c.filter(item))
			}
		}
	}
	until := n.field("until")
	switch {
	case l.mode == "":
		c.fail(n, "write one: {with: {type: …}}", "one, any or all is missing")
	case until == nil:
	case l.mode != "any":
		c.fail(until, "", "until goes with any")
	case until.kind == object:
		l.until = c.listen(until)
	default:
		l.untilIs = c.bound(until)
	}
	return l
}

func (c *compiler) filter(n *node) filterSpec {
	f := filterSpec{with: map[string]conditionSpec{}, correlate: map[string]correlationSpec{}}
	if !c.object(n, "a filter", "with", "correlate") {
		return f
	}
	if with := n.field("with"); with != nil {
		c.each(with, func(name string, d *node) {
			if text, ok := d.text(); ok {
				if _, dynamic := unwrap(text); dynamic {
					f.with[name] = conditionSpec{is: c.bound(d)}
					return
				}
			}
			f.with[name] = conditionSpec{value: d.plain()}
		})
	} else {
		c.fail(n, "write with: {type: …}", "the filter is empty")
	}
	c.each(n.field("correlate"), func(name string, d *node) {
		if !c.object(d, "a correlation", "from", "expect") {
			return
		}
		from := d.field("from")
		if from == nil {
			c.fail(d, "write from: .id", "from is missing")
			return
		}
		f.correlate[name] = correlationSpec{c.bound(from), c.template(d.field("expect"))}
	})
	return f
}

func (c *compiler) bound(n *node) *boundSpec {
	b := &boundSpec{expr: c.expression(n)}
	if b.expr == nil {
		return b
	}
	b.source = b.expr.code.Source()
	for slot, name := range append(baseVariables(), c.scope...) {
		if b.expr.code.Uses(name) && !slices.Contains(b.names, name) {
			b.names, b.slots = append(b.names, name), append(b.slots, slot)
		}
	}
	if b.expr.code.Uses("$secrets") {
		c.fail(n, "compare in a task behind it", "what is listened for is stored, and can't hold secrets")
	}
	return b
}

func (x *exec) bind(b *boundSpec) (*Bound, error) {
	if b == nil {
		return nil, nil
	}
	for _, slot := range b.expr.needs {
		v, err := x.lazy(slot)
		if err != nil {
			return nil, err
		}
		x.slots[slot] = v
	}
	out := &Bound{Source: b.source}
	for i, name := range b.names {
		if out.Vars == nil {
			out.Vars = map[string]any{}
		}
		out.Vars[name] = x.slots[b.slots[i]]
	}
	return out, nil
}

// listen makes what is listened for now.
func (x *exec) listen(s *listenSpec, input any) (*Listen, error) {
	l := &Listen{Mode: s.mode, Filters: make([]Filter, len(s.filters))}
	for i, f := range s.filters {
		l.Filters[i] = Filter{With: map[string]Condition{}}
		for name, want := range f.with {
			is, err := x.bind(want.is)
			if err != nil {
				return nil, err
			}
			l.Filters[i].With[name] = Condition{want.value, is}
		}
		for name, c := range f.correlate {
			from, err := x.bind(c.from)
			if err != nil {
				return nil, err
			}
			var expect any
			if c.expect != nil {
				if expect, err = x.template(c.expect, input); err != nil {
					return nil, err
				}
			}
			if l.Filters[i].Correlate == nil {
				l.Filters[i].Correlate = map[string]Correlation{}
			}
			l.Filters[i].Correlate[name] = Correlation{*from, expect}
		}
	}
	var err error
	if l.UntilIs, err = x.bind(s.untilIs); err != nil {
		return nil, err
	}
	if s.until != nil {
		l.Until, err = x.listen(s.until, input)
	}
	return l, err
}

func (l *listenTask) run(x *exec, a *activation, input any) (any, error) {
	if l.stream {
		return l.each(x, a, input)
	}
	spec, err := x.listen(l.to, input)
	if err != nil {
		return nil, err
	}
	h, err := l.hear(x, a, spec, "")
	if err != nil || l.foreach == nil {
		return h.events, err
	}
	s := &scope{parent: a.scope}
	out := input
	for i, event := range h.events {
		s.n = i
		x.slots[l.item], x.slots[l.item+1] = event, i
		if out, err = x.list(s, l.foreach, out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// What a listen has heard.
type hearing struct {
	events []any // as they are read
	last   string
	ended  bool
}

// hear waits for what is listened for.
func (l *listenTask) hear(x *exec, a *activation, spec *Listen, what string) (hearing, error) {
	answer, err := x.heard(a, spec, what)
	if err != nil {
		return hearing{}, err
	}
	got, _ := answer.(map[string]any)
	heard, _ := got["events"].([]any)
	h := hearing{events: make([]any, len(heard))}
	h.ended, _ = got["ended"].(bool)
	for i, event := range heard {
		h.events[i] = event
		m, ok := event.(map[string]any)
		if !ok {
			continue
		}
		h.last = textOf(m["sequence"])
		if l.read == "data" {
			h.events[i] = m["data"]
		}
	}
	return h, nil
}

// heard is the answer to a listen; without one, the run is suspended.
func (x *exec) heard(a *activation, spec *Listen, what string) (any, error) {
	key := a.key() + what
	a.effect = key
	if _, known := x.Answers[key]; known {
		return x.do(a, Effect{Key: key})
	}
	e := Effect{Key: key, Kind: EffectListen, Task: a.task.ref, Attempt: x.attempt, Listen: spec}
	if x.deadline != nil {
		if !x.Now().Before(x.deadline.at) {
			x.pass(x.deadline.at)
			return nil, &expiredError{x.deadline}
		}
		e.Until = x.deadline.at
	}
	return nil, x.suspend(e)
}

// each runs tasks for one event after the other, until the end that was set. Each
// event is a listen of its own, which begins behind the event before it.
func (l *listenTask) each(x *exec, a *activation, input any) (any, error) {
	s := &scope{parent: a.scope}
	out := input
	var all []any
	var after string
	for i := 0; ; i++ {
		spec, err := x.listen(l.to, input)
		if err != nil {
			return nil, err
		}
		spec.Mode, spec.UntilIs, spec.After = "one", nil, after
		h, err := l.hear(x, a, spec, "/"+strconv.Itoa(i))
		if err != nil || h.ended {
			return out, err
		}
		for _, event := range h.events {
			s.n = i
			x.slots[l.item], x.slots[l.item+1] = event, i
			if out, err = x.list(s, l.foreach, out); err != nil {
				return out, err
			}
		}
		all, after = append(all, h.events...), h.last
		if l.to.untilIs != nil {
			if stop, err := x.condition(l.to.untilIs.expr, any(all)); err != nil || stop {
				return out, err
			}
		}
	}
}
