package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/event"
)

// call is one HTTP request of a transport.
type call struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte
	limit  time.Duration
}

// do sends a request and judges the answer.
func (env *Env) do(ctx context.Context, c call) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, c.url.String(), bytes.NewReader(c.body))
	if err != nil {
		return Answer{}, event.Invalidf("%s %s: not a request", c.method, egress.Show(c.url))
	}
	maps.Copy(req.Header, c.header)
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "Tocsin/"+env.Version)
	}
	a, err := env.Egress.Do(req, egress.Limits{Time: c.limit, Keep: maxAnswer})
	if err != nil {
		return answerOf(a), err
	}
	return answerOf(a), judge(a.Status, a.Header, c.url.Host)
}

// postJSON sends a value to a URL.
func (env *Env) postJSON(ctx context.Context, to *url.URL, value any, limit config.Duration) (Answer, error) {
	body, err := json.Marshal(value)
	if err != nil {
		return Answer{}, event.Invalidf("message: %w", err)
	}
	return env.do(ctx, call{
		method: http.MethodPost, url: to, body: body, limit: time.Duration(limit),
		header: http.Header{"Content-Type": {"application/json"}},
	})
}

// judge turns a status into an error with the class that says whether to try
// again. A body that breaks off behind a status of success changes nothing: the
// other side has said yes.
func judge(status int, header http.Header, host string) error {
	said := fmt.Sprintf("%s answered %d %s", host, status, http.StatusText(status))
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
		return event.Invalidf("%s", said)
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusMisdirectedRequest, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		err := event.Unavailablef("%s", said)
		if after := retryAfter(header, time.Now()); after > 0 {
			return &delayed{err, after}
		}
		return err
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusProxyAuthRequired:
		return event.Deniedf("%s", said)
	case status == http.StatusNotFound, status == http.StatusGone:
		return event.NotFoundf("%s", said)
	default:
		return event.Invalidf("%s", said)
	}
}

// maxRetryAfter bounds what another side can ask for.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads Retry-After, seconds or a date (RFC 9110, 10.2.3); chats send
// fractions, too.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds > 0 {
		return time.Duration(min(seconds, maxRetryAfter.Seconds()) * float64(time.Second))
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(0, min(date.Sub(now), maxRetryAfter))
	}
	return 0
}

// checkTime refuses a time limit that is too short to work or too long to wait.
func checkTime(d config.Duration) error {
	if t := time.Duration(d); t < 100*time.Millisecond || t > time.Minute {
		return event.Invalidf("settings.timeout: %s is out of range: 100ms to 1m", d)
	}
	return nil
}

// defaultTimeout is how long one exchange may take.
const defaultTimeout = config.Duration(15 * time.Second)

// destination reads a URL of the settings and checks the time limit, too.
func destination(text string, timeout config.Duration) (*url.URL, error) {
	if err := checkTime(timeout); err != nil {
		return nil, err
	}
	u, err := egress.ParseURL(text)
	if err != nil {
		return nil, event.Invalidf("settings.url: %w", err)
	}
	return u, nil
}
