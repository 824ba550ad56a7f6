package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Sends: what the service of the URL takes. Most services of shoutrrr can be
// handed neither a client nor a context: they use the process's own transport. So
// each message is sent by a short-lived process of ours, in which that transport
// is a guarded one; it can be ended in time, and what a service panics over or
// leaves behind is gone with it. See Help.
// Success: the last answer was a 2xx, and shoutrrr saw no error.
func init() {
	register(Mode{Name: "shoutrrr", Doc: "A message by one of shoutrrr's services, named by a URL: Teams, Telegram, Matrix, ntfy, Gotify, PagerDuty, Opsgenie, Pushover, Mattermost, Rocket.Chat, Zulip, Signal and more (https://shoutrrr.nickfedor.com/latest/services/overview/). Settings that turn the check of certificates off have no effect."},
		shoutrrrSettings{Timeout: defaultTimeout}, newShoutrrr)
}

type shoutrrrSettings struct {
	URL     string          `json:"url" required:"true" secret:"whole" doc:"The service's URL, such as ntfy://ntfy.sh/topic or telegram://token@telegram?chats=@channel."`
	Timeout config.Duration `json:"timeout" doc:"How long it may take."`
}

type shoutrrr struct {
	env    *Env
	s      shoutrrrSettings
	scheme string
}

// ways are services that have a mode of their own here, or are none.
var ways = map[string]string{"smtp": "use the mode email", "generic": "use the mode webhook", "logger": "it tells nobody"} //nolint:gochecknoglobals // a constant table

func newShoutrrr(s shoutrrrSettings, env *Env) (t Transport, err error) {
	if err := checkTime(s.Timeout); err != nil {
		return nil, err
	}
	if len(env.Helper) == 0 {
		return nil, event.Unavailablef("this process has no helper to send with")
	}
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme == "" {
		return nil, event.Invalidf("settings.url: is no URL of shoutrrr, such as ntfy://ntfy.sh/topic")
	}
	scheme, _, _ := strings.Cut(strings.ToLower(u.Scheme), "+")
	if instead, ok := ways[scheme]; ok {
		return nil, event.Invalidf("settings.url: the service %s is not for us: %s", scheme, instead)
	}
	defer func() { // a stranger's parser of a stranger's text
		if r := recover(); r != nil {
			t, err = nil, event.Invalidf("settings.url: the service %s can't read it", cut(scheme, 32))
		}
	}()
	var none router.ServiceRouter
	if _, err := none.NewService(scheme); err != nil {
		return nil, event.Invalidf("settings.url: the service %q is unknown: use one of %s", cut(scheme, 32), strings.Join(services(&none), ", "))
	}
	if scheme != "matrix" { // which would sign in at once
		if _, err := none.Locate(s.URL); err != nil {
			return nil, event.Invalidf("settings.url: %s", scrub(err.Error(), s.URL))
		}
	}
	return &shoutrrr{env, s, scheme}, nil
}

// task is what the helper reads, result what it writes.
type task struct {
	URL    string            `json:"url"`
	Text   string            `json:"text"`
	Params map[string]string `json:"params"`
	Egress config.Egress     `json:"egress"`
	Limit  time.Duration     `json:"limit"`
}

type result struct {
	Status     int           `json:"status"`
	Body       string        `json:"body"`
	RetryAfter time.Duration `json:"retry_after"`
	Error      string        `json:"error"`
	Class      string        `json:"class"` // denied, invalid, not_found, or unavailable
}

// Send implements Transport.
func (t *shoutrrr) Send(ctx context.Context, m *Message) (Answer, error) {
	text, params := shoutrrrText(t.scheme, m)
	limit := time.Duration(t.s.Timeout)
	raw, err := json.Marshal(task{URL: t.s.URL, Text: text, Params: params, Egress: t.env.Egress.Config(), Limit: limit})
	if err != nil {
		return Answer{}, event.Invalidf("shoutrrr: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit+time.Second, fmt.Errorf("%s: no answer within %s", t.scheme, t.s.Timeout))
	defer cancel()
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, t.env.Helper[0], t.env.Helper[1:]...) //nolint:gosec // our own program
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(raw), &out, &limited{w: &complaints, left: maxAnswer}
	cmd.Env = helperEnviron(os.Environ())
	cmd.WaitDelay = time.Second
	start := time.Now()
	err = cmd.Run()
	a := Answer{Latency: time.Since(start)}
	if ctx.Err() != nil {
		return a, event.Unavailablef("%w", context.Cause(ctx))
	}
	var r result
	if err != nil || json.Unmarshal(out.Bytes(), &r) != nil {
		return a, event.Unavailablef("%s: the helper failed: %v: %s", t.scheme, err, scrub(complaints.String(), t.s.URL))
	}
	a.Status, a.Body = r.Status, scrub(r.Body, t.s.URL)
	return a, r.failure(t.scheme)
}

func (r *result) failure(scheme string) error {
	switch r.Class {
	case "":
		return nil
	case "denied":
		return event.Deniedf("%s: %s", scheme, r.Error)
	case "not_found":
		return event.NotFoundf("%s: %s", scheme, r.Error)
	case "invalid":
		return event.Invalidf("%s: %s", scheme, r.Error)
	}
	err := event.Unavailablef("%s: %s", scheme, r.Error)
	if r.RetryAfter > 0 {
		return &delayed{err, min(r.RetryAfter, maxRetryAfter)}
	}
	return err
}

// helperEnviron leaves what TLS needs, and nothing that could be a secret or a
// proxy.
func helperEnviron(environ []string) []string {
	env := []string{}
	for _, pair := range environ {
		if name, _, _ := strings.Cut(pair, "="); name == "SSL_CERT_FILE" || name == "SSL_CERT_DIR" || name == "GORACE" || name == "GOCOVERDIR" {
			env = append(env, pair)
		}
	}
	return env
}

// limited keeps the beginning of what is written.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if n > 0 {
		if _, err := l.w.Write(p[:n]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
