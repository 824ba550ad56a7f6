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

// An absence in a maintenance window is not told, nor does anybody wait for an
// acknowledgement; what is still absent at its end is told then.
func TestAbsenceInASilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		way := k.inbox()
		admins := Recipients{AccessLevels: []string{"admin"}}
		k.rule("backup", way, func(r *Rule) {
			r.Types, r.Recipients, r.Absence = []string{"x"}, admins, &Absence{Within: dur("1h"), GroupBy: []string{"host"}}
			r.Escalate = []Step{{After: dur("10m"), Recipients: admins}}
		})
		defer k.decides()()
		if _, err := k.CreateSilence(t.Context(), state.System(), Silence{Filter: "true", ExpiresAt: time.Now().Add(4 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
		k.emit(event.Event{Type: "x", Host: "gone"})
		k.emit(event.Event{Type: "x", Host: "back"})
		pass(3 * time.Hour)
		k.emit(event.Event{Type: "x", Host: "back"})
		pass(65 * time.Minute)
		if got := k.messages(1); !slices.Equal(got, []string{"backup: nothing for 1h (gone)", "backup: nothing for 1h (back)"}) && !slices.Equal(got, []string{"backup: nothing for 1h (back)", "backup: nothing for 1h (gone)"}) {
			t.Errorf("%q", got)
		}
	})
}

// A rule that is off sees nothing: on again, it does not complain of what came in
// the meantime.
func TestOffAndOnAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		way := k.inbox()
		id := k.rule("backup", way, func(r *Rule) {
			r.Types, r.Recipients, r.Absence = []string{"x"}, Recipients{AccessLevels: []string{"admin"}}, &Absence{Within: dur("10h"), GroupBy: []string{"host"}}
		})
		defer k.decides()()
		synctest.Wait()
		k.emit(event.Event{Type: "x", Host: "web1"})
		pass(time.Hour)
		k.change(id, func(r *Rule) { r.Enabled = false })
		pass(8 * time.Hour)
		k.emit(event.Event{Type: "x", Host: "web1"})
		k.change(id, func(r *Rule) { r.Enabled = true })
		pass(8 * time.Hour)
		if got := k.messages(1); len(got) != 0 {
			t.Errorf("%q", got)
		}
		k.emit(event.Event{Type: "x", Host: "web1"})
		pass(11 * time.Hour)
		if got := k.messages(1); len(got) != 1 {
			t.Errorf("%q", got)
		}
	})
}

// A forged value does not lead into the group of others, from which it would take
// those who are told.
func TestForgedGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		way := k.inbox()
		k.rule("own", way, func(r *Rule) {
			r.Types, r.GroupBy, r.Recipients, r.DigestEvery = []string{"x"}, []string{"data.g"}, Recipients{Actor: true}, dur("1h")
		})
		defer k.decides()()
		k.emit(event.Event{Type: "x", AuthType: "user", AuthID: "2", Data: []byte(`{"g":"a"}`)})
		k.emit(event.Event{Type: "x", Data: []byte(`{"g":"a\u001f[2]"}`)})
		pass(2 * time.Hour)
		if got := k.messages(2); !slices.Equal(got, []string{"own: 1 event: 1 x (a)"}) {
			t.Errorf("%q", got)
		}
	})
}

// A rule that names somebody who is gone can still be changed; a new name must be
// somebody's.
func TestSomebodyIsGone(t *testing.T) {
	k := newKit(t)
	user := func(query string) {
		t.Helper()
		err := k.state.Write(t.Context(), state.System(), func(tx *state.Tx) error {
			_, err := tx.ExecContext(t.Context(), query)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	user(`INSERT INTO objects (model, id, version, name, created, updated, doc) VALUES ('user', 2, 1, 'bob', 1, 1, '{}')`)
	id := k.rule("all", k.inbox(), func(r *Rule) { r.Types, r.Recipients.Users = []string{"x"}, []string{"2"} })
	user(`DELETE FROM objects WHERE model = 'user'`)
	k.change(id, func(r *Rule) { r.Enabled = false })
	_, err := k.UpdateRule(t.Context(), state.System(), id, state.AnyVersion, func(r *Rule) error {
		r.Recipients.Users = append(r.Recipients.Users, "3")
		return nil
	})
	if err == nil || err.Error() != `users: there is no "3"` {
		t.Errorf("%v", err)
	}
}
