package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// browser is a browser as far as the server can tell: it keeps cookies, says
// where a request comes from, and shows redirects to the test.
type browser struct {
	s      *server
	client *http.Client
}

func newBrowser(s *server) *browser {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{s, &http.Client{Jar: jar, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (b *browser) do(method, path, form string, headers ...string) reply {
	b.s.t.Helper()
	req, err := http.NewRequestWithContext(b.s.t.Context(), method, b.s.url+path, strings.NewReader(form))
	if err != nil {
		b.s.t.Fatal(err)
	}
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.s.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		b.s.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, raw}
}

func (b *browser) signIn(next string) reply {
	b.s.t.Helper()
	return b.do(http.MethodPost, "/sign-in", url.Values{"username": {"admin"}, "password": {password}, "next": {next}}.Encode())
}

func TestPages(t *testing.T) {
	s := start(t)
	s.emit(eventMedia, anEvent("page-1"))
	b := newBrowser(s)
	paths := []string{
		"/", "/events", "/events?q=severity+%3E%3D+warn&since=7d", "/events?by=type", "/events/facets", "/events/1", "/catalog", "/catalog?q=backup", "/catalog/disk_full",
		"/catalog/new", "/sources", "/sources?q=mail", "/sources/service_down", "/agents", "/settings", "/settings/verify", "/settings/retention?default=30d&long=60d&short=1d&max_bytes=1GiB", "/styleguide",
		"/profile", "/users", "/users?q=admin", "/users/1", "/groups", "/roles", "/invitations",
	}
	for _, path := range paths {
		if r := b.do(http.MethodGet, path, ""); r.status != http.StatusSeeOther || !strings.HasPrefix(r.header.Get("Location"), "/sign-in?next=") {
			t.Errorf("%s without a session: %d to %q", path, r.status, r.header.Get("Location"))
		}
	}
	if r := b.do(http.MethodPost, "/sign-in", "username=admin&password=wrong"); r.status != http.StatusUnauthorized || !strings.Contains(string(r.body), "User name or password is wrong") {
		t.Errorf("a wrong password: %d", r.status)
	}
	r := b.signIn("/catalog")
	cookie := r.header.Get("Set-Cookie")
	if r.status != http.StatusSeeOther || r.header.Get("Location") != "/catalog" || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Strict") {
		t.Fatalf("signing in: %d to %q, cookie %s", r.status, r.header.Get("Location"), cookie)
	}
	for _, path := range paths {
		r := b.do(http.MethodGet, path, "")
		if r.status != http.StatusOK || !strings.Contains(string(r.body), "</html>") || strings.Contains(string(r.body), "<no value>") {
			t.Errorf("%s: %d %s", path, r.status, clip(r.body))
		}
		if csp := r.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	if r := b.do(http.MethodGet, "/events?q=severity+%3E%3D+loud", ""); r.status != http.StatusBadRequest || !strings.Contains(string(r.body), "            ^") {
		t.Errorf("a wrong filter: %d %s", r.status, clip(r.body))
	}
	if r := b.do(http.MethodGet, "/events/999999", ""); r.status != http.StatusNotFound || !strings.Contains(string(r.body), "</html>") {
		t.Errorf("a missing event: %d", r.status)
	}
	if r := b.do(http.MethodPost, "/settings/verify", "x=1"); r.status != http.StatusBadRequest {
		t.Errorf("an unknown field of a form: %d", r.status)
	}
	if r := b.do(http.MethodPost, "/settings/verify", ""); r.status != http.StatusSeeOther {
		t.Errorf("verifying: %d %s", r.status, clip(r.body))
	}
	eventually(t, "the verification has ended", func() bool {
		return strings.Contains(string(b.do(http.MethodGet, "/settings/verify", "").body), "The journal is whole")
	})
	// The cookie opens pages and nothing else.
	if r := b.do(http.MethodGet, "/v1/events", ""); r.status != http.StatusUnauthorized {
		t.Errorf("the API takes the cookie: %d", r.status)
	}
	if r := b.do(http.MethodPost, "/sign-out", ""); r.status != http.StatusSeeOther {
		t.Errorf("signing out: %d", r.status)
	}
	if r := b.do(http.MethodGet, "/", ""); r.status != http.StatusSeeOther {
		t.Errorf("after signing out: %d", r.status)
	}
}

// A form of another site is refused and recorded; a sign-in leads nowhere else.
func TestForgedForms(t *testing.T) {
	s := start(t)
	b := newBrowser(s)
	b.signIn("/")
	r := b.do(http.MethodPost, "/settings/verify", "", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
	if r.status != http.StatusForbidden {
		t.Errorf("a forged form: %d", r.status)
	}
	if found := s.find("filter", `type == "suspicious_request" && data.path == "/settings/verify"`); len(found.Events) != 1 {
		t.Errorf("%d events of the forged form", len(found.Events))
	}
	for _, next := range []string{"//evil.example", "https://evil.example", `/\evil.example`, "javascript:alert(1)", "/\t/evil.example"} {
		if to := newBrowser(s).signIn(next).header.Get("Location"); to != "/" {
			t.Errorf("next=%q leads to %q", next, to)
		}
	}
}

// Hostile strings in every place leave every page intact and inert.
func TestHostileStrings(t *testing.T) {
	s := start(t)
	hostile := []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `javascript:alert(1)`, `'-alert(1)-'`, "\u202eevil", strings.Repeat("x", 50_000), `{{.}}`, `</textarea></table>`,
	}
	data := map[string]any{"message": hostile[0], "path": hostile[1], "list": hostile, "deep": map[string]any{hostile[0]: hostile[1]}}
	raw, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range hostile {
		name, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		s.emit(eventMedia, `{"specversion":"1.0","id":"h`+itoa(i)+`","source":"/hostile","type":`+string(name)+`,"subject":`+string(name)+`,"authname":`+string(name)+
			`,"host":`+string(name)+`,"note":`+string(name)+`,"data":`+string(raw)+`}`)
	}
	b := newBrowser(s)
	b.signIn("/")
	paths := []string{"/", "/events", "/events?q=" + url.QueryEscape(`"<script>alert(1)</script>"`), "/events?q=" + url.QueryEscape(`<script>alert(1)</script>`)}
	for _, e := range s.find("filter", `source == "/hostile"`).Events {
		paths = append(paths, "/events/"+strings.TrimLeft(text(e["sequence"]), "0"))
	}
	for _, path := range paths {
		r := b.do(http.MethodGet, path, "")
		page := string(r.body)
		if r.status >= 500 || !strings.Contains(page, "</html>") {
			t.Errorf("%s: %d", path, r.status)
		}
		for _, bad := range []string{"<script>alert", "<img src=x", `href="javascript:`, "</textarea>"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s holds %q", path, bad)
			}
		}
	}
}
