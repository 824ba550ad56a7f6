package program

import (
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/cron"
)

// A Schedule is a document's schedule block: when the flow runs by itself.
type Schedule struct {
	Every time.Duration // since the start of the run before
	After time.Duration // since the end of the run before
	Cron  string
	// On is what must have been heard for a run to start; its input is the array of
	// these events (DSL reference, "Schedule").
	On *Listen
}

func (c *compiler) schedule(n *node) *Schedule {
	if n == nil || !c.object(n, "schedule", "every", "after", "cron", "on") {
		return nil
	}
	s := &Schedule{}
	if len(n.fields) != 1 {
		c.fail(n, "", "a schedule is one of every, after, cron and on")
		return nil
	}
	f := n.fields[0]
	switch f.name {
	case "every", "after":
		d := c.span(f.value)
		if d.value != nil || d.fixed < time.Second {
			c.fail(f.value, "write seconds: 30", "%s is a fixed duration of at least a second", f.name)
		}
		if s.Every = d.fixed; f.name == "after" {
			s.Every, s.After = 0, d.fixed
		}
	case "cron":
		s.Cron, _ = f.value.text()
		if _, err := cron.Parse(s.Cron, time.UTC); err != nil {
			c.fail(f.value, "write '*/5 * * * *'", "%v", err)
		}
	case "on":
		spec := c.listen(f.value)
		before := len(c.problems)
		s.On = c.constantListen(f.value, spec)
		if len(c.problems) > before {
			return nil
		}
	}
	return s
}

// constantListen makes what to listen for before there is a run: its expressions
// see the event and nothing else.
func (c *compiler) constantListen(n *node, spec *listenSpec) *Listen {
	if len(c.problems) > 0 {
		return nil
	}
	if spec.usesVariables() {
		c.fail(n, "compare with a constant", "what starts a flow can't depend on a run's variables")
		return nil
	}
	x := &exec{running: &running{}}
	l, err := x.listen(spec, nil)
	if err != nil {
		c.fail(n, "", "%v", err)
	}
	return l
}

func (s *listenSpec) usesVariables() bool {
	uses := func(b *boundSpec) bool { return b != nil && len(b.names) > 0 }
	for _, f := range s.filters {
		for _, w := range f.with {
			if uses(w.is) {
				return true
			}
		}
		for _, w := range f.correlate {
			if uses(w.from) || (w.expect != nil && w.expect.dynamic) {
				return true
			}
		}
	}
	return uses(s.untilIs) || (s.until != nil && s.until.usesVariables())
}
