package notify

import (
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// cell is what a rule remembers of one group of events. Times are nanoseconds
// since 1970; 0 is never.
type cell struct {
	Print string `json:"print"` // of the rule's settings; a cell of others is void

	Times []int64 `json:"times,omitempty"` // events that count towards the threshold

	Last   int64 `json:"last,omitempty"` // absence: the newest event
	Absent bool  `json:"absent,omitempty"`
	Wait   int64 `json:"wait,omitempty"` // absence: not told before, for a silence covers it

	Told int64 `json:"told,omitempty"` // when a message went out; others wait for RepeatEvery

	Held  []line         `json:"held,omitempty"`  // what waits to be told together, the first ones
	Count int            `json:"count,omitempty"` // of all that wait
	Types map[string]int `json:"types,omitempty"` // the same by type
	Worst event.Severity `json:"worst,omitempty"`
	Flush int64          `json:"flush,omitempty"` // when they are told

	Firing *line `json:"firing,omitempty"` // what was told and is not resolved

	Alert *line `json:"alert,omitempty"` // what nobody has acknowledged yet
	Round int   `json:"round,omitempty"` // steps of the escalation that are done
	Next  int64 `json:"next,omitempty"`  // when the next one is due
}

// line is an event as a digest shows it.
type line struct {
	Seq      event.Seq      `json:"seq"`
	At       int64          `json:"at"`
	Type     event.Type     `json:"type"`
	Severity event.Severity `json:"severity"`
	Text     string         `json:"text"`
	Failed   string         `json:"failed,omitempty"` // id of the transport of whose failure it tells
}

// Why something is told.
const (
	whyEvent      = "event"
	whyThreshold  = "threshold"
	whyAbsence    = "absence"
	whyResolved   = "resolved" // what was absent is back
	whyDigest     = "digest"
	whyEscalation = "escalation"
)

// told is one telling that a cell asks for.
type told struct {
	why   string
	at    int64
	lines []line
	count int
	types map[string]int
	worst event.Severity
	round int // step of the escalation, from 1
}

const (
	maxHeld  = 50
	maxTypes = 20
)

// step moves a cell to now, and takes in what happened then, if anything did.
// It depends on nothing else, so that a back-test and a second run after a crash
// give the same.
func (r *rule) step(c *cell, happened *line, now int64) []told {
	if c.Print != r.print {
		*c = cell{Print: r.print}
	}
	out := r.elapse(c, now)
	if happened == nil {
		return out
	}
	switch {
	case r.Absence != nil:
		c.Last, c.Wait = now, 0
		if c.Absent {
			c.Absent = false
			back := *happened
			back.Seq = 0 // what is over is the absence, and no event told of that
			out = r.say(c, out, told{why: whyResolved, at: now, lines: []line{back}, count: 1, worst: r.severity()}, now)
		}
		return out
	case r.Threshold != nil:
		c.Times = append(recent(c.Times, now-int64(r.Threshold.Within)), now)
		if len(c.Times) < r.Threshold.Count {
			return out
		}
		count := len(c.Times)
		c.Times = nil
		return r.offer(c, out, told{why: whyThreshold, at: now, lines: []line{*happened}, count: count, worst: happened.Severity}, now)
	}
	return r.offer(c, out, told{why: whyEvent, at: now, lines: []line{*happened}, count: 1, worst: happened.Severity}, now)
}

// recent drops times before a moment.
func recent(times []int64, since int64) []int64 {
	i := 0
	for i < len(times) && times[i] <= since {
		i++
	}
	return times[i:]
}

// offer holds what is to wait and says the rest.
func (r *rule) offer(c *cell, out []told, t told, now int64) []told {
	switch every := int64(r.RepeatEvery); {
	case r.DigestEvery > 0:
		c.hold(t)
		if c.Flush == 0 {
			c.Flush = now + int64(r.DigestEvery)
		}
		return out
	case every > 0 && c.Told > 0 && now < c.Told+every:
		c.hold(t)
		c.Flush = max(c.Flush, c.Told+every)
		return out
	}
	return r.say(c, out, t, now)
}

// say tells, unless these are quiet hours: then it waits for their end.
func (r *rule) say(c *cell, out []told, t told, now int64) []told {
	if end, quiet := r.quiet(now, t.worst); quiet {
		c.hold(t)
		c.Flush = max(c.Flush, end)
		return out
	}
	if r.RepeatEvery > 0 {
		c.Told = now
	}
	if r.resolve != nil && t.why != whyResolved {
		last := t.lines[len(t.lines)-1]
		c.Firing = &last
	}
	if len(r.steps) > 0 && t.why != whyResolved && c.Next == 0 {
		alert := t.lines[len(t.lines)-1]
		c.Alert, c.Round, c.Next = &alert, 0, now+int64(r.steps[0].after)
	}
	return append(out, t)
}

func (r *rule) quiet(now int64, s event.Severity) (end int64, is bool) {
	if r.QuietHours == nil {
		return 0, false
	}
	until, is := r.QuietHours.until(time.Unix(0, now), s)
	return until.UnixNano(), is
}

// hold keeps a telling for later.
func (c *cell) hold(t told) {
	c.Count += t.count
	c.Worst = max(c.Worst, t.worst)
	if c.Types == nil {
		c.Types = map[string]int{}
	}
	for _, l := range t.lines {
		name := string(l.Type)
		if _, known := c.Types[name]; !known && len(c.Types) >= maxTypes {
			name = "others"
		}
		c.Types[name] += max(1, t.count/len(t.lines))
		if len(c.Held) < maxHeld {
			c.Held = append(c.Held, l)
		}
	}
}

// elapse does what was due until now, in its order.
func (r *rule) elapse(c *cell, now int64) []told {
	var out []told
	for {
		due := r.due(c)
		if due == 0 || due > now {
			return out
		}
		switch due {
		case c.Flush:
			out = r.flush(c, out, due)
		case c.Next:
			out = r.escalate(c, out, due)
		case r.absentAt(c):
			c.Absent = true
			out = r.say(c, out, told{why: whyAbsence, at: due, lines: []line{{At: c.Last, Severity: r.severity()}}, count: 1, worst: r.severity()}, due)
		default: // only old memories end here
			r.forget(c, due)
		}
	}
}

func (r *rule) flush(c *cell, out []told, due int64) []told {
	if end, quiet := r.quiet(due, c.Worst); quiet {
		c.Flush = end
		return out
	}
	t := told{why: whyDigest, at: due, lines: c.Held, count: c.Count, types: c.Types, worst: c.Worst}
	c.Held, c.Count, c.Types, c.Worst, c.Flush = nil, 0, nil, 0, 0
	return r.say(c, out, t, due)
}

// escalate tells the next round.
func (r *rule) escalate(c *cell, out []told, due int64) []told {
	if c.Round >= len(r.steps) { // the rule has been changed since, and has fewer
		c.acknowledge()
		return out
	}
	if end, quiet := r.quiet(due, c.Alert.Severity); quiet {
		c.Next = end
		return out
	}
	c.Round++
	out = append(out, told{why: whyEscalation, at: due, lines: []line{*c.Alert}, count: 1, worst: c.Alert.Severity, round: c.Round})
	if c.Next = 0; c.Round < len(r.steps) {
		c.Next = due + int64(r.steps[c.Round].after)
	} else {
		c.Alert, c.Round = nil, 0
	}
	return out
}

// resolved ends what a cell has told, because of an event at now. What waits is
// told first.
func (r *rule) resolved(c *cell, because *line, now int64) []told {
	if c.Print != r.print {
		return nil
	}
	out := r.elapse(c, now)
	c.Times = nil
	if c.Count > 0 && c.Firing == nil { // it came and went before anybody heard of it
		out = append(out, told{why: whyDigest, at: now, lines: append(c.Held, *because), count: c.Count + 1, types: c.Types, worst: c.Worst})
		*c = cell{Print: r.print}
		return out
	}
	if c.Firing == nil {
		return out
	}
	over := *c.Firing
	over.Text = because.Text
	*c = cell{Print: r.print}
	return append(out, told{why: whyResolved, at: now, lines: []line{over}, count: 1, worst: over.Severity})
}

// acknowledge ends the escalation.
func (c *cell) acknowledge() { c.Alert, c.Round, c.Next = nil, 0, 0 }

func (r *rule) absentAt(c *cell) int64 {
	if r.Absence == nil || c.Last == 0 || c.Absent {
		return 0
	}
	return max(c.Last+int64(r.Absence.Within), c.Wait)
}

// due is when the cell must be looked at though nothing happens; 0: never.
func (r *rule) due(c *cell) int64 {
	var due int64
	for _, t := range []int64{c.Flush, c.Next, r.absentAt(c), r.stale(c)} {
		if t > 0 && (due == 0 || t < due) {
			due = t
		}
	}
	return due
}

// stale is when a memory that is not told ends.
func (r *rule) stale(c *cell) int64 {
	var at int64
	if n := len(c.Times); n > 0 && r.Threshold != nil {
		at = c.Times[n-1] + int64(r.Threshold.Within)
	}
	if c.Told > 0 {
		until := c.Told + int64(r.RepeatEvery)
		if at == 0 || until < at {
			at = until
		}
	}
	return at
}

func (r *rule) forget(c *cell, now int64) {
	if r.Threshold != nil {
		c.Times = recent(c.Times, now-int64(r.Threshold.Within))
	}
	if c.Told > 0 && c.Told+int64(r.RepeatEvery) <= now {
		c.Told = 0
	}
}

// empty reports whether there is nothing to be remembered. A group whose absence
// was told is kept: its return is told.
func (c *cell) empty() bool {
	return len(c.Times) == 0 && c.Last == 0 && c.Told == 0 && c.Count == 0 && c.Flush == 0 && c.Next == 0 && c.Firing == nil
}

// severity is that of what a rule tells though no event has one.
func (r *rule) severity() event.Severity { return max(r.least, event.Warn) }
