package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSessions are listed, revoked, ended by signing out, and by a binding that
// breaks; a token of one that has ended is suspicious.
func TestSessions(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t, "sessions: {bind_network: address}", "trusted_proxies: [127.0.0.0/8]")}
	id := j.user("ann", "viewer")
	one, two := j.session("ann", password), j.session("ann", password)
	list := j.send("GET", "/v1/users/me/sessions", one, "").want(t, 200)["items"].([]any)
	if len(list) != 2 || dig(list[0], "current") != false || dig(list[1], "current") != true || dig(list[1], "client_ip") != "127.0.0.1" {
		t.Fatalf("%v", list)
	}
	j.mark()
	j.send("DELETE", "/v1/users/me/sessions/"+text(dig(list[0], "id")), one, "").want(t, 204)
	set := j.wantSet("logout")
	if dig(set["logout"], "data.reason") != "the session was revoked" || set["logout"]["subject"] != "user/"+id {
		t.Errorf("%v", set["logout"])
	}
	j.mark()
	j.send("GET", "/v1/users/me", two, "").wantProblem(t, 401)
	set = j.wantSet("suspicious_request")
	if !strings.Contains(text(dig(set["suspicious_request"], "data.message")), "revoked token") || dig(set["suspicious_request"], "data.path") != "/v1/users/me" {
		t.Errorf("%v", set["suspicious_request"])
	}

	// A renewed token is another one; the old one is good for requests under way.
	r := j.send("POST", "/v1/auth/renew", one, "").want(t, 200)
	j.send("GET", "/v1/users/me", one, "").want(t, 200)
	one = text(r["token"])
	j.send("POST", "/v1/auth/renew", one, "").want(t, 200)
	j.send("POST", "/v1/auth/renew", one, "").wantProblem(t, http.StatusConflict) // another tab was quicker

	three := j.session("ann", password)
	j.mark()
	j.send("GET", "/v1/users/me", three, "", "X-Forwarded-For", "203.0.113.9").wantProblem(t, 401)
	set = j.wantSet("logout")
	want := object{"reason": "network.address", "previous_value": "127.0.0.1", "new_value": "203.0.113.9"}
	if diff := cmp.Diff(want, dig(set["logout"], "data.binding")); diff != "" {
		t.Errorf("binding: %s", diff)
	}
	j.send("GET", "/v1/users/me", three, "").wantProblem(t, 401)

	four := j.session("ann", password)
	j.mark()
	j.send("POST", "/v1/auth/logout", four, "").want(t, 204)
	j.wantSet("logout")
	j.send("POST", "/v1/auth/logout", "", "").wantProblem(t, 400) // an API token is no session
	j.send("GET", "/v1/users/me", "", "").wantProblem(t, 404)     // and no user
}

// TestBoundSessions end where they are used from another place, or by another
// network, than they are bound to, as real MMDB files know them; the logout says
// which part broke, with both values.
func TestBoundSessions(t *testing.T) {
	t.Parallel()
	city, asn := places(t)
	const berlin, berlinToo, hamburg, paris, recife, unknown = "192.0.2.7", "192.0.2.8", "192.0.2.200", "198.51.100.7", "198.51.100.200", "203.0.113.9"
	for _, tt := range []struct {
		bind    string
		stays   []string // where the session may be used, besides Berlin
		breaks  string
		binding object
	}{
		{"bind_place: continent", []string{hamburg, paris}, recife, object{"reason": "geoip.continent", "previous_value": "EU", "new_value": "SA"}},
		{"bind_place: country", []string{berlinToo, hamburg}, paris, object{"reason": "geoip.country", "previous_value": "DE", "new_value": "FR"}},
		{"bind_place: city", []string{berlinToo}, hamburg, object{"reason": "geoip.city", "previous_value": "Berlin", "new_value": "Hamburg"}},
		{"bind_place: city", nil, unknown, object{"reason": "geoip.continent", "previous_value": "EU", "new_value": ""}},
		{"bind_network: asn", []string{hamburg, paris}, recife, object{"reason": "network.asn", "previous_value": "6805", "new_value": "64500"}},
		{"bind_network: network", []string{hamburg}, paris, object{"reason": "network.network", "previous_value": "192.0.2.0/24", "new_value": "198.51.100.0/25"}},
		{"bind_network: asn, bind_place: country", []string{hamburg}, paris, object{"reason": "geoip.country", "previous_value": "DE", "new_value": "FR"}},
	} {
		t.Run(tt.bind+" used in "+tt.breaks, func(t *testing.T) {
			t.Parallel()
			j := &journey{server: start(t, "sessions: {"+tt.bind+"}", "trusted_proxies: [127.0.0.0/8]", "geo: {city: "+city+", asn: "+asn+"}")}
			token := text(j.signIn("admin", password, "X-Forwarded-For", berlin).want(t, 200)["token"])
			use := func(from string) reply { return j.send("GET", "/v1/users/me", token, "", "X-Forwarded-For", from) }
			for _, from := range append(tt.stays, berlin) {
				use(from).want(t, 200)
			}
			j.mark()
			use(tt.breaks).wantProblem(t, 401)
			e := j.wantSet("logout")["logout"]
			for _, problem := range unlike("binding", tt.binding, dig(e, "data.binding")) {
				t.Error(problem)
			}
			if diff := cmp.Diff(object{"previous": berlin, "new": tt.breaks}, dig(e, "data.ip")); diff != "" {
				t.Errorf("addresses: %s", diff)
			}
			use(berlin).wantProblem(t, 401)
		})
	}
}

// TestRevokedTokens are told from those that never were.
func TestRevokedTokens(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t)}
	made := j.send("POST", "/v1/tokens", "", `{"name":"gone","scopes":["read"]}`).want(t, 201)
	j.send("DELETE", "/v1/tokens/"+text(made["id"]), "", "").want(t, 204)
	id := j.user("ann", "operator")
	first := text(j.send("POST", "/v1/users/"+id+"/api-key", "", "").want(t, 200)["api_key"])
	if who := j.send("GET", "/v1/users/me", first, "").want(t, 200); who["id"] != id {
		t.Errorf("%v", who)
	}
	second := text(j.send("POST", "/v1/users/"+id+"/api-key", "", "").want(t, 200)["api_key"])
	for _, revoked := range []string{text(made["token"]), first} {
		j.mark()
		j.send("GET", "/v1/events", revoked, "").wantProblem(t, 401)
		j.wantSet("suspicious_request")
	}
	j.mark()
	j.send("GET", "/v1/events", "tcsn_never-was", "").wantProblem(t, 401)
	j.wantSet()
	j.post("/v1/events", eventMedia, anEvent("k1"), "Authorization", "Bearer "+second).want(t, 202)
	j.send("POST", "/v1/users/"+id+"/suspend", "", "").want(t, 200)
	j.send("GET", "/v1/events", second, "").wantProblem(t, 401)
}

// TestTokensOfUsers: an API token has no more rights than the user to whom it
// belongs, and opens nothing while they are kept out.
func TestTokensOfUsers(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t)}
	id := j.user("ann", "admin")
	first := j.send("POST", "/v1/tokens", j.session("ann", password), `{"name":"first","scopes":["admin"]}`).want(t, 201)
	second := j.send("POST", "/v1/tokens", text(first["token"]), `{"name":"second","scopes":["read","emit","forward"]}`).want(t, 201)
	if first["owner"] != id || second["owner"] != id {
		t.Fatalf("they belong to %v and %v", first["owner"], second["owner"])
	}
	both := []string{text(first["token"]), text(second["token"])}
	want := func(what string, status int) {
		t.Helper()
		for n, token := range both {
			if r := j.send("GET", "/v1/sources", token, ""); r.status != status {
				t.Errorf("%s: token %d: %d, want %d", what, n, r.status, status)
			}
		}
	}
	path := "/v1/users/" + id
	want("at first", 200)
	for _, change := range [][3]string{{"/suspend", "/unsuspend", "suspended"}, {"/archive", "/unarchive", "archived"}} {
		j.send("POST", path+change[0], "", "").want(t, 200)
		want(change[2], 401)
		j.mark()
		if p := j.send("GET", "/v1/sources", both[0], "").wantProblem(t, 401); !strings.Contains(text(p["detail"]), change[2]) {
			t.Errorf("it does not say why: %v", p["detail"])
		}
		j.wantSet() // nobody has stolen it
		j.send("POST", path+change[1], "", "").want(t, 200)
		want("no longer "+change[2], 200)
	}
	j.send("PATCH", path, "", `{"access_level":"viewer"}`).want(t, 200)
	want("of a viewer", 200)
	j.send("GET", "/v1/users", both[0], "").wantProblem(t, 403)
	j.post("/v1/events", eventMedia, anEvent("x"), "Authorization", "Bearer "+both[1]).wantProblem(t, 403)
	j.send("DELETE", path, "", "").want(t, 204)
	want("of nobody", 401)
	j.send("GET", "/v1/sources", "", "").want(t, 200) // one made over the socket
}

// TestImpersonation puts both identities into every event, and stops at more
// rights.
func TestImpersonation(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t)}
	ann, boss := j.user("ann", "operator"), j.session("admin", password)
	path := "/v1/users/" + ann + "/impersonate"
	j.mark()
	token := text(j.send("POST", path, boss, "").want(t, 200)["token"])
	set := j.wantSet("impersonation_started")
	check := func(e object) {
		t.Helper()
		if e["authid"] != "1" || e["authname"] != "admin" || e["onbehalfof"] != ann {
			t.Errorf("%v names %v on behalf of %v", e["type"], e["authname"], e["onbehalfof"])
		}
	}
	check(set["impersonation_started"])
	if me := j.send("GET", "/v1/users/me", token, "").want(t, 200); me["id"] != ann {
		t.Errorf("%v", me)
	}
	j.mark()
	j.send("PATCH", "/v1/users/me", token, `{"name":"Ann A."}`).want(t, 200)
	for _, e := range j.wantSet("model_updated", "user_write") {
		check(e)
	}
	// What would outlast the impersonation, or lead further, is refused.
	for _, try := range []string{"/password-reset", "/api-key", "/totp", "/impersonate"} {
		j.send("POST", "/v1/users/"+ann+try, token, "").wantProblem(t, http.StatusForbidden)
	}
	j.send("PATCH", "/v1/users/me", token, `{"password":"taken-over-now"}`).wantProblem(t, http.StatusForbidden)
	j.send("GET", "/v1/users", token, "").wantProblem(t, http.StatusForbidden) // ann's rights, not the admin's
	j.send("POST", "/v1/auth/renew", token, "").wantProblem(t, http.StatusUnauthorized)
	j.mark()
	j.send("DELETE", path, token, "").want(t, 204)
	check(j.wantSet("impersonation_ended")["impersonation_ended"])
	j.send("GET", "/v1/users/me", token, "").wantProblem(t, 401)

	// By who began it, from outside; and never of more rights.
	token = text(j.send("POST", path, boss, "").want(t, 200)["token"])
	j.send("DELETE", path, boss, "").want(t, 204)
	j.send("GET", "/v1/users/me", token, "").wantProblem(t, 401)
	j.send("DELETE", path, boss, "").wantProblem(t, 404)
	j.send("POST", "/v1/roles", "", `{"name":"relay","scopes":["admin","forward"]}`).want(t, 201)
	more := j.user("max", "relay")
	j.send("POST", "/v1/users/"+more+"/impersonate", boss, "").wantProblem(t, http.StatusForbidden)
	j.send("POST", "/v1/users/1/impersonate", boss, "").wantProblem(t, http.StatusConflict)
	// An administrator who is one no more ends it.
	chief := j.user("chief", "admin")
	token = text(j.send("POST", path, j.session("chief", password), "").want(t, 200)["token"])
	j.send("PATCH", "/v1/users/"+chief, "", `{"access_level":"viewer"}`).want(t, 200)
	j.send("GET", "/v1/users/me", token, "").wantProblem(t, 401)
}

// TestDelegates act with another's rights, and both are on record.
func TestDelegates(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t)}
	ann, bob := j.user("ann", "operator"), j.user("bob", "viewer")
	token := j.session("bob", password)
	emit := func(headers ...string) reply {
		return j.post("/v1/events", eventMedia, anEvent("d1"), append([]string{"Authorization", "Bearer " + token}, headers...)...)
	}
	emit().wantProblem(t, 403)
	emit("Tocsin-On-Behalf-Of", "ann").wantProblem(t, 403)
	j.send("POST", "/v1/users/me/delegates", j.session("ann", password), `{"user":"`+bob+`"}`).want(t, 201)
	emit("Tocsin-On-Behalf-Of", "ann").want(t, 202)
	j.mark()
	j.send("PATCH", "/v1/users/"+ann, token, `{"name":"Ann by Bob"}`, "Tocsin-On-Behalf-Of", ann).want(t, 200)
	for _, e := range j.wantSet("model_updated", "user_write") {
		if e["authname"] != "bob" || e["onbehalfof"] != ann {
			t.Errorf("%v", e)
		}
	}
	j.send("POST", "/v1/users/"+ann+"/api-key", token, "", "Tocsin-On-Behalf-Of", ann).wantProblem(t, 403)
	j.request("GET", "/v1/events", nil, "Tocsin-On-Behalf-Of", "ann").wantProblem(t, 403) // a token is nobody's delegate
	j.send("DELETE", "/v1/users/"+ann+"/delegates/"+bob, "", "").want(t, 204)
	emit("Tocsin-On-Behalf-Of", "ann").wantProblem(t, 403)
}

// signed makes the Authorization header of a request, with ssh-keygen.
func signed(t *testing.T, s *server, key, method, target, media, body, nonce string, at time.Time, extra ...string) string {
	t.Helper()
	digest := sha256.Sum256([]byte(body))
	lines := append([]string{
		"tocsin request v1", method, strings.TrimPrefix(s.url, "http://"), target, media, strconv.FormatInt(at.Unix(), 10), nonce, hex.EncodeToString(digest[:]),
	}, extra...)
	cmd := exec.Command(tool(t, "ssh-keygen"), "-Y", "sign", "-q", "-n", "tocsin", "-f", key)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ssh-keygen: %v %s", err, errOut.String())
	}
	block, _ := pem.Decode(out)
	if block == nil {
		t.Fatalf("ssh-keygen wrote %q", out)
	}
	return fmt.Sprintf("SSHSIG t=%d,nonce=%s,sha256=%x,sig=%s", at.Unix(), nonce, digest, base64.StdEncoding.EncodeToString(block.Bytes))
}

// TestSignedEmit sends events under a signature of ssh-keygen; one that was
// altered, is old, or is sent again opens nothing.
func TestSignedEmit(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t)}
	id := j.user("ann", "operator")
	dir := t.TempDir()
	key := filepath.Join(dir, "id")
	for _, path := range []string{key, filepath.Join(dir, "stranger")} {
		if out, err := exec.Command(tool(t, "ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", path).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	j.send("POST", "/v1/users/"+id+"/ssh-keys", "", `{"name":"laptop","public_key":"`+strings.TrimSpace(string(public))+`"}`).want(t, 201)
	now, body := time.Now(), anEvent("signed-1")
	post := func(header, body string, more ...string) reply {
		return j.post("/v1/events", eventMedia, body, append([]string{"Authorization", header}, more...)...)
	}
	good := signed(t, j.server, key, "POST", "/v1/events", eventMedia, body, "0123456789abcdef", now)
	post(good, anEvent("other")).wantProblem(t, 403) // another body; the signature is used up all the same
	good = signed(t, j.server, key, "POST", "/v1/events", eventMedia, body, "0123456789abcdeg", now)
	post(good, body).want(t, 202)
	if e := j.one(`id == "signed-1"`); !strings.Contains(text(e["recordedby"]), "ann") {
		t.Errorf("recordedby: %v", e["recordedby"])
	}
	j.mark()
	post(good, body).wantProblem(t, 401)
	if set := j.wantSet("suspicious_request"); !strings.Contains(text(dig(set["suspicious_request"], "data.message")), "sent again") {
		t.Errorf("%v", set)
	}
	refused := map[string]string{
		"old":       signed(t, j.server, key, "POST", "/v1/events", eventMedia, body, "0123456789abcdeh", now.Add(-time.Hour)),
		"future":    signed(t, j.server, key, "POST", "/v1/events", eventMedia, body, "0123456789abcdei", now.Add(time.Hour)),
		"target":    signed(t, j.server, key, "POST", "/v1/tokens", eventMedia, body, "0123456789abcdej", now),
		"media":     signed(t, j.server, key, "POST", "/v1/events", batchMedia, body, "0123456789abcdek", now),
		"stranger":  signed(t, j.server, filepath.Join(dir, "stranger"), "POST", "/v1/events", eventMedia, body, "0123456789abcdel", now),
		"malformed": "SSHSIG t=1",
	}
	for what, header := range refused {
		if r := post(header, body); r.status != 401 {
			t.Errorf("%s: %d %s", what, r.status, r.body)
		}
	}
	// Headers that are the event's attributes are signed, too.
	bin := signed(t, j.server, key, "POST", "/v1/events", jsonMedia, `{}`, "0123456789abcdem", now, "ce-id: b1", "ce-source: urn:test", "ce-specversion: 1.0", "ce-type: com.example.b")
	headers := func(typ string) []string {
		return []string{"Authorization", bin, "Content-Type", jsonMedia, "Ce-Id", "b1", "Ce-Source", "urn:test", "Ce-Specversion", "1.0", "Ce-Type", typ}
	}
	j.request("POST", "/v1/events", strings.NewReader(`{}`), headers("com.example.forged")...).wantProblem(t, 401)
	j.request("POST", "/v1/events", strings.NewReader(`{}`), headers("com.example.b")...).want(t, 202)
	// It opens nothing but events, and nothing for a suspended user.
	get := signed(t, j.server, key, "GET", "/v1/events", "", "", "0123456789abcden", now)
	j.request("GET", "/v1/events", nil, "Authorization", get).wantProblem(t, 401)
	j.send("POST", "/v1/users/"+id+"/suspend", "", "").want(t, 200)
	post(signed(t, j.server, key, "POST", "/v1/events", eventMedia, body, "0123456789abcdeo", now), body).wantProblem(t, 401)
}

// TestCookie signs a browser in and out: the cookie's session is a row like any
// other, and ends with it.
func TestCookie(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t)}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	visit := func(method, path string, form url.Values) (status int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, j.url+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		resp, err := browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := visit("POST", "/sign-in", url.Values{"username": {"admin"}, "password": {password}}); got != http.StatusSeeOther {
		t.Fatalf("sign-in: %d", got)
	}
	at, err := url.Parse(j.url)
	if err != nil {
		t.Fatal(err)
	}
	kept := jar.Cookies(at)
	if got := visit("GET", "/settings", nil); got != http.StatusOK || len(kept) != 1 {
		t.Fatalf("signed in: %d, %d cookies", got, len(kept))
	}
	if list := j.send("GET", "/v1/users/1/sessions", "", "").want(t, 200)["items"].([]any); len(list) != 1 || dig(list[0], "method") != "password" {
		t.Errorf("%v", list)
	}
	j.mark()
	if got := visit("POST", "/sign-out", nil); got != http.StatusSeeOther {
		t.Errorf("sign-out: %d", got)
	}
	j.wantSet("logout")
	jar.SetCookies(at, kept) // by somebody who has taken a copy
	if got := visit("GET", "/settings", nil); got != http.StatusSeeOther {
		t.Errorf("a cookie of a session that has ended opens: %d", got)
	}
}

// TestIdentityRoutes lets strangers do nothing, and viewers nothing that is an
// administrator's: every route of the description, whatever comes to be.
func TestIdentityRoutes(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t)}
	j.user("ann", "viewer")
	ann := j.session("ann", password)
	open := map[string]bool{
		"post /v1/auth/token": true, "post /v1/auth/verify-email": true, "post /v1/auth/password-reset": true,
		"post /v1/auth/password-reset/confirm": true, "post /v1/invitations/accept": true, "post /v1/auth/device/token": true,
	}
	seen := 0
	for path, item := range j.get("/openapi.json").want(t, 200)["paths"].(object) {
		if !strings.HasPrefix(path, "/v1/users") && !strings.HasPrefix(path, "/v1/auth") && !strings.HasPrefix(path, "/v1/groups") &&
			!strings.HasPrefix(path, "/v1/roles") && !strings.HasPrefix(path, "/v1/invitations") {
			continue
		}
		named := strings.NewReplacer("{id}", "1", "{key}", "1", "{delegate}", "1", "{session}", "x").Replace(path)
		for method, op := range item.(object) {
			seen++
			if text(dig(op, "summary")) == "" || dig(op, "responses") == nil {
				t.Errorf("%s %s is not described", method, path)
			}
			if open[method+" "+path] {
				if r := j.send(strings.ToUpper(method), named, "none", "{}"); r.status != 400 {
					t.Errorf("%s %s by a stranger: %d %s", method, path, r.status, r.body)
				}
				continue
			}
			if r := j.send(strings.ToUpper(method), named, "none", "{}"); r.status != 401 {
				t.Errorf("%s %s by a stranger: %d %s", method, path, r.status, r.body)
			}
			if strings.HasPrefix(path, "/v1/auth") || path == "/v1/users/{id}/impersonate" && method == "delete" {
				continue
			}
			if r := j.send(strings.ToUpper(method), named, ann, `{}`); r.status != 403 && r.status != 400 {
				t.Errorf("%s %s of the administrator by a viewer: %d %s", method, path, r.status, r.body)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d routes are described", seen)
	}
	if n := len(j.find("filter", `actor.name == "ann" && kind != "sys" && type != "login"`).Events); n != 0 {
		t.Errorf("a viewer has changed %d things", n)
	}
}
