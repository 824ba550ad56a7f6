package notify

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// What is said of a destination is what its ledger has, and a replay is counted
// before as it counts itself.
func TestDestinations(t *testing.T) {
	k := newKit(t)
	good := newSink(t, nil)
	bad := newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	down := newSink(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	ways := map[string]state.ObjectID{"good": k.webhook("good", good.URL), "bad": k.webhook("bad", bad.URL), "down": k.webhook("down", down.URL, func(in *TransportInput) {
		in.Retry = &Retry{Attempts: 3, First: config.Duration(time.Hour), Most: config.Duration(time.Hour)}
	})}
	inbox, err := k.CreateTransport(t.Context(), state.System(), TransportInput{Name: "inbox", Mode: Inbox})
	if err != nil {
		t.Fatal(err)
	}
	k.rule("all", ways["good"], func(r *Rule) {
		r.Types = []string{"disk_full"}
		r.Transports = []string{ways["good"].String(), ways["bad"].String(), ways["down"].String(), inbox.ID.String()}
		r.Recipients.AccessLevels, r.Routing = []string{"admin"}, true
	})
	k.rule("again", ways["good"], func(r *Rule) { r.Types, r.Routing = []string{"disk_full"}, true })
	k.start()
	seq := k.emit(event.Event{Type: "disk_full", Data: []byte(`{"path":"/var"}`)})
	k.until("all three have an attempt", func() bool {
		all := k.ledger(DeliveryQuery{Sequence: seq})
		tried := 0
		for _, d := range all {
			tried += d.Attempts
		}
		return len(all) == 5 && tried == 3 // one was told already
	})
	all, err := k.Destinations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := all[ways["good"]]; d.Waiting != 0 || d.Delivered.IsZero() || d.Error != "" || !d.Failed.IsZero() {
		t.Errorf("good: %+v", d)
	}
	if d := all[ways["bad"]]; d.Waiting != 0 || !d.Delivered.IsZero() || !strings.Contains(d.Error, "418") || d.Failed.IsZero() {
		t.Errorf("bad: %+v", d)
	}
	if d := all[ways["down"]]; d.Waiting != 1 || d.Oldest.IsZero() || !strings.Contains(d.Error, "500") {
		t.Errorf("down: %+v", d)
	}
	for _, q := range []DeliveryQuery{{State: Dead}, {State: Delivered}, {Sequence: seq}, {Transport: ways["bad"]}, {Rule: 999}} {
		want, err := k.Replayable(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		stop := k.ledger(DeliveryQuery{Sequence: seq}) // as it is before
		got, err := k.Replay(t.Context(), state.System(), q)
		if err != nil || got != want {
			t.Errorf("%+v: %d were to be sent again, %d are: %v", q, want, got, err)
		}
		k.until("what was replayed is over", func() bool {
			waiting, err := k.Destinations(t.Context())
			return err == nil && waiting[ways["good"]].Waiting+waiting[ways["bad"]].Waiting == 0 && len(k.ledger(DeliveryQuery{Sequence: seq})) == len(stop)
		})
	}
	if n, err := k.Replayable(t.Context(), DeliveryQuery{State: Suppressed}); err != nil || n != 0 {
		t.Errorf("suppressed rows can be sent again: %d %v", n, err)
	}
}

// Words are those that stand in the template of the moment.
func TestWords(t *testing.T) {
	k := newKit(t)
	e := event.Event{Type: "disk_full", Host: "web-17", Data: []byte(`{"path":"/var"}`)}
	d := Delivery{Sequence: 1, Details: Details{Why: whyEvent}}
	if _, _, _, err := k.Words(t.Context(), &d, nil); !errors.Is(err, event.ErrNotFound) {
		t.Errorf("without its event: %v", err)
	}
	if _, found, err := k.TemplateOf(t.Context(), "disk_full"); found || err != nil {
		t.Errorf("a template is there: %v", err)
	}
	if _, err := k.CreateTemplate(t.Context(), state.System(), Template{Type: "disk_full", Text: "{data.path} of {host} is full"}); err != nil {
		t.Fatal(err)
	}
	if _, text, _, err := k.Words(t.Context(), &d, &e); text != "/var of web-17 is full" || err != nil {
		t.Errorf("text: %q %v", text, err)
	}
	d.Details.Title = "disks: 3 events"
	if title, _, _, err := k.Words(t.Context(), &d, nil); title != "disks: 3 events" || err != nil {
		t.Errorf("title of a digest: %q %v", title, err)
	}
}

// An escalation goes on until somebody acknowledges it.
func TestEscalating(t *testing.T) {
	k := newKit(t)
	s := newSink(t, nil)
	way := k.webhook("hook", s.URL)
	id := k.rule("disks", way, func(r *Rule) {
		r.Types = []string{"disk_full"}
		r.Escalate = []Step{{After: config.Duration(time.Hour)}}
		r.RepeatEvery = config.Duration(time.Hour) // is remembered, also when it is acknowledged
	})
	k.start()
	k.emit(event.Event{Type: "disk_full", Data: []byte(`{"path":"/var"}`)})
	k.until("it is told", func() bool {
		all := k.ledger(DeliveryQuery{Rule: id})
		return len(all) == 1 && all[0].State == Delivered
	})
	told := k.ledger(DeliveryQuery{Rule: id})[0].ID
	if on, err := k.Escalating(t.Context(), told); !on || err != nil {
		t.Errorf("nobody is waited for: %v", err)
	}
	if _, err := k.Acknowledge(t.Context(), state.System(), told); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for on := true; on && time.Now().Before(deadline); {
		var err error
		if on, err = k.Escalating(t.Context(), told); err != nil {
			t.Fatal(err)
		}
	}
	if on, _ := k.Escalating(t.Context(), told); on {
		t.Error("it goes on after it was acknowledged")
	}
	if on, err := k.Escalating(t.Context(), 999); on || err != nil {
		t.Errorf("a delivery that is not there: %v %v", on, err)
	}
}

// Who mutes a rule is in the list of those who have, until they take it back.
func TestMute(t *testing.T) {
	k := newKit(t)
	id := k.rule("disks", k.webhook("hook", newSink(t, nil).URL))
	for range 2 {
		if err := k.Mute(t.Context(), state.System(), id, 2); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := k.Muted(t.Context(), 2); len(all) != 1 || all[0] != id || err != nil {
		t.Errorf("muted: %v %v", all, err)
	}
	if err := k.Mute(t.Context(), state.System(), 999, 2); !errors.Is(err, event.ErrNotFound) {
		t.Errorf("a rule that is not there: %v", err)
	}
	if err := k.Resubscribe(t.Context(), state.System(), id, 2); err != nil {
		t.Fatal(err)
	}
	if all, err := k.Muted(t.Context(), 2); len(all) != 0 || err != nil {
		t.Errorf("muted: %v %v", all, err)
	}
}

// A silence that has begun ends now and stays on record; one to come is gone.
func TestEndSilence(t *testing.T) {
	k := newKit(t)
	now := time.Now()
	begun, err := k.CreateSilence(t.Context(), state.System(), Silence{Filter: "true", ExpiresAt: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	pending, err := k.CreateSilence(t.Context(), state.System(), Silence{Filter: "true", StartsAt: now.Add(time.Hour), ExpiresAt: now.Add(2 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []state.ObjectID{begun.ID, pending.ID} {
		if err := k.EndSilence(t.Context(), state.System(), id); err != nil {
			t.Fatal(err)
		}
	}
	left, err := k.ListSilences(t.Context(), 0, 10)
	if err != nil || len(left) != 1 || left[0].ID != begun.ID || left[0].Value.ExpiresAt.After(time.Now()) {
		raw, _ := json.Marshal(left)
		t.Errorf("left: %s %v", raw, err)
	}
	if err := k.EndSilence(t.Context(), state.System(), begun.ID); !errors.Is(err, event.ErrConflict) {
		t.Errorf("a second time: %v", err)
	}
}
