// Package state keeps everything that is not an event: users, tokens, settings,
// cursors, leases. It is SQL through database/sql, on SQLite by default; the
// migrations and the queries are written so that PostgreSQL is a second driver
// and nothing else.
//
// It promises: there is one door for writes, Write; what passes through it is
// one transaction, leaves its audit events in an outbox row of the same
// transaction, and answers only when the journal has them, so that state and
// record never disagree. Readers never wait for a writer. A worker that holds a
// lease is the only one, on however many nodes. The outbox has one process: the
// one that holds the journal's lock.
package state

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"sync"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Options configure a state database.
type Options struct {
	Dir    string // folder of the SQLite file
	Source string // prefix of the source of audit events, such as the public URL
	// Significant is the prefix of the source of significant events (seed 002).
	Significant string
	// Redact masks the secrets of an event before it is written to the outbox;
	// nil masks without regard to the catalog.
	Redact func(*event.Event)
}

// State is an open state database, safe for concurrent use.
type State struct {
	read        *sql.DB
	write       *sql.DB // one connection: SQLite has one writer, and waiting in Go is fair
	source      string
	significant string
	redact      func(*event.Event)

	turn       chan struct{} // full while somebody writes; guards last
	last       int64         // number of the newest row that the outbox has had
	recent     recent
	statements statements

	mu     sync.Mutex // guards record
	record Recorder
}

// Recorder takes note that outbox rows up to seq are committed, and returns
// when the journal has them.
type Recorder func(ctx context.Context, seq int64) error

// Open opens the database in a folder, creating and migrating it as needed.
func Open(ctx context.Context, o Options) (*State, error) {
	path := filepath.Join(o.Dir, "state.db")
	s := &State{source: o.Source, significant: o.Significant, redact: o.Redact, turn: make(chan struct{}, 1)}
	if s.redact == nil {
		s.redact = func(e *event.Event) { redact.Event(e, nil) }
	}
	var err error
	if s.write, err = openSQLite(path, 1); err != nil {
		return nil, err
	}
	s.statements = statements{db: s.write, kept: map[string]*sql.Stmt{}}
	if err = s.migrate(ctx); err == nil {
		s.read, err = openSQLite(path, 4)
	}
	if err == nil {
		err = s.resume(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func openSQLite(path string, connections int) (*sql.DB, error) {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"journal_mode(wal)", "synchronous(full)", "foreign_keys(on)", "busy_timeout(10000)", "cache_size(-4000)",
	}}
	u := url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

func (s *State) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, s.write, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate the state database: %w", err)
	}
	return nil
}

// resume finds the number of the newest outbox row. From there on, numbers are
// given out in memory, which saves a statement in each transaction. Earlier
// versions kept them in a counter.
func (s *State) resume(ctx context.Context) error {
	var counter int64
	err := s.read.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) FROM outbox`).Scan(&s.last)
	if err == nil {
		err = s.read.QueryRowContext(ctx, `SELECT coalesce(max(value), 0) FROM counters WHERE name = 'outbox'`).Scan(&counter)
	}
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	s.last = max(s.last, counter)
	s.recent.floor = s.last
	return nil
}

// Close closes the database. Writes must have ended.
func (s *State) Close() error {
	errs := []error{s.statements.close()}
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// SetSources replaces the prefixes of the sources of events, see Options. It must
// be called before the first Write.
func (s *State) SetSources(source, significant string) { s.source, s.significant = source, significant }

// SetRecorder tells what carries the outbox into the journal. Until then,
// writes leave their events in the outbox.
func (s *State) SetRecorder(r Recorder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = r
}

// Querier reads: the database, or a transaction that sees its own writes.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Reader returns a Querier that sees what has been committed.
func (s *State) Reader() Querier { return s.read }

// Write runs do in one transaction, on behalf of by. It returns when the
// transaction is committed and the events that it made are in the journal. An
// error of do undoes everything and is returned as it is. If the journal does
// not accept events, the change is kept, its events wait in the outbox, and the
// error is of class event.ErrUnavailable.
func (s *State) Write(ctx context.Context, by Cause, do func(tx *Tx) error) error {
	last, err := s.commit(ctx, by, do)
	if err != nil || last == 0 {
		return err
	}
	s.mu.Lock()
	record := s.record
	s.mu.Unlock()
	if record == nil {
		return nil
	}
	if err := record(ctx, last); err != nil {
		return event.Unavailablef("the change is stored, but its event is not recorded yet: %w", err)
	}
	return nil
}

// commit runs do and commits; it returns the number of the last outbox row. One
// at a time does, until its rows are known to recent, which so has them in order.
func (s *State) commit(ctx context.Context, by Cause, do func(tx *Tx) error) (int64, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return 0, fmt.Errorf("begin: %w", ctx.Err())
	}
	t, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("begin: %w", err)
	}
	over := false
	defer func() {
		if !over { // a panic of do, whose context may go on for ever
			_ = t.Rollback()
		}
	}()
	tx := &Tx{Tx: t, ctx: ctx, by: by, state: s}
	err = do(tx)
	over = true
	if err == nil {
		err = tx.flush(s.recent.done())
	}
	if err != nil {
		return 0, errors.Join(err, rollback(t))
	}
	if tx.last > 0 {
		s.last = tx.last // also where the commit fails: it may have reached the disk
	}
	if err := t.Commit(); err != nil {
		s.recent.forget(s.last)
		return 0, fmt.Errorf("commit: %w", err)
	}
	s.recent.add(tx.rows)
	s.statements.prepare(ctx)
	return tx.last, nil
}

func rollback(t *sql.Tx) error {
	if err := t.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return fmt.Errorf("roll back: %w", err)
	}
	return nil
}
