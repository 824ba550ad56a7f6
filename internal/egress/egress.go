// Package egress is the way out: everything that Tocsin calls because somebody
// asked for it (webhooks, chats, syslog, flows) goes through a Guard.
//
// It promises: no connection is made to an address that is not public, unless
// egress.allow names it; the address that is judged is the one that is really
// dialled, after DNS and on every redirect, so that a name that changes its
// mind between look-up and connection gains nothing; no proxy of the
// environment is asked; every exchange ends in time and within a size; and no
// error tells a path, a query or the user-info of a URL, where chats have their
// secrets. A Guard is safe for concurrent use.
package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Policy says where calls may go.
type Policy struct {
	// Allow lists networks that may be called although they are not public.
	Allow []netip.Prefix
	// Rewrite leads the HTTP calls for a host, or host:port, to another base URL.
	// The new place is judged like any other. Names are in lower case.
	Rewrite map[string]*url.URL
}

// PolicyOf reads the configuration. The error joins every problem.
func PolicyOf(c config.Egress) (Policy, error) {
	p := Policy{Rewrite: make(map[string]*url.URL, len(c.Rewrite))}
	problems := c.Validate()
	if len(problems) > 0 {
		return p, errors.Join(problems...)
	}
	for _, text := range c.Allow {
		p.Allow = append(p.Allow, netip.MustParsePrefix(text).Masked())
	}
	for host, text := range c.Rewrite {
		u, err := url.Parse(text)
		if err != nil {
			return p, event.Invalidf("egress.rewrite: %s: not a URL", host)
		}
		p.Rewrite[strings.ToLower(host)] = u
	}
	return p, nil
}

// Options are for tests and for private authorities; the zero value is the
// system's.
type Options struct {
	Resolver *net.Resolver
	TLS      *tls.Config // authorities that vouch for servers
}

// Guard makes connections and judges them.
type Guard struct {
	policy    atomic.Pointer[Policy]
	options   Options
	transport *http.Transport
	client    *http.Client
}

// Times of the parts of an exchange. The whole has its own limit, see Limits.
const (
	dialTime = 10 * time.Second
	idleTime = 30 * time.Second
	// maxHeader is how many bytes of response headers are read.
	maxHeader = 64 << 10
)

// New returns a guard with a policy.
func New(p Policy, o Options) *Guard {
	g := &Guard{options: o}
	g.policy.Store(&p)
	g.transport = &http.Transport{
		Proxy:       nil, // none of the environment: it would be dialled in place of what is judged
		DialContext: g.Dial, ForceAttemptHTTP2: true, TLSClientConfig: g.tlsConfig(nil, ""),
		TLSHandshakeTimeout: dialTime, IdleConnTimeout: idleTime, MaxIdleConns: 100, MaxIdleConnsPerHost: 4,
		MaxResponseHeaderBytes: maxHeader, ExpectContinueTimeout: time.Second,
	}
	g.client = &http.Client{Transport: g.RoundTripper(), CheckRedirect: checkRedirect}
	return g
}

// Apply makes a new policy hold for every connection from now on; idle ones of
// the old are closed.
func (g *Guard) Apply(p Policy) {
	g.policy.Store(&p)
	g.transport.CloseIdleConnections()
}

// Close ends the connections that are kept for later.
func (g *Guard) Close() { g.transport.CloseIdleConnections() }

// Dial connects to an address, host:port, over tcp or udp, if every judgement
// lets it. A refusal is of class event.ErrDenied, all else event.ErrUnavailable.
func (g *Guard) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6":
	default:
		return nil, event.Deniedf("egress: network %q is not allowed", network)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, event.Invalidf("egress: %q is not host:port", address)
	}
	if err := checkHost(host); err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: dialTime, Resolver: g.options.Resolver, ControlContext: g.control}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, dialError(host, err)
	}
	return conn, nil
}

// DialTLS is Dial with TLS on top. Of config, which may be nil, the server's
// name defaults to the host of the address.
func (g *Guard) DialTLS(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
	conn, err := g.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(conn, g.tlsConfig(config, host))
	limited, cancel := context.WithTimeoutCause(ctx, dialTime, errors.New("the TLS handshake took too long"))
	defer cancel()
	if err := secure.HandshakeContext(limited); err != nil {
		_ = conn.Close()
		return nil, event.Unavailablef("TLS with %s: %w", host, err)
	}
	return secure, nil
}

// TLS returns what secures a connection that a caller makes into TLS by itself
// (STARTTLS).
func (g *Guard) TLS(host string) *tls.Config { return g.tlsConfig(nil, host) }

func (g *Guard) tlsConfig(c *tls.Config, host string) *tls.Config {
	if c == nil {
		c = g.options.TLS
	}
	if c == nil {
		c = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	c = c.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	if c.RootCAs == nil && g.options.TLS != nil {
		c.RootCAs = g.options.TLS.RootCAs
	}
	if c.ServerName == "" {
		c.ServerName = host
	}
	return c
}

// control is asked for each address of a name, right before the connection is
// made to it (net.Dialer).
func (g *Guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return event.Deniedf("egress: the address can't be read")
	}
	return g.policy.Load().Judge(a.Addr())
}

// dialError keeps the class of a refusal, which net wraps away in its text.
func dialError(host string, err error) error {
	if errors.Is(err, event.ErrDenied) {
		if denied, ok := errors.AsType[*refusal](err); ok {
			return fmt.Errorf("%s: %w", host, denied)
		}
		return err
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return event.Unavailablef("%s: the name can't be resolved: %s", host, dns.Err)
	}
	return event.Unavailablef("%s: %w", host, err)
}

// checkHost refuses numbers that some resolvers take for an address: 2130706433,
// 0x7f.1, 0177.0.0.1. They are no names (WHATWG URL, "ends in a number"), and
// nobody needs them.
func checkHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	name := strings.TrimSuffix(host, ".")
	last := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
	hex, isHex := strings.CutPrefix(last, "0x")
	if last == "" || strings.Trim(last, "0123456789") == "" || isHex && strings.Trim(hex, "0123456789abcdef") == "" {
		return event.Invalidf("egress: host %q is neither a name nor a plain address", host)
	}
	return nil
}
