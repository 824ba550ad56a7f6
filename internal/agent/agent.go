// Package agent knows the remote hosts that report here, and says when one has
// fallen silent.
//
// It promises: an agent belongs to the token with which it joined, and no other
// speaks for it; silence is told once and its end once; the time of silence is
// that of this server's running clock, so that neither a clock that is set nor a
// restart of this server makes an agent silent.
package agent

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Report is what an agent says of itself.
type Report struct {
	Name    string            `json:"name"` // its host name
	Version string            `json:"version"`
	Started time.Time         `json:"started"`
	Now     time.Time         `json:"now"` // its clock
	Labels  map[string]string `json:"labels"`
	Lag     uint64            `json:"lag"`     // events that it has not sent yet
	Refused uint64            `json:"refused"` // events that this server did not take, since its start
	Sources []Source          `json:"sources"`
}

// Source is how one source of an agent fares.
type Source struct {
	Name      string     `json:"name"`
	Status    string     `json:"status"`
	LastEvent *time.Time `json:"last_event"`
	LastError string     `json:"last_error"`
	Lacks     string     `json:"lacks"`
}

// Row is an agent as people see it.
type Row struct {
	ID        string    `json:"id"`
	Silent    bool      `json:"silent"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
	Address   string    `json:"address"`
	Token     string    `json:"token"` // name of the token that it shows
	// ClockOff is how far its clock is ahead of this server's, in milliseconds,
	// with the time that its report was under way.
	ClockOff int64 `json:"clock_off_ms"`
	Report
}

// Sender is who hands a report in.
type Sender struct {
	ID    string // of the token or account; constant as long as it exists
	Token string // its name
	Cause state.Cause
}

// Options configure New.
type Options struct {
	State       *state.State
	Source      string               // of the events
	SilentAfter func() time.Duration // asked anew each time: a reload may change it
}

// Agents keeps the agents, in the state database.
type Agents struct {
	Options
	owner string

	mu    sync.Mutex // guards heard
	heard map[string]heard
	start time.Time
}

// heard is when an agent was heard, by the running clock, and what its row says of that.
type heard struct {
	at   time.Time
	last int64
}

// New returns Agents.
func New(o Options) *Agents {
	return &Agents{Options: o, owner: string(event.NewID()), heard: map[string]heard{}, start: time.Now()}
}

// Limits of a report, which is stored as it is.
const (
	maxReport = 64 << 10 // bytes
	maxAgents = 10_000
)

// document is what is stored of an agent besides its times.
type document struct {
	Report

	Address  string `json:"address"`
	Token    string `json:"token_name"`
	ClockOff int64  `json:"clock_off_ms"`
}

// Heard takes a report. The error is of class event.ErrDenied where the agent
// belongs to another token.
func (a *Agents) Heard(ctx context.Context, id string, from Sender, r Report) error {
	if err := r.validate(id); err != nil {
		return err
	}
	now := time.Now().UTC()
	doc := document{Report: r, Address: from.Cause.ClientIP, Token: from.Token}
	if !r.Now.IsZero() {
		doc.ClockOff = r.Now.Sub(now).Milliseconds()
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("agent %s: %w", id, err)
	}
	if len(text) > maxReport {
		return event.Invalidf("the report has %d bytes; at most %d are taken", len(text), maxReport)
	}
	err = a.State.Write(ctx, from.Cause, func(tx *state.Tx) error {
		old, err := find(tx.Context(), tx, id)
		if err != nil {
			return err
		}
		row := stored{id: id, owner: from.ID, first: now.UnixNano(), last: now.UnixNano(), doc: string(text)}
		if old == nil {
			if err := room(tx); err != nil {
				return err
			}
			return errors.Join(row.save(tx), a.raise(tx, "agent.joined", id, &doc, now))
		}
		if old.owner != from.ID {
			return event.Deniedf("the agent %s belongs to another token; where that is meant, remove the agent here first", r.Name)
		}
		row.first = old.first
		if err := row.save(tx); err != nil {
			return err
		}
		if old.silent {
			return a.raise(tx, "agent.returned", id, &doc, now)
		}
		return nil
	})
	if err == nil {
		a.mu.Lock()
		a.heard[id] = heard{at: time.Now(), last: now.UnixNano()}
		a.mu.Unlock()
	}
	return err
}

func (r *Report) validate(id string) error {
	switch {
	case id == "" || len(id) > 64 || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyz-") != "":
		return event.Invalidf("id: an agent's id has 1 to 64 small letters, digits and hyphens")
	case r.Name == "" || len(r.Name) > 253 || strings.ContainsFunc(r.Name, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return event.Invalidf("name: the host name must have 1 to 253 characters without spaces")
	case len(r.Version) > 128 || len(r.Sources) > 200 || len(r.Labels) > 64:
		return event.Invalidf("the report is out of proportion: at most 128 bytes of version, 200 sources and 64 labels")
	}
	return nil
}

// raise records what became of an agent.
func (a *Agents) raise(tx *state.Tx, t event.Type, id string, doc *document, seen time.Time) error {
	e, err := tx.By().Event(a.Source, t, "agent/"+id, map[string]any{
		"name": doc.Name, "version": doc.Version, "token": doc.Token, "last_seen": seen.UTC().Format(time.RFC3339),
	})
	if err != nil {
		return err
	}
	e.Host = doc.Name
	tx.Emit(e)
	return nil
}

// stored is a row of the table.
type stored struct {
	id, owner   string
	silent      bool
	first, last int64
	doc         string
}

func (s *stored) save(tx *state.Tx) error {
	silent := int64(0)
	if s.silent {
		silent = 1
	}
	_, err := tx.ExecContext(tx.Context(), `INSERT INTO agents (id, token, silent, first_seen, last_seen, doc) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id) DO UPDATE SET token = $2, silent = $3, last_seen = $5, doc = $6`, s.id, s.owner, silent, s.first, s.last, s.doc)
	if err != nil {
		return fmt.Errorf("save agent %s: %w", s.id, err)
	}
	return nil
}

func room(tx *state.Tx) error {
	var n int
	if err := tx.QueryRowContext(tx.Context(), `SELECT count(*) FROM agents`).Scan(&n); err != nil {
		return fmt.Errorf("count agents: %w", err)
	}
	if n >= maxAgents {
		return event.Unavailablef("%d agents report here already; remove those that are gone", n)
	}
	return nil
}

const columns = `SELECT id, token, silent, first_seen, last_seen, doc FROM agents `

// find returns an agent; nil where there is none of this id.
func find(ctx context.Context, q state.Querier, id string) (*stored, error) {
	var s stored
	var silent int64
	err := q.QueryRowContext(ctx, columns+`WHERE id = $1`, id).Scan(&s.id, &s.owner, &silent, &s.first, &s.last, &s.doc)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // an agent that is not known is no error
	}
	if err != nil {
		return nil, fmt.Errorf("read agent %s: %w", id, err)
	}
	s.silent = silent != 0
	return &s, nil
}

func (s *stored) row() (Row, error) {
	var d document
	if err := json.Unmarshal([]byte(s.doc), &d); err != nil {
		return Row{}, fmt.Errorf("stored agent %s: %w", s.id, err)
	}
	return Row{
		ID: s.id, Silent: s.silent, FirstSeen: time.Unix(0, s.first).UTC(), LastSeen: time.Unix(0, s.last).UTC(),
		Address: d.Address, Token: d.Token, ClockOff: d.ClockOff, Report: d.Report,
	}, nil
}

// all reads every agent.
func all(ctx context.Context, q state.Querier) ([]stored, error) {
	found, err := q.QueryContext(ctx, columns+`ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	defer found.Close()
	var rows []stored
	for found.Next() {
		var s stored
		var silent int64
		if err := found.Scan(&s.id, &s.owner, &silent, &s.first, &s.last, &s.doc); err != nil {
			return nil, fmt.Errorf("read agents: %w", err)
		}
		s.silent = silent != 0
		rows = append(rows, s)
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	return rows, nil
}

// List gives every agent, by name.
func (a *Agents) List(ctx context.Context) ([]Row, error) {
	found, err := all(ctx, a.State.Reader())
	if err != nil {
		return nil, err
	}
	rows := make([]Row, len(found))
	for i := range found {
		if rows[i], err = found[i].row(); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(rows, func(x, y Row) int { return strings.Compare(x.Name, y.Name) })
	return rows, nil
}

// Get gives one agent. The error is of class event.ErrNotFound where there is none.
func (a *Agents) Get(ctx context.Context, id string) (Row, error) {
	s, err := find(ctx, a.State.Reader(), id)
	if err != nil {
		return Row{}, err
	}
	if s == nil {
		return Row{}, event.NotFoundf("there is no agent %s", id)
	}
	return s.row()
}
