package e2e

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// signIn posts a name and password, without a token.
func (s *server) signIn(username, password string, headers ...string) reply {
	s.t.Helper()
	return s.post("/v1/auth/token", jsonMedia, `{"username":"`+username+`","password":"`+password+`"}`, append([]string{"Authorization", ""}, headers...)...)
}

// dataOf is the data of an event; its members must be exactly those named.
func dataOf(t *testing.T, e object, members ...string) object {
	t.Helper()
	data, _ := e["data"].(object)
	slices.Sort(members)
	if diff := cmp.Diff(members, slices.Sorted(maps.Keys(data))); diff != "" {
		t.Errorf("members of %v: %s", e["type"], diff)
	}
	return data
}

// TestSignIn raises auth.ok, auth.error and auth.renew with exactly the fields
// of seed 001.
func TestSignIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	r := s.signIn("admin", password)
	if r.status != http.StatusOK {
		t.Fatalf("sign-in: %d %s", r.status, r.body)
	}
	session := parse[object](t, r.body)
	expires, err := time.Parse(time.RFC3339, text(session["expires_at"]))
	if err != nil || session["token_type"] != "Bearer" || time.Until(expires) < time.Minute {
		t.Errorf("session %v: %v", session, err)
	}
	wantAuth := func(e object, expiry string) {
		t.Helper()
		data := dataOf(t, e, "username", "ip", "exp")
		at, err := time.Parse(time.RFC3339, expiry)
		if err != nil {
			t.Fatal(err)
		}
		if data["username"] != "admin" || data["ip"] != "127.0.0.1" || text(data["exp"]) != strconv.FormatInt(at.Unix(), 10) {
			t.Errorf("%v: %v", e["type"], data)
		}
		if e["kind"] != "sys" || e["clientip"] != "127.0.0.1" || e["authname"] != "admin" {
			t.Errorf("%v", e)
		}
	}
	ok, login := s.one(`type == "auth.ok"`), s.one(`type == "login"`)
	wantAuth(ok, text(session["expires_at"]))
	if ok["recordedtime"] != login["recordedtime"] {
		t.Errorf("auth.ok and login are not of one append: %v, %v", ok["recordedtime"], login["recordedtime"])
	}

	token := text(session["token"])
	r = s.request(http.MethodPost, "/v1/auth/renew", nil, "Authorization", "Bearer "+token)
	if r.status != http.StatusOK {
		t.Fatalf("renew: %d %s", r.status, r.body)
	}
	wantAuth(s.one(`type == "auth.renew"`), text(parse[object](t, r.body)["expires_at"]))
	s.request(http.MethodPost, "/v1/auth/renew", nil).wantProblem(t, http.StatusBadRequest) // an API token

	for _, name := range []string{"admin", "nobody"} {
		s.signIn(name, "wrong-password").wantProblem(t, http.StatusUnauthorized)
		e := s.one(`type == "auth.error" && data.username == "` + name + `"`)
		if data := dataOf(t, e, "username", "ip", "reason"); data["ip"] != "127.0.0.1" || text(data["reason"]) == "" {
			t.Errorf("auth.error: %v", data)
		}
		s.one(`type == "login_failed" && data.username == "` + name + `"`)
	}
	for _, body := range []string{``, `{}`, `[]`, `{"username":"admin"}`, `{"username":"admin","password":"x","colour":1}`, `{"username":1,"password":2}`, `{"username":"a","username":"b","password":"x"}`} {
		s.post("/v1/auth/token", jsonMedia, body, "Authorization", "").wantProblem(t, http.StatusBadRequest)
	}
	s.post("/v1/auth/token", "text/plain", `{}`, "Authorization", "").wantProblem(t, http.StatusUnsupportedMediaType)
}

// TestGuessing is slowed for each account and address, and its flood is folded.
func TestGuessing(t *testing.T) {
	t.Parallel()
	s := start(t, "trusted_proxies: [127.0.0.0/8]")
	slowed, wrong := 0, 0
	for range 20 {
		r := s.signIn("admin", "guess", "X-Forwarded-For", "198.51.100.1")
		switch r.status {
		case http.StatusUnauthorized:
			wrong++
		case http.StatusTooManyRequests:
			slowed++
			r.wantProblem(t, http.StatusTooManyRequests)
			if n, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || n < 1 {
				t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
			}
		default:
			t.Fatalf("status %d: %s", r.status, r.body)
		}
	}
	if wrong > 8 || slowed < 12 {
		t.Errorf("of 20 guesses %d were looked at and %d slowed", wrong, slowed)
	}
	// The right password waits, too, for this address and this account; another
	// account from another address does not.
	if r := s.signIn("admin", password, "X-Forwarded-For", "198.51.100.1"); r.status != http.StatusTooManyRequests {
		t.Errorf("the right password behind guesses: %d", r.status)
	}
	if r := s.signIn("ann", "x", "X-Forwarded-For", "203.0.113.9"); r.status != http.StatusUnauthorized {
		t.Errorf("another account and address: %d", r.status)
	}
	if r := s.signIn("ann", "x", "X-Forwarded-For", "198.51.100.1"); r.status != http.StatusTooManyRequests {
		t.Errorf("another account and the same address: %d", r.status)
	}
	if n := len(s.find("filter", `type == "auth.error" && clientip == "198.51.100.1"`, "limit", "100").Events); n > 12 {
		t.Errorf("%d events of one flood are recorded one by one", n)
	}
	s.stop()
	s = startOn(t, s.data)
	found := s.find("filter", `type == "auth.error" && clientip == "198.51.100.1"`).Events
	if folded := text(found[0]["foldedcount"]); folded == "" || folded == "<nil>" {
		t.Errorf("the flood's rest is not folded into one event: %v", found[0])
	}
}

// routes are all paths of the API, with a method each.
var routes = []string{
	"GET /openapi.json", "POST /v1/auth/renew", "POST /v1/events", "OPTIONS /v1/events", "GET /v1/events", "GET /v1/events/volume",
	"GET /v1/events/tail", "GET /v1/events/1", "PUT /v1/events/1", "PATCH /v1/events/1", "DELETE /v1/events/1", "DELETE /v1/events",
	"GET /v1/catalog", "POST /v1/catalog", "GET /v1/catalog/login", "GET /v1/tokens", "POST /v1/tokens", "GET /v1/tokens/1",
	"PUT /v1/tokens/1", "PATCH /v1/tokens/1", "DELETE /v1/tokens/1", "GET /v1/sources", "GET /v1/settings", "PATCH /v1/settings",
	"POST /v1/reload", "GET /v1/journal", "GET /v1/journal/heads", "POST /v1/journal/verify", "GET /v1/journal/export", "POST /v1/journal/import",
}

// TestStrangers get nothing but health and the sign-in.
func TestStrangers(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		for _, authorization := range []string{"", "Bearer wrong", "Bearer tcsn_wrong", "Basic YWRtaW46eA==", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."} {
			r := s.request(method, path, nil, "Authorization", authorization)
			r.wantProblem(t, http.StatusUnauthorized)
			if r.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: no WWW-Authenticate", route)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if r := s.request(http.MethodGet, path, nil, "Authorization", ""); r.status != http.StatusOK {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"} {
		s.request(http.MethodGet, "/metrics", nil, "Authorization", "", header, "127.0.0.1").wantProblem(t, http.StatusUnauthorized)
	}
	if r := s.request(http.MethodGet, "/metrics", nil, "X-Forwarded-For", "192.0.2.1"); r.status != http.StatusOK {
		t.Errorf("/metrics with a token: %d", r.status)
	}
}

// TestScopes lets a token do what it was made for and nothing else.
func TestScopes(t *testing.T) {
	t.Parallel()
	s := start(t)
	admin := s.token
	allowed := map[string]func(route string) bool{
		"emit":    func(r string) bool { return strings.HasSuffix(r, " /v1/events") && !strings.HasPrefix(r, "GET") },
		"forward": func(r string) bool { return strings.HasSuffix(r, " /v1/events") && !strings.HasPrefix(r, "GET") },
		"read": func(r string) bool {
			return r == "GET /openapi.json" || strings.HasPrefix(r, "GET /v1/") && !strings.Contains(r, "tokens") && !strings.Contains(r, "heads") && !strings.Contains(r, "export")
		},
	}
	for scope, may := range allowed {
		s.token = s.newToken(scope, scope)
		for _, route := range routes {
			method, path, _ := strings.Cut(route, " ")
			if path == "/v1/events/tail" || method != "GET" && path != "/v1/tokens" && path != "/v1/journal/verify" && route != "POST /v1/events" || path == "/v1/auth/renew" {
				continue
			}
			r := s.request(method, path, nil)
			if denied := r.status == http.StatusForbidden; denied == may(route) {
				t.Errorf("%s with the scope %s: %d", route, scope, r.status)
			}
		}
	}
	s.token = admin
	// A token that expires, and one that is revoked, open nothing.
	r := s.post("/v1/tokens", jsonMedia, `{"name":"gone","scopes":["read"]}`)
	if r.status != http.StatusCreated {
		t.Fatalf("%d %s", r.status, r.body)
	}
	made := parse[object](t, r.body)
	bearer := "Bearer " + text(made["token"])
	if r := s.request(http.MethodGet, "/v1/events", nil, "Authorization", bearer); r.status != 200 {
		t.Errorf("a new token: %d", r.status)
	}
	path := "/v1/tokens/" + text(made["id"])
	tag := s.get(path).header.Get("ETag")
	r = s.request(http.MethodPatch, path, strings.NewReader(`{"name":"renamed"}`), "Content-Type", jsonMedia, "If-Match", tag)
	if r.status != 200 || parse[object](t, r.body)["name"] != "renamed" {
		t.Errorf("PATCH: %d %s", r.status, r.body)
	}
	s.request(http.MethodPatch, path, strings.NewReader(`{"name":"lost"}`), "Content-Type", jsonMedia, "If-Match", tag).wantProblem(t, http.StatusPreconditionFailed)
	if r := s.request(http.MethodDelete, path, nil); r.status != http.StatusNoContent {
		t.Errorf("DELETE: %d", r.status)
	}
	s.request(http.MethodGet, "/v1/events", nil, "Authorization", bearer).wantProblem(t, http.StatusUnauthorized)
	for _, body := range []string{`{"name":"x"}`, `{"name":"","scopes":["read"]}`, `{"name":"x","scopes":["root"]}`, `{"name":"x","scopes":["read"],"expires_at":"2001-01-01T00:00:00Z"}`} {
		s.post("/v1/tokens", jsonMedia, body).wantProblem(t, http.StatusBadRequest)
	}
	for _, action := range []string{"model_created", "model_updated", "model_deleted"} {
		e := s.find("filter", `type == "`+action+`" && data.model.model_name == "token" && (data.model.name == "gone" || data.model.name == "renamed")`).Events
		if len(e) != 1 {
			t.Errorf("%d events %s of the token, want 1", len(e), action)
		}
	}
}
