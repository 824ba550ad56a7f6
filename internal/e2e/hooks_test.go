package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	hookSecret = "hook-secret-of-this-test"
	hookKey    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// hookFiles writes the secrets of senders and returns the configuration that
// names them.
func hookFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, secret := range map[string]string{"secret": hookSecret, "key": hookKey} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secret := "{secret_file: " + filepath.Join(dir, "secret") + "}"
	return "sources: {github: " + secret + ", stalwart: " + secret + ", grafana: " + secret + ", authentik: " + secret + ", alertmanager: " + secret +
		", standard_webhooks: {secret_file: " + filepath.Join(dir, "key") + "}}"
}

func hmacOf(secret, body string) []byte {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(body))
	return m.Sum(nil)
}

// hook posts to a source without a token of this server.
func (s *server) hook(source, body string, headers ...string) reply {
	s.t.Helper()
	return s.request(http.MethodPost, "/v1/hooks/"+source, strings.NewReader(body), append([]string{"Authorization", "", "Content-Type", jsonMedia}, headers...)...)
}

func githubHeaders(event, delivery, body string) []string {
	return []string{"X-GitHub-Event", event, "X-GitHub-Delivery", delivery, "X-Hub-Signature-256", "sha256=" + hex.EncodeToString(hmacOf(hookSecret, body))}
}

// Every payload that GitHub gives as an example is recorded once, however often
// it is delivered, and before the answer: a power cut behind it loses none.
func TestGithubDeliveries(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(cached(t, "npm", "node_modules", "@octokit", "webhooks-examples", "api.github.com", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index []struct {
		Name     string
		Examples []json.RawMessage
	}
	if err := json.Unmarshal(content, &index); err != nil {
		t.Fatal(err)
	}
	data, config := t.TempDir(), hookFiles(t)
	s := startOn(t, data, config)
	deliver := func(want bool) (n int) {
		for _, one := range index {
			for _, body := range one.Examples {
				n++
				r := s.hook("github", string(body), githubHeaders(one.Name, "delivery-"+strconv.Itoa(n), string(body))...)
				if r.status != http.StatusAccepted {
					t.Fatalf("%s: %d %s", one.Name, r.status, clip(r.body))
				}
				if got := parse[object](t, r.body)["results"].([]any)[0].(object)["duplicate"]; got != want {
					t.Errorf("%s: duplicate is %v, want %v: %s", one.Name, got, want, r.body)
				}
			}
		}
		return n
	}
	if n := deliver(false); n != 329 {
		t.Errorf("%d payloads, want 329", n)
	}
	s.kill()
	s = startOn(t, data, config)
	deliver(true)
	seen := 0
	for cursor := ""; ; {
		q := []string{"filter", `source.endsWith("/github")`, "limit", "1000"}
		if cursor != "" {
			q = append(q, "cursor", cursor)
		}
		p := s.find(q...)
		for _, e := range p.Events {
			seen++
			if e["kind"] != "custom" || text(e["subject"]) == "" || text(e["authname"]) == "" || e["recordedby"] != "source/github" || e["data"] == nil {
				t.Errorf("%v: %v %v", e["type"], e["subject"], e["authname"])
			}
		}
		if p.Next == nil {
			break
		}
		cursor = *p.Next
	}
	if seen != 329 {
		t.Errorf("%d events are recorded, want 329", seen)
	}
	if out := s.must("events", `type == "github.push"`, "--limit", "1"); !strings.Contains(out, "Codertocat") {
		t.Errorf("the message of a push: %s", out)
	}
	if row := s.source("github"); row["status"] != "running" || row["last_event"] == nil || row["last_error"] != "" || row["lacks"] != "" || row["path"] != "/v1/hooks/github" {
		t.Errorf("the source: %v", row)
	}
	if strings.Contains(string(s.get("/v1/sources").body), hookSecret) || strings.Contains(s.log.String(), hookSecret) {
		t.Error("the secret is shown")
	}
}

// source is one row of GET /v1/sources.
func (s *server) source(name string) object {
	s.t.Helper()
	for _, row := range parse[struct{ Items []object }](s.t, s.get("/v1/sources").body).Items {
		if row["name"] == name {
			return row
		}
	}
	s.t.Fatalf("there is no source %s", name)
	return nil
}

// Whoever does not prove to know the secret is refused, and recorded with the
// reason; a token does not help.
func TestHookProof(t *testing.T) {
	t.Parallel()
	s := start(t, hookFiles(t))
	const push = `{"ref":"refs/heads/main","repository":{"full_name":"o/r"},"sender":{"login":"ann"}}`
	key, err := standardwebhooks.NewWebhook(hookKey)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(at time.Time) []string {
		signature, err := key.Sign("msg_1", at, []byte(push))
		if err != nil {
			t.Fatal(err)
		}
		return []string{"webhook-id", "msg_1", "webhook-timestamp", strconv.FormatInt(at.Unix(), 10), "webhook-signature", signature}
	}
	now := time.Now()
	good := signed(now)
	if r := s.hook("standard_webhooks", push, good...); r.status != http.StatusAccepted {
		t.Fatalf("the library's signature: %d %s", r.status, r.body)
	}
	tests := []struct {
		source, body string
		headers      []string
		status       int
		says         string
	}{
		{"github", push, githubHeaders("push", "1", push+" "), http.StatusForbidden, "wrong"},
		{"github", push, []string{"X-GitHub-Event", "push", "X-GitHub-Delivery", "1"}, http.StatusUnauthorized, "missing"},
		{"github", push, []string{"X-GitHub-Event", "push", "X-GitHub-Delivery", "1", "Authorization", "Bearer " + s.token}, http.StatusUnauthorized, "missing"},
		{"stalwart", push, []string{"X-Signature", base64.StdEncoding.EncodeToString(hmacOf("x", push))}, http.StatusForbidden, "wrong"},
		{"grafana", push, []string{"X-Grafana-Alerting-Signature", "00"}, http.StatusForbidden, "wrong"},
		{"authentik", push, []string{"Authorization", "Bearer x"}, http.StatusForbidden, "wrong"},
		{"alertmanager", push, nil, http.StatusUnauthorized, "missing"},
		{"standard_webhooks", push, signed(now.Add(-time.Hour)), http.StatusForbidden, "5m0s"},
		{"standard_webhooks", push, good, http.StatusForbidden, "replay"},
	}
	for _, tt := range tests {
		before := len(s.find("filter", `type == "suspicious_request"`).Events)
		p := s.hook(tt.source, tt.body, tt.headers...).wantProblem(t, tt.status)
		if !strings.Contains(text(p["detail"]), tt.says) {
			t.Errorf("%s: %v, want %q in it", tt.source, p["detail"], tt.says)
		}
		found := s.find("filter", `type == "suspicious_request"`).Events
		if len(found) != before+1 || found[0]["subject"] != "source/"+tt.source || !strings.Contains(text(dig(found[0], "data.message")), tt.says) ||
			dig(found[0], "data.http_request.path") != "/v1/hooks/"+tt.source {
			t.Errorf("%s %s: %d suspicious requests, before %d: %v", tt.source, tt.says, len(found), before, found[0])
		}
		if row := s.source(tt.source); !strings.Contains(text(row["last_error"]), tt.says) {
			t.Errorf("%s: last_error is %v", tt.source, row["last_error"])
		}
	}
	retry := signed(now.Add(time.Second))
	if r := s.hook("standard_webhooks", push, retry...); r.status != http.StatusAccepted || !bytes.Contains(r.body, []byte(`"duplicate":true`)) {
		t.Errorf("a retry: %d %s", r.status, r.body)
	}
}

// Each sender's own format, with its own proof.
func TestHookFormats(t *testing.T) {
	t.Parallel()
	s := start(t, hookFiles(t), "public_url: https://t.example")
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("authentik:"+hookSecret))
	const quarantine = `{"events":[{"id":"17638","createdAt":"2026-11-21T10:00:00Z","type":"mta-hook.action-quarantine","data":{"queueId":77,"from":"a@x","to":["b@y"]}},
		{"id":"17639","createdAt":"2026-11-21T10:00:01Z","type":"auth.failed","data":{"accountName":"ann","remoteIp":"192.0.2.7","password":"hunter2hunter2"}},
		{"id":"17640","createdAt":"2026-11-21T10:00:02Z","type":"smtp.rate-limit-exceeded","data":{"remoteIp":"192.0.2.7"}}]}`
	const notice = `{"body":"Suspicious","severity":"alert","user_email":"ops@x","user_username":"ops","event_user_email":"ann@x","event_user_username":"ann"}`
	const grafana = `{"receiver":"tocsin","status":"firing","orgId":1,"version":"1","alerts":[{"status":"firing","labels":{"alertname":"Memory","severity":"warning"},"annotations":{"summary":"high"},
		"startsAt":"2026-11-21T10:00:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"https://g/x","fingerprint":"c6eadffa33fcdf37","values":{"B":44.2}}]}`
	tests := []struct {
		source, body string
		headers      []string
		want         []string // filters that one event fits
	}{
		{"stalwart", quarantine, []string{"X-Signature", base64.StdEncoding.EncodeToString(hmacOf(hookSecret, quarantine))}, []string{
			`type == "mail_quarantined" && kind == "host" && data.queue_id == "77" && data.sender == "a@x" && data.recipients == ["b@y"]`,
			`type == "login_failed" && kind == "audit" && data.username == "ann" && clientip == "192.0.2.7" && data.stalwart.password != "hunter2hunter2"`,
			`type == "stalwart.smtp.rate-limit-exceeded" && severity == warn && kind == "custom"`,
		}},
		{"authentik", notice, []string{"Authorization", basic}, []string{`type == "authentik.notification" && severity == critical && authname == "ann" && authemail == "ann@x" && subject == "user/ann" && data.body == "Suspicious"`}},
		{"grafana", grafana, []string{"X-Grafana-Alerting-Signature", hex.EncodeToString(hmacOf(hookSecret, grafana))}, []string{`type == "alert" && severity == warn && data.labels.alertname == "Memory" && data.values.B > 44.0 && source.endsWith("/grafana")`}},
	}
	for _, tt := range tests {
		r := s.hook(tt.source, tt.body, tt.headers...)
		if r.status != http.StatusAccepted {
			t.Errorf("%s: %d %s", tt.source, r.status, clip(r.body))
			continue
		}
		for _, filter := range tt.want {
			s.one(filter)
		}
	}
	// CloudEvents, signed by the library.
	key, err := standardwebhooks.NewWebhook(hookKey)
	if err != nil {
		t.Fatal(err)
	}
	send := func(id, media, body string) reply {
		t.Helper()
		signature, err := key.Sign(id, time.Now(), []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return s.hook("standard_webhooks", body, "Content-Type", media, "webhook-id", id, "webhook-timestamp", strconv.FormatInt(time.Now().Unix(), 10), "webhook-signature", signature)
	}
	if r := send("msg_1", eventMedia, anEvent("signed")); r.status != http.StatusAccepted {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.one(`id == "signed" && source == "urn:test"`)
	if r := send("msg_2", jsonMedia, `{"type":"invoice.paid","timestamp":"2026-11-21T10:00:00Z","data":{"amount":7}}`); r.status != http.StatusAccepted {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.one(`id == "msg_2" && type == "invoice.paid" && source == "urn:standard-webhooks" && data.data.amount == 7`)
	// Who signs is not this server: its own source stays its own.
	send("msg_3", eventMedia, `{"specversion":"1.0","id":"1","source":"https://t.example/server","type":"server.ready"}`).wantProblem(t, http.StatusForbidden)
	send("msg_4", eventMedia, `{"specversion":"1.0"}`).wantProblem(t, http.StatusBadRequest)
}

// Without a secret a request needs a token that may emit, as Bearer or as the
// password of basic authentication.
func TestHookToken(t *testing.T) {
	t.Parallel()
	s := start(t, "ingest: {max_event: 20000, max_batch: 40000}", "sources: {grafana: {enabled: false}}")
	const push = `{"ref":"refs/heads/main","repository":{"full_name":"o/r"},"sender":{"login":"ann"}}`
	gh := []string{"X-GitHub-Event", "push", "X-GitHub-Delivery"}
	reader, emitter := s.newToken("reader", "read"), s.newToken("emitter", "emit")
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	s.hook("github", push, append(gh, "1")...).wantProblem(t, http.StatusUnauthorized)
	s.hook("github", push, append(gh, "1", "Authorization", "Bearer "+reader)...).wantProblem(t, http.StatusForbidden)
	s.hook("github", push, append(gh, "1", "Authorization", basic("x", reader))...).wantProblem(t, http.StatusForbidden)
	s.hook("github", push, append(gh, "1", "Authorization", basic(emitter, "x"))...).wantProblem(t, http.StatusUnauthorized)
	for n, value := range []string{"Bearer " + emitter, basic("anybody", emitter)} {
		if r := s.hook("github", push, append(gh, strconv.Itoa(n), "Authorization", value)...); r.status != http.StatusAccepted {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if e := s.one(`id == "0"`); e["recordedby"] != "emitter" || e["authname"] != "ann" {
		t.Errorf("%v", e)
	}
	if row := s.source("github"); !strings.Contains(text(row["lacks"]), "no secret") {
		t.Errorf("%v", row)
	}
	// Basic authentication opens nothing else.
	s.request(http.MethodGet, "/v1/events", nil, "Authorization", basic("x", s.token)).wantProblem(t, http.StatusUnauthorized)

	auth := []string{"Authorization", "Bearer " + emitter}
	s.hook("grafana", `{}`, auth...).wantProblem(t, http.StatusNotFound)
	s.hook("nobody", `{}`, auth...).wantProblem(t, http.StatusNotFound)
	s.hook("disk_full", `{}`, auth...).wantProblem(t, http.StatusNotFound)
	s.hook("authentik", `{"body":`, auth...).wantProblem(t, http.StatusBadRequest)
	s.hook("authentik", `{"body":"`+strings.Repeat("x", 20001)+`"}`, auth...).wantProblem(t, http.StatusRequestEntityTooLarge)
	s.hook("stalwart", strings.Repeat(" ", 40001), auth...).wantProblem(t, http.StatusRequestEntityTooLarge)
	large := `{"events":[{"createdAt":"2026-11-21T10:00:00Z","type":"a.b","data":{"x":"` + strings.Repeat("x", 20001) + `"}},{"createdAt":"2026-11-21T10:00:00Z","type":"a.c","data":{}}]}`
	s.hook("stalwart", large, auth...).wantProblem(t, http.StatusRequestEntityTooLarge)
	if found := s.find("filter", `type.startsWith("stalwart")`); len(found.Events) != 0 {
		t.Errorf("part of a request is recorded: %v", found.Events)
	}
	if r := s.request(http.MethodGet, "/v1/hooks/github", nil); r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != "POST" {
		t.Errorf("GET: %d %v", r.status, r.header)
	}
}

// TestStrangersStayInLine: strangers who claim large bodies for a source with a
// secret, and send none, keep nobody waiting who has a token.
func TestStrangersStayInLine(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(hookSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, "sources: {stalwart: {secret_file: "+secret+"}}")
	address := strings.TrimPrefix(s.url, "http://")
	claim := func() {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, "POST /v1/hooks/stalwart HTTP/1.1\r\nHost: "+address+"\r\nContent-Length: 16777216\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	for range 8 {
		claim()
	}
	// A request that asks whether it is full may itself keep the last of them out.
	eventually(t, "the room of strangers is full", func() bool {
		claim()
		return s.hook("stalwart", "{}").status == http.StatusTooManyRequests
	})
	s.post("/api/v2/alerts", jsonMedia, `[{"labels":{"alertname":"x"}}]`).want(t, http.StatusOK)
	body := `{"zen":"Keep it logically awesome."}`
	s.request(http.MethodPost, "/v1/hooks/github", strings.NewReader(body), append(githubHeaders("ping", "1", body), "Content-Type", jsonMedia)...).want(t, http.StatusAccepted)
}
