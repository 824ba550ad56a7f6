package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/jq"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/state"
)

const (
	// workers is how many runs are in hand at once: most of them wait for the disk,
	// together. busy is how many of them compute, or wait for others.
	workers = 256
	busy    = 32
	// large is how many bytes of output a run may hold that is not busy any more.
	large = 64 << 10
	// patience is the longest wait that a run sits out in memory.
	patience = 2 * time.Second
	// maxRecoveries is how often a run is taken up again that was under way when a
	// server ended: then it is the run that ends the server.
	maxRecoveries = 3
	// unseen is how long a run may be under way before that is written, where it has
	// begun since the server started, and has done nothing that others see.
	unseen = 100 * time.Millisecond
	// fetchTries and fetchPause: how often a flow that can't be read is read again.
	fetchTries = 4
	fetchPause = 250 * time.Millisecond
	// tidyEvery is how often runs that are over for long are forgotten.
	tidyEvery = time.Hour
	keepRuns  = 30 * 24 * time.Hour
)

// The prefixes of failures, by the letter of seed 001.
const (
	prefixFetch    = "failed to fetch target flow: "
	prefixValid    = "flow validation failed: "
	prefixInput    = "failed to prepare input data: "
	prefixRejected = "flow rejected input data: "
)

const unknownStatus = "unknown"

// Why the work on a run is ended.
type stopError struct{ why string }

func (s *stopError) Error() string { return "cancelled: " + s.why }

// work runs what is in the queue, until ctx ends.
func (e *Engine) work(ctx context.Context) {
	var all sync.WaitGroup
	for range workers {
		all.Go(func() { e.worker(ctx) })
	}
	all.Go(func() { e.clock(ctx) })
	all.Wait()
}

// clock wakes runs whose wait is over, and forgets old ones.
func (e *Engine) clock(ctx context.Context) {
	const most = time.Second // the clock may be set
	tidy := time.Now().Add(time.Minute)
	tick := time.NewTimer(most)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		if err := e.due(ctx, now); err != nil && ctx.Err() == nil {
			e.o.Logger.WarnContext(ctx, "waiting runs can't be read", "err", err)
		}
		if now.After(tidy) {
			tidy = now.Add(tidyEvery)
			if err := e.tidy(ctx, now.Add(-keepRuns)); err != nil && ctx.Err() == nil {
				e.o.Logger.WarnContext(ctx, "old runs can't be forgotten", "err", err)
			}
		}
		tick.Reset(max(min(most, time.Until(e.queue.when())), time.Millisecond))
	}
}

// when is when the next waiting run is due; far away for never.
func (q *queue) when() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next.IsZero() {
		return time.Now().Add(time.Hour)
	}
	return q.next
}

// dueBatch is how many waiting runs are woken at once.
const dueBatch = 2000

// due wakes the runs whose wait is over.
func (e *Engine) due(ctx context.Context, now time.Time) error {
	if !e.queue.since(now) {
		return nil
	}
	next, err := e.wakeDue(ctx, now)
	if err != nil {
		next = now.Add(time.Second)
	}
	e.queue.mu.Lock()
	defer e.queue.mu.Unlock()
	if !next.IsZero() {
		e.queue.later(next)
	}
	return err
}

// since reports whether a waiting run is due, and forgets when: who begins to wait
// from now on says so anew.
func (q *queue) since(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next.IsZero() || q.next.After(now) {
		return false
	}
	q.next = time.Time{}
	return true
}

// wakeDue wakes the runs that are due, and says when to look again; zero for never.
func (e *Engine) wakeDue(ctx context.Context, now time.Time) (next time.Time, err error) {
	q := e.o.State.Reader()
	found, err := q.QueryContext(ctx, `SELECT id FROM runs WHERE state = 'waiting' AND due > 0 AND due <= $1 ORDER BY due LIMIT $2`, now.UnixNano(), dueBatch)
	if err != nil {
		return next, fmt.Errorf("read waiting runs: %w", err)
	}
	defer found.Close()
	n := 0
	for ; found.Next(); n++ {
		var id RunID
		if err := found.Scan(&id); err != nil {
			return next, fmt.Errorf("read waiting runs: %w", err)
		}
		e.queue.awake(id)
	}
	if err := found.Err(); err != nil {
		return next, fmt.Errorf("read waiting runs: %w", err)
	}
	if n == dueBatch { // those that were woken are due until they are looked at
		return now.Add(100 * time.Millisecond), nil
	}
	var at int64
	if err := q.QueryRowContext(ctx, `SELECT COALESCE(MIN(due), 0) FROM runs WHERE state = 'waiting' AND due > $1`, now.UnixNano()).Scan(&at); err != nil {
		return next, fmt.Errorf("read waiting runs: %w", err)
	}
	return timeOf(at), nil
}

// tidy forgets runs that were over before a time.
func (e *Engine) tidy(ctx context.Context, before time.Time) error {
	return e.writes.do(ctx, func(tx *state.Tx) error {
		for _, statement := range []string{
			`DELETE FROM run_answers WHERE run IN (SELECT id FROM runs WHERE finished > 0 AND finished < $1)`,
			`DELETE FROM runs WHERE finished > 0 AND finished < $1`,
			`DELETE FROM flow_versions WHERE created < $1 AND hash NOT IN (SELECT json_extract(doc, '$.version') FROM objects WHERE model = 'flow') AND hash NOT IN (SELECT json_extract(doc, '$.version') FROM runs)`,
		} {
			if _, err := tx.ExecContext(tx.Context(), statement, before.UnixNano()); err != nil {
				return fmt.Errorf("forget old runs: %w", err)
			}
		}
		return nil
	})
}

// worker works on one run after the other.
func (e *Engine) worker(ctx context.Context) {
	for {
		next, work, ok := e.queue.take(ctx)
		if !ok {
			select {
			case <-e.queue.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		r, err := e.attempt(work, next)
		switch {
		case errors.Is(err, errOver):
			r.State, err = Cancelled, nil
		case err != nil: // it stands as it did, whatever was to become of it
			r = nil
		}
		stop := e.queue.leave(next.id, r)
		e.announce()
		switch {
		case stop != nil && (r == nil || !r.State.Over()): // it came too late, or too early, for the run itself
			e.cancel(next.id, stop.why)
		case err != nil && ctx.Err() == nil:
			e.o.Logger.WarnContext(ctx, "a run is tried again", "run", string(next.id), "err", err)
			e.later(ctx, next.id)
		}
	}
}

// later tries a run again after a pause.
func (e *Engine) later(ctx context.Context, id RunID) {
	time.AfterFunc(time.Second, func() {
		if ctx.Err() == nil {
			e.queue.awake(id)
		}
	})
}

// attempt works on a run as far as it can go now. The error is the engine's: the run
// stands as it did. The run is nil where it can't be read.
func (e *Engine) attempt(ctx context.Context, next ready) (*Run, error) {
	r, err := e.read(ctx, next)
	if r == nil || err != nil || r.State.Over() {
		return r, err
	}
	if !e.queue.admit(r, e.limit(r.Trigger)) {
		return r, nil
	}
	if r.Recovers > maxRecoveries {
		return r, e.finish(ctx, r, end{state: Faulted, err: fmt.Sprintf("abandoned: the server ended %d times while this run was under way", r.Recovers)})
	}
	if r.Failure != "" {
		return r, e.finish(ctx, r, end{state: Faulted, failure: r.Failure})
	}
	p, failure, err := e.program(ctx, r)
	if err != nil {
		return r, err
	}
	if failure != "" {
		return r, e.finish(ctx, r, end{state: Faulted, failure: failure})
	}
	return r, e.execute(ctx, r, p, next.fresh)
}

// read is a run as it is stored; nil where it is forgotten.
func (e *Engine) read(ctx context.Context, next ready) (*Run, error) {
	if next.run != nil {
		next.run.bare = true
		return next.run, nil
	}
	r, err := findRun(ctx, e.o.State.Reader(), next.id)
	if errors.Is(err, event.ErrNotFound) {
		return nil, nil //nolint:nilnil // it was forgotten in the meantime
	}
	return &r, err
}

// limit is how many runs of a trigger may be under way; 0 for any number.
func (e *Engine) limit(id state.ObjectID) int {
	e.mu.Lock()
	t := e.active.byID[id]
	e.mu.Unlock()
	switch {
	case t == nil:
		return 0
	case t.Concurrency != nil:
		return t.Concurrency.Limit
	case t.Kind == OnSchedule && (t.Overlap == OverlapBufferOne || t.Overlap == OverlapBufferAll):
		return 1
	}
	return 0
}

// program is what a run runs; or why it can't, in words with their prefix.
func (e *Engine) program(ctx context.Context, r *Run) (*program.Program, string, error) {
	if r.Hash == "" {
		return nil, prefixFetch + "there is no flow " + r.Flow.String(), nil
	}
	pause := fetchPause
	for try := 1; ; try++ {
		p, err := e.programs.ofHash(ctx, r.Hash)
		switch {
		case err == nil:
			return p, "", nil
		case ctx.Err() != nil:
			return nil, "", ctx.Err()
		case errors.Is(err, event.ErrInvalid):
			return nil, prefixValid + err.Error(), nil
		case try == fetchTries || errors.Is(err, errNoVersion):
			return nil, prefixFetch + err.Error(), nil
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, "", ctx.Err()
		}
		pause *= 2
	}
}

// execute runs a program until it ends or waits.
func (e *Engine) execute(ctx context.Context, r *Run, p *program.Program, fresh bool) error {
	var answers map[string]program.Answer
	if !r.bare {
		var err error
		if answers, err = answersOf(ctx, e.o.State.Reader(), r.ID); err != nil {
			return err
		}
	}
	if r.Started.IsZero() {
		r.Started = time.Now().UTC()
	}
	r.State, r.Due = Running, time.Time{}
	h := &hands{e: e, r: r, used: &used{}, unwritten: true}
	if !fresh {
		if err := h.begin(ctx); err != nil {
			return err
		}
	}
	free := e.slot(ctx)
	defer free()
	input, err := jq.Decode(r.Input)
	if err != nil {
		return e.finish(ctx, r, end{state: Faulted, failure: prefixInput + err.Error()})
	}
	seen := time.AfterFunc(unseen, func() {
		if h.begin(ctx) == nil { // else the first effect tries it again, and has the error
			e.announce()
		}
	})
	got, err := e.interpret(ctx, h, p, input, answers)
	seen.Stop()
	if why, ok := errors.AsType[*stopError](context.Cause(ctx)); ok {
		return e.finish(context.WithoutCancel(ctx), r, end{state: Cancelled, err: why.Error()})
	}
	if ctx.Err() != nil { // the server stops: the run goes on when it is back
		r.State, r.Due = Queued, time.Now().UTC()
		return e.save(context.WithoutCancel(ctx), r)
	}
	if err != nil {
		return err
	}
	return e.settle(ctx, r, &got, free)
}

// slot waits until a run may compute, or wait for others; free ends that, once.
func (e *Engine) slot(ctx context.Context) (free func()) {
	select {
	case e.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-e.slots })
	case <-ctx.Done():
		return func() { /* it is not used: the interpreter ends at once */ }
	}
}

// interpret runs the program of a run, and keeps its steps.
func (e *Engine) interpret(ctx context.Context, h *hands, p *program.Program, input any, answers map[string]program.Answer) (program.Result, error) {
	r, began, limits := h.r, time.Now(), e.o.Limits()
	used := h.used
	steps := newRecorder(used)
	got, err := p.Run(ctx, program.Run{
		ID: string(r.ID), Input: input, StartedAt: r.Started, Answers: answers, Effects: h,
		Secret: func(name string) (any, error) {
			v, err := e.secret(ctx, r, name)
			used.add(v)
			return v, err
		},
		Runtime: map[string]any{"name": "tocsin", "version": e.o.Version, "metadata": map[string]any{}},
		OnStep:  steps.take, Patience: patience, MaxSteps: limits.MaxSteps, MaxTime: limits.MaxTime,
	})
	h.end()
	r.Steps, r.Millis = steps.all, time.Since(began).Milliseconds()
	r.bare = r.bare && !h.acted.Load()
	if err == nil {
		used.mask(&got)
	}
	return got, err
}

// save stores how a run stands; errOver where it was ended in the meantime.
func (e *Engine) save(ctx context.Context, r *Run) error {
	doc, err := r.text()
	if err != nil {
		return err
	}
	return e.writes.do(ctx, func(tx *state.Tx) error { return r.save(tx, doc) })
}

// settle writes what a run has come to. It frees the run's slot before, if that
// is not much.
func (e *Engine) settle(ctx context.Context, r *Run, got *program.Result, free func()) error {
	r.Status, r.StatusMsg = got.Status, got.StatusMessage
	output, err := json.Marshal(got.Output)
	if err != nil {
		return fmt.Errorf("output of run %s: %w", r.ID, err)
	}
	if len(output) <= large {
		free()
	}
	switch {
	case got.State == program.Suspended:
		return e.suspend(ctx, r, got)
	case got.Rejected:
		return e.finish(ctx, r, end{state: Faulted, failure: prefixRejected + got.Err.Error(), fault: got.Err})
	case got.State == program.Faulted:
		return e.finish(ctx, r, end{state: Faulted, err: got.Err.Error(), fault: got.Err})
	}
	return e.finish(ctx, r, end{state: Completed, output: output})
}

// suspend puts a run to rest until an answer comes, or a time.
func (e *Engine) suspend(ctx context.Context, r *Run, got *program.Result) error {
	now := e.o.Journal.Last()
	var begun []*listening
	for _, w := range got.Waits {
		if w.Kind != program.EffectListen {
			continue
		}
		one := &listening{run: r.ID, key: w.Key, since: now, l: w.Listen}
		if w.Listen.After != "" {
			if seq, err := event.ParseSeq(w.Listen.After); err == nil {
				one.since = seq
			}
		}
		begun = append(begun, one)
	}
	r.State, r.Due = Waiting, got.NextAt()
	ended := e.waits.others(r.ID, got.Waits) // such as those that a timeout struck
	doc, err := r.text()
	if err != nil {
		return err
	}
	answered := false
	err = e.writes.do(context.WithoutCancel(ctx), func(tx *state.Tx) (err error) {
		if answered, err = hasAnswer(tx, r.ID, got.Waits); err != nil {
			return err
		}
		if answered {
			r.Due = time.Now().UTC()
		}
		if err := r.save(tx, doc); err != nil {
			return err
		}
		for _, key := range ended {
			if _, err := tx.ExecContext(tx.Context(), `DELETE FROM run_listens WHERE run = $1 AND effect = $2`, r.ID, key); err != nil {
				return fmt.Errorf("end a listen: %w", err)
			}
		}
		for _, one := range begun {
			if err := one.begin(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if answered {
		e.queue.awake(r.ID)
	}
	for _, key := range ended {
		e.waits.drop(r.ID, key)
	}
	e.waits.begin(begun)
	if len(begun) > 0 {
		e.follower.Wake() // events may lie behind it
	}
	return nil
}

// hasAnswer reports whether one of the things that a run waits for has come in the
// meantime.
func hasAnswer(tx *state.Tx, run RunID, waits []program.Effect) (bool, error) {
	for _, w := range waits {
		var n int
		if err := tx.QueryRowContext(tx.Context(), `SELECT count(*) FROM run_answers WHERE run = $1 AND effect = $2`, run, w.Key).Scan(&n); err != nil {
			return false, fmt.Errorf("look for answers: %w", err)
		}
		if n > 0 {
			return true, nil
		}
	}
	return false, nil
}

// begin stores that a run listens. One that listens already goes on with what it
// has heard.
func (one *listening) begin(tx *state.Tx) error {
	doc, err := json.Marshal(one.l)
	if err != nil {
		return fmt.Errorf("listen of run %s: %w", one.run, err)
	}
	_, err = tx.ExecContext(tx.Context(), `INSERT INTO run_listens (run, effect, since, doc) VALUES ($1, $2, $3, $4) ON CONFLICT (run, effect) DO NOTHING`,
		one.run, one.key, int64(one.since), string(doc))
	return wrap("listen", err)
}

// begin is add for those that do not listen yet.
func (w *waits) begin(all []*listening) {
	var fresh []*listening
	w.mu.Lock()
	for _, one := range all {
		known := false
		for _, old := range w.byRun[one.run] {
			known = known || old.key == one.key
		}
		if !known {
			fresh = append(fresh, one)
		}
	}
	w.mu.Unlock()
	w.add(fresh)
}
