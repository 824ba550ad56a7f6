package source

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
)

// machine plays a host at its borders: systemd on D-Bus, and its journal. It works
// in fake time, too: nothing in it waits for anything but channels.
type machine struct {
	mu      sync.Mutex // guards all below
	away    error      // why no connection is to be had
	broken  error      // why the journal can't be read
	units   map[string]*unit
	watches []*fakeManager
	records []record
	grown   chan struct{} // closed and made anew when records come
	runs    int
	boot    int
}

func newHost() *machine {
	return &machine{units: map[string]*unit{}, grown: make(chan struct{}), boot: 1}
}

// fakeManager is one connection.
type fakeManager struct {
	host *machine
	ch   chan change
	done bool
}

func (h *machine) connect(context.Context) (manager, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away != nil {
		return nil, h.away
	}
	m := &fakeManager{host: h, ch: make(chan change, 100_000)}
	h.watches = append(h.watches, m)
	return m, nil
}

func (m *fakeManager) all(context.Context) ([]unit, error) {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	var all []unit
	for _, u := range m.host.units {
		all = append(all, *u)
	}
	slices.SortFunc(all, func(a, b unit) int { return cmp.Compare(a.name, b.name) })
	return all, nil
}

func (m *fakeManager) one(_ context.Context, name string) (unit, error) {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	if u := m.host.units[name]; u != nil {
		return *u, nil
	}
	return unit{name: name}, nil
}

func (m *fakeManager) changes() <-chan change { return m.ch }

func (m *fakeManager) close() {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	m.end()
}

func (m *fakeManager) end() {
	if !m.done {
		m.done = true
		close(m.ch)
		m.host.watches = slices.DeleteFunc(m.host.watches, func(o *fakeManager) bool { return o == m })
	}
}

// cut ends all connections; why is what the next attempts are told, nil to let
// them in.
func (h *machine) cut(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.away = why
	for len(h.watches) > 0 {
		h.watches[0].end()
	}
}

// set changes a unit as systemd does: the time is noted and everybody is told.
func (h *machine) set(name string, change func(*unit)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.change(name, change)
}

func (h *machine) change(name string, alter func(*unit)) {
	u := h.units[name]
	if u == nil {
		u = &unit{name: name, kind: "simple", active: "inactive", sub: "dead", result: "success", description: strings.TrimSuffix(name, ".service")}
		h.units[name] = u
	}
	alter(u)
	u.changed = time.Now().UTC()
	for _, w := range h.watches {
		w.ch <- change{unit: *u}
	}
}

func (h *machine) newRun() string {
	h.runs++
	return fmt.Sprintf("%032x", h.runs)
}

// up starts a unit by hand.
func (h *machine) up(name string) {
	h.set(name, func(u *unit) {
		u.active, u.sub, u.result, u.restarts, u.invocation, u.code, u.status = "active", "running", "success", 0, h.newRun(), 0, 0
	})
}

// fall lets a unit fail: its main process ends with a status.
func (h *machine) fall(name string, status int32) {
	h.set(name, func(u *unit) {
		u.active, u.sub, u.result, u.code, u.status = "failed", "failed", "exit-code", 1, status
	})
	h.log(record{Unit: field(name), PID: "1", UID: "0", ID: messageFailed, Result: "exit-code", Run: field(h.units[name].invocation)})
}

// bounce lets the main process end with a status, and systemd start it anew.
func (h *machine) bounce(name string, status int32) {
	result := "exit-code"
	if status == 0 {
		result = "success"
	}
	h.set(name, func(u *unit) { u.active, u.sub, u.result, u.code, u.status = "failed", "failed", result, 1, status })
	time.Sleep(10 * time.Millisecond)
	h.set(name, func(u *unit) { u.active, u.sub = "activating", "auto-restart" })
	h.set(name, func(u *unit) {
		u.active, u.sub, u.result, u.code, u.status, u.invocation = "active", "running", "success", 0, 0, h.newRun()
		u.restarts++
	})
}

// job runs a oneshot service for a while; uid is empty for one of the system.
func (h *machine) job(name, uid string, took time.Duration, status int, output ...string) {
	h.mu.Lock()
	run := h.newRun()
	h.mu.Unlock()
	by := record{Unit: field(name), Run: field(run), PID: "1", UID: "0"}
	printed := record{PID: "77", UID: "0", Comm: "restic"}
	if uid != "" {
		by = record{UserUnit: field(name), UserRun: field(run), PID: "500", UID: field(uid)}
		printed.UID = field(uid)
	}
	put := func(r record, id field) {
		r.ID = id
		h.log(r)
	}
	if uid == "" {
		h.set(name, func(u *unit) {
			u.kind, u.active, u.sub, u.invocation, u.result = "oneshot", "activating", "start", run, "success"
		})
	}
	put(by, messageStarting)
	for _, line := range output {
		r := printed
		r.Message = field(line)
		h.logAs(r, run, name)
	}
	time.Sleep(took)
	active, result := "inactive", "success"
	if status != 0 {
		active, result = "failed", "exit-code"
		by.Exit, by.ExitCode = field(strconv.Itoa(status)), "exited"
		put(by, messageExited)
		by.Exit, by.ExitCode, by.Result = "", "", "exit-code"
		put(by, messageFailed)
	} else {
		put(by, messageSucceeded)
	}
	if uid == "" {
		h.set(name, func(u *unit) { u.active, u.sub, u.result, u.code, u.status = active, "dead", result, 1, int32(status) })
	}
}

func (h *machine) log(r record) { h.logAs(r, "", "") }

// logAs writes a record, of the run of a unit where these are named.
func (h *machine) logAs(r record, run, unit string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	r.Cursor, r.Realtime = field("c"+strconv.Itoa(len(h.records)+1)), field(strconv.FormatInt(now.UnixMicro(), 10))
	r.Monotonic, r.Boot = r.Realtime, field(strconv.Itoa(h.boot))
	if run != "" {
		r.Of = field(run)
		r.Cursor += field(" _SYSTEMD_INVOCATION_ID=" + run + " _SYSTEMD_USER_UNIT=" + unit + " _SYSTEMD_UNIT=" + unit)
	}
	h.records = append(h.records, r)
	close(h.grown)
	h.grown = make(chan struct{})
}

// fits is what journalctl does with matches: those of one field are alternatives.
func fits(r *record, match []string) bool {
	groups := map[string]bool{}
	for _, m := range match {
		name, value, _ := strings.Cut(m, "=")
		has := map[string]field{
			"MESSAGE_ID": r.ID, "UNIT": r.Unit, "USER_UNIT": r.UserUnit, "INVOCATION_ID": r.Run, "USER_INVOCATION_ID": r.UserRun, "_PID": r.PID, "_UID": r.UID,
		}[name]
		groups[name] = groups[name] || string(has) == value || strings.HasPrefix(name, "_SYSTEMD") && slices.Contains(strings.Fields(string(r.Cursor)), m)
	}
	for _, ok := range groups {
		if !ok {
			return false
		}
	}
	return true
}

func (h *machine) ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.broken
}

func (h *machine) follow(ctx context.Context, from string, match []string, give func(*record) error) error {
	var next int
	h.mu.Lock()
	if since, ok := strings.CutPrefix(from, "@"); ok {
		micros, err := strconv.ParseInt(strings.Replace(since, ".", "", 1), 10, 64)
		if err != nil {
			h.mu.Unlock()
			return &absentError{"Failed to seek to cursor: Invalid argument"}
		}
		next, _ = slices.BinarySearchFunc(h.records, time.UnixMicro(micros), func(r record, at time.Time) int { return r.time().Compare(at) })
	} else if next = 1 + slices.IndexFunc(h.records, func(r record) bool { return string(r.Cursor) == from }); next == 0 {
		h.mu.Unlock()
		return &absentError{"journalctl has ended: Failed to seek to cursor: Invalid argument"}
	}
	h.mu.Unlock()
	for {
		h.mu.Lock()
		var r *record
		if next < len(h.records) {
			one := h.records[next]
			r = &one
			next++
		}
		grown, broken := h.grown, h.broken
		h.mu.Unlock()
		switch {
		case broken != nil:
			return broken
		case r != nil && fits(r, match):
			if err := give(r); err != nil {
				return err
			}
		case r == nil:
			select {
			case <-grown:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func (h *machine) matching(last int, match []string) []record {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []record
	for i := len(h.records) - 1; i >= 0 && len(all) < last; i-- {
		if fits(&h.records[i], match) {
			all = append(all, h.records[i])
		}
	}
	slices.Reverse(all)
	return all
}

// journalOf is the host's journal.
type journalOf struct{ *machine }

func (j journalOf) records(_ context.Context, last int, match ...string) ([]record, error) {
	return j.matching(last, match), nil
}

// desk is where sources work in a test: it keeps what they say, for several
// goroutines, and what they store outlives them.
type desk struct {
	env Env

	mu     sync.Mutex    // guards all below
	events []event.Event // since they were asked for last
	all    []event.Event
	ids    map[event.ID]bool // the journal records each once
	stored map[string]string
	status Status
	lacks  string
	fail   error
}

func newDesk() *desk {
	d := &desk{ids: map[event.ID]bool{}, stored: map[string]string{}}
	d.env = Env{
		Host: "web-17", Base: "https://t.example", Log: slog.New(slog.DiscardHandler), Memory: d,
		Emit: d.emit, Problem: func(error) {}, Told: func() {},
		Status: func(s Status, lacks string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.status, d.lacks = s, lacks
		},
	}
	return d
}

func (d *desk) emit(_ context.Context, events ...event.Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	for _, e := range events {
		if !d.ids[e.ID] {
			d.ids[e.ID] = true
			d.events, d.all = append(d.events, e), append(d.all, e)
		}
	}
	return nil
}

func (d *desk) Load(_ context.Context, key string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stored[key], nil
}

func (d *desk) Store(_ context.Context, key, value string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stored[key] = value
	return nil
}

func (d *desk) say() (Status, string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status, d.lacks
}

// told is what was said since the last call: type, severity, subject and some
// members of the data. All of it fits the catalog.
func (d *desk) told(t *testing.T, members ...string) []string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	c := catalog.New()
	var all []string
	for _, e := range d.events {
		if m := c.Check(&e); m != nil {
			t.Errorf("%s does not fit the catalog: %v", e.Type, m)
		}
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", e.Type, err)
		}
		var data map[string]any
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		words := []string{string(e.Type), e.Severity.String(), e.Subject}
		for _, name := range members {
			if v, ok := data[name]; ok {
				words = append(words, fmt.Sprintf("%s=%v", name, v))
			}
		}
		all = append(all, strings.Join(words, " "))
	}
	d.events = nil
	return all
}

// running runs a source until stop is called.
func (d *desk) running(t *testing.T, s Source) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, &d.env) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the source ended with %v", err)
		}
	}
}
