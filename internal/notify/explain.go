package notify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Explanation says why a rule fires for an event, or not.
type Explanation struct {
	Fires      bool         `json:"fires"`
	Reason     string       `json:"reason"` // the first thing that stands in the way; empty where nothing does
	Conditions []Check      `json:"conditions"`
	Tells      []Would      `json:"tells"` // who would hear of it, and how
	Group      string       `json:"group"` // of a rule that remembers
	Deliveries []Delivery   `json:"-"`     // what the ledger holds of it
	Event      *event.Event `json:"-"`
}

// Would is one message that would be sent.
type Would struct {
	Transport string `json:"transport"`
	Mode      string `json:"mode"`
	Recipient string `json:"recipient"` // a username; empty for a destination of the transport's own
}

// Explain goes through a rule for an event, condition by condition. It records
// nothing. id is the rule's, where it is stored.
func (n *Notify) Explain(ctx context.Context, id state.ObjectID, r Rule, seq event.Seq) (Explanation, error) {
	var x Explanation
	r.fill()
	c, s, err := n.trial(ctx, id, r)
	if err != nil {
		return x, err
	}
	hit, err := n.o.Journal.Get(seq)
	if err != nil {
		return x, err
	}
	e, err := event.Decode(hit.Body)
	if err != nil {
		return x, fmt.Errorf("event %d: %w", seq, err)
	}
	e.Sequence, e.RecordedTime = hit.Seq, time.Unix(0, hit.Recorded).UTC()
	x.Event = &e
	n.check(ctx, c, s, newSubject(&e), &x)
	if id != 0 {
		x.Deliveries, err = n.Deliveries(ctx, DeliveryQuery{Rule: id, Sequence: seq, Limit: 50})
	}
	return x, err
}

// trial compiles a rule that may not be stored, and all that it works with.
func (n *Notify) trial(ctx context.Context, id state.ObjectID, r Rule) (*rule, *set, error) {
	if err := rules.Check(&r); err != nil && id != 0 || err != nil && r.Name != "" {
		return nil, nil, err
	}
	db := n.o.State.Reader()
	c, err := n.compile(id, r, func(p state.ObjectID) (*Policy, error) {
		found, err := policies.Get(ctx, db, p)
		return &found.Value, err
	})
	if err != nil {
		return nil, nil, err
	}
	s, err := n.load(ctx, nil)
	return c, s, err
}

func (n *Notify) check(ctx context.Context, r *rule, s *set, sub *subject, x *Explanation) {
	add := func(name string, passed bool, detail, otherwise string, parts []filter.Part) {
		x.Conditions = append(x.Conditions, Check{name, passed, detail, parts})
		if !passed && x.Reason == "" {
			x.Reason = otherwise
		}
	}
	add("enabled", r.Enabled, fmt.Sprint(r.Enabled), "the rule is off", nil)
	if n.isOwn(sub.Event) && isSilent(sub.Type) {
		add("loop", false, string(sub.Type), "telling itself has raised this event; it tells nobody", nil)
	}
	add("types", r.fitsType(sub.Type) && (!s.transient(sub.Type) || slices.Contains(r.Types, string(sub.Type))),
		fmt.Sprintf("%s against %s", sub.Type, cmpOr(strings.Join(r.Types, ", "), "any")), "the type does not fit", nil)
	add("severity", sub.Severity >= r.least, fmt.Sprintf("%s, at least %s is wanted", sub.Severity, cmpOr(r.Severity, "info")), "the severity is too low", nil)
	matched, err := r.filter.Match(sub.input())
	parts, _ := n.o.Filters.Explain(r.Filter, sub.input()) // it has compiled
	detail := cmpOr(r.Filter, "no filter")
	if err != nil {
		detail += ": " + err.Error()
	}
	add("filter", matched && err == nil, detail, "the filter does not match", parts)
	n.checkPolicies(ctx, r, s, sub, add)
	x.Fires = x.Reason == ""
	for i := range s.silences {
		if s.silences[i].covers(r, sub, sub.RecordedTime) {
			add("silence", false, s.silences[i].Filter, "a silence covered it: "+cmpOr(s.silences[i].Comment, s.silences[i].Filter), nil)
			x.Fires = false
		}
	}
	if !sub.RecordedTime.IsZero() && sub.RecordedTime.Before(r.created) {
		add("age", false, "created "+r.created.Format(time.RFC3339), "the event is older than the rule", nil)
	}
	persons, err := r.audience.ofEvent(s.people, sub)
	if err != nil {
		add("recipients", false, err.Error(), "", nil)
	}
	if len(r.groupBy) > 0 {
		_, x.Group = r.group(sub, persons)
	}
	x.Tells = []Would{}
	everybody := union(r.audience.always(s.people), persons)
	for _, id := range r.ways {
		to := s.ways[id]
		switch {
		case to == nil:
		case !to.personal:
			x.Tells = append(x.Tells, Would{Transport: to.name, Mode: to.mode})
		default:
			for _, who := range everybody {
				if p := s.people.byID[who]; p != nil {
					x.Tells = append(x.Tells, Would{to.name, to.mode, p.Username})
				}
			}
		}
	}
	if len(x.Tells) == 0 {
		add("recipients", false, "nobody", "the rule has nobody to tell: no recipients, or no transports", nil)
	}
	if r.remembers() {
		x.Conditions = append(x.Conditions, Check{Name: "memory", Passed: true, Detail: "what it remembers decides when it tells: " + r.remembersWhat()})
	}
}

func (r *rule) fitsType(t event.Type) bool {
	return len(r.Types) == 0 || slices.ContainsFunc(r.Types, func(p string) bool { return filter.Glob(p, string(t)) })
}

func (r *rule) remembersWhat() string {
	var parts []string
	if r.Threshold != nil {
		parts = append(parts, fmt.Sprintf("%d events in %s", r.Threshold.Count, r.Threshold.Within))
	}
	if r.Absence != nil {
		parts = append(parts, fmt.Sprintf("nothing for %s", r.Absence.Within))
	}
	if r.RepeatEvery > 0 {
		parts = append(parts, fmt.Sprintf("the first, then every %s", r.RepeatEvery))
	}
	if r.DigestEvery > 0 {
		parts = append(parts, fmt.Sprintf("a digest every %s", r.DigestEvery))
	}
	if r.QuietHours != nil {
		parts = append(parts, fmt.Sprintf("quiet from %s to %s", r.QuietHours.From, r.QuietHours.To))
	}
	if len(r.Escalate) > 0 {
		parts = append(parts, fmt.Sprintf("%d steps of escalation", len(r.Escalate)))
	}
	return strings.Join(parts, "; ")
}

func (n *Notify) checkPolicies(ctx context.Context, r *rule, s *set, sub *subject, add func(string, bool, string, string, []filter.Part)) {
	passed := 0
	for i := range r.policies {
		b := &r.policies[i]
		result, err := b.execute(ctx, s.people, sub)
		ok := result != b.Negate
		detail := b.text()
		var parts []filter.Part
		switch {
		case err != nil:
			ok = b.OnFailure == "pass"
			detail += ": " + err.Error()
		case b.cond != nil && b.cond.matcher != nil && !result:
			detail += ": " + b.cond.matcher.field(sub) + " does not match"
		}
		if b.cond != nil && b.cond.filter != nil {
			parts, _ = n.o.Filters.Explain(b.cond.filter.String(), sub.input()) // it has compiled
		}
		if b.Negate {
			detail += " (negated)"
		}
		if ok {
			passed++
		}
		add(fmt.Sprintf("policies[%d]", i), ok, detail, "", parts)
	}
	if len(r.policies) == 0 {
		return
	}
	good := r.Mode == All && passed == len(r.policies) || r.Mode == Any && passed > 0 || r.Mode == None && passed == 0
	add("mode", good, fmt.Sprintf("%d of %d policies pass; %s of them must", passed, len(r.policies), r.Mode), "the policies do not pass", nil)
}

// BackTest says what a rule would have told.
type BackTest struct {
	Events    int       `json:"events"`  // that were looked at
	Matched   int       `json:"matched"` // for which it fires
	Silenced  int       `json:"silenced"`
	Tellings  int       `json:"tellings"` // after thresholds, digests and quiet hours
	Messages  int       `json:"messages"` // to all persons and destinations
	First     []Telling `json:"first"`    // the first ones
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	Partial   bool      `json:"partial"` // there was no time for all of it
	Exception string    `json:"exception,omitempty"`
}

// Telling is one thing that would have been told.
type Telling struct {
	At       time.Time `json:"at"`
	Why      string    `json:"why"`
	Sequence event.Seq `json:"-"`
	Seq      string    `json:"sequence"`
	Title    string    `json:"title"`
	Text     string    `json:"text"`
	Group    string    `json:"group"`
	To       int       `json:"to"` // messages
}

const (
	// backTestTime is how long a back-test may take.
	backTestTime = 20 * time.Second
	// backTestShown is how many tellings it shows.
	backTestShown = 100
	// backTestPage is how many events it reads at once.
	backTestPage = 1000
)

// TestRule says what a rule, which need not be stored, would have told of what
// was recorded since a time. It sends and records nothing.
func (n *Notify) TestRule(ctx context.Context, r Rule, since time.Time) (BackTest, error) {
	b := BackTest{Since: since.UTC(), Until: time.Now().UTC(), First: []Telling{}}
	r.fill()
	c, s, err := n.trial(ctx, 0, r)
	if err != nil {
		return b, err
	}
	t := backTest{n: n, BackTest: &b, rule: c, set: s, cells: map[string]*remembered{}}
	plan := &filter.Node{Op: filter.OpAnd, Kids: []*filter.Node{c.filter.Plan()}}
	if len(c.Types) > 0 {
		either := &filter.Node{Op: filter.OpOr}
		for _, p := range c.Types {
			either.Kids = append(either.Kids, &filter.Node{Op: filter.OpGlob, Column: filter.ColumnType, Values: []string{p}})
		}
		plan.Kids = append(plan.Kids, either)
	}
	if c.least > 0 {
		plan.Kids = append(plan.Kids, &filter.Node{Op: filter.OpSeverity, Min: int64(c.least), Max: 24})
	}
	deadline := time.Now().Add(backTestTime)
	q := segment.Query{Plan: plan, Match: func(e *event.Event) (bool, error) { return true, nil }, Ascending: true, Limit: backTestPage, Transient: true, Deadline: deadline}
	t.start(since)
	for {
		page, err := n.o.Journal.Search(ctx, &q)
		if err != nil {
			return b, err
		}
		for i := range page.Hits {
			if page.Hits[i].Recorded < since.UnixNano() {
				continue
			}
			if err := t.event(ctx, &page.Hits[i]); err != nil {
				return b, err
			}
		}
		b.Partial = b.Partial || page.Partial || time.Now().After(deadline)
		if page.Next == 0 || b.Partial {
			break
		}
		q.Above = page.Next
	}
	t.tick(b.Until)
	return b, nil
}

// backTest runs a rule's cells over what was.
type backTest struct {
	*BackTest
	n     *Notify
	rule  *rule
	set   *set
	cells map[string]*remembered
}

func (t *backTest) start(since time.Time) {
	if t.rule.Absence != nil && len(t.rule.groupBy) == 0 && !t.rule.Recipients.ofEvent() {
		t.cells[""] = &remembered{cell: cell{Print: t.rule.print, Last: since.UnixNano()}}
	}
}

func (t *backTest) event(ctx context.Context, hit *segment.Hit) error {
	e, err := event.Decode(hit.Body)
	if err != nil {
		return fmt.Errorf("event %d: %w", hit.Seq, err)
	}
	e.Sequence, e.RecordedTime = hit.Seq, time.Unix(0, hit.Recorded)
	t.Events++
	t.tick(e.RecordedTime)
	sub := newSubject(&e)
	if t.n.isOwn(&e) && isSilent(e.Type) || !t.rule.fitsType(e.Type) || e.Severity < t.rule.least || t.set.transient(e.Type) && !slices.Contains(t.rule.Types, string(e.Type)) {
		return nil
	}
	v := verdict{raise: func(_ *rule, _ *policy, _ *subject, what, _ string, err error) {
		t.Exception = cmpOr(t.Exception, fmt.Sprintf("event %d: %s: %s", hit.Seq, what, err))
	}}
	if !t.rule.decide(ctx, t.set.people, sub, &v) {
		return nil
	}
	t.Matched++
	for i := range t.set.silences {
		if t.set.silences[i].covers(t.rule, sub, e.RecordedTime) {
			t.Silenced++
			return nil
		}
	}
	persons, _ := t.rule.audience.ofEvent(t.set.people, sub) // its failure has just been an exception
	w := work{e: &engine{n: t.n}, set: t.set}
	happened := w.line(sub)
	if !t.rule.remembers() {
		t.tell(told{why: whyEvent, at: hit.Recorded, lines: []line{happened}, count: 1, worst: e.Severity}, "", persons, sub)
		return nil
	}
	key, shown := t.rule.group(sub, persons)
	c := t.cells[key]
	if c == nil {
		c = &remembered{Shown: shown, Persons: persons}
		t.cells[key] = c
	}
	for _, said := range t.rule.step(&c.cell, &happened, hit.Recorded) {
		t.tell(said, c.Shown, c.Persons, sub)
	}
	return nil
}

// tick lets time pass for all cells.
func (t *backTest) tick(until time.Time) {
	for key, c := range t.cells {
		if due := t.rule.due(&c.cell); due == 0 || due > until.UnixNano() {
			continue
		}
		for _, said := range t.rule.elapse(&c.cell, until.UnixNano()) {
			t.tell(said, c.Shown, c.Persons, nil)
		}
		if c.empty() {
			delete(t.cells, key)
		}
	}
}

func (t *backTest) tell(said told, shown string, persons []state.ObjectID, sub *subject) {
	t.Tellings++
	ways, a := t.rule.ways, t.rule.audience
	if said.round > 0 {
		ways, a = t.rule.steps[said.round-1].ways, t.rule.steps[said.round-1].audience
	}
	to := 0
	for _, id := range ways {
		switch w := t.set.ways[id]; {
		case w == nil:
		case w.personal:
			to += len(union(a.always(t.set.people), persons))
		default:
			to++
		}
	}
	t.Messages += to
	if len(t.First) >= backTestShown {
		return
	}
	d := t.rule.details(&said, shown)
	if d.Title == "" && sub != nil {
		m := t.n.compose(sub.Event, t.set.templates[sub.Type])
		d.Title, d.Text = m.Title, m.Text
	}
	seq := said.lines[len(said.lines)-1].Seq
	t.First = append(t.First, Telling{At: time.Unix(0, said.at).UTC(), Why: said.why, Sequence: seq, Seq: seq.String(), Title: d.Title, Text: d.Text, Group: shown, To: to})
}
