package e2e

import (
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestDeviceFlow signs the command line in as an administrator lets it in with a
// browser; a program that is turned away, guessed codes and codes used twice get
// nothing.
func TestDeviceFlow(t *testing.T) {
	s := start(t)
	home := t.TempDir()
	var out buffer
	cmd := exec.Command(program, "login", "--url", s.url)
	cmd.Env = environ("XDG_CONFIG_HOME=" + home)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	shown := regexp.MustCompile(`give the code ([A-Z]{4}-[A-Z]{4}),`)
	eventually(t, "the command shows a code", func() bool { return shown.MatchString(out.String()) })
	code := shown.FindStringSubmatch(out.String())[1]

	b := newBrowser(s)
	if r := b.do(http.MethodGet, "/device?code="+code, ""); r.status != http.StatusSeeOther {
		t.Errorf("the page without a session: %d", r.status)
	}
	b.signIn("/")
	typed := strings.ToLower(strings.ReplaceAll(code, "-", ""))
	if page := b.do(http.MethodGet, "/device?code="+typed, ""); page.status != http.StatusOK || !strings.Contains(string(page.body), "Tocsin command line") || !strings.Contains(string(page.body), "127.0.0.1") {
		t.Errorf("the page of consent: %d %s", page.status, clip(page.body))
	}
	if r := b.do(http.MethodGet, "/device?code=BBBB-BBBB", ""); r.status != http.StatusNotFound {
		t.Errorf("a guessed code: %d", r.status)
	}
	if r := b.do(http.MethodPost, "/device", url.Values{"code": {code}, "decision": {"approve"}}.Encode()); r.status != http.StatusSeeOther || r.header.Get("Location") != "/device?said=approved" {
		t.Errorf("letting it in: %d %s", r.status, clip(r.body))
	}
	if err := <-ended; err != nil {
		t.Fatalf("the command: %v\n%s", err, out.String())
	}
	who := exec.Command(program, "users", "list")
	who.Env = environ("XDG_CONFIG_HOME="+home, "TOCSIN_URL="+s.url)
	if text, err := who.CombinedOutput(); err != nil || !strings.Contains(string(text), "admin") {
		t.Errorf("the session: %v %s", err, text)
	}
	if login := s.one(`type == "login" && data.auth_method == "device_code"`); login["authname"] != "admin" {
		t.Errorf("the sign-in is recorded as %v", login)
	}

	form := "application/x-www-form-urlencoded"
	ask := func() object {
		t.Helper()
		return parse[object](t, s.post("/v1/auth/device", form, "client_id=tocsin-cli").body)
	}
	poll := func(code, want string) {
		t.Helper()
		r := s.post("/v1/auth/device/token", form, url.Values{"client_id": {"tocsin-cli"}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {code}}.Encode(), "Authorization", "")
		if got := parse[object](t, r.body)["error"]; r.status != http.StatusBadRequest || got != want {
			t.Errorf("asking: %d %v, want %s", r.status, got, want)
		}
	}
	second := ask()
	poll(text(second["device_code"]), "authorization_pending")
	poll(text(second["device_code"]), "slow_down")
	b.do(http.MethodPost, "/device", url.Values{"code": {text(second["user_code"])}, "decision": {"deny"}}.Encode())
	poll(text(second["device_code"]), "access_denied")
	poll("guessed", "expired_token")
	if r := s.post("/v1/auth/device", form, "client_id=evil"); r.status != http.StatusUnauthorized || parse[object](t, r.body)["error"] != "invalid_client" {
		t.Errorf("an unknown client: %d %s", r.status, clip(r.body))
	}
	third := ask()
	if r := b.do(http.MethodPost, "/device", url.Values{"code": {text(third["user_code"])}, "decision": {"approve"}}.Encode(), "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); r.status != http.StatusForbidden {
		t.Errorf("a forged consent: %d", r.status)
	}
	poll(text(third["device_code"]), "authorization_pending")
}
