package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// Limits bound one exchange. Zero values stand for the defaults.
type Limits struct {
	Time time.Duration // of the whole exchange; 15 s
	Keep int           // bytes of the response that are kept; 1 KiB
}

const (
	defaultTime = 15 * time.Second
	defaultKeep = 1 << 10
	// maxDrain is how much more of a response is read, so that its connection can
	// be used again.
	maxDrain = 64 << 10
	// maxRedirects is how many redirects are followed.
	maxRedirects = 5
)

// Answer is what came back.
type Answer struct {
	Status  int
	Header  http.Header
	Body    []byte        // its first bytes, see Limits
	More    bool          // the body was longer
	Broken  error         // why the body ended before its time; nil where it did not
	Latency time.Duration // until the headers were there
}

// Do sends a request and reads the answer, whatever its status. An error means
// that no answer came: of class event.ErrDenied where the address or a redirect
// is refused, event.ErrInvalid where the URL is wrong, else
// event.ErrUnavailable. It tells the host and nothing else of the URL.
func (g *Guard) Do(req *http.Request, l Limits) (Answer, error) {
	if l.Time <= 0 {
		l.Time = defaultTime
	}
	if l.Keep <= 0 {
		l.Keep = defaultKeep
	}
	ctx, cancel := context.WithTimeoutCause(req.Context(), l.Time, fmt.Errorf("no answer within %s", event.FormatDuration(l.Time)))
	defer cancel()
	start := time.Now()
	res, err := g.client.Do(req.WithContext(ctx)) //nolint:gosec // that is what a Guard is for: control judges the address
	if err != nil {
		return Answer{Latency: time.Since(start)}, cleanError(ctx, req, err)
	}
	defer res.Body.Close()
	a := Answer{Status: res.StatusCode, Header: res.Header, Latency: time.Since(start)}
	a.Body, err = io.ReadAll(io.LimitReader(res.Body, int64(l.Keep)))
	if err == nil && len(a.Body) == l.Keep {
		var rest int64
		rest, err = io.CopyN(io.Discard, res.Body, maxDrain)
		a.More = rest > 0
	}
	if err != nil && !errors.Is(err, io.EOF) {
		a.Broken = cleanError(ctx, req, err)
	}
	return a, nil
}

// RoundTripper is for libraries that want one. It judges; redirects and limits
// are its user's affair.
func (g *Guard) RoundTripper() http.RoundTripper { return roundTripper{g, g.transport} }

// RoundTripperWith is a RoundTripper whose connections are secured by a config of
// the caller's own: authorities, a certificate to show, the name of the server. Its
// connections are not kept.
func (g *Guard) RoundTripperWith(secure *tls.Config) http.RoundTripper {
	return roundTripper{g, &http.Transport{
		DialContext: g.Dial, DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader, ExpectContinueTimeout: time.Second,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return g.DialTLS(ctx, network, address, secure)
		},
	}}
}

// roundTripper checks and rewrites each request, also those of redirects.
type roundTripper struct {
	g         *Guard
	transport *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (t roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	policy := t.g.policy.Load()
	base, ok := policy.Rewrite[strings.ToLower(req.URL.Host)]
	if !ok {
		base, ok = policy.Rewrite[strings.ToLower(req.URL.Hostname())]
	}
	if ok {
		req = req.Clone(req.Context())
		req.URL, req.Host = rewritten(req.URL, base), ""
	}
	if err := CheckURL(req.URL); err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	return t.transport.RoundTrip(req)
}

// rewritten is a URL below another base, with its path, byte for byte, and query.
func rewritten(u, base *url.URL) *url.URL {
	to := *u
	to.Scheme, to.Host = base.Scheme, base.Host
	to.Path = strings.TrimRight(base.Path, "/") + u.Path
	to.RawPath = strings.TrimRight(base.EscapedPath(), "/") + u.EscapedPath()
	return &to
}

// ParseURL reads the URL of a call: http or https, with a host. Its error does
// not show the text, in which a secret may stand.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		return nil, event.Invalidf("not a URL")
	}
	return u, CheckURL(u)
}

// CheckURL refuses a URL that can't be called.
func CheckURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return event.Invalidf("not an http or https URL")
	}
	return checkHost(u.Hostname())
}

// Show is a URL as people may see it: without user-info, path and query, which
// may all be secret.
func Show(u *url.URL) string { return u.Scheme + "://" + u.Host }

// kept are the headers that a redirect to another host takes along: a key for
// one host is none for the next.
var kept = map[string]bool{"Content-Type": true, "Accept": true, "User-Agent": true} //nolint:gochecknoglobals // a constant table

func checkRedirect(req *http.Request, via []*http.Request) error {
	first, last := via[0], via[len(via)-1]
	req.Header.Del("Referer") // it would tell the path, in which chats have their secrets
	switch {
	case len(via) > maxRedirects:
		return event.Deniedf("redirected more than %d times", maxRedirects)
	case last.URL.Scheme == "https" && req.URL.Scheme != "https":
		return event.Deniedf("redirected from https to %s, where everybody could read it", req.URL.Scheme)
	case req.Method != first.Method:
		return event.Deniedf("redirected so that %s would become %s and its body be lost; name the URL to which it leads, %s", first.Method, req.Method, Show(req.URL))
	}
	if req.URL.Host != first.URL.Host {
		for name := range req.Header {
			if !kept[name] {
				req.Header.Del(name)
			}
		}
	}
	return nil
}

// cleanError takes the URL out of net/http's errors and gives them a class.
func cleanError(ctx context.Context, req *http.Request, err error) error {
	var failed *url.Error
	for errors.As(err, &failed) {
		err = failed.Err
	}
	where := req.Method + " " + Show(req.URL)
	switch cause := context.Cause(ctx); {
	case errors.Is(err, event.ErrDenied), errors.Is(err, event.ErrInvalid):
		return fmt.Errorf("%s: %w", where, err)
	case cause != nil && req.Context().Err() == nil:
		return event.Unavailablef("%s: %w", where, cause)
	case cause != nil:
		return fmt.Errorf("%s: %w", where, cause) // the caller has given up: no failure of the other side
	}
	return event.Unavailablef("%s: %s", where, redact.Text(err.Error()))
}
