package notify

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/tocsin-events/tocsin/internal/event"
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
