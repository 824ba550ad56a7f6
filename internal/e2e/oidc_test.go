package e2e

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oauth2-proxy/mockoidc"
)

// startProvider runs an OpenID provider, and returns the configuration that names
// it, as company.
func startProvider(t *testing.T) (provider *mockoidc.MockOIDC, lines string) {
	t.Helper()
	provider, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Shutdown() })
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(provider.ClientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return provider, "oidc: [{name: company, issuer: " + provider.Issuer() + ", client_id: " + provider.ClientID + ", client_secret_file: " + secret + ", groups: {sre: admin, staff: viewer}}]"
}

// someone is a user of the provider, whose address is verified there.
func someone(subject, email string, groups ...string) *mockoidc.MockUser {
	return &mockoidc.MockUser{Subject: subject, Email: email, EmailVerified: true, PreferredUsername: strings.ToUpper(subject), Groups: groups}
}

// comeBy signs in the whole way: to the provider, and back.
func (b *browser) comeBy(provider *mockoidc.MockOIDC, u *mockoidc.MockUser, name, next string, headers ...string) reply {
	b.s.t.Helper()
	provider.QueueUser(u)
	r := b.do(http.MethodGet, "/sign-in/oidc/"+name+"?next="+url.QueryEscape(next), "", headers...)
	if r.status != http.StatusSeeOther {
		b.s.t.Fatalf("leaving: %d %s", r.status, clip(r.body))
	}
	away, err := http.NewRequestWithContext(b.s.t.Context(), http.MethodGet, r.header.Get("Location"), http.NoBody)
	if err != nil {
		b.s.t.Fatal(err)
	}
	there, err := b.client.Do(away)
	if err != nil {
		b.s.t.Fatal(err)
	}
	if err := there.Body.Close(); err != nil {
		b.s.t.Fatal(err)
	}
	back, err := url.Parse(there.Header.Get("Location"))
	if err != nil || back.Path != "/sign-in/oidc/"+name+"/callback" || back.Host == there.Request.URL.Host {
		b.s.t.Fatalf("the provider leads to %s: %v", back, err)
	}
	return b.do(http.MethodGet, back.RequestURI(), "", headers...)
}

// TestOIDC signs people in by a real OpenID provider: a new account, one that is
// linked, groups that give and take rights, and those who may not or did not
// begin here.
func TestOIDC(t *testing.T) {
	provider, lines := startProvider(t)
	s := start(t, "public_url: http://tocsin.example", "egress: {allow: [127.0.0.0/8]}", lines)
	user := someone
	come := func(b *browser, u *mockoidc.MockUser) reply {
		t.Helper()
		return b.comeBy(provider, u, "company", "/catalog")
	}
	types := func(filter string) string {
		var all []string
		for _, e := range s.find("filter", filter, "order", "asc").Events {
			all = append(all, text(e["type"]))
		}
		return strings.Join(all, " ")
	}
	b := newBrowser(s)
	if page := string(b.do(http.MethodGet, "/sign-in", "").body); !strings.Contains(page, "Sign in by company") {
		t.Error("the sign-in page does not offer the provider")
	}
	r := come(b, user("ann", "ann@example.com", "sre"))
	if r.status != http.StatusOK || r.header.Get("Refresh") != "0; url=/catalog" {
		t.Fatalf("coming back: %d %s", r.status, clip(r.body))
	}
	if r := b.do(http.MethodGet, "/settings", ""); r.status != http.StatusOK || !strings.Contains(string(r.body), "Make a token") {
		t.Errorf("an administrator by group: %d", r.status)
	}
	if got, want := types(`authname == "ann"`), "model_created user.created source_linked auth.ok login"; got != want {
		t.Errorf("a new account: %s, want %s", got, want)
	}
	login := s.one(`type == "login" && authname == "ann"`)["data"].(object)
	if login["auth_method"] != "oidc" || login["auth_method_args"].(object)["source"].(object)["name"] != "company" {
		t.Errorf("login: %v", login)
	}
	// The same person again, with fewer rights; nothing is linked anew.
	if r := come(newBrowser(s), user("ann", "ann@example.com", "staff", "other")); r.status != http.StatusOK {
		t.Errorf("again: %d %s", r.status, clip(r.body))
	}
	if got, want := types(`authname == "ann"`), "model_created user.created source_linked auth.ok login model_updated auth.ok login"; got != want {
		t.Errorf("again: %s, want %s", got, want)
	}
	if r := b.do(http.MethodGet, "/settings", ""); strings.Contains(string(r.body), "Make a token") {
		t.Error("who has left the group still has its rights")
	}
	if r := come(newBrowser(s), user("eve", "eve@example.com", "guests")); r.status != http.StatusForbidden || !strings.Contains(string(r.body), "none of your groups") {
		t.Errorf("a stranger: %d %s", r.status, clip(r.body))
	}
	if e := s.one(`type == "login_failed"`); e["data"].(object)["stage"].(object)["name"] != "source" {
		t.Errorf("the refusal: %v", e)
	}
	// Whoever has that name already keeps it, and a link takes nobody's account.
	if r := come(newBrowser(s), user("admin", "root@example.com", "staff")); r.status != http.StatusOK {
		t.Errorf("another admin: %d %s", r.status, clip(r.body))
	}
	if got := types(`authname == "admin-2"`); got != "model_created user.created source_linked auth.ok login" {
		t.Errorf("the second of a name: %q", got)
	}
	for _, path := range []string{"/sign-in/oidc/company/callback?state=x&code=y", "/sign-in/oidc/nobody", "/sign-in/oidc/company/callback?error=access_denied&error_description=%3Cscript%3E"} {
		if r := newBrowser(s).do(http.MethodGet, path, ""); r.status < 400 || r.status >= 500 || strings.Contains(string(r.body), "<script>") {
			t.Errorf("%s: %d %s", path, r.status, clip(r.body))
		}
	}
	// A code that was stolen opens nothing in another browser.
	thief := newBrowser(s)
	provider.QueueUser(user("ann", "ann@example.com", "sre"))
	thief.do(http.MethodGet, "/sign-in/oidc/company", "")
	if r := thief.do(http.MethodGet, "/sign-in/oidc/company/callback?state=guessed&code=stolen", ""); r.status != http.StatusBadRequest {
		t.Errorf("a forged return: %d", r.status)
	}
}
