package source

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/config"
)

// lapi is a local API of CrowdSec.
type lapi struct {
	mu     sync.Mutex // guards all below
	status int
	answer string // in place of decisions
	slow   time.Duration
	next   []string // new decisions
	ids    int
	asked  []string
	key    string
}

// ban adds n decisions.
func (l *lapi) ban(n int, origin, scenario string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		l.ids++
		l.next = append(l.next, fmt.Sprintf(`{"duration":"3h59m","id":%d,"origin":%q,"scenario":%q,"scope":"Ip","type":"ban","value":"192.0.2.%d"}`, l.ids, origin, scenario, l.ids%250))
	}
}

// RoundTrip answers as LAPI 1.4 does.
func (l *lapi) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	slow := l.slow
	l.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, r.URL.RequestURI())
	w := httptest.NewRecorder()
	switch {
	case l.status != 0:
		w.WriteHeader(l.status)
	case r.Header.Get("X-Api-Key") != l.key:
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"message":"access forbidden"}`)
	case l.answer != "":
		fmt.Fprint(w, l.answer)
	case len(l.next) == 0:
		fmt.Fprint(w, `{"deleted":null,"new":null}`)
	default:
		fmt.Fprint(w, `{"deleted":[{"id":1,"value":"198.51.100.1"}],"new":[`+strings.Join(l.next, ",")+`]}`)
		l.next = nil
	}
	return w.Result(), nil
}

func crowdsecWith(t *testing.T, l *lapi, change func(*crowdsecOptions)) *crowdsec {
	t.Helper()
	l.key = "key-of-the-bouncer"
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(l.key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := crowdsecOptions{
		Enabled: true, URL: "http://127.0.0.1:8080", KeyFile: file, Interval: config.Duration(10 * time.Second),
		Threshold: 50, Window: config.Duration(5 * time.Minute), Timeout: config.Duration(time.Second),
	}
	if change != nil {
		change(&o)
	}
	s, err := newCrowdsec(o)
	if err != nil {
		t.Fatal(err)
	}
	c := s.(*crowdsec)
	c.lapi.http.Transport = l
	return c
}

// lookAt asks at a time and returns what was told.
func (c *crowdsec) lookAt(t *testing.T, r *recorder, now time.Time) []string {
	t.Helper()
	if err := c.look(t.Context(), &r.Env, now); err != nil {
		t.Fatal(err)
	}
	return r.told(t, "decisions", "threshold", "window")
}

// One event a spike: what was there before counts for nothing, the threshold is
// tolerated, and a spike is over after a whole window without.
func TestCrowdsecSpike(t *testing.T) {
	l := &lapi{}
	c, r := crowdsecWith(t, l, nil), newRecorder(map[string]string{})
	r.Problem = func(error) {}
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return now.Add(d) }
	const told = "crowdsec_spike warn host/web-17 "
	steps := []struct {
		at     time.Duration
		bans   int
		origin string
		want   string
	}{
		{0, 300, "crowdsec", ""},             // startup
		{10 * time.Second, 30, "cscli", ""},  // 30
		{20 * time.Second, 500, "CAPI", ""},  // the community's
		{30 * time.Second, 500, "lists", ""}, // a list's
		{4 * time.Minute, 20, "crowdsec", ""},
		{5 * time.Minute, 1, "crowdsec", told + `51 50 "5m"`}, // the first 30 are 4m50s old
		{6 * time.Minute, 300, "crowdsec", ""},                // the same spike
		{10 * time.Minute, 0, "", ""},
		{12 * time.Minute, 0, "", ""},         // calm from here
		{13 * time.Minute, 60, "cscli", ""},   // and not for a window
		{18*time.Minute + 1, 0, "", ""},       // calm
		{23*time.Minute + 1, 0, "", ""},       // for a window: over
		{23*time.Minute + 2, 50, "cscli", ""}, // tolerated
		{23*time.Minute + 3, 10_000, "cscli", told + `10050 50 "5m"`},
	}
	for _, s := range steps {
		l.ban(s.bans, s.origin, "crowdsecurity/ssh-bf")
		got := strings.Join(c.lookAt(t, r, at(s.at)), "\n")
		if got != s.want {
			t.Errorf("after %s: told %q, want %q", s.at, got, s.want)
		}
		if r.status != Running {
			t.Errorf("after %s: %s %s", s.at, r.status, r.lacks)
		}
	}
	if l.asked[0] != "/v1/decisions/stream?startup=true" || l.asked[1] != "/v1/decisions/stream" {
		t.Errorf("asked %q", l.asked[:2])
	}
}

// The commonest come first, at most ten of them.
func TestCrowdsecTop(t *testing.T) {
	l := &lapi{}
	c, r := crowdsecWith(t, l, func(o *crowdsecOptions) { o.Threshold, o.Community = 5, true }), newRecorder(map[string]string{})
	r.Problem = func(error) {}
	now := time.Now()
	c.lookAt(t, r, now)
	l.ban(2, "CAPI", "a/http-probing")
	l.ban(20, "lists", "b/ssh-bf")
	l.next = append(l.next, l.next[0])                                                                           // given twice
	l.next = append(l.next, `{"id":900,"origin":"cscli","scenario":"c","value":"192.0.2.9","simulated":true}`)   // does not count
	l.next = append(l.next, `{"id":901,"origin":"cscli","scenario":"b/ssh-bf\u0000\n","value":"192.0.2.1"}`)     // a hostile name
	l.next = append(l.next, `{"id":902,"origin":"cscli","scenario":"b/ssh-bf","value":"192.0.2.1","extra":[1]}`) // more of one address
	if err := c.look(t.Context(), &r.Env, now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	var data struct {
		Decisions int
		Scenarios []struct {
			Name  string
			Count int
		} `json:"top_scenarios"`
		Addresses []struct {
			Address string
			Count   int
		} `json:"top_addresses"`
	}
	if len(r.events) != 1 {
		t.Fatalf("%d events", len(r.events))
	}
	if err := json.Unmarshal(r.events[0].Data, &data); err != nil {
		t.Fatal(err)
	}
	if data.Decisions != 24 || fmt.Sprint(data.Scenarios) != "[{b/ssh-bf 22} {a/http-probing 2}]" || len(data.Addresses) != 10 || data.Addresses[0].Address != "192.0.2.1" || data.Addresses[0].Count != 3 {
		t.Errorf("%s", r.events[0].Data)
	}
}

// A restart in a spike, in the middle of one that rises, and after a crash
// between deciding and recording: each spike is told once.
func TestCrowdsecRestart(t *testing.T) {
	l, stored := &lapi{}, map[string]string{}
	now := time.Now()
	var c *crowdsec
	var r *recorder
	restart := func(d time.Duration) {
		now = now.Add(d)
		c, r = crowdsecWith(t, l, nil), newRecorder(stored)
		r.Problem = func(error) {}
		if err := c.load(t.Context(), &r.Env, now); err != nil {
			t.Fatal(err)
		}
	}
	look := func(bans int) []string {
		t.Helper()
		now = now.Add(10 * time.Second)
		l.ban(bans, "crowdsec", "s")
		return c.lookAt(t, r, now)
	}
	restart(0)
	look(0)
	look(40)
	restart(time.Minute)
	r.fail = io.ErrUnexpectedEOF
	now = now.Add(time.Second)
	l.ban(15, "crowdsec", "s")
	if err := c.look(t.Context(), &r.Env, now); err == nil {
		t.Fatal("the journal's error is lost")
	}
	c, r = crowdsecWith(t, l, nil), newRecorder(stored)
	r.Problem = func(error) {}
	if err := c.load(t.Context(), &r.Env, now); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`crowdsec_spike warn host/web-17 55`}, r.told(t, "decisions")); diff != "" {
		t.Error(diff)
	}
	restart(time.Minute)
	if got := append(look(100), look(100)...); got != nil {
		t.Errorf("told again: %v", got)
	}
	restart(time.Hour) // nobody knows when these came
	if got := append(look(500), look(10)...); got != nil {
		t.Errorf("told of what came while nobody watched: %v", got)
	}
	stored["state"] = `{"polled":"2999-01-01T00:00:00Z","recent":[{"at":"2999-01-01T00:00:00Z"}],` // damaged
	restart(time.Minute)
	look(0)
	stored["state"] = `{"polled":"2999-01-01T00:00:00Z","recent":[{"at":"2999-01-01T00:00:00Z"}]}` // a clock that was ahead
	restart(0)
	if c.state.Polled.After(now) || c.recent[0].At.After(now) {
		t.Errorf("%v %v", c.state.Polled, c.recent)
	}
}

// Absent, refusing, slow, answering garbage: said once, never an error, and it goes
// on by itself.
func TestCrowdsecFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lapi{}
		c, r := crowdsecWith(t, l, nil), newRecorder(map[string]string{})
		var problem error
		var status Status
		var lacks string
		r.Problem = func(err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			problem = err
		}
		r.Status = func(s Status, text string) {
			l.mu.Lock()
			defer l.mu.Unlock()
			status, lacks = s, text
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx, &r.Env) }()
		good := func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.status, l.answer, l.slow, l.key = 0, "", 0, "key-of-the-bouncer"
		}
		for _, tt := range []struct {
			name, says, lacks string
			breaks            func()
		}{
			{"absent", "502", "start CrowdSec", func() { l.status = 502 }},
			{"wrong key", "refuses the key", "cscli bouncers add", func() { l.key = "another" }},
			{"garbage", "not CrowdSec's", "url", func() { l.answer = "<html>" }},
			{"another API", "not CrowdSec's", "url", func() { l.answer = `{"items":[]}` }},
			{"wrong types", "not CrowdSec's", "url", func() { l.answer = `{"new":[{"id":"x"}]}` }},
			{"no list", "not CrowdSec's", "url", func() { l.answer = `{"new":7}` }},
			{"cut off", "not CrowdSec's", "url", func() { l.answer = `{"new":[{"id":1},` }},
			{"deep", "not CrowdSec's", "url", func() { l.answer = `{"x":` + strings.Repeat("[", 100_000) }},
			{"redirect", "302", "url", func() { l.status = 302 }},
			{"slow", "deadline", "url", func() { l.slow = time.Hour }},
		} {
			l.mu.Lock()
			tt.breaks()
			l.mu.Unlock()
			time.Sleep(30 * time.Second)
			synctest.Wait()
			l.mu.Lock()
			if status != Unavailable || !strings.Contains(lacks, tt.lacks) || problem == nil || !strings.Contains(problem.Error(), tt.says) || strings.Contains(problem.Error()+lacks, "key-of") {
				t.Errorf("%s: %s %q, %v", tt.name, status, lacks, problem)
			}
			l.mu.Unlock()
			good()
			time.Sleep(30 * time.Second)
			synctest.Wait()
			l.mu.Lock()
			if status != Running || lacks != "" || problem != nil {
				t.Errorf("after %s: %s %q, %v", tt.name, status, lacks, problem)
			}
			l.mu.Unlock()
		}
		l.ban(60, "crowdsec", "s")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := len(r.told(t)); n != 1 {
			t.Errorf("%d events after all that", n)
		}
	})
}

// A hundred thousand decisions at once are counted, and do not fill the memory.
func TestCrowdsecBounded(t *testing.T) {
	l := &lapi{}
	c, r := crowdsecWith(t, l, nil), newRecorder(map[string]string{})
	r.Problem = func(error) {}
	now := time.Now()
	c.lookAt(t, r, now)
	l.ban(100_000, "crowdsec", strings.Repeat("x", 300))
	if diff := cmp.Diff([]string{`crowdsec_spike warn host/web-17 100000 50 "5m"`}, c.lookAt(t, r, now.Add(time.Second))); diff != "" {
		t.Error(diff)
	}
	if len(c.recent) > mostDecisions || len(c.recent[0].Scenario) > 200 || len(r.stored["state"]) > 1<<20 {
		t.Errorf("%d decisions are kept, %d bytes are stored", len(c.recent), len(r.stored["state"]))
	}
}

// The key is read when it is there; a server of a Unix socket is asked.
func TestCrowdsecKeyAndSocket(t *testing.T) {
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "lapi.sock"), filepath.Join(dir, "key")
	c := crowdsecWith(t, &lapi{}, func(o *crowdsecOptions) { o.URL, o.KeyFile = "unix://"+socket, file })
	fresh, err := newLAPIClient(c.crowdsecOptions)
	if err != nil {
		t.Fatal(err)
	}
	c.lapi = fresh
	r := newRecorder(map[string]string{})
	r.Problem = func(error) {}
	look := func(status Status, lacks string) {
		t.Helper()
		if err := c.look(t.Context(), &r.Env, time.Now()); err != nil || r.status != status || !strings.Contains(r.lacks, lacks) {
			t.Errorf("%s %q, %v; want %s %q", r.status, r.lacks, err, status, lacks)
		}
	}
	look(Unavailable, "key_file can't be read")
	for content, lacks := range map[string]string{"": "no API key", "two\nlines": "more than one line", strings.Repeat("x", 9000): "larger than"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		look(Unavailable, lacks)
	}
	if err := os.WriteFile(file, []byte("good\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	look(Unavailable, "start CrowdSec")
	l := listenUnix(t, socket)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != "good" || r.Header.Get("User-Agent") == "" || r.URL.Query().Get("startup") != "true" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprint(w, `{"new":[],"deleted":[]}`)
	}), ReadHeaderTimeout: time.Second}
	t.Cleanup(func() { _ = srv.Close() })
	go func() { _ = srv.Serve(l) }()
	look(Running, "")
}

func TestCrowdsecOptions(t *testing.T) {
	for text, want := range map[string]string{
		"interval: 10ms": "interval", "threshold: 0": "threshold", "window: 1s": "window", "timeout: 1ms": "timeout", "url: ftp://x": "url",
		"url: 'http://u:p@x'": "url", "url: 'http://'": "url", "url: 'unix://relative'": "url", "{key_file: a, key_env: b}": "key_env", "ca_file: /nonexistent": "ca_file", "ca_file: crowdsec_test.go": "no certificate",
	} {
		_, err := Open(parseOptions(t, "{crowdsec_spike: {"+strings.Trim(text, "{}")+"}}"), newRecorder(nil).Env, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}

func listenUnix(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
