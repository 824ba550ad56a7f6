package alert

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Limits of what a Store keeps.
const (
	MaxFiring    = 20_000         // alerts that fire at once; more than that nobody reads
	maxDocument  = 32 << 10       // bytes of labels and annotations of one alert
	keepResolved = 24 * time.Hour // Prometheus repeats an end for 15 minutes
)

// graceAtStart is how long what ended while this server was not running is given
// to be sent again: Prometheus repeats every minute.
const graceAtStart = 2 * time.Minute

// Options say what a Store works with.
type Options struct {
	State  *state.State
	Source string // of the events
}

// Store keeps the alerts that were sent, in the state database.
type Store struct {
	Options
	owner   string
	started time.Time
	wake    chan struct{}

	mu   sync.Mutex // guards both
	told func()
	last time.Duration // how long an alert without an end lasts
}

// DefaultResolveTimeout is Alertmanager's, for alerts without an end.
const DefaultResolveTimeout = 5 * time.Minute

// New returns a Store.
func New(o Options) *Store {
	return &Store{
		Options: o, owner: string(event.NewID()), started: time.Now(), wake: make(chan struct{}, 1),
		told: func() {}, last: DefaultResolveTimeout,
	}
}

func (s *Store) running() (told func(), resolveTimeout time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told, s.last
}

// Row is one alert that fires.
type Row struct {
	Alert

	Fingerprint string
	UpdatedAt   time.Time
	assumed     bool // the end is not the sender's
	firing      bool
}

// InvalidError are the alerts of a request that were not taken. The others were.
type InvalidError struct{ Problems []error }

func (i *InvalidError) Error() string { return errors.Join(i.Problems...).Error() }

// Unwrap gives the problems, each of class event.ErrInvalid.
func (i *InvalidError) Unwrap() []error { return i.Problems }

// Put takes alerts, as Alertmanager's POST /api/v2/alerts does: one without a
// start begins now; one without an end is over when it was not sent again for
// the resolve timeout; one whose end has passed is resolved. What begins to fire,
// or is resolved, is recorded before Put returns. Of several alerts the valid ones
// are taken; the error is then an *InvalidError. An error of class
// event.ErrUnavailable means that all may be sent again.
func (s *Store) Put(ctx context.Context, by state.Cause, alerts []Alert) error {
	told, resolveTimeout := s.running()
	now := time.Now().UTC()
	invalid := &InvalidError{}
	var rows []Row
	for _, a := range alerts {
		r := complete(a, now, resolveTimeout)
		err := r.validate()
		if err == nil && r.size() > maxDocument {
			err = event.Invalidf("labels and annotations are larger than %d bytes", maxDocument)
		}
		if err != nil {
			invalid.Problems = append(invalid.Problems, err)
			continue
		}
		r.Fingerprint = r.Alert.Fingerprint()
		rows = append(rows, r)
	}
	if len(rows) > 0 {
		changed := false
		err := s.State.Write(ctx, by, func(tx *state.Tx) (err error) {
			changed, err = s.put(tx, rows, now)
			return err
		})
		if err != nil {
			return err
		}
		if changed {
			told()
		}
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	if len(invalid.Problems) > 0 {
		return invalid
	}
	return nil
}

// complete fills in what the sender has left out (Alertmanager, api/v2).
func complete(a Alert, now time.Time, resolveTimeout time.Duration) Row {
	r := Row{Alert: a, UpdatedAt: now}
	r.StartsAt, r.EndsAt = a.StartsAt.UTC(), a.EndsAt.UTC()
	if r.EndsAt.After(latest) {
		r.EndsAt = latest
	}
	if r.StartsAt.IsZero() {
		r.StartsAt = now
		if !r.EndsAt.IsZero() {
			r.StartsAt = r.EndsAt
		}
	}
	if r.EndsAt.IsZero() {
		r.EndsAt, r.assumed = now.Add(resolveTimeout), true
	}
	r.firing = !r.resolvedAt(now)
	return r
}

func (r *Row) size() int {
	n := len(r.GeneratorURL)
	for _, set := range []map[string]string{r.Labels, r.Annotations} {
		for name, value := range set {
			n += len(name) + len(value)
		}
	}
	return n
}

// put writes alerts and raises their events; it reports whether there were any.
func (s *Store) put(tx *state.Tx, rows []Row, now time.Time) (changed bool, err error) {
	room, err := s.room(tx)
	if err != nil {
		return false, err
	}
	for n := range rows {
		old, err := find(tx.Context(), tx, rows[n].Fingerprint)
		if err != nil {
			return changed, err
		}
		if old == nil && rows[n].firing {
			if room--; room < 0 {
				return changed, event.Unavailablef("%d alerts fire already; no more are taken", MaxFiring)
			}
		}
		did, err := s.putOne(tx, &rows[n], old, now)
		if err != nil {
			return changed, err
		}
		changed = changed || did
	}
	return changed, nil
}

// putOne writes one alert, of which old is what was known, and raises an event
// where it has begun to fire or is over.
func (s *Store) putOne(tx *state.Tx, r, old *Row, now time.Time) (changed bool, err error) {
	if old != nil && old.firing && !r.firing && r.EndsAt.Before(old.StartsAt) {
		return false, nil // the end of an earlier time that it fired
	}
	if old != nil && old.firing && old.resolvedAt(now) && r.StartsAt.After(old.EndsAt) {
		old.firing = false // it ended, and nobody has told yet
		if err := s.raise(tx, old, old.EndsAt); err != nil {
			return false, err
		}
	}
	at := r.StartsAt
	switch {
	case old == nil, old.over(r): // it fires anew
	case old.firing == r.firing: // nothing has changed
		r.merge(old)
		return false, save(tx, r)
	case r.firing: // it was over, and yet goes on
		at = now
		r.merge(old)
	default:
		r.merge(old)
	}
	if !r.firing {
		at = r.EndsAt
	}
	if at.After(now) { // the sender's clock is ahead
		at = now
	}
	if err := save(tx, r); err != nil {
		return false, err
	}
	return true, s.raise(tx, r, at)
}

// over reports whether an alert was over before another with the same labels
// began.
func (r *Row) over(next *Row) bool { return !r.firing && next.StartsAt.After(r.EndsAt) }

// merge joins what was known of an alert with what is sent now (Alertmanager,
// types.Alert.Merge): the earliest start; an end that was said before one that is
// only assumed, if it is later. An end that is resolved holds.
func (r *Row) merge(old *Row) {
	if old.StartsAt.Before(r.StartsAt) {
		r.StartsAt = old.StartsAt
	}
	later := old.EndsAt.After(r.EndsAt)
	switch {
	case !r.firing && !old.firing && later, r.firing && old.firing && later && !old.assumed:
		r.EndsAt, r.assumed = old.EndsAt, old.assumed
	}
}

// room is how many more alerts may begin to fire.
func (s *Store) room(tx *state.Tx) (int, error) {
	var n int
	err := tx.QueryRowContext(tx.Context(), `SELECT COUNT(*) FROM alerts WHERE firing = 1`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count alerts: %w", err)
	}
	return max(0, MaxFiring-n), nil
}

// raise records that an alert has begun to fire, or is over, and when.
func (s *Store) raise(tx *state.Tx, r *Row, at time.Time) error {
	e, err := r.Event(!r.firing, Details{Source: s.Source, Sender: "prometheus"})
	if err != nil {
		return err
	}
	by := tx.By()
	e.ID, e.Time, e.Brand = event.NewID(), at, by.Brand
	if by.AuthName != "" {
		e.AuthType, e.AuthID, e.AuthName, e.AuthEmail, e.OnBehalfOf = by.AuthType, by.AuthID, by.AuthName, by.AuthEmail, by.OnBehalfOf
	}
	e.ClientIP = by.ClientIP
	tx.Emit(e)
	return nil
}

// document is what a row keeps of an alert besides its times.
type document struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	GeneratorURL string            `json:"generatorURL"`
}

func save(tx *state.Tx, r *Row) error {
	doc, err := json.Marshal(document{r.Labels, r.Annotations, r.GeneratorURL})
	if err != nil {
		return fmt.Errorf("alert %s: %w", r.Fingerprint, err)
	}
	_, err = tx.ExecContext(tx.Context(), `INSERT INTO alerts (fingerprint, firing, starts, ends, assumed, updated, doc) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (fingerprint) DO UPDATE SET firing = $2, starts = $3, ends = $4, assumed = $5, updated = $6, doc = $7`,
		r.Fingerprint, number(r.firing), r.StartsAt.UnixNano(), r.EndsAt.UnixNano(), number(r.assumed), r.UpdatedAt.UnixNano(), string(doc))
	if err != nil {
		return fmt.Errorf("save alert %s: %w", r.Fingerprint, err)
	}
	return nil
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

const columns = `SELECT fingerprint, firing, starts, ends, assumed, updated, doc FROM alerts `

// find returns an alert, or nil where it is not known.
func find(ctx context.Context, q state.Querier, fingerprint string) (*Row, error) {
	r, err := scanRow(q.QueryRowContext(ctx, columns+`WHERE fingerprint = $1`, fingerprint).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // an alert that is not known is no error
	}
	return &r, err
}

func scanRow(scan func(...any) error) (r Row, err error) {
	var firing, starts, ends, assumed, updated int64
	var doc string
	if err := scan(&r.Fingerprint, &firing, &starts, &ends, &assumed, &updated, &doc); err != nil {
		return r, err
	}
	var d document
	if err := json.Unmarshal([]byte(doc), &d); err != nil {
		return r, fmt.Errorf("stored alert %s: %w", r.Fingerprint, err)
	}
	r.Labels, r.Annotations, r.GeneratorURL = d.Labels, d.Annotations, d.GeneratorURL
	r.StartsAt, r.EndsAt, r.UpdatedAt = time.Unix(0, starts).UTC(), time.Unix(0, ends).UTC(), time.Unix(0, updated).UTC()
	r.firing, r.assumed = firing == 1, assumed == 1
	return r, nil
}

// rowsOf reads the alerts that a query finds.
func rowsOf(ctx context.Context, q state.Querier, where string, args ...any) (all []Row, err error) {
	err = each(ctx, q, func(r Row) { all = append(all, r) }, where, args...)
	return all, err
}

func each(ctx context.Context, q state.Querier, do func(Row), where string, args ...any) error {
	found, err := q.QueryContext(ctx, columns+where, args...)
	if err != nil {
		return fmt.Errorf("read alerts: %w", err)
	}
	defer found.Close()
	for found.Next() {
		r, err := scanRow(found.Scan)
		if err != nil {
			return err
		}
		do(r)
	}
	return found.Err()
}

// Firing returns the alerts that fire, in the order of their fingerprints, as far
// as they fulfil every matcher.
func (s *Store) Firing(ctx context.Context, matchers []Matcher) (all []Row, err error) {
	err = each(ctx, s.State.Reader(), func(r Row) {
		for _, m := range matchers {
			if !m.Matches(r.Labels) {
				return
			}
		}
		all = append(all, r)
	}, `WHERE firing = 1 ORDER BY fingerprint`)
	return all, err
}
