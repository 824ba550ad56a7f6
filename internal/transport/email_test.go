package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// mailbox is a real mail server.
type mailbox struct {
	mu      sync.Mutex // guards all below
	refuse  error      // at DATA
	bad     error      // at RCPT
	to      []string
	letters []string
}

func (b *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &mailSession{b: b}, nil }

type mailSession struct {
	b      *mailbox
	signed bool
}

func (*mailSession) Reset()                   { /* nothing is kept */ }
func (*mailSession) Logout() error            { return nil }
func (*mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }
func (s *mailSession) Mail(string, *smtp.MailOptions) error {
	if !s.signed {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != "tocsin" || password != "mail password" {
			return smtp.ErrAuthFailed
		}
		s.signed = true
		return nil
	}), nil
}

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.b.bad != nil && strings.HasPrefix(to, "bad") {
		return s.b.bad
	}
	s.b.to = append(s.b.to, to)
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.b.refuse != nil {
		return s.b.refuse
	}
	s.b.letters = append(s.b.letters, string(raw))
	return nil
}

// mailServer starts one that speaks TLS by a mode of the settings, and returns
// the settings that lead to it.
func mailServer(t *testing.T, mode string) (*mailbox, object, string) {
	t.Helper()
	pair, ca := certificate(t)
	b := &mailbox{}
	s := smtp.NewServer(b)
	s.Domain = "mail.example.com"
	secure := &tls.Config{Certificates: []tls.Certificate{pair.tls(t)}}
	if mode == "starttls" {
		s.TLSConfig = secure
	}
	s.AllowInsecureAuth = mode == "none"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if mode == "implicit" {
		l = tls.NewListener(l, secure)
	}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return b, object{"host": "127.0.0.1", "port": port, "username": "tocsin", "password": "mail password", "from": "tocsin@example.com", "tls": mode, "ca": ca}, ca
}

// parts reads a mail with the standard library: its text and its page.
func parts(t *testing.T, letter string) (h netmail.Header, text, page string) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(letter))
	if err != nil {
		t.Fatalf("%v: %s", err, letter)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatal(kind, err)
	}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return m.Header, text, page
		}
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
			page = string(raw)
		} else {
			text = strings.ReplaceAll(string(raw), "\r\n", "\n")
		}
	}
}

func TestEmail(t *testing.T) {
	for _, mode := range []string{"starttls", "implicit"} {
		b, set, _ := mailServer(t, mode)
		m := newMessage(t)
		m.Unsubscribe = "https://tocsin.example.com/unsubscribe?t=1"
		a, err := open(t, newEnv(t), "email", set).Send(t.Context(), m)
		if err != nil || a.Status != 250 || a.Mail == nil || a.Mail.To[0] != "grace@example.com" || a.Mail.Subject != "[error] disk_full on web1" || !strings.Contains(a.Mail.Body, m.Text) {
			t.Fatalf("%s: %+v, %v", mode, a, err)
		}
		if len(b.letters) != 1 || strings.Join(b.to, " ") != "grace@example.com" {
			t.Fatalf("%s: %d letters to %v", mode, len(b.letters), b.to)
		}
		h, text, page := parts(t, b.letters[0])
		for name, want := range map[string]string{
			"Subject": "[error] disk_full on web1", "From": `"Tocsin" <tocsin@example.com>`, "To": "<grace@example.com>", "Message-Id": "<0190-key@example.com>",
			"References": h.Get("In-Reply-To"), "List-Unsubscribe": "<https://tocsin.example.com/unsubscribe?t=1>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
			"Auto-Submitted": "auto-generated", "Importance": "high", "User-Agent": "", "X-Tocsin-Severity": "error",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", mode, name, got, want)
			}
		}
		if !strings.HasPrefix(h.Get("In-Reply-To"), "<rule-") || !strings.Contains(text, m.Text) || !strings.Contains(text, m.Link) || !strings.Contains(text, "Host:     web1") ||
			!strings.Contains(page, m.Text) || !strings.Contains(page, `href="`+m.Link+`"`) || !strings.Contains(page, "#DC2626") {
			t.Errorf("%s: %v\n%s\n%s", mode, h, text, page)
		}
	}
}

// Mails of one rule are one thread, those of two are two.
func TestThreads(t *testing.T) {
	tr := open(t, newEnv(t), "email", object{"from": "tocsin@example.com"}).(*email)
	thread := func(rule, key string) string {
		m := newMessage(t)
		m.RuleID, m.Key = rule, key
		l, err := tr.letter(m, "tocsin@example.com")
		if err != nil {
			t.Fatal(err)
		}
		return l.Headers["References"] + l.Headers["In-Reply-To"]
	}
	if thread("1", "a") != thread("1", "b") || thread("1", "a") == thread("2", "a") {
		t.Errorf("threads %s, %s, %s", thread("1", "a"), thread("1", "b"), thread("2", "a"))
	}
}

// Nothing in an event's text becomes a header, an address or markup.
func TestHostileMail(t *testing.T) {
	b, set, _ := mailServer(t, "starttls")
	set["subject"] = "{{ subject }} of {{ notification.rule }}"
	for _, subject := range []string{"", set["subject"].(string)} {
		set["subject"] = subject
		b.letters, b.to = nil, nil
		m := chatMessages(t)["hostile"]
		m.Key, m.RuleID, m.Unsubscribe = hostile, hostile, "https://a.example/\r\nBcc: eve@example.com"
		m.Recipients[0].Name = hostile
		if _, err := open(t, newEnv(t), "email", set).Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		h, text, page := parts(t, b.letters[0])
		if strings.Join(b.to, " ") != "grace@example.com" || h.Get("Bcc") != "" || len(h["Subject"]) != 1 || strings.Contains(page, "<script") || strings.Contains(page, "\u202e") || strings.Contains(text, "\x1b") {
			t.Errorf("to %v: %v\n%s", b.to, h, page)
		}
		if _, err := netmail.ParseAddress(h.Get("From")); err != nil {
			t.Errorf("From: %v", err)
		}
		if a, err := netmail.ParseAddress(h.Get("Message-Id")); err != nil || !strings.HasSuffix(a.Address, "@example.com") {
			t.Errorf("Message-Id %q: %v", h.Get("Message-Id"), err)
		}
	}
}

func TestMailFailures(t *testing.T) {
	b, set, _ := mailServer(t, "starttls")
	m := newMessage(t)
	with := func(changes object) object {
		all := object{}
		for _, from := range []object{set, changes} {
			maps.Copy(all, from)
		}
		return all
	}
	hangs := listen(t, func(net.Conn) { /* never greets */ })
	_, hangPort, _ := net.SplitHostPort(hangs)
	for _, tt := range []struct {
		name        string
		set         object
		refuse, bad error
		class       error
	}{
		{"not now", nil, &smtp.SMTPError{Code: 451, Message: "not now"}, nil, event.ErrUnavailable},
		{"never", nil, &smtp.SMTPError{Code: 554, Message: "spam"}, nil, event.ErrInvalid},
		{"too large", nil, &smtp.SMTPError{Code: 552, Message: "too large"}, nil, event.ErrInvalid},
		{"one recipient is unknown", object{"to": []string{"bad@example.com"}}, nil, &smtp.SMTPError{Code: 550, Message: "nobody"}, event.ErrInvalid},
		{"one recipient is greylisted", object{"to": []string{"bad@example.com"}}, nil, &smtp.SMTPError{Code: 450, Message: "later"}, event.ErrUnavailable},
		{"a wrong password", object{"password": "hunter2"}, nil, nil, event.ErrDenied},
		{"an authority that nobody knows", object{"ca": ""}, nil, nil, event.ErrUnavailable},
		{"an address that is not allowed", object{"host": "127.0.0.2"}, nil, nil, event.ErrDenied},
		{"a server that hangs", object{"port": atoi(t, hangPort), "timeout": "300ms"}, nil, nil, event.ErrUnavailable},
		{"no TLS where there must be", object{"tls": "implicit"}, nil, nil, event.ErrUnavailable},
	} {
		b.refuse, b.bad, b.letters = tt.refuse, tt.bad, nil
		_, err := open(t, newEnv(t), "email", with(tt.set)).Send(t.Context(), m)
		if !errors.Is(err, tt.class) || len(b.letters) != 0 || strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("%s: %v, want %v; %d letters", tt.name, err, tt.class, len(b.letters))
		}
	}
	b.refuse, b.bad = nil, nil
	m.Recipients = []Recipient{{Name: "nobody"}}
	if _, err := open(t, newEnv(t), "email", set).Send(t.Context(), m); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("no address: %v", err)
	}
	plain, open25, _ := mailServer(t, "none")
	delete(open25, "ca")
	if _, err := open(t, newEnv(t), "email", open25).Send(t.Context(), newMessage(t)); err == nil || len(plain.letters) != 0 {
		t.Errorf("a password went out in the clear: %v", err)
	}
}

func atoi(t *testing.T, text string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// The configuration's own mail server may be anywhere.
func TestGlobalMailServer(t *testing.T) {
	b, set, ca := mailServer(t, "starttls")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("mail password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := newEnv(t, "10.0.0.0/8")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca))
	env.MailTLS = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
	tr := open(t, env, "email", object{"to": []string{"ops@example.com"}})
	if _, err := tr.Send(t.Context(), newMessage(t)); !errors.Is(err, event.ErrUnavailable) {
		t.Errorf("no mail server: %v", err)
	}
	env.SMTP = func() config.SMTP {
		return config.SMTP{Host: "127.0.0.1", Port: set["port"].(int), Username: "tocsin", PasswordFile: file, From: "all@example.com", TLS: "starttls"}
	}
	a, err := tr.Send(t.Context(), newMessage(t))
	if err != nil || a.Mail.From != "all@example.com" || len(b.letters) != 1 || len(b.to) != 2 {
		t.Fatalf("%+v, %v, %v", a, err, b.to)
	}
	if h, _, _ := parts(t, b.letters[0]); h.Get("To") != "" || h.Get("Bcc") != "" {
		t.Errorf("the recipients see each other: %v", h)
	}
}
