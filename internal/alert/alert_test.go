package alert

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// bench is a Store on a state database whose outbox stands for the journal.
type bench struct {
	*Store
	t    *testing.T
	dir  string
	seen int64
}

func open(t *testing.T, dir string) *bench {
	t.Helper()
	st, err := state.Open(t.Context(), state.Options{Dir: dir, Source: "https://t.example"})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Store: New(Options{State: st, Source: "https://t.example/prometheus"}), t: t, dir: dir}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func by() state.Cause {
	return state.Cause{AuthType: "api_key", AuthID: "token/3", AuthName: "prom", ClientIP: "192.0.2.1"}
}

func (b *bench) put(alerts ...Alert) {
	b.t.Helper()
	if err := b.Put(b.t.Context(), by(), alerts); err != nil {
		b.t.Fatal(err)
	}
}

// told is what was recorded since the last call: type, name, and since when it
// fires, in seconds from start.
func (b *bench) told(start time.Time) (all []string) {
	b.t.Helper()
	rows, err := b.State.Outbox(b.t.Context(), b.seen, 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range rows {
		b.seen = r.Seq
		var d struct {
			Name     string    `json:"name"`
			StartsAt time.Time `json:"starts_at"`
			EndsAt   time.Time `json:"ends_at"`
		}
		if err := json.Unmarshal(r.Event.Data, &d); err != nil {
			b.t.Fatal(err)
		}
		text := string(r.Event.Type) + " " + d.Name + " " + d.StartsAt.Sub(start).Round(time.Second).String()
		if !d.EndsAt.IsZero() {
			text += " to " + d.EndsAt.Sub(start).Round(time.Second).String()
		}
		if d.EndsAt.IsZero() && r.Event.Time.Sub(d.StartsAt) > time.Minute {
			text += " told " + r.Event.Time.Sub(start).Round(time.Minute).String() + " later"
		}
		all = append(all, text)
	}
	return all
}

// The fingerprints are those that a real Alertmanager 0.25 shows; an end-to-end
// test compares them once more.
func TestFingerprint(t *testing.T) {
	for _, tt := range []struct {
		labels map[string]string
		want   string
	}{
		{nil, "cbf29ce484222325"},
		{map[string]string{"alertname": "HighLatency", "severity": "critical", "instance": "web-1:9090"}, fingerprintHighLatency},
	} {
		a := Alert{Labels: tt.labels}
		if got := a.Fingerprint(); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.labels, got, tt.want)
		}
	}
}

const fingerprintHighLatency = "00b6450b024dd819"

// What Prometheus sends in the life of an alert, and more: each row is one
// request, and what it makes.
func TestChanges(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	at := func(seconds int) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
	a := func(name string, starts, ends int) Alert {
		one := Alert{Labels: map[string]string{"alertname": name}, StartsAt: at(starts)}
		if ends != 0 {
			one.EndsAt = at(ends)
		}
		return one
	}
	steps := []struct {
		what string
		put  []Alert
		want []string
	}{
		{"it fires", []Alert{a("A", -300, 240)}, []string{"alert A -5m0s"}},
		{"it is sent again", []Alert{a("A", -300, 300)}, nil},
		{"it is sent again, twice", []Alert{a("A", -300, 300), a("A", -300, 301)}, nil},
		{"Prometheus has restarted and thinks that it began later", []Alert{a("A", -60, 300)}, nil},
		{"another one begins and ends before it is sent", []Alert{a("B", -100, -50)}, []string{"alert_resolved B -1m40s to -50s"}},
		{"and is sent again", []Alert{a("B", -100, -50)}, nil},
		{"it has fired once more", []Alert{a("B", -40, -30)}, []string{"alert_resolved B -40s to -30s"}},
		{"it is over", []Alert{a("A", -300, -10)}, []string{"alert_resolved A -5m0s to -10s"}},
		{"Prometheus says so for 15 minutes", []Alert{a("A", -300, -10)}, nil},
		{"it is over, and fires all the same", []Alert{a("A", -300, 300)}, []string{"alert A -5m0s told 0s later"}},
		{"the other of two Prometheus speaks of an earlier end", []Alert{a("A", -900, -600)}, nil},
		{"it is over again", []Alert{a("A", -300, -5)}, []string{"alert_resolved A -5m0s to -5s"}},
		{"it fires anew", []Alert{a("A", -2, 300)}, []string{"alert A -2s"}},
		{"no end, no start", []Alert{a("C", 0, 0)}, []string{"alert C 0s"}},
	}
	b := open(t, t.TempDir())
	for _, step := range steps {
		b.put(step.put...)
		if diff := cmp.Diff(step.want, b.told(now)); diff != "" {
			t.Errorf("%s: %s", step.what, diff)
		}
	}
	rows, err := b.Firing(t.Context(), nil)
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d fire: %v", len(rows), err)
	}
	for _, r := range rows {
		if r.Labels["alertname"] == "C" && (r.EndsAt.Sub(now) > DefaultResolveTimeout+5*time.Second || r.EndsAt.Sub(now) < DefaultResolveTimeout) {
			t.Errorf("without an end it ends at %s", r.EndsAt)
		}
	}
}

// Whoever ends it is the actor, else the server; the two events belong together.
func TestEvents(t *testing.T) {
	b := open(t, t.TempDir())
	a := Alert{
		Labels:      map[string]string{"alertname": "Disk", "severity": "Warning", "instance": "[2001:db8::1]:9100", "empty": ""},
		Annotations: map[string]string{"summary": "almost full", "tocsin_event_id": "0192-cause"}, StartsAt: time.Now(), EndsAt: time.Now().Add(time.Hour), GeneratorURL: "http://p/graph",
	}
	b.put(a)
	if err := b.end(t.Context(), time.Now().Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	rows, err := b.State.Outbox(t.Context(), 0, 10)
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d events, %v", len(rows), err)
	}
	fired, over := rows[0].Event, rows[1].Event
	if fired.AuthName != "prom" || fired.AuthType != "api_key" || fired.ClientIP != "192.0.2.1" || fired.Severity != event.Warn || fired.Host != "2001:db8::1" ||
		over.AuthType != "system" || over.Severity != event.Notice || fired.CorrelationID == "" || fired.CorrelationID != over.CorrelationID || fired.CausationID != "0192-cause" || fired.Subject != over.Subject || fired.ID == over.ID {
		t.Errorf("%+v\n%+v", fired, over)
	}
	if !strings.Contains(string(fired.Data), `"summary":"almost full"`) || strings.Contains(string(fired.Data), "empty") {
		t.Errorf("data %s", fired.Data)
	}
}

// Severities as labels have them.
func TestSeverity(t *testing.T) {
	for label, want := range map[string]event.Severity{
		"warning": event.Warn, "warn": event.Warn, "critical": event.Critical, "CRITICAL": event.Critical, "info": event.Info, "notice": event.Notice,
		"error": event.Error, "page": event.Error, "none": event.Error, "": event.Error,
	} {
		a := Alert{Labels: map[string]string{"severity": label}}
		if got := a.Severity(); got != want {
			t.Errorf("%q: %s, want %s", label, got, want)
		}
	}
}

// Valid alerts are kept beside invalid ones, as Alertmanager does.
func TestInvalid(t *testing.T) {
	b := open(t, t.TempDir())
	now := time.Now()
	good := Alert{Labels: map[string]string{"alertname": "good"}}
	err := b.Put(t.Context(), by(), []Alert{
		{Labels: map[string]string{"alertname": ""}},
		good,
		{Labels: map[string]string{"a": "b"}, StartsAt: now, EndsAt: now.Add(-time.Second)},
		{Labels: map[string]string{"a\x00": "b"}},
		{Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"": "b"}},
		{Labels: map[string]string{"a": "b"}, StartsAt: time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Labels: map[string]string{"a": strings.Repeat("x", maxDocument)}},
		{Labels: map[string]string{"a": "b"}, EndsAt: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
	})
	invalid, ok := errors.AsType[*InvalidError](err)
	if !ok || len(invalid.Problems) != 6 || !errors.Is(err, event.ErrInvalid) {
		t.Errorf("%v", err)
	}
	rows, err := b.Firing(t.Context(), nil)
	if err != nil || len(rows) != 2 {
		t.Errorf("%d are kept: %v", len(rows), err)
	}
}

// A restart forgets nothing; what ended while nobody ran may still be sent again,
// and is over when it was not. Within the same run it is over at once.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	now := time.Now().UTC().Truncate(time.Second)
	b.put(Alert{Labels: map[string]string{"alertname": "A"}, StartsAt: now, EndsAt: now.Add(time.Minute)})
	b.put(Alert{Labels: map[string]string{"alertname": "B"}, StartsAt: now, EndsAt: now.Add(time.Hour)})
	b.told(now)
	if next, err := b.expire(t.Context(), now.Add(59*time.Second)); err != nil || next > time.Second+time.Millisecond || b.told(now) != nil {
		t.Errorf("too early: %s, %v", next, err)
	}
	after := open(t, dir)
	after.seen = b.seen
	after.started = now.Add(10 * time.Minute) // the end of A has passed
	if _, err := after.expire(t.Context(), after.started.Add(time.Minute)); err != nil || after.told(now) != nil {
		t.Errorf("Prometheus had no time to send it again: %v", err)
	}
	if rows, err := after.Firing(t.Context(), nil); err != nil || len(rows) != 2 {
		t.Errorf("%d fire: %v", len(rows), err)
	}
	if _, err := after.expire(t.Context(), after.started.Add(graceAtStart+time.Second)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"alert_resolved A 0s to 1m0s"}, after.told(now)); diff != "" {
		t.Error(diff)
	}
	if _, err := after.expire(t.Context(), now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"alert_resolved B 0s to 1h0m0s"}, after.told(now)); diff != "" {
		t.Error(diff)
	}
	// A day later both are forgotten.
	if _, err := after.expire(t.Context(), now.Add(26*time.Hour)); err != nil {
		t.Fatal(err)
	}
	all, err := rowsOf(t.Context(), after.State.Reader(), "")
	if err != nil || len(all) != 0 {
		t.Errorf("%d are still kept: %v", len(all), err)
	}
}

// An alert that ended, and begins again before anybody has told, is both.
func TestEndedUnseen(t *testing.T) {
	b := open(t, t.TempDir())
	now := time.Now().UTC().Truncate(time.Second)
	labels := map[string]string{"alertname": "A"}
	rows := []Row{{Alert: Alert{Labels: labels, StartsAt: now.Add(-time.Hour), EndsAt: now.Add(-30 * time.Minute)}, Fingerprint: "f", firing: true}}
	if err := b.State.Write(t.Context(), by(), func(tx *state.Tx) error { return save(tx, &rows[0]) }); err != nil {
		t.Fatal(err)
	}
	rows[0].StartsAt, rows[0].EndsAt = now.Add(-time.Minute), now.Add(time.Minute)
	if err := b.State.Write(t.Context(), by(), func(tx *state.Tx) error {
		_, err := b.Store.put(tx, rows, now)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"alert_resolved A -1h0m0s to -30m0s", "alert A -1m0s"}, b.told(now)); diff != "" {
		t.Error(diff)
	}
}

// Run ends an alert by itself, and wakes up for one that ends sooner than what it
// waits for.
func TestRun(t *testing.T) {
	b := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan struct{}, 10), make(chan error, 1)
	go func() { done <- b.Run(ctx, time.Hour, func() { told <- struct{}{} }) }()
	now := time.Now()
	b.put(Alert{Labels: map[string]string{"alertname": "long"}, StartsAt: now, EndsAt: now.Add(time.Hour)})
	b.put(Alert{Labels: map[string]string{"alertname": "short"}, StartsAt: now, EndsAt: now.Add(300 * time.Millisecond)})
	for {
		rows, err := b.Firing(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 1 && rows[0].Labels["alertname"] == "long" {
			break
		}
		select {
		case <-told:
		case <-time.After(20 * time.Second):
			t.Fatal("it does not end")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestMatchers(t *testing.T) {
	labels := map[string]string{"alertname": "Disk full", "severity": "critical", "q": `a"b\c`, "n": "x\ny", "größe": "1"}
	tests := []struct {
		text string
		want string // yes, no or bad
	}{
		{`severity=critical`, "yes"},
		{`severity="critical"`, "yes"},
		{` severity = "critical" `, "yes"},
		{`severity!=critical`, "no"},
		{`severity=~"crit.*|warn"`, "yes"},
		{`severity=~crit`, "no"},
		{`severity!~"crit"`, "yes"},
		{`severity!~"c.*"`, "no"},
		{`alertname=Disk full`, "yes"},
		{`missing=""`, "yes"},
		{`missing=`, "yes"},
		{`missing!=""`, "no"},
		{`missing=~".+"`, "no"},
		{`q="a\"b\\c"`, "yes"},
		{`n="x\ny"`, "yes"},
		{`"größe"=1`, "yes"},
		{`severity=~"(?i)CRITICAL"`, "yes"},
		{`severity`, "bad"},
		{`=x`, "bad"},
		{`severity=~"("`, "bad"},
		{`severity="x`, "bad"},
		{`severity=x"`, "bad"},
		{`severity="a"b"`, "bad"},
		{``, "bad"},
		{"severity=\"\xff\"", "bad"},
		{`größe=1`, "bad"},
	}
	for _, tt := range tests {
		m, err := ParseMatcher(tt.text)
		got := "no"
		switch {
		case err != nil && errors.Is(err, event.ErrInvalid):
			got = "bad"
		case m.Matches(labels):
			got = "yes"
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s (%v)", tt.text, got, tt.want, err)
		}
	}
}

func FuzzMatcher(f *testing.F) {
	for _, text := range []string{`a="b"`, `a=~"b.*"`, `"a\"b"!=c\`, `a!~"\\n"`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMatcher(text)
		if err != nil {
			if !errors.Is(err, event.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if m.pattern == nil && m.Matches(map[string]string{m.name: m.value}) == m.not {
			t.Fatalf("%q does not match itself", text)
		}
	})
}
