package notify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// BackTest says what a rule would have told.
type BackTest struct {
	Events    int            `json:"events"`  // that were looked at
	Matched   int            `json:"matched"` // for which it fires
	Silenced  int            `json:"silenced"`
	Tellings  int            `json:"tellings"` // after thresholds, digests and quiet hours
	Messages  int            `json:"messages"` // to all persons and destinations
	First     []Telling      `json:"first"`    // the first ones
	Since     time.Time      `json:"since"`
	Until     time.Time      `json:"until"`
	Partial   bool           `json:"partial"` // there was no time for all of it
	Step      time.Duration  `json:"-"`       // length of each of Steps
	Steps     []BackTestStep `json:"-"`       // the same over time; those in which nothing happened are left out
	Exception string         `json:"exception,omitempty"`
}

// BackTestStep is what a back-test found in a while.
type BackTestStep struct {
	Start             time.Time
	Matched, Tellings int
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
	return n.TestRuleWithin(ctx, r, since, backTestTime)
}

// TestRuleWithin does the same and takes no longer than a time; what it found
// until then is partial, and reaches as far as Until.
func (n *Notify) TestRuleWithin(ctx context.Context, r Rule, since time.Time, most time.Duration) (BackTest, error) {
	select { // they read much: not all at once
	case n.trials <- struct{}{}:
		defer func() { <-n.trials }()
	case <-ctx.Done():
		return BackTest{}, ctx.Err()
	}
	now := time.Now()
	deadline := now.Add(most)
	b := BackTest{Since: since.UTC(), Until: now.UTC(), First: []Telling{}, Step: stepOf(now.Sub(since))}
	r.fill()
	c, s, err := n.trial(ctx, 0, r)
	if err != nil {
		return b, err
	}
	t := backTest{n: n, BackTest: &b, rule: c, set: s, cells: map[string]*remembered{}, seen: b.Since}
	plan := c.wanted()
	looked := func(e *event.Event) (bool, error) {
		return e.Severity >= c.least && c.fitsType(e.Type) || c.endsBy(e.Type), nil
	}
	q := segment.Query{Plan: plan, Match: looked, Ascending: true, Limit: backTestPage, Transient: true, Deadline: deadline}
	if q.Above, err = n.before(ctx, since); err != nil {
		return b, err
	}
	t.start(since)
	for {
		page, err := n.o.Journal.Search(ctx, &q)
		if err != nil {
			return b, err
		}
		for i := range page.Hits {
			if err := t.event(ctx, &page.Hits[i]); err != nil {
				return b, err
			}
		}
		b.Partial = b.Partial || page.Next != 0 && time.Now().After(deadline) || page.Partial
		if page.Next == 0 {
			break
		}
		if q.Above = page.Next; b.Partial {
			break
		}
	}
	if b.Partial {
		b.Until = t.seen
		if next, err := n.o.Journal.After(ctx, q.Above, 1); err == nil && len(next) == 1 {
			b.Until = time.Unix(0, next[0].Recorded).UTC()
		}
	}
	t.tick(b.Until)
	return b, nil
}

// wanted are the events that a back-test must look at.
func (r *rule) wanted() *filter.Node {
	plan := &filter.Node{Op: filter.OpAnd, Kids: []*filter.Node{r.filter.Plan()}}
	if len(r.Types) > 0 {
		plan.Kids = append(plan.Kids, ofTypes(r.Types))
	}
	if r.least > 0 {
		plan.Kids = append(plan.Kids, &filter.Node{Op: filter.OpSeverity, Min: int64(r.least), Max: 24})
	}
	if r.resolve == nil {
		return plan
	}
	ends := &filter.Node{Op: filter.OpAnd, Kids: []*filter.Node{ofTypes(r.Resolve.Types), r.resolve.Plan()}}
	return &filter.Node{Op: filter.OpOr, Kids: []*filter.Node{plan, ends}}
}

// endsBy reports whether events of a type may end what a rule has told.
func (r *rule) endsBy(t event.Type) bool {
	return r.resolve != nil && slices.ContainsFunc(r.Resolve.Types, func(p string) bool { return filter.Glob(p, string(t)) })
}

func ofTypes(patterns []string) *filter.Node {
	either := &filter.Node{Op: filter.OpOr}
	for _, p := range patterns {
		either.Kids = append(either.Kids, &filter.Node{Op: filter.OpGlob, Column: filter.ColumnType, Values: []string{p}})
	}
	return either
}

// before is the last sequence that was recorded before a time. Times of
// recording never go back.
func (n *Notify) before(ctx context.Context, since time.Time) (event.Seq, error) {
	var failed error
	at := sort.Search(int(n.o.Journal.Last()), func(i int) bool {
		next, err := n.o.Journal.After(ctx, event.Seq(i), 1)
		if err != nil {
			failed = err
		}
		return err != nil || len(next) == 0 || next[0].Recorded >= since.UnixNano()
	})
	return event.Seq(at), failed
}

// stepOf cuts a time into some 24 to 62 whole steps.
func stepOf(d time.Duration) time.Duration {
	for _, step := range []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 12 * time.Hour} {
		if d <= 62*step {
			return step
		}
	}
	step := 24 * time.Hour
	for d > 62*step {
		step += 24 * time.Hour
	}
	return step
}

// backTest runs a rule's cells over what was.
type backTest struct {
	*BackTest
	n     *Notify
	rule  *rule
	set   *set
	cells map[string]*remembered
	seen  time.Time // how far it has come
}

// at is the step in which a time lies.
func (t *backTest) at(when time.Time) *BackTestStep {
	start := time.Unix(0, when.UnixNano()/int64(t.Step)*int64(t.Step)).UTC()
	if i := slices.IndexFunc(t.Steps, func(s BackTestStep) bool { return s.Start.Equal(start) }); i >= 0 {
		return &t.Steps[i]
	}
	t.Steps = append(t.Steps, BackTestStep{Start: start})
	return &t.Steps[len(t.Steps)-1]
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
	t.seen = e.RecordedTime.UTC()
	t.tick(e.RecordedTime)
	sub := newSubject(&e)
	t.end(sub)
	if t.n.isOwn(&e) && isSilent(e.Type) || !t.rule.fitsType(e.Type) || e.Severity < t.rule.least || t.set.transient(e.Type) && !slices.Contains(t.rule.Types, string(e.Type)) {
		return nil
	}
	v := verdict{raise: func(_ *rule, _ *policy, _ *subject, what, _ string, err error) {
		t.Exception = cmp.Or(t.Exception, fmt.Sprintf("event %d: %s: %s", hit.Seq, what, err))
	}}
	if !t.rule.decide(ctx, t.set.people, sub, &v) {
		return nil
	}
	t.Matched++
	t.at(e.RecordedTime).Matched++
	for i := range t.set.silences {
		if t.set.silences[i].covers(t.rule, sub, e.RecordedTime) {
			if t.Silenced++; t.rule.Absence == nil { // who is there is there in a silence, too
				return nil
			}
			break
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

// end lets an event end what was told of its group.
func (t *backTest) end(sub *subject) {
	if !t.rule.endsBy(sub.Type) {
		return
	}
	if matched, err := t.rule.resolve.Match(sub.input()); !matched || err != nil {
		return
	}
	persons, _ := t.rule.audience.ofEvent(t.set.people, sub) // who is not known is in no group
	key, _ := t.rule.group(sub, persons)
	c := t.cells[key]
	if c == nil {
		return
	}
	w := work{e: &engine{n: t.n}, set: t.set}
	because := w.line(sub)
	for _, said := range t.rule.resolved(&c.cell, &because, sub.RecordedTime.UnixNano()) {
		t.tell(said, c.Shown, c.Persons, nil)
	}
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
	t.at(time.Unix(0, said.at)).Tellings++
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
