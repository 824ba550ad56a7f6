package notify

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// change changes a stored rule.
func (k *kit) change(id state.ObjectID, how func(*Rule)) {
	k.t.Helper()
	_, err := k.UpdateRule(k.t.Context(), state.System(), id, state.AnyVersion, func(r *Rule) error {
		how(r)
		return nil
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

// pass lets time pass, and the follower work.
func pass(d time.Duration) {
	time.Sleep(d) // in a bubble
	synctest.Wait()
}

// Steps that are taken from a rule while somebody is waited for are not told.
func TestStepsAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		way := k.inbox()
		admins := Recipients{AccessLevels: []string{"admin"}}
		id := k.rule("alarm", way, func(r *Rule) {
			r.Types, r.Recipients = []string{"x"}, admins
			r.Escalate = []Step{{After: dur("1h"), Recipients: admins}, {After: dur("1h"), Recipients: admins}}
		})
		stop := k.start()
		defer stop()
		k.emit(event.Event{Type: "x"})
		pass(90 * time.Minute)
		if got := k.messages(1); !slices.Equal(got, []string{"x", "alarm: not acknowledged"}) {
			t.Fatalf("%q", got)
		}
		k.change(id, func(r *Rule) { r.Escalate = r.Escalate[:1] })
		pass(time.Hour)
		k.emit(event.Event{Type: "x", Subject: "again"})
		pass(time.Minute)
		k.change(id, func(r *Rule) { r.Escalate = nil })
		pass(2 * time.Hour)
		if got := k.messages(1); !slices.Equal(got, []string{"x", "alarm: not acknowledged", "x: again"}) {
			t.Errorf("%q", got)
		}
	})
}
