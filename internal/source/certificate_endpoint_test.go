package source

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
)

func TestParseEndpoint(t *testing.T) {
	tests := []struct{ text, want string }{
		{"www.example.org", "tls www.example.org www.example.org:443"},
		{"www.example.org:8443", "tls www.example.org www.example.org:8443"},
		{"https://www.example.org", "tls www.example.org www.example.org:443"},
		{"shop.example@192.0.2.7:443", "tls shop.example 192.0.2.7:443"},
		{"smtp://mail.example.org", "smtp mail.example.org mail.example.org:25"},
		{"imap://mail.example.org:1143", "imap mail.example.org mail.example.org:1143"},
		{"pop3://m@127.0.0.1", "pop3 m 127.0.0.1:110"},
		{"[2001:db8::1]", "tls 2001:db8::1 [2001:db8::1]:443"},
		{"[2001:db8::1]:8443", "tls 2001:db8::1 [2001:db8::1]:8443"},
		{"ftp://x", ""},
		{"", ""},
		{"host:", ""},
		{"https://www.example.org/path", ""},
		{"@host", ""},
		{"a b", ""},
	}
	for _, tt := range tests {
		e, err := parseEndpoint(tt.text)
		got := fmt.Sprint(e.scheme, " ", e.name, " ", e.address)
		if (err == nil) != (tt.want != "") || err == nil && got != tt.want || err != nil && !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%q: %s, %v, want %q", tt.text, got, err, tt.want)
		}
	}
}

// serve serves connections until the test ends, and gives the address.
func serve(t *testing.T, one func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				one(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// selfSigned is a certificate for a name that ends in some days.
func selfSigned(t *testing.T, name string, days int) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().AddDate(0, 0, -30), NotAfter: time.Now().AddDate(0, 0, days).Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// dialogue speaks a protocol before TLS: each line is sent after one was read,
// the first at once.
func dialogue(conn net.Conn, lines ...string) {
	r := bufio.NewReader(conn)
	for i, line := range lines {
		if i > 0 {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
		}
		_, _ = io.WriteString(conn, line+"\r\n")
	}
}

// Certificates are asked for by name, in every protocol; each endpoint is told once a
// stage, and those that are of no use end nothing.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	certs := map[string]tls.Certificate{}
	for name, days := range map[string]int{"soon.example": 6, "gone.example": -3, "fine.example": 90, "mail.example": 2} {
		certs[name] = selfSigned(t, name, days)
	}
	config := &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		c := certs[hello.ServerName]
		return &c, nil
	}}
	handshake := func(conn net.Conn) { _ = tls.Server(conn, config).Handshake() }
	web := serve(t, handshake)
	smtp := serve(t, func(conn net.Conn) {
		dialogue(conn, "220-mail.example\r\n220 ready", "250-mail.example\r\n250-SIZE\r\n250 STARTTLS", "220 go ahead")
		handshake(conn)
	})
	imap := serve(t, func(conn net.Conn) { dialogue(conn, "* OK ready", "* hold on\r\na1 OK begin"); handshake(conn) })
	pop3 := serve(t, func(conn net.Conn) { dialogue(conn, "+OK ready", "+OK begin"); handshake(conn) })
	refusing := serve(t, func(conn net.Conn) { dialogue(conn, "220 ready", "250 ok", "454 no TLS today") })
	garbage := serve(t, func(conn net.Conn) { _, _ = io.WriteString(conn, strings.Repeat("garbage ", 20000)) })
	endless := serve(t, func(conn net.Conn) {
		for {
			if _, err := io.WriteString(conn, "220-more\r\n"); err != nil {
				return
			}
		}
	})
	text := fmt.Sprintf("{paths: [], endpoints: ['soon.example@%[1]s', 'gone.example@%[1]s', 'fine.example@%[1]s', 'smtp://mail.example@%[2]s', 'imap://mail.example@%[3]s', 'pop3://mail.example@%[4]s', "+
		"'smtp://refusing@%[5]s', 'garbage@%[6]s', 'smtp://garbage@%[6]s', 'smtp://endless@%[7]s', '127.0.0.1:1']}", web, smtp, imap, pop3, refusing, garbage, endless)
	s := newStage()
	problem := s.problems()
	look := func() []string {
		t.Helper()
		c := opens(t, "domain_expiry", text).source.(*certificate) // as after a restart
		if err := c.askAll(t.Context(), &s.Env, time.Now()); err != nil {
			t.Fatal(err)
		}
		return sorted(t, s.take(t), "endpoint", "days_left", "expired", "trusted")
	}
	want := []string{
		`domain_expiry error certificate/gone.example "gone.example@` + web + `" -3 true false`,
		`domain_expiry error certificate/mail.example "imap://mail.example@` + imap + `" 2 false false`,
		`domain_expiry error certificate/mail.example "pop3://mail.example@` + pop3 + `" 2 false false`,
		`domain_expiry error certificate/mail.example "smtp://mail.example@` + smtp + `" 2 false false`,
		`domain_expiry warn certificate/soon.example "soon.example@` + web + `" 6 false false`,
	}
	if diff := cmp.Diff(want, look()); diff != "" {
		t.Error(diff)
	}
	if again := look(); len(again) != 0 {
		t.Errorf("told again: %v", again)
	}
	for _, says := range []string{"refusing", "454 no TLS today", "garbage@", "endless", "says too much", "127.0.0.1:1"} {
		if !strings.Contains(*problem, says) {
			t.Errorf("the problem does not say %q: %s", says, *problem)
		}
	}
}

// One that accepts and says nothing is left when the source is to end.
func TestEndpointSlow(t *testing.T) {
	t.Parallel()
	accepted := make(chan struct{}, 1)
	address := serve(t, func(conn net.Conn) {
		accepted <- struct{}{}
		_, _ = io.Copy(io.Discard, conn)
	})
	for _, scheme := range []string{"tls", "smtp"} {
		e, err := parseEndpoint(scheme + "://x@" + address)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-accepted
			cancel()
		}()
		if _, err := e.ask(ctx); err == nil {
			t.Errorf("%s: nobody has answered, and there is no error", scheme)
		}
	}
}
