package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mailAt is where a mail server listens, from the lines that startPostbox gives.
func (p *postbox) mailAt() (host, port string) {
	host, port, _ = strings.Cut(p.addr, ":")
	return host, port
}

// TestServerSettings gives a running server an address and a mail server: mails go
// out at once, the address holds from the next start on, and the password is never
// shown.
func TestServerSettings(t *testing.T) {
	t.Parallel()
	box, _ := startPostbox(t)
	host, port := box.mailAt()
	j := &journey{server: start(t, loopback)}
	patch := func(body string) reply { return j.send(http.MethodPatch, "/v1/settings", "", body) }
	patch(`{"smtp":{"host":"`+host+`","port":`+port+`}}`).wantProblem(t, 400) // who sends?
	j.mark()
	got := patch(`{"public_url":"http://events.example/","smtp":{"host":"`+host+`","port":`+port+`,"from":"tocsin@example.com","tls":"none"}}`).want(t, 200)
	diff := object{}
	for _, e := range j.raised() {
		for name, change := range dig(e, "data.diff").(object) {
			diff[name] = dig(change, "new_value")
		}
	}
	if _, ok := diff["retention"]; !ok || diff["smtp.host"] != host || diff["smtp.tls"] != "none" || diff["public_url"] != "http://events.example" {
		t.Errorf("recorded: %v", diff)
	}
	if got["public_url"] != "http://events.example" || !slices.Contains(got["after_restart"].([]any), any("public_url")) || len(got["configured"].(object)) != 0 {
		t.Errorf("settings: %v", got)
	}
	j.user("ann", "viewer")
	box.next(t, "ann@example.com").token(t)
	for body, want := range map[string]string{
		`{"smtp":{"port":0}}`:                            "no port",
		`{"smtp":{"tls":"maybe"}}`:                       "unknown",
		`{"smtp":{"from":"nobody"}}`:                     "not an address",
		`{"smtp":{"username":"x"}}`:                      "given together",
		`{"smtp":{"hostname":"x"}}`:                      "hostname",
		`{"public_url":"ftp://x"}`:                       "not an http",
		`{"retention":{"default":"1m"}}`:                 "too short",
		`{"smtp":{"password":"only a password at all"}}`: "given together",
	} {
		if p := patch(body).wantProblem(t, 400); !strings.Contains(text(p["detail"]), want) {
			t.Errorf("%s: %v", body, p["detail"])
		}
	}
	// A password is kept sealed, and goes to no other server unless it is given again.
	const secret = "sesame-open-up-7"
	got = patch(`{"smtp":{"username":"tocsin","password":"`+secret+`","tls":"starttls"}}`).want(t, 200)
	if dig(got, "smtp.password_set") != true {
		t.Errorf("settings: %v", got)
	}
	patch(`{"smtp":{"host":"evil.example"}}`).wantProblem(t, 400)
	patch(`{"smtp":{"tls":"none"}}`).wantProblem(t, 400)
	patch(`{"smtp":{"from":"other@example.com"}}`).want(t, 200)
	if raw := j.get("/v1/settings").body; strings.Contains(string(raw), secret) {
		t.Errorf("it is shown: %s", raw)
	}
	e := j.find("filter", `type == "model_updated" && data.model.model_name == "settings"`).Events
	if !slices.ContainsFunc(e, func(e object) bool {
		d, _ := dig(e, "data.diff").(object)
		c, _ := d["smtp.password"].(object)
		return c != nil && c["new_value"] == masked
	}) {
		t.Errorf("the change of the password is recorded as %v", e)
	}
	searchFolder(t, j.data, secret)
	// All of it is taken back, and the address stays until a restart.
	got = patch(`{"smtp":null}`).want(t, 200)
	if dig(got, "smtp.host") != "" || dig(got, "smtp.password_set") != false || text(dig(got, "smtp.port")) != "587" {
		t.Errorf("taken back: %v", got)
	}
	j.send(http.MethodPost, "/v1/reload", "", "").want(t, 200)
	data := j.data
	j.stop()
	again := startOn(t, data)
	if e := again.find("filter", `type == "server.ready"`).Events[0]; !strings.HasPrefix(text(e["source"]), "http://events.example/") {
		t.Errorf("after the restart: %v", e["source"])
	}
	if got := again.get("/v1/settings").want(t, 200); len(got["after_restart"].([]any)) != 0 {
		t.Errorf("after the restart: %v", got)
	}
}

// TestSettingsStayOutside: who may change the settings reaches no more than egress
// lets through, by mails of either kind; what the configuration names may be
// anywhere, as long as the settings do not lead it to another port.
func TestSettingsStayOutside(t *testing.T) {
	t.Parallel()
	box, mails := startPostbox(t)
	host, port := box.mailAt()
	for name, s := range map[string]*server{"settings": start(t), "port": start(t, "smtp: {host: "+host+", from: tocsin@example.com, tls: none}")} {
		patch := `{"smtp":{"port":` + port + `}}`
		if name == "settings" {
			patch = `{"smtp":{"host":"` + host + `","port":` + port + `,"from":"tocsin@example.com","tls":"none"}}`
		}
		s.send(http.MethodPatch, "/v1/settings", "", patch).want(t, 200)
		s.user("ann", "admin")
		eventually(t, name+": the mail is refused", func() bool {
			return len(s.find("filter", `type == "configuration_error" && data.message.contains("egress.allow")`).Events) > 0
		})
		way := text(s.post("/v1/transports", jsonMedia, `{"name":"way","mode":"email","settings":{"to":["x@example.com"]}}`).want(t, 201)["id"])
		answer := s.send(http.MethodPost, "/v1/transports/"+way+"/test", s.session("ann", password), "").want(t, 200)
		if answer["delivered"] != false || !strings.Contains(text(answer["error"]), "egress.allow") {
			t.Errorf("%s: a test: %v", name, answer)
		}
	}
	start(t, mails).user("bob", "viewer")
	box.next(t, "bob@example.com").token(t)
}

// TestConfiguredSettings: what the file or the environment says is not changed by
// a request, and says where it is; a reload gives it and takes it back.
func TestConfiguredSettings(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("of the file"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startOn(t, data, "public_url: http://set.example", "smtp: {host: mail.example, from: tocsin@example.com}")
	patch := func(body string) reply { return s.send(http.MethodPatch, "/v1/settings", "", body) }
	for _, body := range []string{`{"public_url":"http://other.example"}`, `{"smtp":{"host":"other.example"}}`, `{"smtp":{"host":null}}`} {
		if p := patch(body).wantProblem(t, 409); !strings.Contains(text(p["detail"]), "the configuration file") {
			t.Errorf("%s: %v", body, p["detail"])
		}
	}
	got := patch(`{"smtp":{"host":"mail.example","port":2525}}`).want(t, 200) // the same host, and what is free
	want := object{"public_url": "the configuration file", "smtp.host": "the configuration file", "smtp.from": "the configuration file"}
	if diff := cmp.Diff(want, got["configured"]); diff != "" || text(dig(got, "smtp.port")) != "2525" {
		t.Errorf("settings: %v %s", got, diff)
	}
	reload := func(lines ...string) object {
		t.Helper()
		if err := os.WriteFile(filepath.Join(data, "test.yaml"), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.send(http.MethodPost, "/v1/reload", "", "").want(t, 200)
		return s.get("/v1/settings").want(t, 200)
	}
	got = reload("public_url: http://set.example", "smtp: {host: mail.example, port: 465, username: tocsin, password_file: "+password+", from: tocsin@example.com}")
	if text(dig(got, "smtp.port")) != "465" || dig(got, "smtp.password_set") != true {
		t.Errorf("the file: %v", got)
	}
	if p := patch(`{"smtp":{"tls":"implicit"}}`).wantProblem(t, 409); !strings.Contains(text(p["detail"]), "with its password") {
		t.Errorf("the file's password could go elsewhere: %v", p["detail"])
	}
	got = reload("public_url: http://set.example")
	if dig(got, "smtp.host") != "" || text(dig(got, "smtp.port")) != "2525" {
		t.Errorf("without the file: %v", got)
	}
	// On the page, what is fixed can't be typed, and a mistake keeps what was.
	b := newBrowser(s)
	b.signIn("/")
	if page := string(b.do(http.MethodGet, "/settings", "").body); !strings.Contains(page, `<input value="http://set.example" disabled>`) || !strings.Contains(page, "Set by the configuration file.") {
		t.Errorf("the page: %s", clip([]byte(page)))
	}
	if r := b.do(http.MethodPost, "/settings/server", "smtp.host=mail2.example&smtp.port=25&smtp.tls=starttls&smtp.from=&smtp.username=&smtp.password="); r.status != 400 || !strings.Contains(string(r.body), "mail2.example") {
		t.Errorf("without a sender: %d %s", r.status, clip(r.body))
	}
	if r := b.do(http.MethodPost, "/settings/server", "smtp.host=mail2.example&smtp.port=25&smtp.tls=starttls&smtp.from=a%40example.com&smtp.username=&smtp.password="); r.status != 303 {
		t.Errorf("saving: %d %s", r.status, clip(r.body))
	}
	if got := s.get("/v1/settings").want(t, 200); dig(got, "smtp.host") != "mail2.example" || dig(got, "smtp.from") != "a@example.com" {
		t.Errorf("saved: %v", got)
	}
}
