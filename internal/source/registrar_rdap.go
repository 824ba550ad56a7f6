package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openrdap/rdap"
	"github.com/openrdap/rdap/bootstrap"

	"github.com/tocsin-events/tocsin/internal/event"
)

const (
	defaultBootstrap = bootstrap.DefaultBaseURL + "dns.json"
	bootstrapFresh   = 24 * time.Hour
	rdapTime         = 30 * time.Second
	maxRDAP          = 4 << 20 // bytes of an answer; the list of servers has 60 kB
)

// rdapClient asks registries, and never one that wants to be left alone.
type rdapClient struct {
	bootstrap string
	server    *url.URL // in place of those of the list

	list *bootstrap.DNSRegistry
	read time.Time // when it was
}

// domain asks about a domain. Where the server says when it may be asked again,
// quiet is that time, also for all other domains of that server.
func (c *rdapClient) domain(ctx context.Context, env *Env, name string, now time.Time) (quiet time.Time, k registration, err error) {
	if env.HTTP == nil {
		return quiet, k, errors.New("no way out to the registry")
	}
	client := *env.HTTP
	client.Transport = bounded{env.HTTP.Transport}
	ctx, cancel := context.WithTimeoutCause(ctx, rdapTime, fmt.Errorf("no answer within %s", event.FormatDuration(rdapTime)))
	defer cancel()
	server, err := c.find(ctx, &client, name, now)
	if err != nil {
		return quiet, k, err
	}
	key := "server " + server.Host
	until, err := env.Memory.Load(ctx, key)
	if err != nil {
		return quiet, k, err
	}
	if quiet, err = time.Parse(time.RFC3339, until); err == nil && quiet.After(now) && quiet.Before(now.Add(longestRetry)) {
		return quiet, k, fmt.Errorf("%s wants to be left alone until %s", server.Host, until)
	}
	asker := rdap.Client{HTTP: &client, UserAgent: "tocsin/" + env.Version}
	res, err := asker.Do(rdap.NewDomainRequest(name).WithContext(ctx).WithServer(server))
	quiet = retryAfter(res, now)
	if quiet.After(now) {
		err = errors.Join(err, env.Memory.Store(ctx, key, quiet.UTC().Format(time.RFC3339)))
	}
	if err != nil {
		return quiet, k, fmt.Errorf("%s: %w", server.Host, explain(ctx, res, err))
	}
	d, ok := res.Object.(*rdap.Domain)
	if !ok {
		return quiet, k, fmt.Errorf("%s: the answer is not about a domain", server.Host)
	}
	k = registration{Registrar: registrarOf(d.Entities), Server: server.String()}
	if k.Expires, err = expiration(d.Events); err != nil {
		return quiet, k, fmt.Errorf("%s: %w", server.Host, err)
	}
	return quiet, k, nil
}

// find gives the server for a domain, one with https where there is one.
func (c *rdapClient) find(ctx context.Context, client *http.Client, name string, now time.Time) (*url.URL, error) {
	if c.server != nil {
		return c.server, nil
	}
	if c.list == nil || now.Sub(c.read).Abs() > bootstrapFresh {
		list, err := c.servers(ctx, client)
		switch {
		case err == nil:
			c.list, c.read = list, now
		case c.list == nil: // else an older one will do
			return nil, fmt.Errorf("the list of RDAP servers can't be had: %w", err)
		}
	}
	answer, err := c.list.Lookup(&bootstrap.Question{RegistryType: bootstrap.DNS, Query: name})
	if err != nil {
		return nil, err
	}
	if len(answer.URLs) == 0 {
		return nil, errors.New("no RDAP server is listed for this top-level domain")
	}
	if i := slices.IndexFunc(answer.URLs, func(u *url.URL) bool { return u.Scheme == "https" }); i >= 0 {
		return answer.URLs[i], nil
	}
	return answer.URLs[0], nil
}

func (c *rdapClient) servers(ctx context.Context, client *http.Client) (_ *bootstrap.DNSRegistry, err error) {
	if !isWeb(c.bootstrap) {
		content, err := readSmall(c.bootstrap, maxRDAP)
		if err != nil {
			return nil, err
		}
		return bootstrap.NewDNSRegistry(content)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.bootstrap, http.NoBody)
	if err != nil {
		return nil, err
	}
	got, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, got.Body.Close()) }()
	if got.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %d", got.StatusCode)
	}
	content, err := io.ReadAll(got.Body)
	if err != nil {
		return nil, err
	}
	return bootstrap.NewDNSRegistry(content)
}

// explain says what went wrong in fewer words than the library, which hides the
// cause.
func explain(ctx context.Context, res *rdap.Response, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if res == nil || len(res.HTTP) == 0 {
		return err
	}
	switch last := res.HTTP[len(res.HTTP)-1]; {
	case last.Error != nil && last.Response != nil:
		return fmt.Errorf("the answer can't be read: %w", last.Error)
	case last.Error != nil:
		return last.Error
	case last.Response == nil:
		return err
	case last.Response.StatusCode == http.StatusNotFound:
		return errors.New("the registry does not know the domain (404)")
	case last.Response.StatusCode == http.StatusTooManyRequests:
		return errors.New("asked too often (429)")
	default:
		return fmt.Errorf("the answer is %d", last.Response.StatusCode)
	}
}

// retryAfter reads when a server may be asked again (RFC 9110, 10.2.3); zero where
// it does not say.
func retryAfter(res *rdap.Response, now time.Time) (until time.Time) {
	if res == nil || len(res.HTTP) == 0 || res.HTTP[len(res.HTTP)-1].Response == nil {
		return until
	}
	last := res.HTTP[len(res.HTTP)-1].Response
	if last.StatusCode < http.StatusMultipleChoices {
		return until
	}
	text := strings.TrimSpace(last.Header.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && seconds > 0 {
		return now.Add(time.Duration(min(seconds, int64(longestRetry/time.Second))) * time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return earliest(at, now.Add(longestRetry))
	}
	if last.StatusCode == http.StatusTooManyRequests {
		return now.Add(time.Hour)
	}
	return until
}

// expiration finds the end of the registration among the events of a domain
// (RFC 9083, 10.2.3).
func expiration(events []rdap.Event) (time.Time, error) {
	for _, e := range events {
		if !strings.EqualFold(e.Action, "expiration") {
			continue
		}
		for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
			if at, err := time.Parse(form, e.Date); err == nil && at.Year() > 1980 && at.Year() < 2200 {
				return at.UTC(), nil
			}
		}
		return time.Time{}, fmt.Errorf("the expiration %.40q is no time", e.Date)
	}
	return time.Time{}, errors.New("the registry names no expiration")
}

// registrarOf is the name, or else the handle, of who has the role registrar.
func registrarOf(entities []rdap.Entity) string {
	for _, e := range entities {
		if !slices.Contains(e.Roles, "registrar") {
			continue
		}
		if e.VCard != nil && e.VCard.Name() != "" {
			return e.VCard.Name()
		}
		return e.Handle
	}
	return ""
}

// bounded ends answers that are too long, since the library reads all of them.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	next := b.next
	if next == nil {
		next = http.DefaultTransport
	}
	res, err := next.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{&limited{res.Body, maxRDAP}, res.Body}
	}
	return res, err
}

// limited gives an error where there is more than it may give.
type limited struct {
	r    io.Reader
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("it is longer than %d bytes", maxRDAP)
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
