package mail

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// box is a real mail server in this process.
type box struct {
	mu      sync.Mutex // guards all below
	refuse  int        // how many mails are still refused, for now
	letters []string
	got     chan struct{}
}

func (b *box) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{box: b}, nil }

type session struct {
	box    *box
	signed bool
}

func (*session) Reset()                               { /* nothing is kept */ }
func (*session) Logout() error                        { return nil }
func (*session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *session) Mail(string, *smtp.MailOptions) error {
	if !s.signed {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (*session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != "tocsin" || password != "mail password" {
			return smtp.ErrAuthFailed
		}
		s.signed = true
		return nil
	}), nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	defer func() { s.box.got <- struct{}{} }()
	if s.box.refuse > 0 {
		s.box.refuse--
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "not now"}
	}
	s.box.letters = append(s.box.letters, string(raw))
	return nil
}

// certificate makes one for 127.0.0.1, and who trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// newMail is a Mail whose server speaks TLS by a mode of the configuration.
func newMail(t *testing.T, mode string) (*Mail, *box, *state.State, *config.SMTP) {
	t.Helper()
	dir := t.TempDir()
	s, err := state.Open(t.Context(), state.Options{Dir: dir, Source: "https://t.example", Significant: "https://m.example"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	key, err := state.OpenKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := &box{got: make(chan struct{}, 10)}
	cert, pool := certificate(t)
	server := smtp.NewServer(b)
	server.Domain, server.TLSConfig = "localhost", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	var l net.Listener
	if l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if mode == "implicit" {
		l = tls.NewListener(l, server.TLSConfig)
	}
	go func() { _ = server.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte("mail password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &config.SMTP{Host: "127.0.0.1", Port: port, From: "Tocsin <tocsin@example.com>", Username: "tocsin", PasswordFile: file, TLS: mode}
	m := New(Options{
		State: s, Key: key, Source: "https://t.example", Server: func() config.SMTP { return *c }, Logger: slog.New(slog.DiscardHandler),
		TLS: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12},
	})
	return m, b, s, c
}

func raised(t *testing.T, s *state.State) []event.Event {
	t.Helper()
	rows, err := s.Outbox(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var all []event.Event
	for _, r := range rows {
		all = append(all, r.Event)
	}
	return all
}

func queue(t *testing.T, m *Mail, s *state.State, life time.Duration, fails error) {
	t.Helper()
	by := state.Cause{AuthType: "user", AuthID: "7", AuthName: "ann", CorrelationID: "act-1"}
	err := s.Write(t.Context(), by, func(tx *state.Tx) error {
		return errors.Join(m.Queue(tx, "bob@example.com", "Hello\r\nBcc: all@example.com", "link#token=s3cret-link", "link#token=****", life), fails)
	})
	if !errors.Is(err, fails) {
		t.Fatal(err)
	}
}

// In each mode of TLS, with a password, a mail arrives, and is on record with
// its cause and without its secret.
func TestSend(t *testing.T) {
	for _, mode := range []string{"starttls", "implicit"} {
		m, b, s, _ := newMail(t, mode)
		queue(t, m, s, time.Hour, nil)
		if found, err := m.next(t.Context(), true); !found || err != nil {
			t.Fatalf("%s: %v, %v", mode, found, err)
		}
		if len(b.letters) != 1 || !strings.Contains(strings.ReplaceAll(b.letters[0], "=3D", "="), "link#token=s3cret-link") || strings.Contains(b.letters[0], "\nBcc:") {
			t.Errorf("%s: arrived: %q", mode, b.letters)
		}
		all := raised(t, s)
		if len(all) != 1 || all[0].Type != "email_sent" || all[0].AuthName != "ann" || all[0].CorrelationID != "act-1" {
			t.Fatalf("%s: raised %+v", mode, all)
		}
		if body := string(all[0].Data); strings.Contains(body, "s3cret-link") || !strings.Contains(body, "bob@example.com") {
			t.Errorf("%s: recorded: %s", mode, body)
		}
		if found, err := m.next(t.Context(), true); found || err != nil {
			t.Errorf("%s: sent twice: %v, %v", mode, found, err)
		}
	}
}

// What is queued lies sealed, and goes with its transaction.
func TestQueue(t *testing.T) {
	m, b, s, _ := newMail(t, "starttls")
	queue(t, m, s, time.Hour, errors.New("no"))
	queue(t, m, s, time.Hour, nil)
	var n int
	var body string
	if err := s.Reader().QueryRowContext(t.Context(), `SELECT count(*), min(body) FROM mails`).Scan(&n, &body); err != nil || n != 1 || strings.Contains(body, "s3cret") {
		t.Errorf("%d mails wait, of %q, %v", n, body, err)
	}
	// A server that is not there, or has no room, is tried again.
	b.refuse = 1
	if found, err := m.next(t.Context(), false); !found || err != nil {
		t.Fatal(found, err)
	}
	if len(raised(t, s)) != 0 {
		t.Errorf("a mail that was refused for now is on record: %+v", raised(t, s))
	}
	if found, err := m.next(t.Context(), false); found || err != nil {
		t.Errorf("tried again at once: %v, %v", found, err)
	}
	due := func() {
		t.Helper()
		if err := s.Write(t.Context(), state.System(), func(tx *state.Tx) error {
			_, err := tx.ExecContext(t.Context(), `UPDATE mails SET due = 0`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	due()
	if found, err := m.next(t.Context(), false); !found || err != nil || len(b.letters) != 1 {
		t.Errorf("the second try: %v, %v, %d arrived", found, err, len(b.letters))
	}
	// One that is of no use any more is given up, and that is on record.
	b.refuse = 1
	queue(t, m, s, time.Second, nil)
	if found, err := m.next(t.Context(), false); !found || err != nil {
		t.Fatal(found, err)
	}
	all := raised(t, s)
	if last := all[len(all)-1]; last.Type != "configuration_error" || !strings.Contains(string(last.Data), "bob@example.com") || strings.Contains(string(last.Data), "s3cret") {
		t.Errorf("given up: %+v", last)
	}
	if found, err := m.next(t.Context(), true); found || err != nil {
		t.Errorf("it still waits: %v, %v", found, err)
	}
}

// A password never goes out in the clear, nor to a server that nobody vouches for.
func TestRefusals(t *testing.T) {
	m, b, _, c := newMail(t, "starttls")
	msg := Message{To: "bob@example.com", Subject: "x", Text: "x"}
	ctx := t.Context()
	m.o.TLS = &tls.Config{ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	if err := m.Send(ctx, state.System(), msg); !errors.Is(err, event.ErrUnavailable) {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	plain := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{box: b, signed: true}, nil })) // offers no TLS
	plain.Domain, plain.AllowInsecureAuth = "localhost", true
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = plain.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = plain.Close() })
	c.Port = l.Addr().(*net.TCPAddr).Port
	c.Username = "" // no password stands in the way
	if err := m.Send(ctx, state.System(), msg); !errors.Is(err, event.ErrUnavailable) {
		t.Errorf("a server that takes TLS away: %v", err)
	}
	c.TLS, c.Host, c.Username = "none", "localhost.localdomain", "tocsin"
	if err := m.Send(ctx, state.System(), msg); err == nil {
		t.Error("a password in the clear")
	}
	c.Host = ""
	if err := m.Send(ctx, state.System(), msg); !errors.Is(err, event.ErrUnavailable) || m.Ready() {
		t.Errorf("no server: %v", err)
	}
	c.Host, c.PasswordFile = "127.0.0.1", "/nowhere"
	if err := m.Send(ctx, state.System(), msg); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("no password file: %v", err)
	}
	if err := m.Send(ctx, state.System(), Message{To: "bob@example.com\r\nBcc: x@example.com"}); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("a recipient with a line break: %v", err)
	}
	if len(b.letters) != 0 {
		t.Errorf("arrived: %s", strconv.Quote(b.letters[0]))
	}
}

// Run sends as soon as the transaction is there.
func TestRun(t *testing.T) {
	m, b, s, _ := newMail(t, "implicit")
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { ended <- m.Run(ctx) }()
	queue(t, m, s, time.Hour, nil)
	select {
	case <-b.got:
	case <-time.After(20 * time.Second):
		t.Error("the mail does not arrive")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
