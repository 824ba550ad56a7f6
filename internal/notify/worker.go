package notify

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
	"github.com/tocsin-events/tocsin/internal/transport"
)

// worker sends to one destination.
type worker struct {
	s    *sender
	id   state.ObjectID
	wake chan struct{}

	version int64 // of the transport that is open
	way     state.Record[Transport]
	open    transport.Transport
	broken  error // why it can't be opened
	texts   *texts
	unnoted chan struct{}  // a token for each attempt that is not in the ledger yet
	all     sync.WaitGroup // of those

	mu     sync.Mutex              // guards all below
	fails  int                     // attempts in a row that have failed for now
	resume time.Time               // not before: the breaker, or what the destination asked for
	slot   time.Time               // not before: the rate
	begun  map[state.ObjectID]bool // what was attempted and is not in the ledger yet
}

// look makes the worker look for messages.
func (w *worker) look() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run sends until ctx ends, and returns when all of it is in the ledger.
func (w *worker) run(ctx context.Context) {
	defer w.all.Wait()
	for {
		sent, err := w.round(ctx)
		if err != nil && ctx.Err() == nil {
			w.s.n.o.Logger.WarnContext(ctx, "notify: messages wait", "transport", w.id, "err", err)
		}
		if ctx.Err() != nil {
			return
		}
		if sent && err == nil {
			continue
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
	}
}

// round sends what is due now.
func (w *worker) round(ctx context.Context) (sent bool, err error) {
	if ready, err := w.ready(ctx); err != nil || !ready {
		return false, err
	}
	limit := most
	if w.half() {
		limit = 1 // one message finds out whether the destination is back
	}
	w.mu.Lock()
	begun := maps.Clone(w.begun) // before the ledger is read: it may not know of these
	w.mu.Unlock()
	due, err := findDeliveries(ctx, w.s.n.o.State.Reader(), `transport = $1 AND state IN ('queued', 'retrying') AND due <= $2 ORDER BY due, id LIMIT $3`,
		int64(w.id), time.Now().UnixNano(), limit)
	due = slices.DeleteFunc(due, func(d Delivery) bool { return begun[d.ID] })
	if err != nil || len(due) == 0 {
		return false, err
	}
	if err := w.reopen(ctx); err != nil {
		return false, err
	}
	if w.texts, err = w.s.n.readTexts(ctx, due); err != nil {
		return false, err
	}
	threads := byThread(due)
	var attempted atomic.Bool
	var all sync.WaitGroup
	for range min(lanes, len(threads)) {
		all.Go(func() {
			for thread := range threads {
				for _, d := range thread {
					if !w.tooEarly(ctx, d) && w.send(ctx, d) {
						attempted.Store(true)
					}
				}
			}
		})
	}
	all.Wait()
	return attempted.Load(), nil
}

// byThread gives messages thread by thread, as they are due. Each thread is for
// one goroutine, so that it keeps its order.
func byThread(due []Delivery) <-chan []*Delivery {
	var order []string
	of := map[string][]*Delivery{}
	for i := range due {
		d := &due[i]
		if of[d.Thread] == nil {
			order = append(order, d.Thread)
		}
		of[d.Thread] = append(of[d.Thread], d)
	}
	threads := make(chan []*Delivery, len(order))
	for _, thread := range order {
		threads <- of[thread]
	}
	close(threads)
	return threads
}

// until is when the next message may be sent.
func (w *worker) until() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return later(w.resume, w.slot)
}

// ready waits until the destination may be called; false when ctx has ended before.
// A change of the transport ends the wait, so it is looked at with each call.
func (w *worker) ready(ctx context.Context) (bool, error) {
	for {
		wait := time.Until(w.until())
		if wait <= 0 {
			return ctx.Err() == nil, nil
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-w.wake:
			if err := w.reopen(ctx); err != nil {
				t.Stop()
				return false, err
			}
		case <-ctx.Done():
			t.Stop()
			return false, nil
		}
		t.Stop()
	}
}

// half reports whether the breaker lets one message through.
func (w *worker) half() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fails >= tolerated
}

// pause waits for a time; false when ctx has ended before.
func pause(ctx context.Context, until time.Time) bool {
	d := time.Until(until)
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reopen takes the transport as it is configured now.
func (w *worker) reopen(ctx context.Context) error {
	now, err := w.s.n.GetTransport(ctx, w.id)
	if err != nil {
		return err
	}
	if now.Version == w.version {
		return nil
	}
	w.way, w.version = now, now.Version
	w.open, w.broken = w.s.n.open(&now.Value)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails, w.resume, w.slot = 0, time.Time{}, time.Time{} // who changed it wants it tried
	return nil
}

// turn waits until the destination may be called: its rate, the breaker. false
// where the message is to wait in the ledger.
func (w *worker) turn(ctx context.Context) bool {
	w.mu.Lock()
	at := time.Now()
	if w.resume.After(at) {
		w.mu.Unlock()
		return false
	}
	if r := w.way.Value.Rate; r != nil {
		if w.slot.Sub(at) > lookEvery { // until then, the transport may be another one
			w.mu.Unlock()
			return false
		}
		at = later(at, w.slot)
		w.slot = at.Add(time.Duration(r.Within) / time.Duration(r.Count))
	}
	w.mu.Unlock()
	return pause(ctx, at)
}

// send makes one attempt and hands its result to the ledger. false where no
// attempt was made.
func (w *worker) send(ctx context.Context, d *Delivery) bool {
	if !w.turn(ctx) {
		return false
	}
	w.unnoted <- struct{}{}
	began := time.Now()
	answer, told, err := w.attempt(ctx, d)
	if err != nil && ctx.Err() != nil {
		<-w.unnoted
		return false // the server stops: no attempt was completed
	}
	r := result{
		d: d, event: told, err: err, mail: answer.Mail, way: w.way, state: Delivered,
		noted:   func() { w.noted(d.ID) },
		attempt: Attempt{Number: d.Attempts + 1, Time: began.UTC(), Status: answer.Status, Latency: time.Since(began), Answer: answer.Body},
	}
	w.judge(&r, err)
	w.s.results <- r
	return true
}

// noted is called when an attempt is in the ledger.
func (w *worker) noted(id state.ObjectID) {
	w.mu.Lock()
	delete(w.begun, id)
	w.mu.Unlock()
	<-w.unnoted
	w.all.Done()
}

// judge decides what becomes of a delivery, and of the destination.
func (w *worker) judge(r *result, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun[r.d.ID] = true
	w.all.Add(1)
	if err == nil {
		w.fails = 0
		return
	}
	r.attempt.Error, r.reason = err.Error(), err.Error()
	retry := DefaultRetry()
	if w.way.Value.Retry != nil {
		retry = *w.way.Value.Retry
	}
	if !transport.Temporary(err) {
		r.state = Dead
		return
	}
	now, asked := time.Now(), transport.RetryAfter(err)
	w.fails++
	if asked > 0 {
		w.resume = later(w.resume, now.Add(min(asked, 24*time.Hour)))
	}
	if w.fails >= tolerated {
		w.resume = later(w.resume, now.Add(min(time.Duration(retry.First)<<min(w.fails-tolerated, 20), maxPause)))
	}
	if r.attempt.Number >= retry.Attempts {
		r.state = Dead
		return
	}
	r.state, r.due = Retrying, now.Add(backoff(retry, r.attempt.Number, asked))
}

// attempt sends one message. told is the event that it was about.
func (w *worker) attempt(ctx context.Context, d *Delivery) (answer transport.Answer, told *event.Event, err error) {
	if w.broken != nil {
		return answer, nil, w.broken
	}
	if d.Sequence != 0 {
		if told, err = w.texts.event(d.Sequence); err != nil && d.Details.Title == "" {
			if _, damaged := errors.AsType[*segment.DamageError](err); damaged || errors.Is(err, event.ErrNotFound) {
				return answer, nil, event.Invalidf("the event is no longer in the journal: %s", err)
			}
			return answer, nil, event.Unavailablef("the event can't be read: %w", err)
		}
	}
	m, err := w.outgoing(ctx, d, told)
	if err != nil {
		return answer, told, err
	}
	limited, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	answer, err = w.open.Send(limited, m)
	if err != nil && ctx.Err() == nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
		err = event.Unavailablef("no answer within %s", sendTime)
	}
	return answer, told, err
}

// outgoing is the message that a row of the ledger stands for.
func (w *worker) outgoing(ctx context.Context, d *Delivery, told *event.Event) (*transport.Message, error) {
	n := w.s.n
	ruleName, err := d.Details.Group, error(nil) // of what no rule has told
	if d.Rule != 0 {
		ruleName, err = w.texts.rule(ctx, d.Rule)
	}
	if err != nil {
		return nil, event.Unavailablef("rule: %w", err)
	}
	var words *Template
	if told != nil {
		words = w.texts.words[told.Type]
	}
	m := n.message(&d.Details, told, words, d.Rule, ruleName)
	m.Key, m.RuleID = d.Key, d.Rule.String()
	if d.Details.Why == whyDirect && told == nil {
		m.Event = n.directEvent(d)
	}
	if d.Recipient == 0 {
		return &m, nil
	}
	who, active, err := n.o.Directory.Person(ctx, d.Recipient)
	if err != nil {
		return nil, event.Unavailablef("people: %w", err)
	}
	if !active || who.Email == "" {
		return nil, event.Invalidf("the person is no longer active, or has no e-mail address any more")
	}
	m.Recipients = []transport.Recipient{who.recipient()}
	if d.Rule != 0 { // else there is nothing to unsubscribe from
		m.Unsubscribe = n.unsubscribeURL(d.Rule, d.Recipient)
	}
	return &m, nil
}
