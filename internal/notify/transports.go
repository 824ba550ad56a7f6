package notify

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
	"github.com/tocsin-events/tocsin/internal/transport"
)

// Transport is a configured way of telling. What of its settings is secret lies
// sealed; Settings are what people may see.
type Transport struct {
	Name     string          `json:"name"`
	Mode     string          `json:"mode"`
	Settings json.RawMessage `json:"settings"`
	Sealed   string          `json:"secret_settings"` // the name makes every diff mask it
	Rate     *Rate           `json:"rate"`
	Retry    *Retry          `json:"retry"`
}

// Rate bounds how often a destination is called.
type Rate struct {
	Count  int             `json:"count"`
	Within config.Duration `json:"within"`
}

// Retry says how often a message is tried, and how long between two attempts:
// from First on doubled up to Most, each with up to a fifth of chance.
type Retry struct {
	Attempts int             `json:"attempts"`
	First    config.Duration `json:"first"`
	Most     config.Duration `json:"most"`
}

// DefaultRetry gives up after about eight hours.
func DefaultRetry() Retry {
	return Retry{Attempts: 16, First: config.Duration(5 * time.Second), Most: config.Duration(time.Hour)}
}

// TransportInput is what a caller says of a transport.
type TransportInput struct {
	Name     string          `json:"name"`
	Mode     string          `json:"mode"`
	Settings json.RawMessage `json:"settings"`
	Rate     *Rate           `json:"rate"`
	Retry    *Retry          `json:"retry"`
}

// Inbox is the mode that tells in the pages.
const Inbox = "inbox"

// Modes lists every mode, the inbox among them.
func Modes() []transport.Mode {
	return append([]transport.Mode{{Name: Inbox, Doc: "In Tocsin's own pages, at once.", Personal: true}}, transport.Modes()...)
}

func isPersonal(mode string) bool {
	return slices.ContainsFunc(Modes(), func(m transport.Mode) bool { return m.Name == mode && m.Personal })
}

var transports = state.Collection[Transport]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "notify", Model: "transport",
	Name:  func(t *Transport) string { return t.Name },
	Keys:  func(t *Transport) map[string]string { return map[string]string{"name": strings.ToLower(t.Name)} },
	Check: checkTransport,
}

func checkTransport(t *Transport) error {
	problems := []error{checkName("a transport", t.Name)}
	if r := t.Rate; r != nil && (r.Count < 1 || r.Count > 100_000 || !inWindow(r.Within)) {
		problems = append(problems, event.Invalidf("rate: use a count of 1 to 100000 within 1s to 400d"))
	}
	if r := t.Retry; r != nil && (r.Attempts < 1 || r.Attempts > 100 || r.First < config.Duration(10*time.Millisecond) || r.Most < r.First || r.Most > config.Duration(24*time.Hour)) {
		problems = append(problems, event.Invalidf("retry: use 1 to 100 attempts, first from 10ms on, most up to 24h and not below first"))
	}
	return errors.Join(problems...)
}

// put checks settings and seals them. Where they hold what people see of old
// ones, the old secrets stay.
func (n *Notify) put(t *Transport, in TransportInput) error {
	old := json.RawMessage("{}")
	if t.Sealed != "" && t.Mode == in.Mode {
		plain, err := n.settings(t)
		if err != nil {
			return err
		}
		old = plain
	}
	if len(in.Settings) == 0 || string(in.Settings) == "null" {
		in.Settings = json.RawMessage("{}")
	}
	plain, shown := in.Settings, in.Settings
	if in.Mode == Inbox {
		if string(plain) != "{}" {
			return event.Invalidf("settings: an inbox has none")
		}
	} else {
		var err error
		if plain, err = transport.Restore(in.Mode, in.Settings, old); err != nil {
			return err
		}
		if _, err = transport.Open(in.Mode, plain, n.env()); err != nil {
			return err
		}
		if shown, err = transport.Redacted(in.Mode, plain); err != nil {
			return err
		}
	}
	same := t.Sealed != "" && t.Mode == in.Mode && string(plain) == string(old)
	t.Name, t.Mode, t.Settings, t.Rate, t.Retry = strings.TrimSpace(in.Name), in.Mode, shown, in.Rate, in.Retry
	if !same {
		t.Sealed = n.seal.Close("transport", string(plain))
	}
	return nil
}

// settings are a transport's, with their secrets.
func (n *Notify) settings(t *Transport) (json.RawMessage, error) {
	plain, err := n.seal.Open("transport", t.Sealed)
	return json.RawMessage(plain), err
}

// open makes a transport ready to send.
func (n *Notify) open(t *Transport) (transport.Transport, error) {
	plain, err := n.settings(t)
	if err != nil {
		return nil, err
	}
	return transport.Open(t.Mode, plain, n.env())
}

func (n *Notify) env() *transport.Env {
	return &transport.Env{
		Egress: n.o.Egress, Filter: n.o.Filters, SMTP: n.o.SMTP, MailTLS: n.o.MailTLS, Host: n.o.Host,
		PublicURL: n.o.PublicURL, Version: n.o.Version, Helper: n.o.Helper, Logger: n.o.Logger,
	}
}

// ListTransports returns up to limit transports behind an id.
func (n *Notify) ListTransports(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[Transport], error) {
	return transports.List(ctx, n.o.State.Reader(), after, limit)
}

// GetTransport returns one transport.
func (n *Notify) GetTransport(ctx context.Context, id state.ObjectID) (state.Record[Transport], error) {
	return transports.Get(ctx, n.o.State.Reader(), id)
}

// CreateTransport stores a transport; it calls nobody.
func (n *Notify) CreateTransport(ctx context.Context, by state.Cause, in TransportInput) (made state.Record[Transport], err error) {
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		var t Transport
		if err := n.put(&t, in); err != nil {
			return err
		}
		made, err = transports.Insert(tx, t)
		return err
	})
	return made, err
}

// UpdateTransport changes a transport. change gets what people see of it.
func (n *Notify) UpdateTransport(ctx context.Context, by state.Cause, id state.ObjectID, version int64, change func(TransportInput) (TransportInput, error)) (r state.Record[Transport], err error) {
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		r, err = transports.Update(tx, id, version, func(t *Transport) error {
			in, err := change(TransportInput{t.Name, t.Mode, t.Settings, t.Rate, t.Retry})
			if err != nil {
				return err
			}
			return n.put(t, in)
		})
		return err
	})
	return r, err
}

// DeleteTransport removes a transport that no rule uses. What waits for it is
// given up.
func (n *Notify) DeleteTransport(ctx context.Context, by state.Cause, id state.ObjectID, version int64) error {
	return n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		err := eachOf(tx.Context(), tx, &rules, func(r state.Record[Rule]) error {
			used := slices.Contains(r.Value.Transports, id.String())
			for _, s := range r.Value.Escalate {
				used = used || slices.Contains(s.Transports, id.String())
			}
			if used {
				return event.Conflictf("the rule %q uses this transport: change the rule first", r.Value.Name)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if _, err := transports.Delete(tx, id, version); err != nil {
			return err
		}
		_, err = tx.ExecContext(tx.Context(), `UPDATE deliveries SET state = 'dead', reason = 'the transport was removed', finished = $2
			WHERE transport = $1 AND state IN ('queued', 'retrying')`, int64(id), time.Now().UnixNano())
		return err
	})
}

// RevealTransport shows the settings of a transport with their secrets, and
// raises secret_view. The caller has made sure of the person.
func (n *Notify) RevealTransport(ctx context.Context, by state.Cause, id state.ObjectID, raise func(tx *state.Tx, app, model, pk, name string) error) (settings json.RawMessage, err error) {
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		t, err := transports.Get(ctx, tx, id)
		if err != nil {
			return err
		}
		if settings, err = n.settings(&t.Value); err != nil {
			return err
		}
		return raise(tx, transports.App, transports.Model, id.String(), t.Value.Name)
	})
	return settings, err
}

// TestTransport sends a real message, now, and says what the other side
// answered. to is the person that a personal way needs.
func (n *Notify) TestTransport(ctx context.Context, id state.ObjectID, by state.Cause, to Person) (transport.Answer, error) {
	t, err := n.GetTransport(ctx, id)
	if err != nil {
		return transport.Answer{}, err
	}
	e, err := by.Event(n.o.Source+"/"+producer, "notification.test", "transport/"+id.String(), map[string]any{"transport": t.Value.Name})
	if err != nil {
		return transport.Answer{}, err
	}
	e.Severity, e.Kind, e.Host = event.Info, event.KindCustom, n.o.Host
	m := transport.Compose(n.o.Catalog, &e, n.o.PublicURL)
	m.Key, m.RuleID, m.Rule, m.Link = "test_"+shortHash(string(e.ID)), "0", "Test", n.o.PublicURL+"/"
	m.Title, m.Text = "Test of the transport "+t.Value.Name, catalog.Render("{actor|somebody} tests whether messages of this Tocsin arrive here. They do.", &e)
	if t.Value.Mode == Inbox {
		began := time.Now()
		err := n.o.State.Write(ctx, state.System(), func(tx *state.Tx) error {
			return putInbox(tx, inboxItem{user: to.ID, severity: event.Info, title: m.Title, text: m.Text, created: began})
		})
		n.touch()
		return transport.Answer{Latency: time.Since(began), Body: "stored"}, err
	}
	way, err := n.open(&t.Value)
	if err != nil {
		return transport.Answer{}, err
	}
	if isPersonal(t.Value.Mode) {
		if to.Email == "" {
			return transport.Answer{}, event.Invalidf("you have no e-mail address: set one in your profile, then test again")
		}
		m.Recipients = []transport.Recipient{to.recipient()}
	}
	return way.Send(ctx, &m)
}

func (p *Person) recipient() transport.Recipient {
	return transport.Recipient{Name: p.Name, Email: p.Email, Username: p.Username}
}
