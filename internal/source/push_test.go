package source

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/event"
)

// The secret of these tests, and another one that is good as well.
const (
	testSecret  = "It's a Secret to Everybody"
	otherSecret = "the one before"
	testKey     = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// inlet opens one source with options in YAML; SECRET stands for a file with the
// secrets, KEY for one with a key of Standard Webhooks.
func inlet(tb testing.TB, name, options string) *Inlet {
	tb.Helper()
	set, err := Open(parseOptions(tb, "{"+name+": {"+withSecrets(tb, options)+"}}"), newRecorder(nil).Env, nil)
	if err != nil {
		tb.Fatal(err)
	}
	in, err := set.Inlet(name)
	if err != nil {
		tb.Fatal(err)
	}
	return in
}

func withSecrets(tb testing.TB, options string) string {
	tb.Helper()
	dir := tb.TempDir()
	for word, content := range map[string]string{"SECRET": otherSecret + "\r\n\n" + testSecret + "\n", "KEY": testKey} {
		path := filepath.Join(dir, word)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
		options = strings.ReplaceAll(options, word, path)
	}
	return options
}

func parseOptions(tb testing.TB, text string) map[string]yaml.Node {
	tb.Helper()
	var options map[string]yaml.Node
	if err := yaml.Unmarshal([]byte(text), &options); err != nil {
		tb.Fatal(err)
	}
	return options
}

func mac(secret string, parts ...string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// receive sends a request and returns the events that were recorded.
func receive(in *Inlet, body string, h http.Header) ([]event.Event, error) {
	var got []event.Event
	err := in.Receive(&Request{Header: h, Body: []byte(body), Received: time.Now()}, func(events []event.Event) error {
		got = events
		return nil
	})
	return got, err
}

// GitHub's own example: docs.github.com, "Validating webhook deliveries".
func TestGithubPublishedSignature(t *testing.T) {
	g := &github{secrets: [][]byte{[]byte(testSecret)}}
	r := &Request{Body: []byte("Hello, World!"), Header: headers("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")}
	if err := g.Verify(r); err != nil {
		t.Error(err)
	}
}

// Every signature: right with either secret; missing, wrong, of another body, of
// another secret, in another form.
func TestSignatures(t *testing.T) {
	const body = `{"version":"4","x":1}`
	now := strconv.FormatInt(time.Now().Unix(), 10)
	basic := func(password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("tocsin:"+password))
	}
	tests := []struct {
		name, options, header string
		sign                  func(secret, body string) string
		more                  []string // headers that are always there
	}{
		{"github", "secret_file: SECRET", "X-Hub-Signature-256", func(s, b string) string { return "sha256=" + hex.EncodeToString(mac(s, b)) }, nil},
		{"stalwart", "secret_file: SECRET", "X-Signature", func(s, b string) string { return base64.StdEncoding.EncodeToString(mac(s, b)) }, nil},
		{"grafana", "secret_file: SECRET", "X-Grafana-Alerting-Signature", func(s, b string) string { return hex.EncodeToString(mac(s, b)) }, nil},
		{"grafana", "secret_file: SECRET", "X-Grafana-Alert-Signature", func(s, b string) string { return hex.EncodeToString(mac(s, b)) }, nil},
		{"grafana", "secret_file: SECRET, timestamp_header: X-At, header: X-Sig", "X-Sig", func(s, b string) string { return hex.EncodeToString(mac(s, now, ":", b)) }, []string{"X-At", now}},
	}
	for _, tt := range tests {
		t.Run(tt.name+" "+tt.header, func(t *testing.T) {
			p := inlet(t, tt.name, tt.options).m.push
			verify := func(header, value string) error {
				h := headers(append(tt.more, header, value)...)
				return p.Verify(&Request{Header: h, Body: []byte(body), Received: time.Now()})
			}
			for _, secret := range []string{testSecret, otherSecret} {
				if err := verify(tt.header, tt.sign(secret, body)); err != nil {
					t.Errorf("%q: %v", secret, err)
				}
			}
			good := tt.sign(testSecret, body)
			for name, value := range map[string]string{
				"other secret": tt.sign("x", body), "other body": tt.sign(testSecret, body+" "), "cut": good[:len(good)-2], "longer": good + "00",
				"nothing signed": tt.sign("", body), "no form": "sha256=zz", "text": "sha256=" + testSecret,
			} {
				wantRefused(t, name, verify(tt.header, value), value == "")
			}
			wantRefused(t, "missing", verify("X-Other", good), true)
		})
	}
	for _, tt := range []struct{ name, options, header string }{
		{"alertmanager", "secret_file: SECRET", "Authorization"},
		{"authentik", "secret_file: SECRET", "Authorization"},
		{"grafana", "secret_file: SECRET, auth: bearer", "Authorization"},
		{"authentik", "secret_file: SECRET, header: X-Secret", "X-Secret"},
	} {
		p := inlet(t, tt.name, tt.options).m.push
		verify := func(value string) error {
			return p.Verify(&Request{Header: headers(tt.header, value), Body: []byte(body)})
		}
		good, bad := []string{"Bearer " + testSecret, "bearer " + otherSecret, basic(testSecret)}, []string{"Bearer x", basic("x"), "Basic !", "Basic", testSecret + "x", basic("")}
		if tt.header != "Authorization" {
			good, bad = []string{testSecret, otherSecret}, append(bad, good...)
		}
		for _, value := range good {
			if err := verify(value); err != nil {
				t.Errorf("%s: %q: %v", tt.name, value, err)
			}
		}
		for _, value := range bad {
			wantRefused(t, tt.name+" "+value, verify(value), false)
		}
		wantRefused(t, tt.name, verify(""), true)
	}
}

func wantRefused(t *testing.T, what string, err error, missing bool) {
	t.Helper()
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok || refused.Missing != missing || !errors.Is(err, event.ErrDenied) || strings.Contains(err.Error(), testSecret) {
		t.Errorf("%s: %v (%+v), want a refusal, missing %v", what, err, refused, missing)
	}
}

// contact is what is signed.
const contact = `{"type":"contact.created","timestamp":"2026-11-21T10:00:00Z","data":{"id":"1"}}`

func standardHeaders(tb testing.TB, id string, at time.Time) http.Header {
	tb.Helper()
	key, err := standardwebhooks.NewWebhook(testKey)
	if err != nil {
		tb.Fatal(err)
	}
	signature, err := key.Sign(id, at, []byte(contact))
	if err != nil {
		tb.Fatal(err)
	}
	return headers("webhook-id", id, "webhook-timestamp", strconv.FormatInt(at.Unix(), 10), "webhook-signature", "v1,AAAA "+signature)
}

// The library signs; five minutes are near enough, and once is enough, but a
// request of which nothing came may be sent again.
func TestStandardWebhooks(t *testing.T) {
	in := inlet(t, "standard_webhooks", "secret_file: KEY")
	const body = contact
	now := time.Now()
	for _, off := range []time.Duration{-299 * time.Second, 298 * time.Second, 0} {
		if _, err := receive(in, body, standardHeaders(t, "msg_"+off.String(), now.Add(off))); err != nil {
			t.Errorf("%s: %v", off, err)
		}
	}
	for _, off := range []time.Duration{-302 * time.Second, 303 * time.Second, -1e6 * time.Second} {
		_, err := receive(in, body, standardHeaders(t, "msg_x", now.Add(off)))
		wantRefused(t, off.String(), err, false)
	}
	other := standardHeaders(t, "msg_2", now)
	other.Set("webhook-id", "msg_3")
	_, err := receive(in, body, other)
	wantRefused(t, "another id", err, false)
	_, err = receive(in, body, headers("webhook-id", "1", "webhook-timestamp", "x", "webhook-signature", "v1,"))
	wantRefused(t, "no time", err, false)
	_, err = receive(in, body, headers("webhook-id", "1"))
	wantRefused(t, "nothing", err, true)

	h := standardHeaders(t, "msg_4", now)
	full := errors.New("the disk is full")
	if err := in.Receive(&Request{Header: h, Body: []byte(body), Received: now}, func([]event.Event) error { return full }); !errors.Is(err, full) {
		t.Errorf("not recorded: %v", err)
	}
	events, err := receive(in, body, h)
	if err != nil {
		t.Fatalf("again, after it was not recorded: %v", err)
	}
	want := event.Event{ID: "msg_4", Source: "urn:standard-webhooks", Type: "contact.created", Time: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC), DataContentType: "application/json", Data: []byte(body)}
	if diff := cmp.Diff([]event.Event{want}, events); diff != "" {
		t.Error(diff)
	}
	_, err = receive(in, body, h)
	wantRefused(t, "a replay", err, false)
	if !strings.Contains(err.Error(), "replay") || !strings.Contains(in.m.row.LastError, "replay") {
		t.Errorf("%v, %q", err, in.m.row.LastError)
	}
	for _, same := range []string{"+", "0"} { // another way to write the number that is signed
		other := h.Clone()
		other.Set("webhook-timestamp", same+h.Get("webhook-timestamp"))
		_, err = receive(in, body, other)
		wantRefused(t, "a replay with "+other.Get("webhook-timestamp"), err, false)
	}
	long := standardHeaders(t, strings.Repeat("x", 1<<15), now)
	if _, err := receive(in, body, long); err != nil {
		t.Errorf("a long id: %v", err)
	}
	_, err = receive(in, body, long)
	wantRefused(t, "a replay with a long id", err, false)
	for nonce := range in.m.seen.until {
		if len(nonce) > 256 { // there may be a hundred thousand
			t.Errorf("%d bytes are kept of a request", len(nonce))
		}
	}
	if events, err := receive(in, body, standardHeaders(t, "msg_4", now.Add(time.Second))); err != nil || events[0].ID != "msg_4" {
		t.Errorf("a retry, signed anew: %v", err)
	}
}

// What the body may be.
func TestStandardBodies(t *testing.T) {
	in := inlet(t, "standard_webhooks", "")
	if in.Terms().Signed || !in.Terms().Foreign {
		t.Errorf("%+v", in.Terms())
	}
	tests := []struct{ media, body, want string }{
		{"application/cloudevents+json", `{"specversion":"1.0","id":"7","source":"/s","type":"t","data":1}`, "7 /s t"},
		{"application/json", `{"specversion":"1.0","id":"8","source":"/s","type":"t"}`, "8 /s t"},
		{"application/cloudevents+json", `{"id":"7"}`, "!specversion"},
		{"application/json", `{"type":"Not A Type"}`, "w urn:standard-webhooks webhook"},
		{"application/json", `[1,2]`, "w urn:standard-webhooks webhook"},
		{"", `{"type":["x"],"timestamp":"yesterday"}`, "w urn:standard-webhooks webhook"},
		{"application/json", `{"type":"user.created","type":"x"}`, "!twice"},
		{"application/json", ``, "!body"},
		{"application/json", `{`, "!body"},
	}
	for _, tt := range tests {
		events, err := receive(in, tt.body, headers("Webhook-Id", "w", "Content-Type", tt.media))
		if why, bad := strings.CutPrefix(tt.want, "!"); bad {
			if !errors.Is(err, event.ErrInvalid) {
				t.Errorf("%s: %v, want a refusal for %s", tt.body, err, why)
			}
			continue
		}
		if err != nil || len(events) != 1 {
			t.Errorf("%s: %v", tt.body, err)
			continue
		}
		if got := string(events[0].ID) + " " + events[0].Source + " " + string(events[0].Type); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.body, got, tt.want)
		}
	}
}

// A signature with a time is good once.
func TestGrafanaReplay(t *testing.T) {
	in := inlet(t, "grafana", "secret_file: SECRET, timestamp_header: X-At")
	body := `{"version":"1","orgId":1,"alerts":[{"status":"firing","labels":{"alertname":"x"},"startsAt":"2026-11-21T10:00:00Z"}]}`
	signed := func(at time.Time) http.Header {
		text := strconv.FormatInt(at.Unix(), 10)
		return headers("X-At", text, "X-Grafana-Alerting-Signature", hex.EncodeToString(mac(testSecret, text, ":", body)))
	}
	h := signed(time.Now())
	if _, err := receive(in, body, h); err != nil {
		t.Fatal(err)
	}
	_, err := receive(in, body, h)
	wantRefused(t, "replay", err, false)
	h.Set("X-Grafana-Alerting-Signature", strings.ToUpper(h.Get("X-Grafana-Alerting-Signature")))
	_, err = receive(in, body, h)
	wantRefused(t, "replay in capitals", err, false)
	_, err = receive(in, body, signed(time.Now().Add(-10*time.Minute)))
	wantRefused(t, "old", err, false)
	h.Del("X-At")
	_, err = receive(in, body, h)
	wantRefused(t, "without its time", err, true)
}

func TestReplaysAreBounded(t *testing.T) {
	var s replays
	now := time.Now()
	for n := range maxReplays + 10 {
		if !s.claim(strconv.Itoa(n), now) {
			t.Fatal(n)
		}
	}
	if len(s.until) > maxReplays || len(s.order) > maxReplays {
		t.Errorf("%d and %d are kept", len(s.until), len(s.order))
	}
	if s.claim(strconv.Itoa(maxReplays), now) {
		t.Error("the newest is forgotten")
	}
	if !s.claim("x", now.Add(3*tolerance)) || len(s.until) != 1 {
		t.Errorf("%d are kept behind their time", len(s.until))
	}
}

// Secrets that can't be had are told when the configuration is read.
func TestSecretOptions(t *testing.T) {
	t.Setenv("HOOK_GOOD", testSecret)
	t.Setenv("HOOK_EMPTY", " \n")
	for options, want := range map[string]string{
		"secret_env: HOOK_GOOD":                      "",
		"secret_env: HOOK_EMPTY":                     "holds no secret",
		"secret_env: HOOK_NONE":                      "holds no secret",
		"secret_file: /nowhere":                      "secret_file",
		"secret_file: SECRET, secret_env: HOOK_NONE": "one of them",
		"secret: x":                                  "unknown option",
	} {
		_, err := Open(parseOptions(t, "{github: {"+withSecrets(t, options)+"}}"), Env{}, nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), testSecret)) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
	for _, options := range []string{
		"{standard_webhooks: {secret_env: HOOK_GOOD}}", "{standard_webhooks: {source: 'a b'}}", "{standard_webhooks: {type: 'A'}}",
		"{grafana: {auth: none}}", "{grafana: {header: 'a b'}}", "{grafana: {timestamp_header: 'ä'}}", "{authentik: {header: ''}}", "{prometheus: {resolve_timeout: 1ms}}",
	} {
		if _, err := Open(parseOptions(t, options), Env{}, nil); err == nil {
			t.Errorf("%s is accepted", options)
		}
	}
	t.Setenv("HOOK_GOOD", "whsec_")
	if _, err := Open(parseOptions(t, "{standard_webhooks: {secret_env: HOOK_GOOD}}"), Env{}, nil); err == nil {
		t.Error("an empty key is accepted")
	}
}

func TestInlets(t *testing.T) {
	set, err := Open(parseOptions(t, "{github: {enabled: false}}"), newRecorder(nil).Env, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"github", "disk_full", "nobody", ""} {
		if _, err := set.Inlet(name); !errors.Is(err, event.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, r := range set.Rows() {
		if r.Name == "grafana" && (r.Path != "/v1/hooks/grafana" || r.Status != Running || r.Lacks != noSecret) || r.Name == "github" && r.Status != Disabled {
			t.Errorf("%+v", r)
		}
	}
}

// A webhook of GitHub may be a form; the signature is over the form.
func TestGithubForm(t *testing.T) {
	in := inlet(t, "github", "secret_file: SECRET")
	body := "payload=" + url.QueryEscape(`{"action":"opened","issue":{"number":7},"repository":{"full_name":"o/r"},"sender":{"login":"ann","id":5,"type":"User"}}`)
	events, err := receive(in, body, headers("X-GitHub-Event", "issues", "X-GitHub-Delivery", "d-1", "Content-Type", "application/x-www-form-urlencoded; charset=utf-8",
		"X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac(testSecret, body))))
	if err != nil {
		t.Fatal(err)
	}
	e := events[0]
	if e.Type != "github.issues.opened" || e.ID != "d-1" || e.Subject != "o/r/issues/7" || e.AuthName != "ann" || e.AuthID != "5" || !bytes.HasPrefix(e.Data, []byte(`{"action"`)) || e.Source != "https://t.example/github" {
		t.Errorf("%+v", e)
	}
}
