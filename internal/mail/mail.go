// Package mail sends mails through the mail server of the configuration.
//
// It promises: a mail that is queued in a transaction is sent if, and only if,
// the transaction is committed; it is tried again until the server takes it or
// it is of no use any more, and what comes of it is on record: email_sent with
// the text as it may be read by everybody, or configuration_error. A crash
// between the server's yes and our note of it sends a mail twice, never not at
// all. Bodies, which hold links that work once, lie sealed in the database.
package mail

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Options configure New. All but TLS and Guard must be set.
type Options struct {
	State  *state.State
	Key    state.Key
	Source string             // prefix of the source of events
	Server func() config.SMTP // of this moment: a reload may change it
	Logger *slog.Logger
	TLS    *tls.Config // of connections to the server; nil for the system's
	// Guard connects to a server that the settings name; nil for as to any other.
	Guard func(ctx context.Context, network, address string) (net.Conn, error)
}

// Mail sends mails.
type Mail struct {
	o    Options
	seal *state.Sealer
	wake chan struct{}
}

// New returns a Mail; what is queued is sent while its Run is running.
func New(o Options) *Mail {
	return &Mail{o: o, seal: o.Key.Sealer("queued mails"), wake: make(chan struct{}, 1)}
}

// Ready reports whether a mail server is configured.
func (m *Mail) Ready() bool { return m.o.Server().Host != "" }

// Message is one mail. Record is its text as everybody may read it; empty for
// the text itself.
type Message struct{ To, Subject, Text, Record string }

// Queue stores a mail in a transaction, to be sent when that is committed, on
// behalf of the transaction's cause. After life it is given up.
func (m *Mail) Queue(tx *state.Tx, to, subject, text, record string, life time.Duration) error {
	cause, err := json.Marshal(tx.By())
	if err != nil {
		return fmt.Errorf("queue a mail: %w", err)
	}
	id, now := string(event.NewID()), time.Now()
	sealed := m.seal.Close(id, text)
	_, err = tx.ExecContext(tx.Context(), `INSERT INTO mails (id, recipient, subject, body, record, cause, tries, due, expires)
		VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8)`, id, to, subject, sealed, record, string(cause), now.UnixNano(), now.Add(life).UnixNano())
	if err != nil {
		return fmt.Errorf("queue a mail: %w", err)
	}
	select {
	case m.wake <- struct{}{}: // Run finds it when the transaction has made room for the next one
	default:
	}
	return nil
}

// sendTime is how long one mail may take.
const sendTime = time.Minute

// Send hands a mail to the server now and records it. Errors are of class
// event.ErrUnavailable where a later try may succeed.
func (m *Mail) Send(ctx context.Context, by state.Cause, msg Message) error {
	if err := m.deliver(ctx, msg); err != nil {
		return err
	}
	return m.o.State.Write(ctx, by, func(tx *state.Tx) error { return m.record(tx, by, msg) })
}

// record raises email_sent (seed 003), with the request left out: it asked for
// the act, not for the mail.
func (m *Mail) record(tx *state.Tx, by state.Cause, msg Message) error {
	body := msg.Record
	if body == "" {
		body = msg.Text
	}
	e, err := by.Event(m.o.Source+"/mail", "email_sent", "", map[string]any{
		"subject": msg.Subject, "body": body, "from_email": m.o.Server().From, "to_email": []string{msg.To}, "to": []string{msg.To},
	})
	if err == nil {
		tx.Emit(e)
	}
	return err
}

// deliver talks to the mail server.
func (m *Mail) deliver(ctx context.Context, msg Message) error {
	server := m.o.Server()
	if server.Host == "" {
		return event.Unavailablef("no mail server is configured: set smtp.host")
	}
	to := Server{SMTP: server, TLS: m.o.TLS}
	if server.Guarded {
		to.Dial = m.o.Guard
	}
	_, err := to.Deliver(ctx, Letter{To: []string{msg.To}, Subject: msg.Subject, Text: msg.Text})
	return err
}
