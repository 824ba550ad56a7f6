package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// helperWord makes the test program the helper of shoutrrr.
const helperWord = "transport-helper"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == helperWord {
		if err := Help(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func policyOf(tb testing.TB, allow ...string) egress.Policy {
	tb.Helper()
	p, err := egress.PolicyOf(config.Egress{Allow: allow})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// newEnv is an environment that may call this host, and nothing else.
func newEnv(tb testing.TB, allow ...string) *Env {
	tb.Helper()
	if allow == nil {
		allow = []string{"127.0.0.1/32"}
	}
	filters, err := filter.NewEnv()
	if err != nil {
		tb.Fatal(err)
	}
	g := egress.New(policyOf(tb, allow...), egress.Options{})
	tb.Cleanup(g.Close)
	return &Env{
		Egress: g, Filter: filters, SMTP: func() config.SMTP { return config.Default().SMTP }, Host: "here", PublicURL: "https://tocsin.example.com",
		Version: "1", Helper: []string{os.Args[0], helperWord},
	}
}

func newMessage(tb testing.TB) *Message {
	tb.Helper()
	e := &event.Event{
		ID: "e1", Source: "https://tocsin.example.com/disk", Type: "disk_full", Kind: event.KindHost, Subject: "filesystem/var", Severity: event.Error, Sequence: 42,
		Time: time.Date(2026, 11, 21, 8, 0, 0, 123456789, time.UTC), Host: "web1", AuthName: "ada", AuthEmail: "ada@example.com", ClientIP: "192.0.2.7", DataContentType: "application/json",
		Data: []byte(`{"path":"/var","filesystem":"/dev/sda1","scope":"statfs","used_bytes":97,"limit_bytes":100,"used_percent":97.5,"threshold_percent":85}`),
	}
	m := Compose(catalog.New(), e, "https://tocsin.example.com/")
	m.Key, m.RuleID, m.Rule = "0190-key", "7", "Disks"
	m.Recipients = []Recipient{{Name: "Grace", Email: "grace@example.com", Username: "grace"}}
	return &m
}

// hostile is what an event's text may hold.
const hostile = "@everyone <!channel> <@U123> *bold* _it_ [x](http://evil.example) # h\r\nBcc: eve@example.com\x00\x1b[31m\u202eabc </p><script>alert(1)</script> \xff| `code` &amp; 😀"

func open(tb testing.TB, env *Env, mode string, settings any) Transport {
	tb.Helper()
	raw, err := json.Marshal(settings)
	if err != nil {
		tb.Fatal(err)
	}
	tr, err := Open(mode, raw, env)
	if err != nil {
		tb.Fatal(err)
	}
	return tr
}

// need skips a test that lacks a component, or fails it in CI.
func need(t *testing.T, missing string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: run scripts/tools.sh", missing)
	}
	t.Skipf("%s is missing: run scripts/tools.sh", missing)
}

// cached finds a file that scripts/tools.sh installs.
func cached(t *testing.T, parts ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{"..", "..", ".cache"}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		need(t, strings.Join(parts, "/"))
	}
	return path
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not within 30s", what)
		}
	}
}

func TestSettings(t *testing.T) {
	env := newEnv(t)
	for _, tt := range []struct{ mode, settings, says string }{
		{"pigeon", `{}`, "use one of alertmanager, discord, email, shoutrrr, slack, syslog, webhook"},
		{"webhook", `[]`, "must be a JSON object"},
		{"webhook", `null`, "must be a JSON object"},
		{"webhook", `{"uri":"http://a/"}`, `unknown key "uri"; known are url, method, headers, body, format, secret, timeout`},
		{"webhook", `{"uri":"http://a/"}`, "settings.url: is missing"},
		{"webhook", `{"url":5}`, "settings.url: must be a string: this is a JSON number"},
		{"webhook", `{"url":"http://a/","timeout":"soon"}`, "not a duration"},
		{"webhook", `{"url":"http://a/","timeout":"1ms"}`, "out of range"},
		{"webhook", `{"url":"ftp://a/hunter2"}`, "not an http or https URL"},
		{"webhook", `{"url":"http://u:hunter2@ a/"}`, "not a URL"},
		{"webhook", `{"url":"http://2130706433/"}`, "neither a name"},
		{"webhook", `{"url":"http://{{ data.host }}/"}`, "neither a name"},
		{"webhook", `{"url":"http://a{{ data.host }}/"}`, "behind the host"},
		{"webhook", `{"url":"http://a/","method":"TRACE"}`, "settings.method"},
		{"webhook", `{"url":"http://a/","format":"xml"}`, "settings.format"},
		{"webhook", `{"url":"http://a/","secret":"hunter2 ist not base64!"}`, "whsec_"},
		{"webhook", `{"url":"http://a/","body":"nowhere"}`, `settings.body: filter, line 1, column 1: unknown name "nowhere"`},
		{"webhook", `{"url":"http://a/","body":"x {{ nowhere }}"}`, `settings.body: filter, line 1, column 2: unknown name`},
		{"webhook", `{"url":"http://a/","body":"x {{ type"}`, `has no }}`},
		{"webhook", `{"url":"http://a/","headers":{"X y":"z"}}`, "no name of a header"},
		{"webhook", `{"url":"http://a/","headers":{"X":"a\r\nB: c"}}`, "characters that a header can't have"},
		{"webhook", `{"url":"http://a/","headers":{"Webhook-Id":"1"}}`, "can't be set"},
		{"webhook", `{"url":"http://a/","headers":{"Host":"b"}}`, "can't be set"},
		{"webhook", `{"url":"http://a/","headers":"[1"}`, "settings.headers"},
		{"slack", `{"url":"http://a/","style":"old"}`, "settings.style"},
		{"alertmanager", `{"url":"http://a/","labels":{"a-b":"c"}}`, "no name of a label"},
		{"alertmanager", `{"url":"http://a/","token":"a\nb"}`, "settings.token"},
		{"alertmanager", `{"url":"http://a/","token":"a","username":"b"}`, "a token, or a name"},
		{"syslog", `{"address":"a","protocol":"dtls"}`, "settings.protocol"},
		{"syslog", `{"address":"a","facility":"x"}`, "settings.facility"},
		{"syslog", `{"address":"a","max_size":10}`, "settings.max_size"},
		{"syslog", `{"address":"a","protocol":"udp","ca":"x"}`, "for the protocol tls"},
		{"syslog", `{"address":"a","ca":"x"}`, "settings.ca"},
		{"syslog", `{"address":"a","cert":"x"}`, "settings.cert"},
		{"email", `{"to":["x"]}`, "settings.to"},
		{"email", `{"from":"x\r\nBcc: y"}`, "settings.from"},
		{"email", `{"port":25}`, "settings.host"},
		{"email", `{"host":"a","tls":"maybe"}`, "tls"},
		{"email", `{"host":"a","username":"b"}`, "together"},
		{"shoutrrr", `{"url":"pigeon://x"}`, "unknown: use one of bark, discord"},
		{"shoutrrr", `{"url":"smtp://u:hunter2@h/"}`, "use the mode email"},
		{"shoutrrr", `{"url":"generic://h/"}`, "use the mode webhook"},
		{"shoutrrr", `{"url":"logger://"}`, "tells nobody"},
		{"shoutrrr", `{"url":"telegram://hunter2"}`, "settings.url"},
	} {
		_, err := Open(tt.mode, json.RawMessage(tt.settings), env)
		if !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s %s: %v, want %q", tt.mode, tt.settings, err, tt.says)
		}
	}
}

func TestSecretsOfSettings(t *testing.T) {
	old := `{"url":"https://u:hunter2@a.example/path?key=hunter2","headers":{"X-Key":"hunter2"},"secret":"hunter2","method":"POST"}`
	shown, err := Redacted("webhook", json.RawMessage(old))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(shown), "hunter2") || !strings.Contains(string(shown), "a.example/path") || !strings.Contains(string(shown), "X-Key") || !strings.Contains(string(shown), "POST") {
		t.Errorf("shown: %s", shown)
	}
	back, err := Restore("webhook", shown, json.RawMessage(old))
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if json.Unmarshal(back, &a) != nil || json.Unmarshal([]byte(old), &b) != nil || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("restored: %s", back)
	}
	changed := strings.Replace(string(shown), `"secret":"`+redact.Mask+`"`, `"secret":"new"`, 1)
	if back, err = Restore("webhook", json.RawMessage(changed), json.RawMessage(old)); err != nil || !strings.Contains(string(back), `"secret":"new"`) {
		t.Errorf("a new secret: %s, %v", back, err)
	}
	for path, want := range map[string]string{"/hooks/tocsin": "/hooks/tocsin", "/hooks/T0KEN-1234567890abcdef/in": "/hooks/********************/in", "/v1/2026-11-21-0000001": "/v1/2026-11-21-0000001"} {
		shown, err := Redacted("webhook", json.RawMessage(`{"url":"https://example.com`+path+`"}`))
		if err != nil || !strings.Contains(string(shown), "https://example.com"+want+`"`) {
			t.Errorf("%s is shown as %s, %v", path, shown, err)
		}
	}
	if shown, err := Redacted("slack", json.RawMessage(`{"url":"https://hooks.slack.com/services/hunter2","style":"blocks"}`)); err != nil || strings.Contains(string(shown), "slack") {
		t.Errorf("a URL that is a password: %s, %v", shown, err)
	}
}

// Secrets that nobody is shown go to no other place either, unless they are given
// again; what never leaves the server stays.
func TestSecretsStayWhereTheyAre(t *testing.T) {
	const away = "another place"
	for _, tt := range []struct{ mode, old, changed, says string }{
		{"webhook", `{"url":"https://a.example/p","headers":{"X-Key":"hunter2"}}`, `{"url":"https://evil.example/p","headers":{"X-Key":"MASK"}}`, away},
		{"webhook", `{"url":"https://a.example/p","headers":{"X-Key":"hunter2"}}`, `{"url":"http://a.example/p","headers":{"X-Key":"MASK"}}`, away},
		{"webhook", `{"url":"https://a.example/p","headers":{"X-Key":"hunter2"}}`, `{"url":"https://a.example:8443/{{ type }}","headers":{"X-Key":"MASK"}}`, away},
		{"webhook", `{"url":"https://a.example/p","headers":"{'X-Key': 'hunter2'}"}`, `{"url":"https://evil.example/p","headers":"MASK"}`, away},
		{"webhook", `{"url":"https://a.example/{{ id }}","headers":{"X-Key":"hunter2"}}`, `{"url":"https://A.example/q?{{ type }}","headers":{"X-Key":"MASK"}}`, "hunter2"},
		{"webhook", `{"url":"https://a.example/p","headers":{"X-Key":"hunter2"}}`, `{"url":"https://evil.example/p","headers":{"X-Key":"new"}}`, "new"},
		{"webhook", `{"url":"https://a.example/p","headers":{"X-Key":""}}`, `{"url":"https://b.example/p","headers":{"X-Key":""}}`, "b.example"},
		{"webhook", `{"url":"https://a.example/p","secret":"hunter2"}`, `{"url":"https://b.example/p","secret":"MASK"}`, "hunter2"},
		{"alertmanager", `{"url":"http://a/","token":"hunter2"}`, `{"url":"http://b/","token":"MASK"}`, away},
		{"alertmanager", `{"url":"http://a/","username":"u","password":"hunter2"}`, `{"url":"http://a/","username":"v","password":"MASK"}`, "hunter2"},
		{"email", `{"host":"a","username":"u","password":"hunter2"}`, `{"host":"b","username":"u","password":"MASK"}`, away},
		{"email", `{"host":"a","username":"u","password":"hunter2"}`, `{"host":"a","port":25,"username":"u","password":"MASK"}`, away},
		{"email", `{"host":"a","username":"u","password":"hunter2"}`, `{"host":"a","tls":"none","username":"u","password":"MASK"}`, away},
		{"email", `{"host":"a","username":"u","password":"hunter2"}`, `{"host":"a","ca":"mine","username":"u","password":"MASK"}`, away},
		{"email", `{"host":"a","username":"u","password":"hunter2","subject":"x"}`, `{"host":"a","port":0,"username":"u","password":"MASK"}`, "hunter2"},
		{"slack", `{"url":"https://a.example/hunter2"}`, `{"url":"MASK","style":"blocks"}`, "hunter2"},
		{"webhook", `{"url":"https://u:hunter2@a.example/p?q=1","headers":{"X-Key":"hunter2"}}`, `{"url":"https://MASK@a.example/p?MASK","headers":{"X-Key":"MASK"}}`, "u:hunter2"},
		{"syslog", `{"address":"a","key":"hunter2"}`, `{"address":"b","key":"MASK"}`, "hunter2"},
	} {
		changed := strings.ReplaceAll(tt.changed, "MASK", redact.Mask)
		back, err := Restore(tt.mode, json.RawMessage(changed), json.RawMessage(tt.old))
		if tt.says == away {
			if !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), away) {
				t.Errorf("%s %s: %s, %v", tt.mode, changed, back, err)
			}
		} else if err != nil || !strings.Contains(string(back), tt.says) {
			t.Errorf("%s %s: %s, %v, want %s", tt.mode, changed, back, err, tt.says)
		}
	}
}

// httpModes are the modes that make one HTTP request.
func httpModes() []string { return []string{"webhook", "slack", "discord", "alertmanager"} }

// What the other side says decides whether and when there is another attempt.
func TestAnswers(t *testing.T) {
	var status int
	var after string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(status)
		io.WriteString(w, "said token=hunter2 "+strings.Repeat("x", 5000))
	}))
	defer server.Close()
	env, m := newEnv(t), newMessage(t)
	for _, mode := range httpModes() {
		tr := open(t, env, mode, object{"url": server.URL + "/hunter2"})
		for _, tt := range []struct {
			status  int
			after   string
			class   error
			atLeast time.Duration
		}{
			{200, "", nil, 0},
			{202, "", nil, 0},
			{299, "", nil, 0},
			{304, "", event.ErrInvalid, 0},
			{400, "", event.ErrInvalid, 0},
			{401, "", event.ErrDenied, 0},
			{403, "", event.ErrDenied, 0},
			{404, "", event.ErrNotFound, 0},
			{408, "", event.ErrUnavailable, 0},
			{410, "", event.ErrNotFound, 0},
			{413, "", event.ErrInvalid, 0},
			{429, "7", event.ErrUnavailable, 7 * time.Second},
			{429, "0.25", event.ErrUnavailable, 250 * time.Millisecond},
			{429, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), event.ErrUnavailable, 59 * time.Minute},
			{429, time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), event.ErrUnavailable, 0},
			{429, "99999999999999999999", event.ErrUnavailable, 24 * time.Hour},
			{429, "soon", event.ErrUnavailable, 0},
			{429, "-5", event.ErrUnavailable, 0},
			{500, "", event.ErrUnavailable, 0},
			{501, "", event.ErrInvalid, 0},
			{503, "120", event.ErrUnavailable, 2 * time.Minute},
		} {
			status, after = tt.status, tt.after
			a, err := tr.Send(t.Context(), m)
			if a.Status != tt.status || tt.class == nil && err != nil || tt.class != nil && !errors.Is(err, tt.class) || Temporary(err) != errors.Is(tt.class, event.ErrUnavailable) {
				t.Errorf("%s: %d: %+v, %v, want %v", mode, tt.status, a, err, tt.class)
			}
			if got := RetryAfter(err); got < tt.atLeast || got > tt.atLeast+2*time.Minute || tt.atLeast == 0 && got != 0 {
				t.Errorf("%s: Retry-After %q is %s", mode, tt.after, got)
			}
			if tt.status != 304 && (len(a.Body) < 1000 || len(a.Body) > 1100) || a.Latency <= 0 || strings.Contains(a.Body+fmt.Sprint(err), "hunter2") {
				t.Errorf("%s: %d: the ledger gets %d bytes after %s, %.40q, %v", mode, tt.status, len(a.Body), a.Latency, a.Body, err)
			}
		}
	}
}

// No answer, or half of one.
func TestBrokenSinks(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/hang/", func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() })
	mux.HandleFunc("/reset/", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	})
	mux.HandleFunc("/half/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
	})
	mux.HandleFunc("/halfhead/", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 O")
		conn.Close()
	})
	mux.Handle("/moved/", http.RedirectHandler("http://169.254.169.254/", http.StatusTemporaryRedirect))
	mux.Handle("/get/", http.RedirectHandler("/half/", http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()
	m := newMessage(t)
	for _, mode := range httpModes() {
		for path, want := range map[string]struct {
			class error
			says  string
		}{
			"/hang/hunter2": {event.ErrUnavailable, "no answer within 300ms"}, "/reset/hunter2": {event.ErrUnavailable, "reset"}, "/halfhead/hunter2": {event.ErrUnavailable, "EOF"},
			"/half/hunter2": {nil, ""}, "/moved/hunter2": {event.ErrDenied, "metadata"}, "/get/hunter2": {event.ErrDenied, "become GET"},
		} {
			_, err := open(t, newEnv(t), mode, object{"url": server.URL + path, "timeout": "300ms"}).Send(t.Context(), m)
			if want.class == nil && err != nil || want.class != nil && (!errors.Is(err, want.class) || !strings.Contains(err.Error(), want.says)) || strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("%s %s: %v, want %v %q", mode, path, err, want.class, want.says)
			}
		}
		if _, err := open(t, newEnv(t, "10.0.0.0/8"), mode, object{"url": server.URL}).Send(t.Context(), m); !errors.Is(err, event.ErrDenied) || Temporary(err) {
			t.Errorf("%s: a loopback address: %v", mode, err)
		}
	}
}
