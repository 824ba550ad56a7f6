package notify

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/state"
)

// kit is all that notify works with, for real: a journal, a database, a way out.
type kit struct {
	*Notify
	t       *testing.T
	journal *journal.Journal
	state   *state.State
	counts  *counts
	people  *folk
}

const base = "https://tocsin.example"

// folk is a directory of people.
type folk struct{ all []Person }

func (f *folk) People(context.Context) ([]Person, error) { return f.all, nil }

func (f *folk) Person(_ context.Context, id state.ObjectID) (Person, bool, error) {
	who := newPeople(f.all).byID[id]
	if who == nil {
		return Person{}, false, nil
	}
	return *who, true, nil
}

// counts are metrics that a test reads.
type counts struct {
	mu         sync.Mutex // guards all below
	suppressed map[string]int
	outcomes   map[string]int
}

func (c *counts) Told(string) { /* not asked for */ }

func (c *counts) Suppressed(_, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.suppressed[reason]++
}

func (c *counts) Attempted(_, outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes[outcome]++
}

func newKit(t *testing.T) *kit {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "journal"), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	s, err := state.Open(t.Context(), state.Options{Dir: dir, Source: base, Significant: base})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	k := &kit{t: t, journal: j, state: s, counts: &counts{suppressed: map[string]int{}, outcomes: map[string]int{}}, people: &folk{}}
	k.people.all = []Person{
		{ID: 1, Username: "ann", Name: "Ann", Email: "ann@example.com", Level: "admin", Groups: []string{"1"}},
		{ID: 2, Username: "bob", Name: "Bob", Email: "bob@example.com", Level: "viewer", Groups: []string{"1", "2"}},
	}
	k.record()
	k.Notify = k.open(dir)
	return k
}

// record carries the outbox into the journal, as ingest does.
func (k *kit) record() {
	var mu sync.Mutex // one carrier at a time
	k.state.SetRecorder(func(ctx context.Context, _ int64) error {
		mu.Lock()
		defer mu.Unlock()
		rows, err := k.state.Outbox(ctx, 0, 1000)
		if err != nil {
			return err
		}
		c := catalog.New()
		for _, r := range rows {
			r.Event.Severity = c.Severity(r.Event.Type)
			if _, err := k.journal.Append(ctx, []event.Event{r.Event}); err != nil {
				return err
			}
			k.state.Recorded(r.Seq)
		}
		return nil
	})
}

func (k *kit) open(dir string) *Notify {
	k.t.Helper()
	filters, err := filter.NewEnv()
	if err != nil {
		k.t.Fatal(err)
	}
	key, err := state.OpenKey(dir)
	if err != nil {
		k.t.Fatal(err)
	}
	way := egress.New(egress.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, egress.Options{})
	k.t.Cleanup(way.Close)
	n, err := New(k.t.Context(), Options{
		State: k.state, Journal: k.journal, Catalog: catalog.New(), Filters: filters, Key: key, Directory: k.people, Egress: way,
		SMTP: func() config.SMTP { return config.SMTP{} }, Source: base, PublicURL: base, Host: "here", Version: "test", Owner: "test",
		Metrics: k.counts, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return n
}

// start runs it until the test ends, or the returned function is called.
func (k *kit) start() (stop func()) {
	ctx, cancel := context.WithCancel(k.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := k.Run(ctx); err != nil {
			k.t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	k.t.Cleanup(stop)
	return stop
}

// emit records an event and gives its sequence.
func (k *kit) emit(e event.Event) event.Seq {
	k.t.Helper()
	if e.ID == "" {
		e.ID = event.NewID()
	}
	if e.Source == "" {
		e.Source = "/test"
	}
	if e.Severity == 0 {
		e.Severity = catalog.New().Severity(e.Type)
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	results, err := k.journal.Append(k.t.Context(), []event.Event{e})
	if err != nil {
		k.t.Fatal(err)
	}
	return results[0].Seq
}

// until waits for a condition that a change of the ledger makes true.
func (k *kit) until(what string, is func() bool) {
	k.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		changed := k.Changed()
		if is() {
			return
		}
		select {
		case <-changed:
		case <-limit:
			k.t.Fatalf("not in time: %s", what)
		}
	}
}

// ledger lists deliveries of a rule.
func (k *kit) ledger(q DeliveryQuery) []Delivery {
	k.t.Helper()
	q.Limit = 1000
	found, err := k.Deliveries(k.t.Context(), q)
	if err != nil {
		k.t.Fatal(err)
	}
	return found
}

// sink is an HTTP server that keeps what it gets.
type sink struct {
	*httptest.Server
	mu     sync.Mutex // guards all below
	got    []sunk
	answer func(n int, w http.ResponseWriter, r *http.Request) // n counts from 1
}

type sunk struct {
	header http.Header
	body   string
}

func newSink(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *sink {
	t.Helper()
	s := &sink{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what broke off is not kept whole
		s.mu.Lock()
		s.got = append(s.got, sunk{r.Header, string(body)})
		n := len(s.got)
		s.mu.Unlock()
		if s.answer != nil {
			s.answer(n, w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) all() []sunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sunk{}, s.got...)
}

// webhook stores a transport to a URL.
func (k *kit) webhook(name, url string, more ...func(*TransportInput)) state.ObjectID {
	k.t.Helper()
	settings, err := json.Marshal(map[string]string{"url": url, "format": "cloudevents"})
	if err != nil {
		k.t.Fatal(err)
	}
	in := TransportInput{Name: name, Mode: "webhook", Settings: settings, Retry: &Retry{Attempts: 5, First: config.Duration(20 * time.Millisecond), Most: config.Duration(100 * time.Millisecond)}}
	for _, f := range more {
		f(&in)
	}
	t, err := k.CreateTransport(k.t.Context(), state.System(), in)
	if err != nil {
		k.t.Fatal(err)
	}
	return t.ID
}

// rule stores a rule.
func (k *kit) rule(name string, way state.ObjectID, more ...func(*Rule)) state.ObjectID {
	k.t.Helper()
	r := NewRule()
	r.Name, r.Transports = name, []string{way.String()}
	for _, f := range more {
		f(&r)
	}
	made, err := k.CreateRule(k.t.Context(), state.System(), r)
	if err != nil {
		k.t.Fatal(err)
	}
	return made.ID
}
