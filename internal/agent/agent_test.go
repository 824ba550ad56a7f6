package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// bench are Agents on a state database whose outbox stands for the journal.
type bench struct {
	*Agents
	t     *testing.T
	seen  int64
	after time.Duration
}

func open(t *testing.T) *bench {
	t.Helper()
	st, err := state.Open(t.Context(), state.Options{Dir: t.TempDir(), Source: "https://t.example"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{t: t, after: time.Minute}
	b.Agents = New(Options{State: st, Source: "https://t.example/agent", SilentAfter: func() time.Duration { return b.after }})
	return b
}

func sender(token string) Sender {
	return Sender{ID: "api_key/" + token, Token: token, Cause: state.Cause{AuthType: "api_key", AuthID: "token/3", AuthName: token, ClientIP: "192.0.2.7"}}
}

func (b *bench) hears() {
	b.t.Helper()
	err := b.Heard(b.t.Context(), "a-1", sender("web"), Report{Name: "web-1", Version: "1.2", Now: time.Now().Add(time.Hour), Lag: 7, Sources: []Source{{Name: "disk_full", Status: "running"}}})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) checks(at time.Time) {
	b.t.Helper()
	if err := b.check(b.t.Context(), at); err != nil {
		b.t.Fatal(err)
	}
}

// told is what was recorded since the last call.
func (b *bench) told(want ...string) {
	b.t.Helper()
	rows, err := b.State.Outbox(b.t.Context(), b.seen, 100)
	if err != nil {
		b.t.Fatal(err)
	}
	var got []string
	known := catalog.New()
	for _, r := range rows {
		b.seen = r.Seq
		if m := known.Check(&r.Event); m != nil {
			b.t.Errorf("%s does not fit the catalog: %v", r.Event.Type, m)
		}
		got = append(got, string(r.Event.Type)+" "+r.Event.Subject+" "+r.Event.Host)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Fatal(diff)
	}
}

// An agent joins once, falls silent once, and returns once.
func TestLife(t *testing.T) {
	b := open(t)
	start := time.Now()
	b.hears()
	b.hears()
	b.told("agent.joined agent/a-1 web-1")
	b.checks(start.Add(30 * time.Second))
	b.told()
	b.checks(start.Add(2 * time.Minute))
	b.checks(start.Add(3 * time.Minute))
	b.told("agent.silent agent/a-1 web-1")
	rows, err := b.List(t.Context())
	if err != nil || len(rows) != 1 || !rows[0].Silent {
		t.Fatalf("%+v, %v", rows, err)
	}
	b.hears()
	b.told("agent.returned agent/a-1 web-1")

	row, err := b.Get(t.Context(), "a-1")
	if err != nil {
		t.Fatal(err)
	}
	if row.Silent || row.Name != "web-1" || row.Lag != 7 || row.Token != "web" || row.Address != "192.0.2.7" || len(row.Sources) != 1 || row.ClockOff < 3_500_000 || row.ClockOff > 3_700_000 {
		t.Errorf("%+v", row)
	}

	// After a restart of this server an agent has the whole time again.
	again := New(b.Options)
	if err := again.check(t.Context(), time.Now().Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	b.told()
}

// An agent that reports to another node of the same database is not silent.
func TestOtherNode(t *testing.T) {
	b := open(t)
	other := New(b.Options)
	start := time.Now()
	b.hears()
	b.told("agent.joined agent/a-1 web-1")
	for minute := range 5 {
		b.hears()
		if err := other.check(t.Context(), start.Add(time.Duration(minute)*50*time.Second)); err != nil {
			t.Fatal(err)
		}
		b.told()
	}
	if err := other.check(t.Context(), start.Add(10*time.Minute)); err != nil {
		t.Fatal(err)
	}
	b.told("agent.silent agent/a-1 web-1")
}

// Nobody speaks for an agent but who let it join, until it is forgotten.
func TestOwner(t *testing.T) {
	b := open(t)
	b.hears()
	b.told("agent.joined agent/a-1 web-1")
	if err := b.Heard(t.Context(), "a-1", sender("thief"), Report{Name: "web-1"}); !errors.Is(err, event.ErrDenied) {
		t.Errorf("another token spoke for it: %v", err)
	}
	b.told()
	if err := b.Forget(t.Context(), state.System(), "a-1"); err != nil {
		t.Fatal(err)
	}
	b.told("model_deleted agent/a-1 ")
	if err := b.Forget(t.Context(), state.System(), "a-1"); !errors.Is(err, event.ErrNotFound) {
		t.Errorf("forgotten twice: %v", err)
	}
	if err := b.Heard(t.Context(), "a-1", sender("new"), Report{Name: "web-1"}); err != nil {
		t.Error(err)
	}
	b.told("agent.joined agent/a-1 web-1")
}

func TestBadReports(t *testing.T) {
	b := open(t)
	for name, bad := range map[string]struct {
		id string
		r  Report
	}{
		"no id":          {"", Report{Name: "x"}},
		"a path as id":   {"../x", Report{Name: "x"}},
		"no name":        {"a", Report{}},
		"a name in rows": {"a", Report{Name: "x\ny"}},
		"many sources":   {"a", Report{Name: "x", Sources: make([]Source, 201)}},
		"large":          {"a", Report{Name: "x", Sources: []Source{{LastError: strings.Repeat("x", 70_000)}}}},
	} {
		if err := b.Heard(t.Context(), bad.id, sender("web"), bad.r); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.told()
	if _, err := b.Get(t.Context(), "a"); !errors.Is(err, event.ErrNotFound) {
		t.Errorf("a bad report was kept: %v", err)
	}
}
