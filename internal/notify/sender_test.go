package notify

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// What a destination does decides what becomes of a message; the ledger has each
// attempt, and every attempt the same key.
func TestOutcomes(t *testing.T) {
	status := func(codes ...int) func(int, http.ResponseWriter, *http.Request) {
		return func(n int, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(codes[min(n, len(codes))-1])
			_, _ = fmt.Fprintf(w, "answer %d", n) // the test sees what is missing
		}
	}
	reset := func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			c, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = c.Close() // that is the point
			}
		}
	}
	half := func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("half of it")) // likewise
		}
	}
	for name, tt := range map[string]struct {
		answer   func(int, http.ResponseWriter, *http.Request)
		state    string
		attempts int
	}{
		"taken":            {status(200), Delivered, 1},
		"500 twice":        {status(500, 503, 204), Delivered, 3},
		"never":            {status(500), Dead, 5},
		"refused for good": {status(404), Dead, 1},
		"reset":            {reset, Delivered, 2},
		"half an answer":   {half, Delivered, 1}, // the status line says that it was taken
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKit(t)
			s := newSink(t, tt.answer)
			way := k.webhook("hook", s.URL)
			id := k.rule("all", way, func(r *Rule) { r.Types = []string{"x"} })
			k.start()
			seq := k.emit(event.Event{Type: "x", Data: []byte(`{"n":1}`)})
			k.until(tt.state, func() bool {
				all := k.ledger(DeliveryQuery{Rule: id})
				return len(all) == 1 && all[0].State == tt.state
			})
			d, tries, err := k.GetDelivery(t.Context(), k.ledger(DeliveryQuery{Rule: id})[0].ID)
			if err != nil || len(tries) != tt.attempts || d.Attempts != tt.attempts || d.Ended.IsZero() {
				t.Fatalf("%+v, %d attempts, %v", d, len(tries), err)
			}
			got := s.all()
			if len(got) != tt.attempts {
				t.Errorf("%d arrived", len(got))
			}
			for _, one := range got {
				if one.header.Get("Webhook-Id") != d.Key {
					t.Errorf("key %q, not %q", one.header.Get("Webhook-Id"), d.Key)
				}
			}
			if failed := k.found("notification.delivery.failed"); (tt.state == Dead) != (len(failed) == 1) {
				t.Errorf("%d failures on record", len(failed))
			} else if tt.state == Dead {
				var data map[string]any
				if err := json.Unmarshal(failed[0].Data, &data); err != nil || data["sequence"] != seq.String() || failed[0].Subject != "transport/"+way.String() || failed[0].CausationID == "" {
					t.Errorf("%+v, %v", failed[0], err)
				}
			}
		})
	}
}

// A destination that asks for time gets it, all of its messages do.
func TestRetryAfter(t *testing.T) {
	k := newKit(t)
	var first, second atomic.Int64
	s := newSink(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			first.Store(time.Now().UnixNano())
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		second.CompareAndSwap(0, time.Now().UnixNano())
	})
	way := k.webhook("hook", s.URL)
	id := k.rule("all", way, func(r *Rule) { r.Types, r.GroupBy = []string{"x"}, nil })
	for i := range 3 {
		k.emit(event.Event{Type: "x", Data: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	k.start()
	for i := range 3 {
		k.emit(event.Event{Type: "x", Data: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	k.until("all have arrived", func() bool { return len(k.ledger(DeliveryQuery{Rule: id, State: Delivered})) >= 3 })
	if waited := time.Duration(second.Load() - first.Load()); waited < 900*time.Millisecond {
		t.Errorf("called again after %s", waited)
	}
}

// Dead destinations delay no other: ten that hang, and one that does not.
func TestHangingNeighbours(t *testing.T) {
	k := newKit(t)
	release := make(chan struct{})
	hang := newSink(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	ways := []string{}
	for i := range 10 {
		ways = append(ways, k.webhook(fmt.Sprint("hang", i), hang.URL).String())
	}
	good := newSink(t, nil)
	way := k.webhook("good", good.URL)
	k.rule("all", way, func(r *Rule) { r.Types, r.Transports = []string{"x"}, append(ways, way.String()) })
	k.start()
	for i := range 200 {
		k.emit(event.Event{Type: "x", Data: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	k.until("the good one has all", func() bool { return len(k.ledger(DeliveryQuery{Transport: way, State: Delivered})) == 200 })
	if n := len(k.ledger(DeliveryQuery{State: Delivered})); n != 200 {
		t.Errorf("%d delivered", n)
	}
}

// Messages of a rule keep their order, under a rate.
func TestOrderAndRate(t *testing.T) {
	k := newKit(t)
	s := newSink(t, nil)
	way := k.webhook("hook", s.URL, func(in *TransportInput) { in.Rate = &Rate{Count: 100, Within: config.Duration(time.Second)} })
	id := k.rule("all", way, func(r *Rule) { r.Types = []string{"x"} })
	k.start()
	began := time.Now()
	const n = 50
	for i := range n {
		k.emit(event.Event{Type: "x", Data: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	k.until("all have arrived", func() bool { return len(k.ledger(DeliveryQuery{Rule: id, State: Delivered})) == n })
	if took := time.Since(began); took < (n-1)*10*time.Millisecond {
		t.Errorf("%d messages in %s", n, took)
	}
	for i, one := range s.all() {
		if !strings.Contains(one.body, fmt.Sprintf(`"n":%d`, i)) {
			t.Fatalf("message %d: %s", i, one.body)
		}
	}
}

// What is dead can be sent again, one or all of it, under the same key.
func TestReplay(t *testing.T) {
	k := newKit(t)
	var broken atomic.Bool
	broken.Store(true)
	s := newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusGone)
		}
	})
	way := k.webhook("hook", s.URL)
	id := k.rule("all", way, func(r *Rule) { r.Types = []string{"x"} })
	k.start()
	for range 5 {
		k.emit(event.Event{Type: "x"})
	}
	k.until("all are dead", func() bool { return len(k.ledger(DeliveryQuery{Rule: id, State: Dead})) == 5 })
	broken.Store(false)
	dead := k.ledger(DeliveryQuery{Rule: id, State: Dead})
	if _, err := k.ReplayOne(t.Context(), state.System(), dead[0].ID); err != nil {
		t.Fatal(err)
	}
	k.until("one is delivered", func() bool { return len(k.ledger(DeliveryQuery{Rule: id, State: Delivered})) == 1 })
	if n, err := k.Replay(t.Context(), state.System(), DeliveryQuery{Rule: id, State: Dead}); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	k.until("all are delivered", func() bool { return len(k.ledger(DeliveryQuery{Rule: id, State: Delivered})) == 5 })
	keys := map[string]int{}
	for _, one := range s.all() {
		keys[one.header.Get("Webhook-Id")]++
	}
	for key, n := range keys {
		if n != 2 {
			t.Errorf("key %s came %d times", key, n)
		}
	}
	if _, err := k.ReplayOne(t.Context(), state.System(), 999); err == nil {
		t.Error("what is not there is sent again")
	}
	if len(k.found("notification.replayed")) != 2 {
		t.Error("a replay is not on record")
	}
}

// A restart loses none, and doubles only what was under way.
func TestRestartOfSender(t *testing.T) {
	k := newKit(t)
	s := newSink(t, nil)
	way := k.webhook("hook", s.URL)
	id := k.rule("all", way, func(r *Rule) { r.Types = []string{"x"} })
	const n = 300
	for i := range n {
		k.emit(event.Event{Type: "x", Data: fmt.Appendf(nil, `{"n":%d}`, i)})
		if i%60 == 30 {
			stop := k.start()
			k.until("some are sent", func() bool { return len(k.ledger(DeliveryQuery{Rule: id, State: Delivered})) > i/2 })
			stop()
		}
	}
	k.start()
	k.until("all are delivered", func() bool { return len(k.ledger(DeliveryQuery{Rule: id, State: Delivered})) == n })
	keys := map[string]bool{}
	for _, one := range s.all() {
		keys[one.header.Get("Webhook-Id")] = true
	}
	if len(keys) != n || len(s.all()) > n+5*chunk {
		t.Errorf("%d messages, %d requests", len(keys), len(s.all()))
	}
}

// Secrets of a transport lie sealed, are not shown, and survive a form that does
// not know them.
func TestTransportSecrets(t *testing.T) {
	k := newKit(t)
	s := newSink(t, nil)
	way := k.webhook("hook", s.URL+"/?token=s3cret-token")
	var doc string
	if err := k.state.Reader().QueryRowContext(t.Context(), `SELECT doc FROM objects WHERE model = 'transport'`).Scan(&doc); err != nil || strings.Contains(doc, "s3cret") {
		t.Errorf("stored: %s, %v", doc, err)
	}
	for _, e := range k.found("model_created") {
		if strings.Contains(string(e.Data), "s3cret") {
			t.Errorf("recorded: %s", e.Data)
		}
	}
	if _, err := k.UpdateTransport(t.Context(), state.System(), way, state.AnyVersion, func(in TransportInput) (TransportInput, error) {
		in.Name = "renamed"
		return in, nil
	}); err != nil {
		t.Fatal(err)
	}
	raised := false
	settings, err := k.RevealTransport(t.Context(), state.System(), way, func(_ *state.Tx, _, _, _, name string) error { raised = name == "renamed"; return nil })
	if err != nil || !raised || !strings.Contains(string(settings), "s3cret-token") {
		t.Errorf("%s, %v", settings, err)
	}
	answer, err := k.TestTransport(t.Context(), way, state.System(), Person{})
	if err != nil || answer.Status != 200 || len(s.all()) != 1 {
		t.Errorf("test: %+v, %v", answer, err)
	}
	k.rule("uses it", way)
	if err := k.DeleteTransport(t.Context(), state.System(), way, state.AnyVersion); err == nil || !strings.Contains(err.Error(), "uses it") {
		t.Errorf("removed while a rule uses it: %v", err)
	}
	for what, in := range map[string]TransportInput{
		"mode":     {Name: "x", Mode: "pigeon"},
		"settings": {Name: "x", Mode: "webhook", Settings: json.RawMessage(`{"url":"http://x","nope":1}`)},
		"inbox":    {Name: "x", Mode: Inbox, Settings: json.RawMessage(`{"a":1}`)},
		"retry":    {Name: "x", Mode: Inbox, Retry: &Retry{Attempts: 0}},
		"rate":     {Name: "x", Mode: Inbox, Rate: &Rate{}},
	} {
		if _, err := k.CreateTransport(t.Context(), state.System(), in); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A mapping that fails is on record, whole, and not tried again.
func TestMappingException(t *testing.T) {
	k := newKit(t)
	s := newSink(t, nil)
	way := k.webhook("hook", s.URL, func(in *TransportInput) {
		in.Settings = must(json.Marshal(map[string]any{"url": s.URL, "body": `{"half": 1/data.n}`}))
	})
	id := k.rule("all", way, func(r *Rule) { r.Types = []string{"x"} })
	k.rule("exceptions", way, func(r *Rule) { r.Types = []string{"property_mapping_exception"} })
	k.start()
	k.emit(event.Event{Type: "x", Data: []byte(`{"n":0}`)})
	k.until("it is dead", func() bool { return len(k.ledger(DeliveryQuery{Rule: id, State: Dead})) == 1 })
	all := k.found("property_mapping_exception")
	if len(all) != 1 {
		t.Fatalf("%d on record", len(all))
	}
	var data map[string]any
	if err := json.Unmarshal(all[0].Data, &data); err != nil {
		t.Fatal(err)
	}
	x, _ := data["exception"].(map[string]any)
	if data["expression"] != `{"half": 1/data.n}` || !strings.Contains(data["message"].(string), "division by zero") || x["message"] != "division by zero" {
		t.Errorf("%s", all[0].Data)
	}
	k.until("its own failure is not told", func() bool {
		return len(k.ledger(DeliveryQuery{State: Suppressed})) > 0
	})
	if got := k.ledger(DeliveryQuery{State: Suppressed})[0]; got.Reason != "loop" {
		t.Errorf("%+v", got)
	}
}
