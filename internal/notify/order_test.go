package notify

import (
	"net/http"
	"testing"

	"github.com/tocsin-events/tocsin/internal/event"
)

// What ends something is not told before it, though that is retried: on the other
// side it would never be over.
func TestEndsComeLast(t *testing.T) {
	k := newKit(t)
	s := newSink(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n <= 2 {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	way := k.webhook("hook", s.URL, func(in *TransportInput) { in.Retry.First, in.Retry.Most = dur("300ms"), dur("600ms") })
	id := k.rule("alarm", way, func(r *Rule) { r.Types, r.Resolve = []string{"down"}, &Resolve{Types: []string{"up"}} })
	k.start()
	k.emit(event.Event{Type: "down"})
	k.emit(event.Event{Type: "up"})
	k.until("both are told", func() bool { return len(k.ledger(DeliveryQuery{Rule: id, State: Delivered})) == 2 })
	var ended string
	for _, d := range k.ledger(DeliveryQuery{Rule: id}) {
		if d.Details.Resolved {
			ended = d.Key
		}
	}
	for i, one := range s.all() {
		if is := one.header.Get("Webhook-Id") == ended; is != (i == 3) {
			t.Errorf("message %d: the end is told: %t", i+1, is)
		}
	}
}
