package notify

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Who changes a transport is not made to wait for what the destination before had
// asked for, nor for the rate that it had.
func TestChangedWhileItWaits(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(int, http.ResponseWriter, *http.Request)
		rate   *Rate
	}{
		"asked for time": {answer: func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		}},
		"rate": {rate: &Rate{Count: 1, Within: dur("1h")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKit(t)
			before, after := newSink(t, tt.answer), newSink(t, nil)
			way := k.webhook("hook", before.URL, func(in *TransportInput) { in.Rate = tt.rate })
			id := k.rule("all", way, func(r *Rule) { r.Types = []string{"x"} })
			k.start()
			k.emit(event.Event{Type: "x"})
			k.until("the first was sent", func() bool { return len(before.all()) == 1 && k.ledger(DeliveryQuery{Rule: id})[0].Attempts == 1 })
			k.emit(event.Event{Type: "x"})
			k.emit(event.Event{Type: "x"})
			k.until("the others wait", func() bool { return len(k.ledger(DeliveryQuery{Rule: id})) == 3 })
			_, err := k.UpdateTransport(t.Context(), state.System(), way, state.AnyVersion, func(in TransportInput) (TransportInput, error) {
				in.Rate, in.Settings = nil, json.RawMessage(`{"url":"`+after.URL+`","format":"cloudevents"}`)
				return in, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			k.until("the others arrive elsewhere", func() bool { return len(after.all()) == 2 && len(before.all()) == 1 })
		})
	}
}

// flaky is a journal of which single events can't be read for a while.
type flaky struct {
	Journal
	fails atomic.Int32
}

func (f *flaky) Get(seq event.Seq) (segment.Hit, error) {
	if f.fails.Add(-1) >= 0 {
		return segment.Hit{}, errors.New("read: too many open files")
	}
	return f.Journal.Get(seq)
}

// A message is not given up because its event could not be read for a moment.
func TestEventIsRead(t *testing.T) {
	k := newKit(t)
	f := &flaky{Journal: k.o.Journal}
	f.fails.Store(2)
	k.o.Journal = f
	s := newSink(t, nil)
	id := k.rule("all", k.webhook("hook", s.URL), func(r *Rule) { r.Types = []string{"x"} })
	k.start()
	k.emit(event.Event{Type: "x"})
	k.until("it is over", func() bool {
		all := k.ledger(DeliveryQuery{Rule: id})
		return len(all) == 1 && !all[0].Ended.IsZero()
	})
	if d := k.ledger(DeliveryQuery{Rule: id})[0]; d.State != Delivered || d.Attempts != 3 {
		t.Errorf("%+v", d)
	}
}

// What is queued for a transport that was removed in the meantime does not wait
// for ever.
func TestQueuedBehindTheRemoval(t *testing.T) {
	k := newKit(t)
	w := &work{rows: []delivery{{key: "k", rule: 1, way: 77, thread: "1/", seq: 1, doc: "{}", created: 1}}}
	if err := k.state.Write(t.Context(), state.System(), w.writeRows); err != nil {
		t.Fatal(err)
	}
	if err := k.sender.clean(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := k.ledger(DeliveryQuery{}); len(got) != 1 || got[0].State != Dead || got[0].Reason != "the transport was removed" || got[0].Ended.IsZero() {
		t.Errorf("%+v", got)
	}
}

// The reason of a failure holds no more secrets than the attempt does.
func TestReasonIsRedacted(t *testing.T) {
	k := newKit(t)
	way := k.webhook("hook", "http://127.0.0.1:9")
	w := &work{rows: []delivery{{key: "k", rule: 1, way: way, thread: "1/", seq: 1, doc: "{}", created: 1}}}
	if err := k.state.Write(t.Context(), state.System(), w.writeRows); err != nil {
		t.Fatal(err)
	}
	d := k.ledger(DeliveryQuery{})[0]
	said := "POST https://bot:hunter22@chat.example/: refused"
	err := k.state.Write(t.Context(), state.System(), func(tx *state.Tx) error {
		return k.writeResults(tx, []result{{d: &d, state: Dead, reason: said, attempt: Attempt{Number: 1, Error: said}}})
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := k.ledger(DeliveryQuery{})[0]; d.Reason == "" || strings.Contains(d.Reason, "hunter22") {
		t.Errorf("%q", d.Reason)
	}
}

// What is not there is not found; a state that there is not is no state.
func TestReplayOfNothing(t *testing.T) {
	k := newKit(t)
	if _, err := k.ReplayOne(t.Context(), state.System(), 999); !errors.Is(err, event.ErrNotFound) {
		t.Errorf("one: %v", err)
	}
	if _, err := k.Replay(t.Context(), state.System(), DeliveryQuery{State: "sent"}); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("many: %v", err)
	}
}
