package source

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// endpoint is a place where a certificate is served.
type endpoint struct {
	text    string // as it was configured
	scheme  string // tls, smtp, imap or pop3
	name    string // for which the certificate is asked (SNI, RFC 6066)
	address string // that is called
}

const (
	// endpointTime is how long one endpoint may take for all.
	endpointTime = 15 * time.Second
	// endpointsAtOnce is how many are asked at a time.
	endpointsAtOnce = 4
)

var endpointPorts = map[string]string{"tls": "443", "smtp": "25", "imap": "143", "pop3": "110"} //nolint:gochecknoglobals // a constant table

// parseEndpoint reads [scheme://][name@]host[:port].
func parseEndpoint(text string) (endpoint, error) {
	e := endpoint{text: text, scheme: "tls"}
	rest := text
	if scheme, after, found := strings.Cut(text, "://"); found {
		e.scheme, rest = scheme, after
	}
	if e.scheme == "https" {
		e.scheme = "tls"
	}
	port, known := endpointPorts[e.scheme]
	if !known {
		return e, event.Invalidf("endpoints: %q: the scheme must be tls, smtp, imap or pop3", text)
	}
	name, address, given := strings.Cut(rest, "@")
	if !given {
		address = rest
	}
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		host, p = strings.Trim(address, "[]"), port
	}
	if !given {
		name = host
	}
	if host == "" || name == "" || p == "" || strings.ContainsAny(host+name+p, "/ \t\r\n") {
		return e, event.Invalidf("endpoints: %q is none: write host:port, name@address:port or smtp://host", text)
	}
	e.name, e.address = name, net.JoinHostPort(host, p)
	return e, nil
}

// askAll asks every endpoint for its certificate and tells of those that expire
// soon. One that does not answer is shown as a problem, and ends nothing.
func (c *certificate) askAll(ctx context.Context, env *Env, now time.Time) error {
	type answer struct {
		served
		err error
	}
	answers := make([]answer, len(c.endpoints))
	var all sync.WaitGroup
	slots := make(chan struct{}, endpointsAtOnce)
	for i, e := range c.endpoints {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answers[i].err = guarded(ctx, func(ctx context.Context) (err error) {
				answers[i].served, err = e.ask(ctx)
				return err
			})
		})
	}
	all.Wait()
	var problems []error
	for i, a := range answers {
		if a.err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", c.endpoints[i].text, a.err))
			continue
		}
		if err := c.judge(ctx, env, found{cert: a.cert, endpoint: c.endpoints[i].text, distrust: a.distrust}, now); err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		env.Problem(errors.Join(problems...))
	}
	return nil
}

// served is the certificate that an endpoint showed, and why a client would not
// trust it, if so.
type served struct {
	cert     *x509.Certificate
	distrust error
}

// ask makes a TLS handshake and gives the certificate that was shown, whatever
// it is worth. The operator has named the endpoint, so that it may be on this host
// or in its network: nothing but the handshake is sent, and nothing of the answer but
// the certificate is told.
func (e *endpoint) ask(ctx context.Context) (s served, err error) {
	ctx, cancel := context.WithTimeout(ctx, endpointTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.address)
	if err != nil {
		return s, err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // also in the middle of a line
	if err := e.upgrade(conn); err != nil {
		return s, err
	}
	config := &tls.Config{
		ServerName: e.name, MinVersion: tls.VersionTLS10,
		InsecureSkipVerify: true, //nolint:gosec // what is expired or unknown must be seen; it is judged below, and nothing is sent
	}
	if net.ParseIP(e.name) != nil {
		config.ServerName = "" // an address is no server name (RFC 6066)
	}
	client := tls.Client(conn, config)
	if err := client.HandshakeContext(ctx); err != nil {
		return s, err
	}
	chain := client.ConnectionState().PeerCertificates
	if len(chain) == 0 {
		return s, errors.New("no certificate was shown")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, distrust := chain[0].Verify(x509.VerifyOptions{DNSName: e.name, Intermediates: between})
	return served{chain[0], distrust}, nil
}

// upgrade asks for TLS where a protocol begins without (RFC 3207, 2595).
func (e *endpoint) upgrade(conn net.Conn) error {
	say := func(line string) error {
		_, err := fmt.Fprintf(conn, "%s\r\n", line)
		return err
	}
	// Lines of a stranger are read byte by byte, so that nothing of the handshake is
	// swallowed, and are bounded.
	r := textproto.NewReader(bufio.NewReaderSize(&oneByte{conn, 64 << 10}, 16))
	expect := func(ok, more string) error {
		for {
			line, err := r.ReadLine()
			if err != nil {
				return fmt.Errorf("%s: %w", e.scheme, err)
			}
			if more != "" && strings.HasPrefix(line, more) {
				continue
			}
			if !strings.HasPrefix(line, ok) {
				return fmt.Errorf("%s: it says %q", e.scheme, shorten(line, 100))
			}
			return nil
		}
	}
	var dialogue []func() error
	step := func(line, ok, more string) {
		if line != "" {
			dialogue = append(dialogue, func() error { return say(line) })
		}
		dialogue = append(dialogue, func() error { return expect(ok, more) })
	}
	switch e.scheme {
	case "smtp":
		step("", "220 ", "220-")
		step("EHLO tocsin.invalid", "250 ", "250-")
		step("STARTTLS", "220 ", "220-")
	case "imap":
		step("", "* OK", "")
		step("a1 STARTTLS", "a1 OK", "* ")
	case "pop3":
		step("", "+OK", "")
		step("STLS", "+OK", "")
	}
	for _, do := range dialogue {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// oneByte reads a byte at a time, and not for ever.
type oneByte struct {
	conn net.Conn
	left int
}

func (o *oneByte) Read(p []byte) (int, error) {
	if o.left <= 0 {
		return 0, errors.New("it says too much")
	}
	o.left--
	return o.conn.Read(p[:min(len(p), 1)])
}
