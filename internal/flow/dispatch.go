package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/flow/jq"
	"github.com/tocsin-events/tocsin/internal/follow"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Limits of deciding. A filter is bounded by its cost, which is about 20 ms: a
// context for each of them costs more than most filters do.
const (
	evalTime = 100 * time.Millisecond
	// countEvery is how long counts of skips wait to be written, where nothing else
	// is.
	countEvery = 5 * time.Second
)

// dispatcher turns events into runs: the follower's handler. It belongs to the
// follower's goroutine.
type dispatcher struct {
	e     *Engine
	x     *index
	cells *cells
	skips skips
	wrote time.Time // when skips were written last
	seen  time.Time // the newest recorded time

	batch *batch // what the last Handle has returned
}

// Handler is what turns events into runs, for who measures it: that of an Engine
// which runs is the follower's.
func (e *Engine) Handler() follow.Handler { return &dispatcher{e: e} }

// batch is what comes of events.
type batch struct {
	d       *dispatcher
	now     time.Time
	runs    []*Run
	cancels []RunID // in the order in which they were queued
	leaving map[RunID]bool
	heard   []hearing
	skips   skips
	cells   bool
	began   map[state.ObjectID][]RunID // runs of this batch, by trigger
}

// Begin implements follow.Handler.
func (d *dispatcher) Begin(ctx context.Context) error {
	d.x, d.skips, d.wrote = nil, skips{}, time.Now()
	d.e.mu.Lock()
	d.e.stale = true
	d.e.mu.Unlock()
	var err error
	if d.cells, err = openCells(ctx, d.e.o.State.Reader()); err != nil {
		return err
	}
	at, _, err := d.e.o.State.Cursor(ctx, "flow")
	if err != nil {
		return err
	}
	if err := d.e.waits.open(ctx, d.e.o.State.Reader(), at); err != nil {
		return err
	}
	return d.e.queue.begin(ctx, d.e)
}

// Due implements follow.Handler.
func (d *dispatcher) Due() time.Time {
	due := d.cells.due()
	if len(d.skips) > 0 {
		if at := d.wrote.Add(countEvery); due.IsZero() || at.Before(due) {
			due = at
		}
	}
	if d.e.waits.late() {
		due = time.Now()
	}
	return due
}

// Committed implements follow.Handler.
func (d *dispatcher) Committed(context.Context) {
	b := d.batch
	d.batch = nil
	if b == nil {
		return
	}
	if b.skips != nil {
		d.skips, d.wrote = skips{}, b.now
	}
	if b.cells {
		d.cells.saved(d.seen)
	}
	for _, r := range b.runs {
		d.e.queue.hand(r)
	}
	for i := range b.heard {
		if b.heard[i].done {
			d.e.waits.drop(b.heard[i].run, b.heard[i].key)
			d.e.queue.awake(b.heard[i].run)
		}
	}
	for _, id := range b.cancels {
		d.e.cancel(id, "a newer run of its trigger has taken its place")
	}
	if len(b.runs) > 0 || len(b.heard) > 0 {
		d.e.announce()
	}
}

// Handle implements follow.Handler.
func (d *dispatcher) Handle(ctx context.Context, hits []segment.Hit, now time.Time) (follow.Commit, error) {
	x, fresh, err := d.e.current(ctx)
	if err != nil {
		return nil, err
	}
	anew := fresh || d.x == nil
	if anew {
		d.x = x
		d.cells.keep(x)
		d.e.queue.relimit(d.e.limit)
		if fresh {
			d.e.nudge() // the scheduler reads them, too
			d.e.synchronised(ctx, "trigger.event.sync", len(x.byID)-len(x.schedules))
		}
	}
	b := &batch{d: d, now: now, leaving: map[RunID]bool{}, began: map[state.ObjectID][]RunID{}}
	b.cells = anew && len(d.cells.dirty) > 0
	if err := b.catchUp(ctx); err != nil {
		return nil, err
	}
	for i := range hits {
		ev, err := event.DecodeStored(hits[i].Body)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", hits[i].Seq, err)
		}
		ev.Sequence, ev.RecordedTime = hits[i].Seq, time.Unix(0, hits[i].Recorded).UTC()
		d.seen = ev.RecordedTime
		b.over(d.seen)
		b.event(&ev)
		d.e.waits.at = ev.Sequence
	}
	if len(hits) == 0 {
		b.over(now)
	}
	if len(d.skips) > 0 && (now.Sub(d.wrote).Abs() >= countEvery || !b.empty()) {
		b.skips = d.skips
	}
	if b.empty() && b.skips == nil {
		return nil, nil
	}
	d.batch = b
	return b.commit, nil
}

func (b *batch) empty() bool {
	return len(b.runs) == 0 && len(b.heard) == 0 && !b.cells && len(b.cancels) == 0
}

// event asks every trigger that may want an event, and every run that listens.
func (b *batch) event(ev *event.Event) {
	if ev.Text(ingest.QuarantineAttribute) == "true" {
		return // nothing may act on it
	}
	in := filter.NewInput(ev)
	for _, t := range b.d.x.of(ev.Type) {
		if why, _ := t.refuses(ev, in); why != "" {
			b.skip(t, why, ev.Sequence)
			continue
		}
		b.fire(t, ev, in)
	}
	b.heard = append(b.heard, b.d.e.waits.offer(ev)...)
}

// refuses is why a trigger does not run for an event, with the words for people;
// empty where it may.
func (t *trigger) refuses(ev *event.Event, in *filter.Input) (Skip, string) {
	if !t.Enabled {
		return Disabled, "the trigger is disabled"
	}
	if why := t.loop(ev); why != "" {
		return why, "loop protection: the event comes of a chain in which this trigger or its flow takes part"
	}
	if ev.CausationDepth >= ingest.MaxDepth {
		return Depth, fmt.Sprintf("the event is number %d of a chain of causes; what comes of it would be one too many", ev.CausationDepth)
	}
	if t.broken != nil {
		return FilterError, t.broken.Error()
	}
	if t.filter == nil {
		return "", ""
	}
	ok, err := t.filter.Match(in)
	switch {
	case err != nil:
		return FilterError, err.Error()
	case !ok:
		return FilterFalse, "the filter is false"
	}
	return "", ""
}

// fire starts a run for an event, or lets it count for a later one.
func (b *batch) fire(t *trigger, ev *event.Event, in *filter.Input) {
	if t.on {
		b.listens(t, ev)
		return
	}
	if t.Throttle == nil {
		b.start(t, ev, runOfEvent(t.id, ev.Sequence), func() (json.RawMessage, error) { return t.inputOf(ev) })
		return
	}
	group, err := t.group(in)
	if err != nil {
		b.skip(t, FilterError, ev.Sequence)
		return
	}
	b.cells = true
	c := b.d.cells.get(t.id, group)
	if every := time.Duration(t.Throttle.OnceWithin); every > 0 {
		if left := c.Until.Sub(ev.RecordedTime); left > 0 && left <= every { // more is of a clock that was wrong
			b.skip(t, Throttled, ev.Sequence)
			return
		}
		b.d.cells.until(c, ev.RecordedTime.Add(every))
		b.start(t, ev, runOfEvent(t.id, ev.Sequence), func() (json.RawMessage, error) { return t.inputOf(ev) })
		return
	}
	// A time that is further away was computed by a clock that was wrong.
	if end := ev.RecordedTime.Add(time.Duration(t.Throttle.Accumulate.Within)); len(c.Seqs) == 0 || end.Before(c.Until) {
		b.d.cells.until(c, end)
	}
	c.Seqs = append(c.Seqs, ev.Sequence)
	if len(c.Seqs) >= t.Throttle.Accumulate.Count {
		b.accumulated(t, c)
	}
}

// accumulated starts the run of a trigger for all events of a cell.
func (b *batch) accumulated(t *trigger, c *cell) {
	seqs := c.Seqs
	c.Seqs, c.Until = nil, time.Time{}
	var events []event.Event
	for _, seq := range seqs {
		hit, err := b.d.e.o.Journal.Get(seq)
		if err != nil {
			continue // retention has taken it
		}
		if ev, err := event.DecodeStored(hit.Body); err == nil {
			ev.Sequence, ev.RecordedTime = seq, time.Unix(0, hit.Recorded).UTC()
			events = append(events, ev)
		}
	}
	if len(events) == 0 {
		return
	}
	last := &events[len(events)-1]
	b.start(t, last, runOf("cell", t.id.String(), seqs[0].String(), seqs[len(seqs)-1].String()), func() (json.RawMessage, error) { return t.inputOfAll(events) })
}

// over ends what accumulates until a time.
func (b *batch) over(until time.Time) {
	for _, k := range b.d.cells.over(until) {
		t := b.d.x.byID[k.trigger]
		c := b.d.cells.get(k.trigger, k.group)
		b.cells = true
		if t == nil || t.Throttle == nil || t.Throttle.Accumulate == nil || !t.Enabled {
			c.Seqs, c.Until = nil, time.Time{}
			continue
		}
		b.accumulated(t, c)
	}
}

// start makes a run, if the trigger has room for it.
func (b *batch) start(t *trigger, ev *event.Event, id RunID, input func() (json.RawMessage, error)) {
	if c := t.Concurrency; c != nil && c.WhenFull != FullQueue {
		if n := b.d.e.queue.count(t.id) + len(b.began[t.id]); n >= c.Limit {
			if c.WhenFull == FullSkip {
				b.skip(t, Overlap, ev.Sequence)
				return
			}
			b.giveWay(t, n-c.Limit+1)
		}
	}
	b.began[t.id] = append(b.began[t.id], id)
	r := t.run(id, b.now.Add(time.Duration(len(b.runs))))
	r.Event = &Cause{ev.Sequence, ev.ID, ev.Type}
	r.Correlation, r.Depth = ev.CorrelationID, ev.CausationDepth
	if r.Correlation == "" {
		r.Correlation = string(ev.ID)
	}
	if origin := ev.Text(originFlow); origin != "" {
		r.OriginFlow = origin
	}
	if origin := ev.Text(originTrigger); origin != "" {
		r.OriginTrigger = origin
	}
	r.give(input())
	b.runs = append(b.runs, r)
}

// giveWay ends the oldest n runs of a trigger, also such as this batch has begun.
func (b *batch) giveWay(t *trigger, n int) {
	all := slices.Concat(b.d.e.queue.live(t.id), b.began[t.id])
	for _, old := range all[:min(n, len(all))] {
		if !b.leaving[old] {
			b.leaving[old] = true
			b.cancels = append(b.cancels, old)
		}
	}
}

// run is a new run of a trigger, which still lacks its input.
func (t *trigger) run(id RunID, now time.Time) *Run {
	r := &Run{ID: id, State: Queued, Flow: t.target, Trigger: t.id, Priority: t.Priority, Queued: now, Due: now, Document: Document{
		TriggerName: t.Name, TriggerVersion: t.version, Kind: t.Kind, Emit: t.Emit, Status: unknownStatus, OriginTrigger: t.id.String(), OriginFlow: t.target.String(), Scopes: []string{},
	}}
	if t.Chain != nil {
		r.OriginFlow, r.OriginTrigger = t.Chain.Flow, t.Chain.Trigger
	}
	if t.flow != nil {
		r.pin(t.flow)
	}
	return r
}

// pin ties a run to the present version of its flow.
func (r *Run) pin(f *flowHead) {
	r.FlowName, r.Namespace, r.Hash, r.Scopes = f.name, f.space, f.hash, f.scopes
}

// give sets the input of a run, or why it has none.
func (r *Run) give(input json.RawMessage, err error) {
	if err == nil && len(input) > maxInput {
		err = fmt.Errorf("the input has %d bytes; at most %d are taken", len(input), maxInput)
	}
	r.Input = input
	if err != nil {
		r.Input, r.Failure = json.RawMessage("null"), prefixInput+err.Error()
	}
}

// inputOf is what a flow is given of an event.
func (t *trigger) inputOf(ev *event.Event) (json.RawMessage, error) {
	return t.mapped(ev.AppendJSON(nil))
}

// inputOfAll is what a flow is given of several events.
func (t *trigger) inputOfAll(events []event.Event) (json.RawMessage, error) {
	body := []byte(`{"events":[`)
	for i := range events {
		if i > 0 {
			body = append(body, ',')
		}
		body = events[i].AppendJSON(body)
	}
	return t.mapped(append(body, "]}"...))
}

// mapped runs the trigger's mapping over JSON.
func (t *trigger) mapped(body []byte) (json.RawMessage, error) {
	if t.input == nil {
		return body, nil
	}
	value, err := jq.Decode(body)
	if err != nil {
		return nil, err
	}
	m := jq.NewMeter(context.Background(), evalTime)
	defer m.Stop()
	out, err := t.input.Run(m, value, jq.Values{Now: time.Now()})
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

// group is the value of what a throttle is kept apart by.
func (t *trigger) group(in *filter.Input) (string, error) {
	values := make([]any, len(t.groups))
	for i, g := range t.groups {
		var err error
		if values[i], err = g.Eval(in, nil); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(values)
	return string(text), err
}

func (b *batch) skip(t *trigger, why Skip, seq event.Seq) {
	b.d.skips.add(t, why, seq)
	b.d.e.o.Metrics.Skipped(t.Name, string(why), 1)
}

// commit writes what came of a batch, with the cursor.
func (b *batch) commit(tx *state.Tx) error {
	var kept []*Run
	for _, r := range b.runs {
		fresh, err := r.insert(tx)
		if err != nil {
			return err
		}
		if fresh {
			kept = append(kept, r)
		}
	}
	b.runs = kept
	for i := range b.heard {
		if err := b.heard[i].save(tx, b.now); err != nil {
			return err
		}
	}
	if b.cells {
		if err := b.d.cells.save(tx, b.d.seen); err != nil {
			return err
		}
	}
	return b.skips.save(tx, b.now)
}

// synchronised says that triggers were read.
func (e *Engine) synchronised(ctx context.Context, t event.Type, n int) {
	ev, err := state.System().Event(e.o.Source+"/"+producer, t, "", map[string]any{"triggers": n})
	if err == nil {
		ev.Host = e.o.Host
		err = e.o.Raise(ctx, ev)
	}
	if err != nil && ctx.Err() == nil {
		e.o.Logger.WarnContext(ctx, "that triggers were read is not recorded", "err", err)
	}
}
