package e2e

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every secret of the table holds this, so that one search finds any of them.
const needle = "N33dl3"

// secretEvents is the redaction table: secrets in keys, values, URLs, headers
// and traces.
func secretEvents() []string {
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ" + needle + "zIn0.c2lnbmF0dXJl" + needle
	key := "-----BEGIN OPENSSH PRIVATE KEY-----\n" + needle + "abc\n-----END OPENSSH PRIVATE KEY-----"
	secret := "x" + needle + "y"
	return []string{
		anEvent("keys", "data", object{
			"password": secret, "passwd": secret, "pwd": secret, "secret": secret, "token": secret, "api_key": secret, "apikey": secret,
			"authorization": secret, "cookie": secret, "session_id": secret, "otp": secret, "pin": secret, "jwt": secret, "bearer": secret,
			"credential": secret, "private_key": secret, "signature": secret, "dbPassword": secret, "X-Auth-Token": secret,
			"apiKeys": []string{secret, "", secret}, "sessionid": secret, "secrets": object{"deep": object{"er": secret}},
		}),
		anEvent("values", "data", object{
			"text": "see " + jwt + " there", "key": key, "header": "Authorization: Bearer abc" + needle, "basic": "Basic dXNlcjpwYXNz" + needle,
			"list":   []any{"https://ann:" + needle + "@example.com/x", "https://example.com/?access_token=" + needle + "&page=2"},
			"nested": `{"password": "` + needle + `"}`, "command": "mysqldump --password=" + needle + " db",
		}),
		anEvent("headers", "data", object{"http_request": object{
			"headers": object{"Authorization": "Bearer " + needle + "123", "Cookie": "sid=" + needle, "Set-Cookie": "sid=" + needle, "X-Api-Key": needle},
			"url":     "https://ann:" + needle + "@example.com/?token=" + needle,
		}}),
		anEvent("trace", "data", object{"exception": object{
			"type": "ConnectError", "message": "dial postgres://app:" + needle + "@db/x: refused",
			"frames": []object{{"file": "a.go", "line": 1, "function": "Connect(password=" + needle + ")"}},
			"cause":  object{"type": "E", "message": "Authorization: Basic " + needle + "abcdef"},
		}, "message": "token=" + needle}),
		anEvent("attributes", "subject", "repo/https://ann:"+needle+"@example.com/x", "comexample", "Bearer abc"+needle, "token", needle+"1"),
		anEvent("binary", "data", "password="+needle, "datacontenttype", "text/plain"),
		anEvent("diff", "type", "model_updated", "data", object{
			"model": object{"app": "a", "model_name": "m", "pk": "1", "name": "n"},
			"diff":  object{"password": object{"previous_value": needle + "old", "new_value": needle + "new"}},
		}),
	}
}

// TestRedaction finds no secret anywhere: neither in the data folder, nor in the
// log, the metrics or any answer, also where events are refused.
func TestRedaction(t *testing.T) {
	t.Parallel()
	s := start(t, "log: {level: debug, events: true}")
	stays := object{"keyboard": "k-stays", "author": "a-stays", "compass": "c-stays", "passport": "p-stays", "capital": "l-stays", "password_change_date": "2026-stays", "auth_method": "m-stays"}
	answers := &bytes.Buffer{}
	keep := func(r reply) { answers.Write(r.body) }

	secrets := secretEvents()
	for _, e := range secrets {
		keep(s.post("/v1/events", eventMedia, e))
	}
	keep(s.post("/v1/events", eventMedia, anEvent("stays", "data", stays)))
	keep(s.post("/v1/events", "text/plain", "Cookie: a="+needle, "ce-specversion", "1.0", "ce-id", "bin", "ce-source", "urn:test", "ce-type", "t", "ce-comexample", "Bearer%20x"+needle))
	// Refused ones, whose problems quote what was wrong.
	keep(s.post("/v1/events", eventMedia, anEvent("bad", "time", "token="+needle)))
	keep(s.post("/v1/events", batchMedia, batch(anEvent("ok2"), anEvent("bad", "severitytext", "https://u:"+needle+"@h/"))))
	keep(s.get("/v1/events?filter=" + url.QueryEscape(`id ==`) + "&token=" + needle))
	keep(s.request(http.MethodDelete, "/v1/events/1?access_token="+needle+"&password="+needle, nil))
	keep(s.signIn("admin", needle+"-guess"))
	keep(s.request(http.MethodGet, "/v1/events", nil, "Authorization", "Bearer tcsn_"+needle))
	keep(s.request(http.MethodPost, "/v1/tokens?secret="+needle, strings.NewReader(`{"name":"t1","scopes":["read"]}`), "Content-Type", jsonMedia, "User-Agent", "curl token="+needle))

	keep(s.get("/v1/events?limit=1000&transient=true"))
	keep(s.get("/v1/events?limit=1000&view=audit"))
	keep(s.get("/v1/events?limit=1000&view=significant"))
	keep(s.get("/v1/journal/export"))
	keep(s.get("/metrics"))
	if at := bytes.Index(answers.Bytes(), []byte(needle)); at >= 0 {
		t.Errorf("a secret in an answer: …%s…", answers.Bytes()[max(0, at-200):min(answers.Len(), at+60)])
	}
	for name, value := range stays {
		if e := s.one(`id == "stays"`); dig(e, "data."+name) != value {
			t.Errorf("%s is masked: %v", name, dig(e, "data."+name))
		}
	}
	mask := strings.Repeat("*", 20)
	for id, path := range map[string]string{"keys": "data.password", "diff": "data.diff.password.new_value"} {
		if got := dig(s.one(`id == "`+id+`"`), path); got != mask {
			t.Errorf("%s of %s is %v", path, id, got)
		}
	}
	if got := s.one(`id == "keys"`); len(text(dig(got, "data.secrets"))) != 20 {
		t.Errorf("a secret key does not mask its whole subtree: %v", dig(got, "data.secrets"))
	}
	// The sign-in's own secrets: the password of the admin, and every token.
	token := s.token
	s.stop() // seals what is in memory, and closes the database
	if !strings.Contains(s.log.String(), "event recorded") {
		t.Error("log.events is on, and no event is logged")
	}
	for _, secret := range []string{needle, token, password} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
		searchFolder(t, s.data, secret)
	}
}

func searchFolder(t *testing.T, dir, secret string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil && bytes.Contains(content, []byte(secret)) {
			t.Errorf("%s holds %q", path, secret)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
