package notify

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

func flowCause() state.Cause {
	return state.Cause{AuthType: "service_account", AuthID: "flow/1", AuthName: "restart"}
}

func (k *kit) tell(d Direct) {
	k.t.Helper()
	if d.From == "" {
		d.From = "flow restart"
	}
	if err := k.Tell(k.t.Context(), flowCause(), d); err != nil {
		k.t.Fatal(err)
	}
}

// The same key is told once, whatever else it says; a webhook gets an event that
// holds the words, and a person an item in the inbox.
func TestTell(t *testing.T) {
	k := newKit(t)
	out := newSink(t, nil)
	hook := k.webhook("Hook", out.URL)
	k.inbox()
	k.start()
	for range 2 {
		k.tell(Direct{Key: "run/do/0/tell", Transports: []string{"hook", hook.String()}, Severity: event.Critical, Title: "nginx is down", Text: "It was restarted twice."})
		k.tell(Direct{Key: "run/do/1/tell", Recipients: []string{"bob", "bob", "nobody"}, Title: "For Bob"})
	}
	k.until("the webhook is told", func() bool { return len(k.ledger(DeliveryQuery{State: Delivered})) == 2 })
	got := out.all()
	if len(got) != 1 || !strings.Contains(got[0].body, `"title":"nginx is down"`) || !strings.Contains(got[0].body, `"severitytext":"critical"`) {
		t.Errorf("the webhook got %+v", got)
	}
	items, err := k.InboxOf(t.Context(), 2, 0, false, 10)
	if err != nil || len(items) != 1 || items[0].Title != "For Bob" || items[0].Rule != 0 {
		t.Errorf("Bob's inbox: %+v, %v", items, err)
	}
	for _, d := range k.ledger(DeliveryQuery{}) {
		if d.Rule != 0 || d.Details.Group != "flow restart" || d.Details.Why != whyDirect {
			t.Errorf("the ledger has %+v", d)
		}
	}
}

// With a rule, its transports and recipients hear, and what keeps it silent keeps
// this silent, too.
func TestTellByRule(t *testing.T) {
	k := newKit(t)
	inbox := k.inbox()
	id := k.rule("Admins", inbox, func(r *Rule) {
		r.Types, r.Recipients = []string{"never"}, Recipients{AccessLevels: []string{"admin"}, Subject: true}
	})
	about := k.emit(event.Event{Type: "x", Subject: "user/2"})
	k.tell(Direct{Key: "a", Rule: "admins", Title: "one", Sequence: about})
	if got := k.ledger(DeliveryQuery{Rule: id, State: Delivered}); len(got) != 2 || got[0].Sequence != about {
		t.Fatalf("Ann, an admin, and Bob, whom the event is about, are told: %+v", got)
	}
	s, err := k.Prolong(t.Context(), flowCause(), Silence{Filter: `type == "x"`, Rules: []string{id.String()}, ExpiresAt: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	k.tell(Direct{Key: "b", Rule: id.String(), Title: "two", Sequence: about})
	if got := k.ledger(DeliveryQuery{Rule: id, State: Delivered}); len(got) != 2 {
		t.Errorf("in spite of a silence, %d are told", len(got))
	}
	if err := k.DeleteSilence(t.Context(), flowCause(), s.ID, state.AnyVersion); err != nil {
		t.Fatal(err)
	}
	k.mute(id, 2)
	k.tell(Direct{Key: "c", Rule: "Admins", Title: "three", Sequence: about})
	if got := k.ledger(DeliveryQuery{Rule: id, State: Delivered}); len(got) != 3 || got[0].Recipient != 1 {
		t.Errorf("Bob has unsubscribed: %+v", got)
	}
}

func (k *kit) mute(rule, user state.ObjectID) {
	k.t.Helper()
	if err := k.state.Write(k.t.Context(), flowCause(), func(tx *state.Tx) error { return putMute(tx, mute{rule.String(), user.String()}) }); err != nil {
		k.t.Fatal(err)
	}
}

// A way is not told of its own failure, and a chain that is too long ends.
func TestTellLoops(t *testing.T) {
	k := newKit(t)
	hook := k.webhook("hook", "http://127.0.0.1:9")
	failure := k.emit(event.Event{Source: base + "/notify", Type: "notification.delivery.failed", Subject: "transport/" + hook.String()})
	deep := k.emit(event.Event{Type: "x", CausationID: "a", CausationDepth: maxDepth})
	k.tell(Direct{Key: "a", Transports: []string{"hook"}, Title: "it fails", Sequence: failure})
	k.tell(Direct{Key: "b", Transports: []string{"hook"}, Title: "again", Sequence: deep})
	got := map[string]string{}
	for _, d := range k.ledger(DeliveryQuery{}) {
		got[d.State] += d.Reason + " "
	}
	if len(got) != 1 || !strings.Contains(got[Suppressed], "loop") || !strings.Contains(got[Suppressed], "depth") {
		t.Errorf("the ledger has %v", got)
	}
}

func TestTellMistakes(t *testing.T) {
	k := newKit(t)
	k.webhook("hook", "http://127.0.0.1:9")
	k.inbox()
	off := k.rule("off", k.webhook("other", "http://127.0.0.1:9"), func(r *Rule) { r.Enabled = false })
	for says, d := range map[string]Direct{
		"title":                    {Transports: []string{"hook"}},
		`no transport "hok"`:       {Title: "x", Transports: []string{"hok"}},
		"name at least one":        {Title: "x"},
		"nobody of eve, group/ops": {Title: "x", Recipients: []string{"eve", "group/ops"}},
		`no rule "nope"`:           {Title: "x", Rule: "nope"},
		`no rule "` + off.String(): {Title: "x", Rule: off.String()},
		"tells persons":            {Title: "x", Transports: []string{"inbox"}},
	} {
		d.Key = says
		if err := k.Tell(t.Context(), flowCause(), d); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want %q", d, err, says)
		}
	}
	if got := k.ledger(DeliveryQuery{}); len(got) != 0 {
		t.Errorf("what was refused is told: %+v", got)
	}
}

// A silence asked for again by the same author is the same one, and lasts longer.
func TestProlong(t *testing.T) {
	k := newKit(t)
	ask := func(by state.Cause, filter string, d time.Duration) state.Record[Silence] {
		t.Helper()
		s, err := k.Prolong(t.Context(), by, Silence{Filter: filter, ExpiresAt: time.Now().Add(d)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := ask(flowCause(), "true", time.Hour)
	longer := ask(flowCause(), "true", 2*time.Hour)
	shorter := ask(flowCause(), "true", time.Minute)
	if longer.ID != first.ID || shorter.ID != first.ID || !shorter.Value.ExpiresAt.Equal(longer.Value.ExpiresAt) || !longer.Value.ExpiresAt.After(first.Value.ExpiresAt) {
		t.Errorf("%+v, then %+v, then %+v", first, longer, shorter)
	}
	other := flowCause()
	other.AuthName = "somebody"
	if s := ask(other, "true", time.Hour); s.ID == first.ID {
		t.Error("somebody else's silence was changed")
	}
	if s := ask(flowCause(), `type == "x"`, time.Hour); s.ID == first.ID {
		t.Error("a silence of something else was changed")
	}
	if _, err := k.Prolong(t.Context(), flowCause(), Silence{ExpiresAt: time.Now().Add(time.Hour)}); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("an empty filter: %v", err)
	}
}
