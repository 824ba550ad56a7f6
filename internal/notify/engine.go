package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/follow"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// engine turns events into tellings: the follower's handler. It belongs to the
// follower's goroutine.
type engine struct {
	n    *Notify
	set  *set
	memo *memory
	seen time.Time // the newest recorded time; ticks never lie before it

	events []event.Event // room for those of a batch

	exceptions map[string]int // raised in this minute, by rule and policy
	minute     int64
}

// Begin implements follow.Handler.
func (e *engine) Begin(ctx context.Context) error {
	e.set, e.seen = nil, time.Time{}
	var err error
	e.memo, err = openMemory(ctx, e.n.o.State.Reader())
	return err
}

// Due implements follow.Handler.
func (e *engine) Due() time.Time { return e.memo.due() }

// Committed implements follow.Handler.
func (e *engine) Committed(ctx context.Context) {
	if err := e.memo.settle(ctx); err != nil {
		e.n.o.Logger.WarnContext(ctx, "notify: when to look again is not known", "err", err)
	}
	e.n.touch()
}

// Handle implements follow.Handler.
func (e *engine) Handle(ctx context.Context, hits []segment.Hit, now time.Time) (follow.Commit, error) {
	if len(hits) == 0 && e.set != nil && (e.memo.due().IsZero() || e.memo.due().After(now)) {
		return nil, nil
	}
	events := e.events[:0]
	changed := e.set == nil
	for i := range hits {
		ev, err := event.DecodeStored(hits[i].Body)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", hits[i].Seq, err)
		}
		ev.Sequence, ev.RecordedTime = hits[i].Seq, time.Unix(0, hits[i].Recorded)
		changed = changed || e.reconfigures(&ev)
		events = append(events, ev)
	}
	e.events = events
	w := e.work(ctx)
	if changed {
		set, err := e.n.load(ctx, e.set)
		if err != nil {
			return nil, err
		}
		e.set, w.set = set, set
		if err := e.memo.fit(ctx, set, e.latest(now)); err != nil {
			return nil, err
		}
	}
	horizon := e.latest(now)
	if len(events) > 0 {
		horizon = events[len(events)-1].RecordedTime
	}
	if err := e.memo.plan(ctx, horizon); err != nil {
		return nil, err
	}
	for i := range events {
		e.seen = later(e.seen, events[i].RecordedTime)
		if err := w.ticks(events[i].RecordedTime); err != nil {
			return nil, err
		}
		if err := w.observe(&events[i]); err != nil {
			return nil, err
		}
	}
	if err := w.ticks(horizon); err != nil {
		return nil, err
	}
	return w.commit(), nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// latest is now, but never before what was recorded.
func (e *engine) latest(now time.Time) time.Time { return later(e.seen, now) }

// isOwn reports whether telling itself has raised an event.
func (n *Notify) isOwn(e *event.Event) bool { return e.Source == n.o.Source+"/"+producer }

// reconfigures reports whether an event tells of a change that decides who is
// told.
func (e *engine) reconfigures(ev *event.Event) bool {
	if !strings.HasPrefix(string(ev.Type), "model_") || !strings.HasPrefix(ev.Source, e.n.o.Source+"/") {
		return false
	}
	app := catalog.Lookup(ev, "data.model.app")
	return app == "tocsin_notify" || app == "tocsin_identity"
}

// work is what comes of one batch.
type work struct {
	e   *engine
	ctx context.Context //nolint:containedctx // lives as long as the batch
	set *set

	rows       []delivery
	suppressed map[suppression]*folded
	raised     []event.Event
	heard      map[heard]bool // of the present event
	chains     map[string]*chain
	says       verdict
}

// heard is who was told of an event by which way.
type heard struct{ way, person state.ObjectID }

func (e *engine) work(ctx context.Context) *work {
	w := &work{e: e, ctx: ctx, set: e.set, suppressed: map[suppression]*folded{}, heard: map[heard]bool{}, chains: map[string]*chain{}}
	w.says = verdict{raise: w.raise, ran: w.ran}
	return w
}

// observe decides about one event.
func (w *work) observe(ev *event.Event) error {
	own := w.e.n.isOwn(ev)
	if own && ev.Type == "notification.acknowledged" {
		return w.acknowledge(ev)
	}
	if own && isSilent(ev.Type) {
		return nil
	}
	sub := newSubject(ev)
	if len(w.heard) > 0 {
		clear(w.heard)
	}
	var failed error
	for _, r := range w.set.bucket(ev.Type).ends {
		if failed = errors.Join(failed, w.end(r, sub)); failed != nil {
			return failed
		}
	}
	w.set.candidates(sub, func(r *rule) {
		if failed == nil {
			failed = w.apply(r, sub)
		}
	})
	return failed
}

// isSilent are the types that telling itself raises and that are never told.
func isSilent(t event.Type) bool {
	return t == "policy_execution" || t == "policy_exception" || t == "email_sent"
}

// apply lets one rule decide.
func (w *work) apply(r *rule, sub *subject) error {
	if sub.RecordedTime.Before(r.created) {
		return nil // what happened before the rule is not its business
	}
	if !r.decide(w.ctx, w.set.people, sub, &w.says) {
		return nil
	}
	now := sub.RecordedTime
	if r.Absence == nil && w.silenced(r, sub, now) { // who is there is there in a silence, too
		return nil
	}
	persons, err := r.audience.ofEvent(w.set.people, sub)
	if err != nil {
		w.raise(r, nil, sub, "recipients.expression", r.Recipients.Expression, err)
	}
	if !r.remembers() { // its words are found when it is sent
		w.tell(&telling{rule: r, told: told{why: whyEvent, at: now.UnixNano(), lines: []line{sub.line()}, count: 1, worst: sub.Severity}, persons: persons, cause: sub})
		return nil
	}
	if sub.CausationDepth >= maxDepth && r.Absence == nil { // what waits is told without its cause
		w.suppress(r, 0, 0, "depth", sub.Sequence)
		return nil
	}
	happened := w.line(sub)
	group, shown := r.group(sub, persons)
	return w.stir(r, group, shown, persons, &happened, sub, now)
}

// end lets an event end what a rule has told of its group.
func (w *work) end(r *rule, sub *subject) error {
	if matched, err := r.resolve.Match(sub.input()); err != nil || !matched {
		if err != nil {
			w.raise(r, nil, sub, "resolve.filter", r.Resolve.Filter, err)
		}
		return nil
	}
	persons, _ := r.audience.ofEvent(w.set.people, sub) // who is not known is in no group
	group, _ := r.group(sub, persons)
	m, err := w.e.memo.find(w.ctx, r.id, group)
	if err != nil || m == nil {
		return err
	}
	because := w.line(sub)
	for _, t := range r.resolved(&m.cell, &because, sub.RecordedTime.UnixNano()) {
		w.tell(&telling{rule: r, group: group, shown: m.Shown, told: t, persons: m.Persons})
	}
	w.e.memo.put(m, r.due(&m.cell))
	return nil
}

// line is an event in one line.
func (w *work) line(sub *subject) line {
	const longest = 300
	text := w.e.n.compose(sub.Event, w.set.templates[sub.Type]).Text
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	l := sub.line()
	l.Text, l.Failed = text, w.e.n.failedWay(sub.Event)
	return l
}

// stir moves one cell, and tells what it asks for.
func (w *work) stir(r *rule, group, shown string, persons []state.ObjectID, happened *line, sub *subject, now time.Time) error {
	m, err := w.e.memo.get(w.ctx, r.id, group)
	if err != nil {
		return err
	}
	if happened != nil {
		m.Shown, m.Persons = shown, persons
	}
	if due := r.absentAt(&m.cell); due > 0 && due <= now.UnixNano() && m.Print == r.print {
		if until, silenced := w.quietened(r, now); silenced {
			m.Wait = until.UnixNano()
		}
	}
	for _, t := range r.step(&m.cell, happened, now.UnixNano()) {
		say := &telling{rule: r, group: m.key.group, shown: m.Shown, told: t, persons: m.Persons}
		if happened != nil && t.at == now.UnixNano() && t.why != whyDigest && t.why != whyEscalation {
			say.cause = sub
		}
		if r.Absence != nil && say.cause != nil && w.silenced(r, sub, now) {
			continue
		}
		w.tell(say)
	}
	w.e.memo.put(m, r.due(&m.cell))
	return nil
}

// silenced reports whether a silence covers an event, and counts it.
func (w *work) silenced(r *rule, sub *subject, now time.Time) bool {
	for i := range w.set.silences {
		if w.set.silences[i].covers(r, sub, now) {
			w.suppress(r, 0, 0, "silenced", sub.Sequence)
			return true
		}
	}
	return false
}

// quietened reports whether an absence is silenced: by a silence that is true of
// an event of the rule's own. What is absent still when it expires is told then.
func (w *work) quietened(r *rule, now time.Time) (until time.Time, is bool) {
	sub := newSubject(&event.Event{Type: "notification.absence", Kind: event.KindCustom, Severity: r.severity(), Subject: "rule/" + r.id.String(), Source: w.e.n.o.Source + "/" + producer})
	for i := range w.set.silences {
		if w.set.silences[i].covers(r, sub, now) {
			until, is = later(until, w.set.silences[i].ExpiresAt), true
		}
	}
	if is {
		w.suppress(r, 0, 0, "silenced", 0)
	}
	return until, is
}

// ticks moves the cells that are due until a time.
func (w *work) ticks(until time.Time) error {
	for {
		key, at, ok := w.e.memo.next(until.UnixNano())
		if !ok {
			return nil
		}
		r := w.set.byID[key.rule]
		if r == nil {
			w.e.memo.drop(key)
			continue
		}
		if err := w.stir(r, key.group, "", nil, nil, nil, time.Unix(0, at)); err != nil {
			return err
		}
	}
}

// acknowledge ends the escalation that an event names.
func (w *work) acknowledge(ev *event.Event) error {
	id, err := state.ParseID(catalog.Lookup(ev, "data.rule"))
	if err != nil {
		return nil //nolint:nilerr // no such rule: nothing escalates
	}
	r := w.set.byID[id]
	if r == nil {
		return nil
	}
	m, err := w.e.memo.get(w.ctx, id, catalog.Lookup(ev, "data.group"))
	if err != nil {
		return err
	}
	m.acknowledge()
	w.e.memo.put(m, r.due(&m.cell))
	return nil
}

// group is the memory that an event belongs to, and what people read for it. The
// persons whom it names are part of it, so that no digest shows one person's
// events to another.
func (r *rule) group(sub *subject, persons []state.ObjectID) (key, shown string) {
	var parts []string
	for _, x := range r.groupBy {
		value, err := x.Eval(sub.input(), nil)
		text := ""
		if err == nil && value != nil {
			text = strings.Map(printable, fmt.Sprint(value))
		}
		parts = append(parts, text)
	}
	const longest = 200
	shown = strings.Join(parts, ", ")
	key = strings.Join(parts, "\x1f")
	if len(persons) > 0 {
		key += fmt.Sprint("\x1f", persons)
	}
	if len(key) > longest {
		key = strings.ToValidUTF8(key[:longest], "") + "#" + shortHash(key)
	}
	if len(shown) > longest {
		shown = strings.ToValidUTF8(shown[:longest], "") + "…"
	}
	return key, shown
}

// printable makes spaces of control characters: one of them parts the values of a
// group, and what is forged must not be taken for another group.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}
