package e2e

import (
	"io"
	"net"
	"net/http"
	"net/mail"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// postbox is a mail server that keeps what it takes.
type postbox struct {
	addr string

	mu    sync.Mutex // guards mails
	mails []letter
}

type letter struct{ to, subject, text string }

func (p *postbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &delivery{box: p}, nil }

type delivery struct {
	box *postbox
	to  []string
}

func (*delivery) Mail(string, *smtp.MailOptions) error { return nil }
func (*delivery) Reset()                               {}
func (*delivery) Logout() error                        { return nil }

func (d *delivery) Rcpt(to string, _ *smtp.RcptOptions) error {
	d.to = append(d.to, to)
	return nil
}

func (d *delivery) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	// The text is quoted-printable: its soft line breaks are all that is in the way.
	text := strings.NewReplacer("=\r\n", "", "=3D", "=", "\r\n", "\n").Replace(string(body))
	d.box.mu.Lock()
	defer d.box.mu.Unlock()
	d.box.mails = append(d.box.mails, letter{strings.Join(d.to, ","), m.Header.Get("Subject"), text})
	return nil
}

// startPostbox runs a mail server, and returns the configuration that names it.
func startPostbox(t *testing.T) (box *postbox, lines string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	box = &postbox{addr: l.Addr().String()}
	server := smtp.NewServer(box)
	server.Domain = "localhost"
	go func() { _ = server.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	_, port, err := net.SplitHostPort(box.addr)
	if err != nil {
		t.Fatal(err)
	}
	return box, "smtp: {host: 127.0.0.1, port: " + port + ", from: tocsin@example.com, tls: none}"
}

// next waits for a mail to somebody, and takes it out of the box.
func (p *postbox) next(t *testing.T, to string) letter {
	t.Helper()
	var found letter
	eventually(t, "a mail to "+to, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, l := range p.mails {
			if l.to == to {
				found = l
				p.mails = append(p.mails[:i:i], p.mails[i+1:]...)
				return true
			}
		}
		return false
	})
	return found
}

var linkToken = regexp.MustCompile(`#token=([\w-]+)`)

// token is the secret in a mail's link.
func (l letter) token(t *testing.T) string {
	t.Helper()
	m := linkToken.FindStringSubmatch(l.text)
	if m == nil {
		t.Fatalf("no link in %q", l.text)
	}
	return m[1]
}

// sentAs waits until a mail is on record, and checks that its link is masked.
func (j *journey) sentAs(l letter, secret string) {
	j.t.Helper()
	var e object
	eventually(j.t, "email_sent to "+l.to, func() bool {
		found := j.find("filter", `type == "email_sent" && data.subject == "`+l.subject+`" && "`+l.to+`" in data.to`).Events
		if len(found) > 0 {
			e = found[0]
		}
		return e != nil
	})
	if j.find("filter", `correlationid == "`+text(e["correlationid"])+`" && type != "email_sent"`).Events == nil {
		j.t.Errorf("the mail belongs to no act: %v", e)
	}
	body := text(dig(e, "data.body"))
	if strings.Contains(body, secret) || !strings.Contains(body, "#token=********************") {
		j.t.Errorf("the recorded mail: %q", body)
	}
	if text(dig(e, "data.from_email")) != "tocsin@example.com" {
		j.t.Errorf("email_sent: %v", e["data"])
	}
}

// TestMailedLinks resets a password, verifies an address and accepts an
// invitation by the links of real mails, each of which works once.
func TestMailedLinks(t *testing.T) {
	t.Parallel()
	box, smtpLines := startPostbox(t)
	j := &journey{server: start(t, smtpLines)}
	id := j.user("ann", "viewer")
	l := box.next(t, "ann@example.com")
	j.sentAs(l, l.token(t))

	verify := `{"token":"` + l.token(t) + `"}`
	j.mark()
	j.send("POST", "/v1/auth/verify-email", "none", verify).want(t, 200)
	j.wantSet("user.email.verified", "model_updated")
	j.send("POST", "/v1/auth/verify-email", "none", verify).wantProblem(t, 400)

	// Asking says the same, whether or not there is such a user.
	known := j.send("POST", "/v1/auth/password-reset", "none", `{"username":"ann"}`)
	unknown := j.send("POST", "/v1/auth/password-reset", "none", `{"username":"nobody"}`)
	if known.want(t, 202); string(known.body) != string(unknown.body) || unknown.status != 202 {
		t.Errorf("%s and %d %s", known.body, unknown.status, unknown.body)
	}
	reset := box.next(t, "ann@example.com")
	j.sentAs(reset, reset.token(t))
	j.wantWho(j.one(`type == "user.password.reset.requested"`), id, "ann@example.com", "", "")
	open := j.session("ann", password)
	confirm := func(token, pass string) reply {
		return j.send("POST", "/v1/auth/password-reset/confirm", "none", `{"token":"`+token+`","password":"`+pass+`"}`)
	}
	confirm(reset.token(t), "short").wantProblem(t, 400) // a refused password does not use the link up
	confirm(l.token(t), "a-new-password").wantProblem(t, 400)
	j.mark()
	confirm(reset.token(t), "a-new-password").want(t, 204)
	set := j.wantSet("user.credentials.changed", "password_set", "model_updated", "logout")
	j.wantWho(set["user.credentials.changed"], id, "ann@example.com", id, "ann@example.com")
	confirm(reset.token(t), "another-password").wantProblem(t, 400)
	j.send("GET", "/v1/users/me", open, "").wantProblem(t, 401)
	j.signIn("ann", password).wantProblem(t, 401)
	j.session("ann", "a-new-password")

	// A new address is verified anew, and the old one is told.
	j.send("PATCH", "/v1/users/"+id, "", `{"email":"anne@example.com"}`).want(t, 200)
	if told := box.next(t, "ann@example.com"); told.subject != "Your address was changed" {
		t.Errorf("%+v", told)
	}
	again := box.next(t, "anne@example.com")
	if u := j.send("GET", "/v1/users/"+id, "", "").want(t, 200); u["email_verified"] != false {
		t.Errorf("%v", u)
	}
	j.send("POST", "/v1/auth/verify-email", "none", `{"token":"`+again.token(t)+`"}`).want(t, 200)

	j.mark()
	made := j.send("POST", "/v1/invitations", "", `{"email":"bob@example.com","access_level":"operator"}`).want(t, 201)
	if set := j.raised(); len(set) == 0 || set[0]["type"] != "model_created" {
		t.Errorf("%v", set)
	}
	invited := box.next(t, "bob@example.com")
	j.sentAs(invited, invited.token(t))
	if invited.token(t) != made["token"] {
		t.Error("the mail holds another link than the answer")
	}
	accept := `{"token":"` + invited.token(t) + `","username":"bob","name":"Bob","password":"` + password + `"}`
	j.mark()
	bob := j.send("POST", "/v1/invitations/accept", "none", accept).want(t, 201)
	set = j.wantSet("model_created", "model_updated", "user.created", "user_write", "invitation_used")
	j.wantWho(set["user.created"], text(bob["id"]), "bob@example.com", text(bob["id"]), "bob@example.com")
	if dig(set["user_write"], "data.created") != true || dig(set["invitation_used"], "data.invitation.pk") != made["id"] {
		t.Errorf("%v %v", set["user_write"], set["invitation_used"])
	}
	j.send("POST", "/v1/invitations/accept", "none", strings.ReplaceAll(accept, `"bob"`, `"bob2"`)).wantProblem(t, 400)
	j.session("bob", password)
	if bob["access_level"] != "operator" || bob["email_verified"] != true {
		t.Errorf("%v", bob)
	}
	j.send("POST", "/v1/invitations", "", `{"access_level":"viewer","expires_at":"2001-01-01T00:00:00Z"}`).wantProblem(t, 400)
}

// TestReveal shows an invitation's link again to those alone who give their
// password again.
func TestReveal(t *testing.T) {
	t.Parallel()
	j := &journey{server: start(t)}
	boss := j.session("admin", password)
	made := j.send("POST", "/v1/invitations", boss, `{"access_level":"viewer"}`).want(t, 201)
	path := "/v1/invitations/" + text(made["id"]) + "/reveal"
	j.send("POST", path, boss, `{"password":"wrong"}`).wantProblem(t, http.StatusForbidden)
	j.send("POST", path, "", `{"password":"`+password+`"}`).wantProblem(t, http.StatusForbidden) // a token has no password
	j.mark()
	shown := j.send("POST", path, boss, `{"password":"`+password+`"}`).want(t, 200)
	if shown["token"] != made["token"] {
		t.Errorf("%v, want %v", shown, made["token"])
	}
	j.wantSet("secret_view")
	one := j.send("GET", strings.TrimSuffix(path, "/reveal"), boss, "")
	if strings.Contains(string(one.body), text(made["token"])) {
		t.Errorf("the link is told without a password: %s", one.body)
	}
}
