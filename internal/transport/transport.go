// Package transport tells people and machines: one file for each way, from
// e-mail to Alertmanager.
//
// A file registers a mode in init; notify opens what its rules name and sends.
// It promises: a transport keeps no queue and starts nothing by itself; Send
// returns in time, tells temporary failures from permanent ones, and may be
// called from many goroutines; a message carries the same idempotency key at
// every attempt; whatever an event's text holds, it stays text: it mentions
// nobody, begins no markup, adds no header and no line; and no error or answer
// tells a secret of the settings. All connections go through internal/egress,
// but those to the mail server of the configuration.
package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// Transport is one opened way.
type Transport interface {
	// Send delivers a message. The answer is what the other side said, also
	// where there is an error. An error of class event.ErrUnavailable is
	// temporary (see RetryAfter); one of any other class is permanent; one of ctx
	// is neither.
	Send(ctx context.Context, m *Message) (Answer, error)
}

// Env is what transports may use. All but Logger, MailTLS and Helper must be set.
type Env struct {
	Egress    *egress.Guard
	Filter    *filter.Env
	SMTP      func() config.SMTP // the mail server of the configuration, of this moment
	MailTLS   *tls.Config        // of connections to it; nil for the system's
	Host      string             // name of this machine
	PublicURL string             // of this server
	Version   string             // of this program
	// Helper is the command that answers Help, for the services of shoutrrr; the
	// mode is refused without it.
	Helper []string
	Logger *slog.Logger
}

// Answer is what the other side said.
type Answer struct {
	Status  int           `json:"status"` // of HTTP or SMTP; 0 where the protocol has none, or nobody answered
	Latency time.Duration `json:"latency"`
	Body    string        `json:"body"` // its first kilobyte, redacted
	// Mail is what was sent, for the mode email alone; email_sent tells it.
	Mail *Mail `json:"-"`
}

// Mail is an e-mail as email_sent has it.
type Mail struct {
	From, Subject, Body string
	To                  []string
}

// maxAnswer is how much of an answer is kept for the ledger, in bytes.
const maxAnswer = 1 << 10

// Temporary reports whether a later attempt may succeed.
func Temporary(err error) bool { return errors.Is(err, event.ErrUnavailable) }

// RetryAfter is how long the other side asks to be left alone (RFC 9110, 10.2.3);
// 0 where it has not said.
func RetryAfter(err error) time.Duration {
	if d, ok := errors.AsType[*delayed](err); ok {
		return d.after
	}
	return 0
}

// delayed is a temporary failure with the time of the next attempt.
type delayed struct {
	error
	after time.Duration
}

func (d *delayed) Unwrap() error { return d.error }

// MappingError is a template or an expression of the settings that failed for an
// event. It becomes property_mapping_exception.
type MappingError struct {
	Part       string // such as body, or headers.X-Path
	Expression string
	Err        error
}

func (e *MappingError) Error() string { return e.Part + ": " + e.Err.Error() }

// Unwrap makes the failure permanent: the next attempt would fail as well.
func (e *MappingError) Unwrap() []error { return []error{event.ErrInvalid, e.Err} }

// Mode is one way, for the documentation and for forms.
type Mode struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
	// Personal is true where a message needs recipients; all others have a
	// destination of their own.
	Personal bool `json:"personal"`
	// Resolves is true where a message may say that an alert is over.
	Resolves bool     `json:"resolves"`
	Options  []Option `json:"options"`
}

// definition is one registered mode.
type definition struct {
	Mode
	open func(settings json.RawMessage, env *Env) (Transport, error)
}

// definitions is filled by the init functions of this package's files alone.
var definitions []definition //nolint:gochecknoglobals // the registry: values only, written by init

// register adds a mode. C is its settings: a struct with json, doc and, where
// they fit, required and secret tags; defaults are what holds where nothing is
// said.
func register[C any](m Mode, defaults C, open func(C, *Env) (Transport, error)) {
	m.Options = optionsOf(defaults)
	d := definition{Mode: m, open: func(settings json.RawMessage, env *Env) (Transport, error) {
		c := defaults
		if err := decodeStrict(settings, m.Options, &c); err != nil {
			return nil, err
		}
		return open(c, env)
	}}
	if slices.ContainsFunc(definitions, func(other definition) bool { return other.Name == m.Name }) {
		panic("transport: " + m.Name + " is registered twice")
	}
	definitions = append(definitions, d)
	slices.SortFunc(definitions, func(a, b definition) int { return cmp.Compare(a.Name, b.Name) })
}

// Modes lists every mode, sorted by name.
func Modes() []Mode {
	modes := make([]Mode, len(definitions))
	for i, d := range definitions {
		modes[i] = d.Mode
	}
	return modes
}

// Open makes a transport of a mode with settings, a JSON object; it connects to
// nothing. Errors are of class event.ErrInvalid, join every problem of the
// settings and do not show their values where these are secret.
func Open(mode string, settings json.RawMessage, env *Env) (Transport, error) {
	d, err := find(mode)
	if err != nil {
		return nil, err
	}
	t, err := d.open(settings, env)
	if err != nil {
		return nil, event.Invalidf("%s: %w", mode, err)
	}
	return t, nil
}

func find(mode string) (*definition, error) {
	names := make([]string, len(definitions))
	for i := range definitions {
		if names[i] = definitions[i].Name; names[i] == mode {
			return &definitions[i], nil
		}
	}
	return nil, event.Invalidf("mode %q is unknown: use one of %s", cut(mode, 64), strings.Join(names, ", "))
}

// answerOf is what the ledger keeps of an HTTP exchange.
func answerOf(a egress.Answer) Answer {
	body := a.Body[:min(len(a.Body), maxAnswer)]
	text := redact.Text(strings.ToValidUTF8(string(body), "�"))
	if a.Broken != nil {
		text += " […]"
	}
	return Answer{Status: a.Status, Latency: a.Latency, Body: text}
}
