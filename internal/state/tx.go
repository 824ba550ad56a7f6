package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Cause says who or what makes a change, and from where. It becomes the actor
// of every event that the change raises.
type Cause struct {
	AuthType   string // user, api_key, service_account, system, unauthenticated
	AuthID     string
	AuthName   string
	AuthEmail  string
	OnBehalfOf string
	ClientIP   string
	Brand      string
	// Request is the http_request member of audit events: method, path, args,
	// user_agent, request_id. Nil where no request is the cause.
	Request map[string]any

	CorrelationID string
	CausationID   event.ID // the event that led to this change
}

// System is the cause of what the server does by itself.
func System() Cause { return Cause{AuthType: "system", AuthName: "tocsin"} }

// Event makes an event with the cause's actor and place. data must marshal.
func (c Cause) Event(source string, t event.Type, subject string, data any) (event.Event, error) {
	body, err := json.Marshal(data)
	if err != nil {
		return event.Event{}, fmt.Errorf("data of %s: %w", t, err)
	}
	return event.Event{
		ID: event.NewID(), Source: source, Type: t, Subject: subject, Time: time.Now().UTC(),
		DataContentType: "application/json",
		AuthType:        c.AuthType, AuthID: c.AuthID, AuthName: c.AuthName, AuthEmail: c.AuthEmail, OnBehalfOf: c.OnBehalfOf,
		ClientIP: c.ClientIP, Brand: c.Brand, CorrelationID: c.CorrelationID, CausationID: string(c.CausationID),
		Data: body,
	}, nil
}

// Tx is a transaction that can raise events.
type Tx struct {
	*sql.Tx
	ctx    context.Context //nolint:containedctx // a transaction is bound to the context it was begun with
	by     Cause
	state  *State
	events []event.Event
	rows   []outboxRow // what flush has made of the events
	last   int64       // number of the last of them; 0 where there are none
}

// By is the cause of the change.
func (tx *Tx) By() Cause { return tx.by }

// ActAs makes by the cause of the transaction, and of what it has raised so far:
// for somebody who comes to be in it.
func (tx *Tx) ActAs(by Cause) {
	tx.by = by
	for i := range tx.events {
		e := &tx.events[i]
		e.AuthType, e.AuthID, e.AuthName, e.AuthEmail, e.OnBehalfOf = by.AuthType, by.AuthID, by.AuthName, by.AuthEmail, by.OnBehalfOf
	}
}

// Context is the context of the transaction.
func (tx *Tx) Context() context.Context { return tx.ctx }

// Emit adds an event to the transaction: it is recorded if, and only if, the
// transaction is committed.
func (tx *Tx) Emit(e event.Event) { tx.events = append(tx.events, e) }

// Raise makes an event of the transaction's cause and emits it. producer is the
// last part of its source.
func (tx *Tx) Raise(producer string, t event.Type, subject string, data any) error {
	return tx.raise(tx.state.source+"/"+producer, t, subject, data)
}

// RaiseSignificant is Raise for the events of seed 002, whose sources have a
// base of their own; service is the seed's microservice.
func (tx *Tx) RaiseSignificant(service string, t event.Type, subject string, data any) error {
	return tx.raise(tx.state.significant+"/"+service, t, subject, data)
}

func (tx *Tx) raise(source string, t event.Type, subject string, data any) error {
	e, err := tx.by.Event(source, t, subject, data)
	if err != nil {
		return err
	}
	tx.Emit(e)
	return nil
}

// exec runs a statement and wraps its error with what it was for.
func (tx *Tx) exec(what, query string, args ...any) (sql.Result, error) {
	r, err := tx.ExecContext(tx.ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return r, nil
}

// Next takes n numbers from a counter and returns the first.
func (tx *Tx) Next(counter string, n int) (int64, error) {
	var value int64
	err := tx.QueryRowContext(tx.ctx, `INSERT INTO counters (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = counters.value + $2 RETURNING value`, counter, n).Scan(&value)
	if err != nil {
		return 0, fmt.Errorf("counter %s: %w", counter, err)
	}
	return value - int64(n) + 1, nil
}

// flush writes the events to the outbox and removes those that the journal has.
func (tx *Tx) flush(recorded int64) error {
	if len(tx.events) == 0 {
		return nil
	}
	if _, err := tx.exec("clear the outbox", `DELETE FROM outbox WHERE seq <= $1`, recorded); err != nil {
		return err
	}
	correlation := tx.by.CorrelationID
	if correlation == "" && len(tx.events) > 1 {
		correlation = string(tx.events[0].ID)
	}
	tx.last = tx.state.last
	tx.rows = make([]outboxRow, len(tx.events))
	for i := range tx.events {
		e := &tx.events[i]
		if e.CorrelationID == "" {
			e.CorrelationID = correlation
		}
		tx.state.redact(e)
		tx.last++
		tx.rows[i] = outboxRow{tx.last, string(e.AppendJSON(nil))}
		if _, err := tx.exec("fill the outbox", `INSERT INTO outbox (seq, event) VALUES ($1, $2)`, tx.last, tx.rows[i].event); err != nil {
			return err
		}
	}
	return nil
}
