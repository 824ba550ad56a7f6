package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// signInAs signs somebody in by the form.
func (b *browser) signInAs(name string) reply {
	b.s.t.Helper()
	return b.do(http.MethodPost, "/sign-in", url.Values{"username": {name}, "password": {password}}.Encode())
}

// Everybody has a profile; the pages about others are for administrators.
func TestPagesOfPeopleByRights(t *testing.T) {
	s := start(t)
	id := s.user("vera", "viewer")
	if made := s.send(http.MethodPost, "/v1/roles", "", `{"name":"sender","scopes":["emit"]}`); made.status != http.StatusCreated {
		t.Fatalf("role: %d %s", made.status, clip(made.body))
	}
	s.user("senta", "sender")
	others := []string{"/users", "/users/1", "/users/" + id, "/groups", "/roles", "/invitations"}
	for _, name := range []string{"vera", "senta"} {
		b := newBrowser(s)
		b.signInAs(name)
		if r := b.do(http.MethodGet, "/profile", ""); r.status != http.StatusOK || !strings.Contains(string(r.body), name) {
			t.Errorf("profile of %s: %d %s", name, r.status, clip(r.body))
		}
		for _, path := range others {
			if r := b.do(http.MethodGet, path, ""); r.status != http.StatusForbidden {
				t.Errorf("%s as %s: %d", path, name, r.status)
			}
		}
		if r := b.do(http.MethodPost, "/users/1/act-as", ""); r.status != http.StatusForbidden {
			t.Errorf("acting as an administrator, as %s: %d", name, r.status)
		}
	}
	for _, path := range append(others, "/profile") {
		if r := newBrowser(s).do(http.MethodGet, path, ""); r.status != http.StatusSeeOther {
			t.Errorf("%s without a session: %d", path, r.status)
		}
	}
}

// What was meant to happen in another's name is never done in one's own, and
// the cookie that keeps the own session opens nothing by itself.
func TestActingInABrowser(t *testing.T) {
	s := start(t)
	id := s.user("ann", "operator")
	b := newBrowser(s)
	b.signIn("/")
	r := b.do(http.MethodPost, "/users/"+id+"/act-as", "")
	if r.status != http.StatusSeeOther {
		t.Fatalf("acting: %d %s", r.status, clip(r.body))
	}
	kept := ""
	for _, c := range r.header.Values("Set-Cookie") {
		if strings.HasPrefix(c, "tocsin_own_session=") {
			kept = c
		}
	}
	if !strings.Contains(kept, "HttpOnly") || !strings.Contains(kept, "SameSite=Strict") {
		t.Errorf("the kept session: %s", kept)
	}
	if r := b.do(http.MethodPost, "/profile/api-key", ""); r.status != http.StatusForbidden {
		t.Errorf("an API key while acting: %d", r.status)
	}
	if r := b.do(http.MethodPost, "/users/"+id+"/state/suspended", "reason="); r.status != http.StatusForbidden {
		t.Errorf("the own rights while acting: %d", r.status)
	}
	for _, session := range parse[struct{ Items []object }](t, s.get("/v1/users/"+id+"/sessions").body).Items {
		s.send(http.MethodDelete, "/v1/users/"+id+"/sessions/"+text(session["id"]), "", "").want(t, http.StatusNoContent)
	}
	if r := b.do(http.MethodPost, "/profile", "name=Mine"); r.status != http.StatusSeeOther || r.header.Get("Location") != "/profile?said=acted" {
		t.Errorf("a form after the end: %d to %q", r.status, r.header.Get("Location"))
	}
	for _, who := range []string{"1", id} {
		if name := text(s.send(http.MethodGet, "/v1/users/"+who, "", "").want(t, http.StatusOK)["name"]); name == "Mine" {
			t.Errorf("user %s was renamed by a form of an impersonation that had ended", who)
		}
	}
	if r := b.do(http.MethodGet, "/users", ""); r.status != http.StatusOK {
		t.Errorf("back as oneself: %d", r.status)
	}
	alone := newBrowser(s)
	_, value, _ := strings.Cut(kept, "=")
	value, _, _ = strings.Cut(value, ";")
	if r := alone.do(http.MethodPost, "/profile", "name=Mine", "Cookie", "tocsin_own_session="+s.token); r.header.Get("Location") != "/sign-in?next=%2Fprofile" {
		t.Errorf("an API token as the kept session: %d to %q", r.status, r.header.Get("Location"))
	}
	b.do(http.MethodPost, "/sign-out", "")
	if r := alone.do(http.MethodGet, "/users", "", "Cookie", "tocsin_own_session="+value); !strings.HasPrefix(r.header.Get("Location"), "/sign-in") {
		t.Errorf("the kept session after signing out: %d to %q", r.status, r.header.Get("Location"))
	}
}

// A sign-in that needs a one-time password says so to those alone who know the
// password, and never repeats the password.
func TestSecondStepOfSigningIn(t *testing.T) {
	s := start(t)
	s.user("otto", "viewer")
	secret := s.secondFactor("otto")
	b := newBrowser(s)
	if r := b.do(http.MethodPost, "/sign-in", "username=otto&password=wrong"); r.status != http.StatusUnauthorized || strings.Contains(string(r.body), `name="otp"`) {
		t.Errorf("a wrong password: %d, tells of the second step", r.status)
	}
	r := b.signInAs("otto")
	if r.status != http.StatusUnauthorized || !strings.Contains(string(r.body), `name="otp"`) || strings.Contains(string(r.body), password) || r.header.Get("Set-Cookie") != "" {
		t.Errorf("the right password: %d %s", r.status, clip(r.body))
	}
	form := url.Values{"username": {"otto"}, "password": {password}, "otp": {secret}, "next": {"/catalog"}}
	if r := b.do(http.MethodPost, "/sign-in", form.Encode()); r.status != http.StatusSeeOther || r.header.Get("Location") != "/catalog" {
		t.Errorf("both: %d to %q", r.status, r.header.Get("Location"))
	}
	if r := newBrowser(s).do(http.MethodPost, "/sign-in", form.Encode()); r.status != http.StatusUnauthorized {
		t.Errorf("the same code again: %d", r.status)
	}
}

// What asks for a recent sign-in offers one, which leads back; the session before
// ends with it.
func TestSigningInAgain(t *testing.T) {
	s := start(t)
	b := newBrowser(s)
	b.signIn("/")
	s.alter("UPDATE sessions SET created = created - 7200000000000") // two hours
	for path, back := range map[string]string{"/profile/api-key": "%2Fprofile", "/users/1/end-totp": "%2Fusers%2F1"} {
		r := b.do(http.MethodPost, path, "")
		want := `href="/sign-in?again=1&amp;next=` + back + `"`
		if r.status != http.StatusForbidden || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d, without %s: %s", path, r.status, want, clip(r.body))
		}
	}
	if r := b.do(http.MethodGet, "/sign-in?again=1&next=%2Fprofile", ""); r.status != http.StatusOK || !strings.Contains(string(r.body), `name="next" value="/profile"`) {
		t.Errorf("the form: %d %s", r.status, clip(r.body))
	}
	if r := b.do(http.MethodGet, "/sign-in?next=%2Fprofile", ""); r.status != http.StatusSeeOther {
		t.Errorf("who is signed in is asked to sign in: %d", r.status)
	}
	if r := b.signIn("/profile"); r.status != http.StatusSeeOther || r.header.Get("Location") != "/profile" {
		t.Errorf("signing in again: %d to %q", r.status, r.header.Get("Location"))
	}
	if r := b.do(http.MethodPost, "/profile/api-key", ""); r.status != http.StatusOK {
		t.Errorf("afterwards: %d %s", r.status, clip(r.body))
	}
	if list := s.send(http.MethodGet, "/v1/users/1/sessions", "", "").want(t, http.StatusOK)["items"].([]any); len(list) != 1 {
		t.Errorf("%d sessions are open", len(list))
	}
	token := s.session("admin", password)
	s.alter("UPDATE sessions SET created = created - 7200000000000")
	if p := s.send(http.MethodPost, "/v1/users/me/api-key", token, "").wantProblem(t, http.StatusForbidden); p["type"] != "urn:tocsin:problem:sign-in-again" {
		t.Errorf("the API: %v", p)
	}
}

// secondFactor turns one-time passwords on for a user, and returns a
// recovery code.
func (s *server) secondFactor(name string) string {
	s.t.Helper()
	token := s.session(name, password)
	seed := text(s.send(http.MethodPost, "/v1/users/me/totp", token, "").want(s.t, http.StatusOK)["secret"])
	code, err := totp.GenerateCode(seed, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	done := s.send(http.MethodPost, "/v1/users/me/totp/confirm", token, `{"otp":"`+code+`"}`).want(s.t, http.StatusOK)
	return text(done["recovery_codes"].([]any)[0])
}
