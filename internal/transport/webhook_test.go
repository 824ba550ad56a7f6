package transport

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tocsin-events/tocsin/internal/event"
)

// sink is an HTTP server that keeps the last request.
type sink struct {
	*httptest.Server
	method, path string
	header       http.Header
	body         []byte
	count        int
}

func newSink(t testing.TB) *sink { //nolint:thelper // also for fuzzing
	s := &sink{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.count++
		s.method, s.path, s.header = r.Method, r.RequestURI, r.Header
		s.body, _ = io.ReadAll(r.Body)
		io.WriteString(w, "ok")
	}))
	t.Cleanup(s.Close)
	return s
}

func TestPlainAndCloudEvents(t *testing.T) {
	s, env, m := newSink(t), newEnv(t), newMessage(t)
	a, err := open(t, env, "webhook", object{"url": s.URL + "/hook?x=1"}).Send(t.Context(), m)
	if err != nil || a.Status != 200 || a.Body != "ok" {
		t.Fatal(a, err)
	}
	var got map[string]string
	if err := json.Unmarshal(s.body, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"body": m.Text, "severity": "error", "user_email": "grace@example.com", "user_username": "grace",
		"event_user_email": "ada@example.com", "event_user_username": "ada",
	}
	if diff := cmp.Diff(want, got); diff != "" || m.Text == "" || s.method != "POST" || s.path != "/hook?x=1" || s.header.Get("Content-Type") != "application/json" ||
		s.header.Get("Webhook-Id") != m.Key || s.header.Get("Webhook-Signature") != "" || s.header.Get("User-Agent") != "Tocsin/1" {
		t.Errorf("%s %s %v %s", s.method, s.path, s.header, diff)
	}
	if _, err := open(t, env, "webhook", object{"url": s.URL, "format": "cloudevents", "method": "PUT"}).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	e, err := event.Decode(s.body)
	if err != nil || s.method != "PUT" || s.header.Get("Content-Type") != event.JSONMedia {
		t.Fatalf("%s %v %v: %s", s.method, s.header, err, s.body)
	}
	if diff := cmp.Diff(*m.Event, e); diff != "" {
		t.Error(diff)
	}
}

func TestTemplatesAndMappings(t *testing.T) {
	s, env := newSink(t), newEnv(t)
	m := newMessage(t)
	m.Event.Subject = `a"b\c/d` + "\n{{ type }}"
	for _, tt := range []struct {
		name            string
		set             object
		body, media     string
		path            string
		header, header2 string
	}{
		{
			name: "template of JSON", set: object{"body": `{"t": "{{ type }}!", "s": "x {{ subject }} y", "n": {{ data.used_percent }}, "all": {{ data }}, "q": {{ subject }}, "m": {{ {"a": {"b": 1}} }} }`},
			body: `{"t":"disk_full!","s":"x a\"b\\c/d\n{{ type }} y","n":97.5,"all":` + string(m.Event.Data) + `,"q":"a\"b\\c/d\n{{ type }}","m":{"a":{"b":1}}}`, media: "application/json",
		},
		{
			name: "mapping", set: object{"body": `{"t": type, "who": notification.user.name, "to": notification.recipients.map(r, r.email), "over": notification.resolved}`},
			body: `{"t":"disk_full","who":"Grace","to":["grace@example.com"],"over":false}`, media: "application/json",
		},
		{name: "mapping to text", set: object{"body": `"<b>" + data.path`}, body: `<b>/var`, media: "text/plain; charset=utf-8"},
		{name: "text", set: object{"body": "{{ notification.rule }}: {{ data.used_percent > 90.0 ? 'much' : 'little' }}"}, body: "Disks: much", media: "text/plain; charset=utf-8"},
		{
			name: "form", set: object{"body": "a={{ subject }}&b=1", "headers": object{"Content-Type": "application/x-www-form-urlencoded"}},
			body: "a=" + strings.ReplaceAll(url.QueryEscape(m.Event.Subject), "+", "%20") + "&b=1", media: "application/x-www-form-urlencoded",
		},
		{
			name: "URL", set: object{"url": s.URL + "/x/{{ subject }}?q={{ data.path }}", "body": "'x'"}, body: "x", media: "text/plain; charset=utf-8",
			path: "/x/a%22b%5Cc%2Fd%0A%7B%7B%20type%20%7D%7D?q=%2Fvar",
		},
		{name: "headers", set: object{"headers": object{"X-Type": "t-{{ type }}", "X-Fixed": "{ fixed }"}, "body": "'x'"}, body: "x", media: "text/plain; charset=utf-8", header: "t-disk_full", header2: "{ fixed }"},
		{name: "headers by a mapping", set: object{"headers": `{"X-Type": type, "X-Fixed": data.used_bytes}`, "body": "'x'"}, body: "x", media: "text/plain; charset=utf-8", header: "disk_full", header2: "97"},
	} {
		if tt.set["url"] == nil {
			tt.set["url"] = s.URL + "/"
		}
		if _, err := open(t, env, "webhook", tt.set).Send(t.Context(), m); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		same := string(s.body) == tt.body
		if tt.media == "application/json" {
			var a, b any
			same = json.Unmarshal(s.body, &a) == nil && json.Unmarshal([]byte(tt.body), &b) == nil && cmp.Equal(a, b)
		}
		if !same || s.header.Get("Content-Type") != tt.media || tt.path != "" && s.path != tt.path || s.header.Get("X-Type") != tt.header || s.header.Get("X-Fixed") != tt.header2 {
			t.Errorf("%s: got %s %s %v, want %s", tt.name, s.path, s.body, s.header, tt.body)
		}
	}
}

// A mapping that fails sends nothing and says which, and trying again is of no use.
func TestMappingErrors(t *testing.T) {
	s, env, m := newSink(t), newEnv(t), newMessage(t)
	m.Event.Subject = "a\r\nB: c"
	for _, tt := range []struct {
		set              object
		part, expression string
	}{
		{object{"body": "{'x': data.missing}"}, "body", "{'x': data.missing}"},
		{object{"body": "{1: 2}"}, "body", "{1: 2}"},
		{object{"body": `{"x": "{{ data.missing }}"}`}, "body", " data.missing "},
		{object{"body": `{"x": {{ type }} {{ type }}}`}, "body", `{"x": {{ type }} {{ type }}}`},
		{object{"headers": object{"X-S": "{{ subject }}"}}, "headers.X-S", "{{ subject }}"},
		{object{"headers": `{"X-S": subject}`}, "headers", `{"X-S": subject}`},
		{object{"headers": `{"Webhook-Id": "x"}`}, "headers", `{"Webhook-Id": "x"}`},
		{object{"headers": `type`}, "headers", `type`},
		{object{"url": s.URL + "/{{ data.missing }}"}, "url", " data.missing "},
		{object{"url": s.URL + "/{{ '..' }}/x"}, "url", " '..' "},
	} {
		if tt.set["url"] == nil {
			tt.set["url"] = s.URL
		}
		_, err := open(t, env, "webhook", tt.set).Send(t.Context(), m)
		failed, ok := errors.AsType[*MappingError](err)
		if !ok || failed.Part != tt.part || failed.Expression != tt.expression || !errors.Is(err, event.ErrInvalid) || Temporary(err) {
			t.Errorf("%v: %#v", tt.set, err)
		}
	}
	if s.count > 0 {
		t.Errorf("%d requests were sent", s.count)
	}
}

const secretKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwV0VSTzM6aBc="

// The libraries of Go, Python and JavaScript verify what we sign, and refuse what
// was changed.
func TestSignature(t *testing.T) {
	s, env, m := newSink(t), newEnv(t), newMessage(t)
	m.Text = "ünïcode \u2028 \"quotes\" 😀"
	if _, err := open(t, env, "webhook", object{"url": s.URL, "secret": "bmV3IGtleSwgbm90IGluIHVzZQ== " + secretKey}).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	w, err := standardwebhooks.NewWebhook(secretKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Verify(s.body, s.header); err != nil {
		t.Error(err)
	}
	if err := w.Verify(append([]byte(" "), s.body...), s.header); err == nil {
		t.Error("a changed body is taken")
	}
	given, err := json.Marshal(map[string]any{"secret": secretKey, "body": string(s.body), "headers": map[string]string{
		"webhook-id": s.header.Get("Webhook-Id"), "webhook-timestamp": s.header.Get("Webhook-Timestamp"), "webhook-signature": s.header.Get("Webhook-Signature"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string]func(t *testing.T) *exec.Cmd{
		"python": func(t *testing.T) *exec.Cmd {
			t.Helper()
			cached(t, "venv", "lib")
			return exec.CommandContext(t.Context(), cached(t, "venv", "bin", "python"), "testdata/verify.py")
		},
		"javascript": func(t *testing.T) *exec.Cmd {
			t.Helper()
			node, err := exec.LookPath("node")
			if err != nil {
				need(t, "node")
			}
			return exec.CommandContext(t.Context(), node, "testdata/verify.cjs", cached(t, "npm", "node_modules", "standardwebhooks"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := command(t)
			cmd.Stdin = strings.NewReader(string(given))
			out, err := cmd.CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "verified, and refused when changed" {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// Attempts differ in their time, and so in their signature, but never in the key.
func TestAttempts(t *testing.T) {
	env, m := newEnv(t), newMessage(t)
	w := open(t, env, "webhook", object{"url": "http://127.0.0.1/", "secret": secretKey}).(*webhook)
	var ids, signatures []string
	for i := range 2 {
		c, err := w.request(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.sign(c, m.Key, time.Unix(int64(1e9+i), 0)); err != nil {
			t.Fatal(err)
		}
		ids, signatures = append(ids, c.header.Get("Webhook-Id")), append(signatures, c.header.Get("Webhook-Signature"))
	}
	if ids[0] != m.Key || ids[1] != m.Key || signatures[0] == signatures[1] {
		t.Errorf("ids %v, signatures %v", ids, signatures)
	}
}

// Whatever an event's text is, a template of JSON makes JSON in which it stands
// whole, and nothing else is there.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"", hostile, `"`, `\`, `"}`, "{{ type }}", "\u2028", "a\x00b"} {
		f.Add(text)
	}
	env := newEnv(f)
	w := open(f, env, "webhook", object{
		"url":  "http://127.0.0.1/{{ 'x' + subject }}?a={{ 'y' + subject }}",
		"body": `{"a": "[{{ subject }}]", "b": {{ subject }}, "c": [{{ [subject] }}], "d": "{{ [subject] }}"}`,
	}).(*webhook)
	mapping := open(f, env, "webhook", object{"url": "http://127.0.0.1/", "body": `{"a": "[" + subject + "]", "b": subject}`}).(*webhook)
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?")
		m := newMessage(t)
		m.Event.Subject = text
		c, err := w.request(m)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			A, B, D string
			C       [][]string
		}
		d := json.NewDecoder(strings.NewReader(string(c.body)))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil || got.A != "["+text+"]" || got.B != text || len(got.C) != 1 || got.C[0][0] != text {
			t.Fatalf("%q becomes %s: %v", text, c.body, err)
		}
		var inner []string
		if json.Unmarshal([]byte(got.D), &inner) != nil || inner[0] != text {
			t.Fatalf("%q becomes %s", text, got.D)
		}
		if c.url.Host != "127.0.0.1" || c.url.Path != "/x"+text || c.url.Query().Get("a") != "y"+text || len(c.url.Query()) != 1 || c.url.Fragment != "" {
			t.Fatalf("%q makes the URL %s", text, c.url)
		}
		if c, err = mapping.request(m); err != nil {
			t.Fatal(err)
		}
		var mapped map[string]string
		if json.Unmarshal(c.body, &mapped) != nil || mapped["b"] != text || len(mapped) != 2 {
			t.Fatalf("%q is mapped to %s", text, c.body)
		}
	})
}

// A template of a stranger's making compiles or is refused, and never panics.
func FuzzSettings(f *testing.F) {
	for _, text := range []string{"{{ type }}", "{{", "}}", "{{}}", `{"a": {{ data }}}`, "{'a': type}", "{{ {'a':{'b':1}} }}", "[1].map(x, x)"} {
		f.Add(text)
	}
	env := newEnv(f)
	m := newMessage(f)
	f.Fuzz(func(t *testing.T, text string) {
		raw, err := json.Marshal(object{"url": "http://127.0.0.1/" + text, "body": text, "headers": object{"X": text}})
		if err != nil {
			t.Fatal(err)
		}
		tr, err := Open("webhook", raw, env)
		if err != nil {
			if !errors.Is(err, event.ErrInvalid) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if c, err := tr.(*webhook).request(m); err != nil {
			if !errors.Is(err, event.ErrInvalid) {
				t.Fatalf("%q: %v", text, err)
			}
		} else if c.url.Host != "127.0.0.1" {
			t.Fatalf("%q leads to %s", text, c.url)
		}
	})
}
