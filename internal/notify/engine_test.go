package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// inbox stores a transport to the pages.
func (k *kit) inbox() state.ObjectID {
	k.t.Helper()
	t, err := k.CreateTransport(k.t.Context(), state.System(), TransportInput{Name: "inbox", Mode: Inbox})
	if err != nil {
		k.t.Fatal(err)
	}
	return t.ID
}

// messages are the titles in a person's inbox, oldest first.
func (k *kit) messages(user state.ObjectID) []string {
	k.t.Helper()
	found, err := k.InboxOf(k.t.Context(), user, 0, false, 1000)
	if err != nil {
		k.t.Fatal(err)
	}
	titles := make([]string, len(found))
	for i, m := range found {
		titles[len(found)-1-i] = m.Title
	}
	return titles
}

// A person is told once by each way, whatever number of rules and groups says so;
// others than the named are not told at all.
func TestRecipients(t *testing.T) {
	k := newKit(t)
	way := k.inbox()
	for i, who := range []Recipients{
		{Groups: nil, AccessLevels: []string{"admin"}}, {AccessLevels: []string{"admin"}, Actor: true}, {Subject: true}, {Expression: `["bob", "2", "nobody", data.who]`},
	} {
		k.rule(fmt.Sprint("rule", i), way, func(r *Rule) { r.Types, r.Recipients = []string{fmt.Sprint("t", i), "both"}, who })
	}
	k.start()
	k.emit(event.Event{Type: "t0", AuthType: "user", AuthID: "2"})
	k.emit(event.Event{Type: "t1", AuthType: "user", AuthID: "2"})
	k.emit(event.Event{Type: "t2", Subject: "user/2"})
	k.emit(event.Event{Type: "t3", Data: []byte(`{"who":"ann"}`)})
	k.emit(event.Event{Type: "both", Subject: "user/1", AuthType: "user", AuthID: "1", Data: []byte(`{"who":"ann"}`)})
	k.emit(event.Event{Type: "t1", Subject: "end"})
	k.until("all is told", func() bool { return slices.Contains(k.messages(1), "t1: end") })
	if d := cmp.Diff([]string{"t0", "t1", "t3", "both: user/1", "t1: end"}, k.messages(1)); d != "" {
		t.Errorf("ann: %s", d)
	}
	if d := cmp.Diff([]string{"t1", "t2: user/2", "t3", "both: user/1"}, k.messages(2)); d != "" {
		t.Errorf("bob: %s", d)
	}
	k.counts.mu.Lock()
	defer k.counts.mu.Unlock()
	if k.counts.suppressed["told_already"] != 3 {
		t.Errorf("%v", k.counts.suppressed)
	}
}

// Digests of what the event names its recipients for show nobody what is
// another's.
func TestDigestsAreApart(t *testing.T) {
	k := newKit(t)
	way := k.inbox()
	k.rule("own", way, func(r *Rule) {
		r.Types, r.Recipients, r.DigestEvery = []string{"x"}, Recipients{Actor: true}, dur("1s")
	})
	k.start()
	for _, who := range []string{"1", "2", "1"} {
		k.emit(event.Event{Type: "x", AuthType: "user", AuthID: who})
	}
	k.until("both are told", func() bool { return len(k.messages(1)) == 1 && len(k.messages(2)) == 1 })
	if k.messages(1)[0] != "own: 2 events: 2 x" || k.messages(2)[0] != "own: 1 event: 1 x" {
		t.Errorf("%q, %q", k.messages(1), k.messages(2))
	}
}

// A silence suppresses, says so, and ends; an empty one is refused.
func TestSilences(t *testing.T) {
	k := newKit(t)
	way := k.inbox()
	id := k.rule("all", way, func(r *Rule) {
		r.Types, r.Recipients = []string{"x"}, Recipients{Users: []string{}, AccessLevels: []string{"admin"}}
	})
	k.start()
	for _, s := range []Silence{{ExpiresAt: time.Now().Add(time.Hour)}, {Filter: "true"}, {Filter: "tru", ExpiresAt: time.Now().Add(time.Hour)}, {Filter: "true", ExpiresAt: time.Now().Add(time.Hour), Rules: []string{"x"}}} {
		if _, err := k.CreateSilence(t.Context(), state.System(), s); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
	s, err := k.CreateSilence(t.Context(), state.System(), Silence{Filter: `host == "web1"`, ExpiresAt: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	k.emit(event.Event{Type: "x", Host: "web1"})
	k.emit(event.Event{Type: "x", Host: "web1"})
	k.emit(event.Event{Type: "x", Host: "web2"})
	k.until("the other is told", func() bool { return len(k.messages(1)) == 1 })
	got := k.ledger(DeliveryQuery{Rule: id, State: Suppressed})
	if len(got) != 1 || got[0].Count != 2 || got[0].Reason != "silenced" || k.messages(1)[0] != "x on web2" {
		t.Errorf("%+v, %q", got, k.messages(1))
	}
	if err := k.DeleteSilence(t.Context(), state.System(), s.ID, state.AnyVersion); err != nil {
		t.Fatal(err)
	}
	k.emit(event.Event{Type: "x", Host: "web1"})
	k.until("it is told again", func() bool { return len(k.messages(1)) == 2 })
}

// Chains of causes end: by their depth, and by what they have told.
func TestChains(t *testing.T) {
	k := newKit(t)
	way := k.inbox()
	k.rule("all", way, func(r *Rule) { r.Types, r.Recipients = []string{"x"}, Recipients{AccessLevels: []string{"admin"}} })
	k.start()
	k.emit(event.Event{Type: "x", Subject: "deep", CausationID: "a", CausationDepth: maxDepth})
	for range chainBudget + 20 {
		k.emit(event.Event{Type: "x", CausationID: "b", CausationDepth: 1, CorrelationID: "root"})
	}
	k.emit(event.Event{Type: "x", Subject: "end", CausationID: "c", CausationDepth: 1})
	k.until("the end is told", func() bool { return slices.Contains(k.messages(1), "x: end") })
	if n := len(k.messages(1)); n != chainBudget+1 {
		t.Errorf("%d told", n)
	}
	k.counts.mu.Lock()
	defer k.counts.mu.Unlock()
	if k.counts.suppressed["depth"] != 1 || k.counts.suppressed["budget"] != 20 {
		t.Errorf("%v", k.counts.suppressed)
	}
}

// Nobody fills the disk with groups: the last ones share a cell.
func TestGroupsAreBounded(t *testing.T) {
	k := newKit(t)
	way := k.inbox()
	k.rule("many", way, func(r *Rule) {
		r.Types, r.Threshold = []string{"x"}, &Threshold{Count: 50, Within: dur("1h"), GroupBy: []string{"data.n"}}
	})
	var events []event.Event
	for i := range maxCells + 40 {
		events = append(events, event.Event{ID: event.NewID(), Source: "/t", Type: "x", Severity: event.Info, Time: time.Now(), Data: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	if _, err := k.journal.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	k.start()
	k.until("all are counted", func() bool {
		var doc string
		err := k.state.Reader().QueryRowContext(t.Context(), `SELECT doc FROM cells WHERE grp = $1`, overflow).Scan(&doc)
		return err == nil && strings.Count(doc[:strings.IndexByte(doc, ']')], ",") == 40
	})
	var n int
	if err := k.state.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM cells`).Scan(&n); err != nil || n != maxCells+1 {
		t.Errorf("%d cells, %v", n, err)
	}
}

// The link of a mail ends what one rule tells one person, and only ours does.
func TestUnsubscribe(t *testing.T) {
	k := newKit(t)
	way := k.inbox()
	id := k.rule("mails", way, func(r *Rule) { r.Types, r.Recipients = []string{"x"}, Recipients{AccessLevels: []string{"admin"}} })
	_, of, _ := strings.Cut(k.unsubscribeURL(id, 1), "of=")
	for _, bad := range []string{"", "1.1", of + "x", strings.Replace(of, ".1.", ".2.", 1)} {
		if _, err := k.Unsubscribe(t.Context(), state.System(), bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for range 2 { // mail programs ask twice
		if name, err := k.Unsubscribe(t.Context(), state.System(), of); name != "mails" || err != nil {
			t.Fatal(name, err)
		}
	}
	k.start()
	k.emit(event.Event{Type: "x"})
	k.until("it is suppressed", func() bool { return len(k.ledger(DeliveryQuery{Rule: id, State: Suppressed})) == 1 })
	if muted, err := k.Muted(t.Context(), 1); len(muted) != 1 || muted[0] != id || err != nil {
		t.Errorf("%v, %v", muted, err)
	}
	if err := k.Resubscribe(t.Context(), state.System(), id, 1); err != nil {
		t.Fatal(err)
	}
	k.emit(event.Event{Type: "x"})
	k.until("it is told again", func() bool { return len(k.messages(1)) == 1 })
}

// A day in fake time: digests, quiet hours, absence and escalation at the very
// minutes, over restarts in between.
func TestDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		way := k.inbox()
		admins := Recipients{AccessLevels: []string{"admin"}}
		night := &QuietHours{From: "22:00", To: "07:00", Timezone: "Europe/Berlin", Except: "critical"}
		k.rule("disks", way, func(r *Rule) { r.Types, r.Recipients, r.DigestEvery = []string{"disk_full"}, admins, dur("1h") })
		k.rule("night", way, func(r *Rule) { r.Types, r.Recipients, r.QuietHours = []string{"service_down"}, admins, night })
		k.rule("backups", way, func(r *Rule) {
			r.Types, r.Recipients, r.Absence = []string{"backup_succeeded"}, admins, &Absence{Within: dur("6h"), GroupBy: []string{"host"}}
		})
		k.rule("pager", way, func(r *Rule) {
			r.Types, r.Recipients = []string{"db_root_rotated"}, admins
			r.Escalate = []Step{{After: dur("10m")}, {After: dur("10m"), Recipients: Recipients{AccessLevels: []string{"viewer"}}}}
		})
		// Fake time begins at midnight UTC: 01:00 in Berlin.
		begin := time.Now()
		stop := k.start()
		at := func(clock string) {
			time.Sleep(time.Until(begin.Add(time.Duration(dur(clock))))) // fake time
			synctest.Wait()
		}
		at("10m")
		k.emit(event.Event{Type: "service_down", Subject: "quiet", Data: []byte(`{"unit":"a.service","reason":"failed"}`)})
		k.emit(event.Event{Type: "service_down", Subject: "loud", Severity: event.Critical, Data: []byte(`{"unit":"b.service","reason":"failed"}`)})
		k.emit(event.Event{Type: "backup_succeeded", Host: "web1"})
		at("1h")
		k.emit(event.Event{Type: "disk_full", Data: []byte(`{"path":"/"}`)})
		stop()
		at("1h30m") // recorded while nobody follows
		k.emit(event.Event{Type: "disk_full", Data: []byte(`{"path":"/"}`)})
		stop = k.start()
		at("12h")
		k.emit(event.Event{Type: "backup_succeeded", Host: "web1"})
		k.emit(event.Event{Type: "db_root_rotated", Data: []byte(`{}`)})
		at("13h")
		k.emit(event.Event{Type: "db_root_rotated", Data: []byte(`{}`)})
		at("13h5m")
		if _, err := k.Acknowledge(t.Context(), state.System(), k.ledger(DeliveryQuery{Rule: 4})[0].ID); err != nil {
			t.Fatal(err)
		}
		stop()
		at("23h") // the server was down the whole day
		k.start()
		at("24h")
		type heard struct{ At, Title string }
		want := []heard{
			{"10m", "service_down: loud"},
			{"2h", "disks: 2 events: 2 disk_full"},
			{"6h", "night: 1 event: 1 service_down"},
			{"6h10m", "backups: nothing for 6h (web1)"},
			{"12h", "backups: is back (web1)"},
			{"12h", "db_root_rotated"},
			{"12h10m", "pager: not acknowledged"},
			{"13h", "db_root_rotated"},
			{"18h", "backups: nothing for 6h (web1)"},
		}
		found, err := k.InboxOf(t.Context(), 1, 0, false, 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []heard
		for _, m := range found {
			got = append(got, heard{event.FormatDuration(m.Created.Sub(begin).Truncate(time.Second)), m.Title})
		}
		slices.Reverse(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"pager: not acknowledged"}, k.messages(2)); d != "" {
			t.Errorf("the next group: %s", d)
		}
	})
}

// An event that ends what was told is told to those who heard of it, with the
// event that began it; others are not disturbed.
func TestResolve(t *testing.T) {
	k := newKit(t)
	s := newSink(t, nil)
	way := must(k.CreateTransport(t.Context(), state.System(), TransportInput{Name: "am", Mode: "alertmanager", Settings: []byte(`{"url":"` + s.URL + `"}`)})).ID
	k.rule("alerts", way, func(r *Rule) {
		r.Types, r.Resolve, r.GroupBy = []string{"alert"}, &Resolve{Types: []string{"alert_resolved"}}, []string{"subject"}
	})
	k.start()
	k.emit(event.Event{Type: "alert_resolved", Subject: "disk"})
	first := k.emit(event.Event{Type: "alert", Subject: "disk"})
	k.emit(event.Event{Type: "alert", Subject: "load"})
	k.emit(event.Event{Type: "alert_resolved", Subject: "disk"})
	k.until("three are sent", func() bool { return len(k.ledger(DeliveryQuery{Transport: way, State: Delivered})) == 3 })
	if d := k.ledger(DeliveryQuery{Transport: way})[0]; d.Sequence != first || !d.Details.Resolved || d.Details.Title != "alerts: is over (disk)" {
		t.Errorf("%+v", d)
	}
	var ended []string
	for _, one := range s.all() {
		if strings.Contains(one.body, `"endsAt"`) {
			ended = append(ended, one.body)
		}
	}
	if len(ended) != 1 || !strings.Contains(ended[0], `"subject":"disk"`) || !strings.Contains(ended[0], `"alertname":"alert"`) {
		t.Errorf("ended: %q", ended)
	}
	var n int
	if err := k.state.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM cells`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d cells are left, %v", n, err)
	}
}
