package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/agent"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/state"
)

// server takes events as a Tocsin does, and misbehaves when it is told to.
type server struct {
	*httptest.Server

	mu      sync.Mutex // guards all below
	ids     []string   // of every event that came, in order
	wrong   []int      // what it answers next in place of taking events
	refuse  string     // id of an event that it does not take
	limit   int        // events of a request; 0 for any number
	deaf    bool       // refuses reports
	lost    bool       // takes events, and breaks off before it answers, once
	reports []agent.Report
	changed chan struct{}
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{changed: make(chan struct{}, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events", s.events)
	mux.HandleFunc("PUT /v1/agents/{id}", func(w http.ResponseWriter, r *http.Request) {
		var report agent.Report
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil || r.PathValue("id") != "agent-1" {
			t.Errorf("report of %s: %v", r.PathValue("id"), err)
		}
		s.mu.Lock()
		s.reports = append(s.reports, report)
		deaf := s.deaf
		s.mu.Unlock()
		if deaf {
			http.Error(w, `{"detail":"of another token"}`, http.StatusForbidden)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *server) events(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}()
	if len(s.wrong) > 0 {
		code := s.wrong[0]
		s.wrong = s.wrong[1:]
		http.Error(w, `{"title":"no","detail":"not now"}`, code)
		return
	}
	var batch []map[string]any
	if err := json.NewDecoder(r.Body).Decode(&batch); err != nil || r.Header.Get("Authorization") != "Bearer tcsn_x" {
		http.Error(w, `{"detail":"bad"}`, http.StatusBadRequest)
		return
	}
	if s.limit > 0 && len(batch) > s.limit {
		http.Error(w, `{"detail":"too large"}`, http.StatusRequestEntityTooLarge)
		return
	}
	type result struct {
		Index int    `json:"index"`
		Error string `json:"error,omitempty"`
	}
	var results []result
	refused := 0
	for i, e := range batch {
		one := result{Index: i}
		if e["id"] == s.refuse {
			one.Error = "the type is unknown"
			refused++
		} else {
			s.ids = append(s.ids, fmt.Sprint(e["id"]))
		}
		results = append(results, one)
	}
	if s.lost {
		s.lost = false
		panic(http.ErrAbortHandler)
	}
	code := http.StatusAccepted
	if refused == len(batch) {
		code = http.StatusBadRequest
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"results": results})
}

// rig is a host with a journal that forwards to a server.
type rig struct {
	t *testing.T
	j *journal.Journal
	s *state.State
	o ForwardOptions
	n int
}

func newRig(t *testing.T, to *server) *rig {
	t.Helper()
	dir := t.TempDir()
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "journal"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	s, err := state.Open(t.Context(), state.Options{Dir: dir, Source: "https://a.example"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte("tcsn_x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	peer, err := OpenPeer(&config.Forward{URL: to.URL + "/", TokenFile: file}, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, j: j, s: s, o: ForwardOptions{
		ID: "agent-1", Peer: peer, Journal: j, State: s, Source: "https://a.example/agent", Logger: slog.New(slog.DiscardHandler),
		Lag: func(uint64) {}, Report: func() agent.Report { return agent.Report{Name: "web-1"} },
	}}
}

func (r *rig) emit(n int) {
	r.t.Helper()
	events := make([]event.Event, n)
	for i := range events {
		r.n++
		events[i] = event.Event{ID: event.ID(strconv.Itoa(r.n)), Source: "/t", Type: "x", Severity: event.Info, Time: time.Now()}
	}
	if _, err := r.j.Append(r.t.Context(), events); err != nil {
		r.t.Fatal(err)
	}
}

// forwards runs a forwarder until the server has what is wanted.
func (r *rig) forwards(to *server, during func(), done func() bool) *Forwarder {
	r.t.Helper()
	f, err := NewForwarder(r.t.Context(), r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	during()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		to.mu.Lock()
		ok := done()
		to.mu.Unlock()
		if ok && f.Problem() == "" && f.Lag() == 0 {
			break
		}
		select {
		case <-to.changed:
		case <-tick.C:
		case <-ctx.Done():
			r.t.Fatalf("it never came: %s", f.Problem())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		r.t.Error(err)
	}
	return f
}

func numbers(from, to int) (all []string) {
	for n := from; n <= to; n++ {
		all = append(all, strconv.Itoa(n))
	}
	return all
}

// The events come in order, over a server that is away, refuses, takes them
// without an answer, and over a restart of the agent.
func TestForward(t *testing.T) {
	to := newServer(t)
	to.wrong = []int{http.StatusServiceUnavailable, http.StatusUnauthorized, http.StatusBadGateway}
	r := newRig(t, to)
	r.forwards(to, func() { r.emit(700) }, func() bool { return len(to.ids) == 700 })
	if diff := cmp.Diff(numbers(1, 700), to.ids); diff != "" {
		t.Fatal(diff)
	}
	if len(to.reports) == 0 || to.reports[0].Name != "web-1" {
		t.Errorf("reports: %+v", to.reports)
	}

	r.emit(10)
	to.ids, to.lost = nil, true
	f := r.forwards(to, func() { r.emit(10) }, func() bool { return slices.Contains(to.ids, "720") && len(to.ids) >= 40 })
	if diff := cmp.Diff(slices.Concat(numbers(701, 720), numbers(701, 720)), to.ids); diff != "" {
		t.Errorf("what was not answered for is sent again, and nothing else:\n%s", diff)
	}
	if f.Lag() != 0 {
		t.Errorf("lag %d", f.Lag())
	}
}

// What is too much for one request is sent in parts; what is refused for good
// keeps nothing back and is recorded here.
func TestRefused(t *testing.T) {
	to := newServer(t)
	to.limit, to.refuse = 3, "5"
	r := newRig(t, to)
	r.forwards(to, func() { r.emit(10) }, func() bool {
		rows, err := r.s.Outbox(t.Context(), 0, 10)
		return err == nil && len(rows) > 0
	})
	if slices.Contains(to.ids, "5") {
		t.Errorf("came: %v", to.ids)
	}
	rows, err := r.s.Outbox(t.Context(), 0, 10)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d events about it, %v", len(rows), err)
	}
	want := `{"count":1,"first":"00000000000000000005","last":"00000000000000000005","reason":"the type is unknown","server":"` + to.URL + `"}`
	if e := rows[0].Event; e.Type != "agent.refused" || string(e.Data) != want {
		t.Errorf("%s %s", e.Type, e.Data)
	}
}

// Something else than a Tocsin at the address is not taken for one.
func TestNoTocsin(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	defer other.Close()
	to := &server{Server: other}
	r := newRig(t, to)
	r.emit(1)
	hits, err := r.j.After(t.Context(), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.o.Peer.Send(t.Context(), hits); err == nil || !strings.Contains(err.Error(), "is no Tocsin") {
		t.Errorf("it was believed: %v", err)
	}
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token := write("token", "tcsn_x")
	for want, c := range map[string]config.Forward{
		"token_file":           {TokenFile: filepath.Join(dir, "none")},
		"must hold one":        {TokenFile: write("two", "a b")},
		"holds no certificate": {TokenFile: token, CAFile: write("ca", "x")},
		"forward.cert_file":    {TokenFile: token, CertFile: token, KeyFile: token},
	} {
		if _, err := OpenPeer(&c, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// A server that refuses this host's reports may take its events: neither is said of
// the other, nor does each event bring one more report.
func TestReportsRefused(t *testing.T) {
	to := newServer(t)
	to.deaf = true
	r := newRig(t, to)
	var log bytes.Buffer
	r.o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	f, err := NewForwarder(t.Context(), r.o)
	if err != nil {
		t.Fatal(err)
	}
	r.emit(1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	count := func(want int) {
		t.Helper()
		for {
			to.mu.Lock()
			ok := len(to.ids) == want && len(to.reports) > 0
			to.mu.Unlock()
			if ok && strings.Contains(f.Problem(), "another token") {
				return
			}
			select {
			case <-to.changed:
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("%d events did not come: %s", want, f.Problem())
			}
		}
	}
	count(1)
	for n := range 5 {
		r.emit(1)
		count(n + 2)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text := log.String(); len(to.reports) != 1 || strings.Count(text, "level=WARN") != 1 || strings.Contains(text, "events wait here") {
		t.Errorf("%d reports; log:\n%s", len(to.reports), text)
	}
}
