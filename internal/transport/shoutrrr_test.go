package transport

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// services of shoutrrr, and where in their requests the text stands. Those with
// an address of their own are led to the sink by egress.rewrite.
func TestShoutrrr(t *testing.T) {
	s := newSink(t)
	host := strings.TrimPrefix(s.URL, "http://")
	answer := ""
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.count++
		s.method, s.path, s.header = r.Method, r.RequestURI, r.Header
		s.body, _ = io.ReadAll(r.Body)
		io.WriteString(w, answer)
	})
	base, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	env := newEnv(t)
	policy := map[string]*url.URL{}
	for _, h := range []string{"api.telegram.org", "events.pagerduty.com", "api.pushover.net", "api.opsgenie.com", "matrix.example.com", "mm.example.com", "zulip.example.com"} {
		policy[h] = base
	}
	applyRewrite(t, env, policy)
	for _, tt := range []struct{ url, answer, path, holds string }{
		{"ntfy://" + host + "/topic?scheme=http", `{"id":"1"}`, "/topic", "Priority"},
		{"gotify://" + host + "/AzyoeNS.D4iJLVa?disabletls=yes", `{"id":1}`, "/message", `"priority": 8`},
		{"telegram://110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0@telegram?chats=@channel", `{"ok":true,"result":{}}`, "/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0/sendMessage", `"chat_id": "@channel"`},
		{"pagerduty://events.pagerduty.com/eb243592faa24ba2a5511afdf565c889", `{"status":"success"}`, "/v2/enqueue", `"severity":"error"`},
		{"matrix://:tokentoken@matrix.example.com/?rooms=!room:example.com", `{"event_id":"$1","joined_rooms":["!room:example.com"]}`, "/_matrix/client/", "97.5"},
		{"mattermost://mm.example.com/tokentoken", ``, "/hooks/tokentoken", "97.5"},
		{"zulip://bot%40example.com:tokentoken@zulip.example.com?stream=ops&topic=x", `{"result":"success"}`, "/api/v1/messages", "97.5"},
		{"pushover://shoutrrr:apiToken1234@userKey1234", `{"status":1}`, "/1/messages.json", "priority=1"},
		{"opsgenie://api.opsgenie.com/tokentoken", `{"result":"ok"}`, "/v2/alerts", `"priority":"P2"`},
	} {
		answer = tt.answer
		a, err := open(t, env, "shoutrrr", object{"url": tt.url}).Send(t.Context(), newMessage(t))
		whole := string(s.body) + fmt.Sprint(s.header)
		if err != nil || a.Status != 200 || !strings.Contains(s.path, tt.path) || !strings.Contains(whole, tt.holds) || !strings.Contains(strings.ReplaceAll(whole, "+", " "), "97.5") {
			t.Errorf("%.12s…: %+v, %v: %s %s %v", tt.url, a, err, s.path, s.body, s.header)
		}
	}
}

func applyRewrite(t *testing.T, env *Env, to map[string]*url.URL) {
	t.Helper()
	p := policyOf(t, "127.0.0.1/32")
	p.Rewrite = to
	env.Egress.Apply(p)
}

// What the other side says is told, without what is secret in the URL; where the
// call may not go, it does not.
func TestShoutrrrFailures(t *testing.T) {
	var status int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else the server never sees the other side go
		if status == 0 {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Retry-After", "9")
		w.WriteHeader(status)
		io.WriteString(w, `{"error":"no hunter2secret"}`)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	env, m := newEnv(t), newMessage(t)
	for _, tt := range []struct {
		status int
		class  error
	}{{400, event.ErrInvalid}, {403, event.ErrDenied}, {404, event.ErrNotFound}, {429, event.ErrUnavailable}, {500, event.ErrUnavailable}} {
		status = tt.status
		for _, where := range []string{"ntfy://:hunter2secret@" + host + "/topic?scheme=http", "bark://:hunter2secret@" + host + "/?scheme=http", "lark://" + host + "/hunter2secret"} {
			if strings.HasPrefix(where, "lark") {
				continue // has one host
			}
			a, err := open(t, env, "shoutrrr", object{"url": where}).Send(t.Context(), m)
			if !errors.Is(err, tt.class) || a.Status != tt.status || strings.Contains(fmt.Sprint(a, err), "hunter2") || tt.status == 429 && RetryAfter(err) != 9*time.Second {
				t.Errorf("%.8s %d: %+v, %v", where, tt.status, a, err)
			}
		}
	}
	status = 0
	if _, err := open(t, env, "shoutrrr", object{"url": "ntfy://" + host + "/topic?scheme=http", "timeout": "500ms"}).Send(t.Context(), m); !errors.Is(err, event.ErrUnavailable) {
		t.Errorf("a service that hangs: %v", err)
	}
	status = 200
	closed := newEnv(t, "10.0.0.0/8")
	for _, where := range []string{
		"ntfy://" + host + "/topic?scheme=http", "gotify://" + host + "/AzyoeNS.D4iJLVa?disabletls=yes", "bark://:hunter2secret@" + host + "/?scheme=http",
		"mattermost://" + host + "/hunter2secret?disabletls=yes", "matrix://:hunter2secret@" + host + "/?rooms=!r:e.com&disableTLS=yes", "signal://" + host + "/+11234567890/+10987654321?disabletls=yes",
		"rocketchat://" + host + "/hunter2secret/hunter2secret",
	} {
		if _, err := open(t, closed, "shoutrrr", object{"url": where}).Send(t.Context(), m); !errors.Is(err, event.ErrDenied) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.12s to an address that is not allowed: %v", where, err)
		}
	}
	env.Helper = []string{"/nowhere/helper"}
	if _, err := open(t, env, "shoutrrr", object{"url": "ntfy://" + host + "/topic"}).Send(t.Context(), m); !errors.Is(err, event.ErrUnavailable) {
		t.Errorf("no helper: %v", err)
	}
}

func TestShoutrrrText(t *testing.T) {
	for _, scheme := range []string{"ntfy", "telegram", "discord", "pushover", "teams", "mattermost"} {
		for name, m := range chatMessages(t) {
			text, params := shoutrrrText(scheme, m)
			for _, s := range []string{text, params["title"]} {
				if strings.Contains(s, "@e") || strings.Contains(s, "<!") || strings.Contains(s, "](h") || strings.ContainsAny(s, "\r\x00\u202e") || units(s) > maxShoutrrr(scheme) {
					t.Errorf("%s %s: %d characters: %.100q", scheme, name, units(s), s)
				}
			}
			if !strings.HasSuffix(text, m.Link) {
				t.Errorf("%s %s: the link is cut off", scheme, name)
			}
		}
	}
}

// The helper gets neither our secrets nor a proxy.
func TestHelperEnviron(t *testing.T) {
	got := helperEnviron([]string{"TOCSIN_TOKEN=hunter2", "HTTPS_PROXY=http://p", "PATH=/bin", "SSL_CERT_FILE=/x"})
	if strings.Join(got, " ") != "SSL_CERT_FILE=/x" {
		t.Errorf("environment %v", got)
	}
	var out strings.Builder
	if err := Help(t.Context(), strings.NewReader("{"), &out); err == nil || out.Len() != 0 {
		t.Errorf("half a task: %v, %s", err, out.String())
	}
	raw, err := json.Marshal(task{Egress: config.Egress{Allow: []string{"x"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := Help(t.Context(), strings.NewReader(string(raw)), &out); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("a wrong policy: %v", err)
	}
}
