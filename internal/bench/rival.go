package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/tocsin-events/tocsin/internal/event"
)

// rival is SQLite (the driver that internal/state registers) doing the
// journal's work: one goroutine takes what waits and makes it one transaction.
type rival struct {
	db    *sql.DB
	dir   string
	queue chan *rivalRequest
	last  int64
}

type rivalRow struct {
	event *event.Event
	body  []byte
}

type rivalRequest struct {
	rows []rivalRow
	done chan error
}

const rivalTable = `CREATE TABLE events (seq INTEGER PRIMARY KEY, id TEXT NOT NULL, source TEXT NOT NULL, type TEXT NOT NULL, time INTEGER NOT NULL,
	severity INTEGER NOT NULL, actor TEXT NOT NULL, ip TEXT NOT NULL, body TEXT NOT NULL)`

// rivalIndexes are on what the journal has columns for, and the unique id.
const rivalIndexes = `CREATE UNIQUE INDEX events_id ON events (id, source);
	CREATE INDEX events_type ON events (type, time); CREATE INDEX events_actor ON events (actor); CREATE INDEX events_ip ON events (ip)`

const rivalInsert = `INSERT INTO events (seq, id, source, type, time, severity, actor, ip, body) VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`

// rivalGroup is how many events go into one transaction at most, as in the journal.
const rivalGroup = 8192

// openRival makes a database. One that is to be filled at once, before anything
// is measured, is not synced and gets its indexes later.
func openRival(ctx context.Context, dir string, durable bool) (*rival, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	pragmas := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "cache_size(-262144)", "busy_timeout(10000)"}}
	if !durable {
		pragmas["_pragma"][1] = "synchronous(OFF)"
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "events.db")+"?"+pragmas.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	r := &rival{db: db, dir: dir}
	statement := rivalTable
	if durable {
		statement += ";" + rivalIndexes
	}
	if _, err := db.ExecContext(ctx, statement); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return r, nil
}

func (r *rival) close() error { return r.db.Close() }

// serve starts the goroutine that commits; the function that it returns ends it.
func (r *rival) serve(ctx context.Context) (stop func() error) {
	r.queue = make(chan *rivalRequest, 1024)
	ended := make(chan error, 1)
	go func() { ended <- r.commitLoop(ctx) }()
	return func() error {
		close(r.queue)
		return <-ended
	}
}

// record hands a batch in and waits until it is durable. Encoding is the
// producer's work, as it is with the journal.
func (r *rival) record(_ context.Context, events []event.Event) error {
	q := &rivalRequest{rows: make([]rivalRow, len(events)), done: make(chan error, 1)}
	for i := range events {
		q.rows[i] = rivalRow{&events[i], events[i].AppendStored(nil)}
	}
	r.queue <- q
	return <-q.done
}

func (r *rival) commitLoop(ctx context.Context) error {
	insert, err := r.db.PrepareContext(ctx, rivalInsert)
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }() // it only frees memory
	var group []*rivalRequest
	for first := range r.queue {
		group = append(group[:0], first)
		for n := len(first.rows); n < rivalGroup; {
			var next *rivalRequest
			select {
			case next = <-r.queue:
			default:
			}
			if next == nil {
				break
			}
			group = append(group, next)
			n += len(next.rows)
		}
		err := r.commit(ctx, insert, group)
		for _, q := range group {
			q.done <- err
		}
	}
	return nil
}

func (r *rival) commit(ctx context.Context, insert *sql.Stmt, group []*rivalRequest) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	in := tx.StmtContext(ctx, insert)
	for _, q := range group {
		for i := range q.rows {
			if err := r.insert(ctx, in, &q.rows[i]); err != nil {
				return errors.Join(err, tx.Rollback())
			}
		}
	}
	return tx.Commit()
}

func (r *rival) insert(ctx context.Context, in *sql.Stmt, row *rivalRow) error {
	r.last++
	e := row.event
	_, err := in.ExecContext(ctx, r.last, string(e.ID), e.Source, string(e.Type), e.Time.UnixNano(), int64(e.Severity), e.AuthID, e.ClientIP, string(row.body))
	return err
}

// fill records everything that a generator makes, as fast as it can, and makes
// the database what it would be after a long time: indexed and analysed.
func (r *rival) fill(ctx context.Context, g *Generator, total int) error {
	insert, err := r.db.PrepareContext(ctx, rivalInsert)
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }() // it only frees memory
	for done := 0; done < total; {
		n := min(total-done, 50_000)
		events := make([]event.Event, n)
		q := &rivalRequest{rows: make([]rivalRow, n)}
		for i := range events {
			events[i] = g.Next()
			q.rows[i] = rivalRow{&events[i], events[i].AppendStored(nil)}
		}
		if err := r.commit(ctx, insert, []*rivalRequest{q}); err != nil {
			return err
		}
		done += n
	}
	if _, err := r.db.ExecContext(ctx, rivalIndexes+"; ANALYZE; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA synchronous=FULL"); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}
