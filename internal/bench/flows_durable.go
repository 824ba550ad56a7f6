package bench

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/flow/speed"
	"github.com/tocsin-events/tocsin/internal/follow"
	"github.com/tocsin-events/tocsin/internal/state"
)

// durable compares runs that events start with one commit for each run.
func (b *bench) durable(ctx context.Context) (err error) {
	dir, err := b.folder("runs")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var ours, theirs samples
	for round := range b.s.rounds {
		b.o.Say(fmt.Sprintf("flows, durable runs: round %d of %d", round+1, b.s.rounds))
		at := filepath.Join(dir, fmt.Sprint("ours-", round))
		rate, err := b.runRate(ctx, at)
		if err != nil {
			return err
		}
		ours = append(ours, rate)
		if rate, err = b.commitRate(ctx, at); err != nil {
			return err
		}
		theirs = append(theirs, rate)
		if err := os.RemoveAll(at); err != nil {
			return err
		}
	}
	b.report.add(Row{
		Section: flowsSection, What: "events that become durable runs with a result event each", Ours: ours.median(), Theirs: theirs.median(), Unit: "/s",
		Against: "a loop that makes one SQLite commit for each run", Sense: More, Goal: 3,
	})
	b.report.note("Durable runs: %s /s, the loop %s in the rounds; round by round %s. Ours is from the first append of the events to the journal, through trigger and run, until the last result event is in the "+
		"journal; the flow is the first of the language's cases. The loop inserts and finishes, in one transaction, rows with the same documents in the same table with the same indexes (WAL, "+
		"synchronous=FULL, prepared statements), without an event before or behind it.", list(ours), list(theirs), list(ratios(ours, theirs)))
	return nil
}

// runRate gives the runs a second of a whole engine.
func (b *bench) runRate(ctx context.Context, dir string) (rate float64, err error) {
	a, err := openActor(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	f, err := a.CreateFlow(ctx, state.System(), speed.Cases()[0].Document, "")
	if err != nil {
		return 0, err
	}
	if err := a.starts(ctx, f.ID, "every event", "", "bench.*"); err != nil {
		return 0, err
	}
	stop := a.run(ctx)
	defer func() { err = errors.Join(err, stop()) }()
	events := b.ofTypes(b.s.runs, Types)
	began := time.Now()
	if err := a.record(ctx, events); err != nil {
		return 0, err
	}
	err = waitFor(ctx, 5*time.Minute, func() (bool, error) { return int(a.over.Load()) >= b.s.runs, nil })
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	return float64(b.s.runs) / took.Seconds(), a.checkRuns(ctx, b.s.runs)
}

// checkRuns makes sure that all runs are completed, and that each has its event.
func (a *actor) checkRuns(ctx context.Context, n int) error {
	var completed, results int
	if err := a.state.Reader().QueryRowContext(ctx, `SELECT count(*) FROM runs WHERE state = $1`, flow.Completed).Scan(&completed); err != nil {
		return err
	}
	for at := event.Seq(0); ; {
		hits, err := a.journal.After(ctx, at, follow.Batch)
		if err != nil {
			return err
		}
		if len(hits) == 0 {
			break
		}
		for i := range hits {
			if bytes.Contains(hits[i].Body, []byte(`"trigger.event.ok"`)) {
				results++
			}
		}
		at = hits[len(hits)-1].Seq
	}
	if completed != n || results != n {
		return fmt.Errorf("%d runs are completed and have %d result events, not %d", completed, results, n)
	}
	return nil
}

// storedRun is a run as the loop writes it: first without, then with what it came to.
type storedRun struct {
	id, begun, done                 string
	flow, trigger, queued, finished int64
}

// commitRate gives the runs a second of a loop that stores the runs of a folder
// once more, with a commit for each.
func (b *bench) commitRate(ctx context.Context, dir string) (rate float64, err error) {
	schema, runs, err := storedRuns(ctx, filepath.Join(dir, "state.db"))
	if err != nil {
		return 0, err
	}
	db, err := openPlain(ctx, filepath.Join(dir, "loop.db"), schema)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	insert, err := db.PrepareContext(ctx, `INSERT INTO runs (id, state, flow, trigger_id, priority, queued, due, recoveries, finished, doc) VALUES (?, 'running', ?, ?, 0, ?, 0, 0, 0, ?)`)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, insert.Close()) }()
	finish, err := db.PrepareContext(ctx, `UPDATE runs SET state = 'completed', finished = ?, doc = ? WHERE id = ?`)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, finish.Close()) }()
	began := time.Now()
	for i := range runs {
		if err := runs[i].store(ctx, db, insert, finish); err != nil {
			return 0, err
		}
	}
	return float64(len(runs)) / time.Since(began).Seconds(), nil
}

func (r *storedRun) store(ctx context.Context, db *sql.DB, insert, finish *sql.Stmt) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if _, err = tx.StmtContext(ctx, insert).ExecContext(ctx, r.id, r.flow, r.trigger, r.queued, r.begun); err == nil { //nolint:sqlclosecheck // the end of the transaction does
		_, err = tx.StmtContext(ctx, finish).ExecContext(ctx, r.finished, r.done, r.id) //nolint:sqlclosecheck // as above
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// openPlain makes a database with a schema, as durable as the server's.
func openPlain(ctx context.Context, path string, schema []string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Opaque: url.PathEscape(path), RawQuery: url.Values{
		"_txlock": {"immediate"}, "_pragma": {"journal_mode(wal)", "synchronous(full)", "busy_timeout(10000)", "cache_size(-4000)"},
	}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	for _, statement := range schema {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}

// storedRuns reads the table of runs: what it is made by, and its rows.
func storedRuns(ctx context.Context, path string) (schema []string, runs []storedRun, err error) {
	db, err := openPlain(ctx, path, nil)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tables, err := db.QueryContext(ctx, `SELECT sql FROM sqlite_master WHERE tbl_name = 'runs' AND sql IS NOT NULL ORDER BY type DESC`)
	if err != nil {
		return nil, nil, err
	}
	defer tables.Close()
	for tables.Next() {
		var one string
		if err := tables.Scan(&one); err != nil {
			return nil, nil, err
		}
		schema = append(schema, one)
	}
	if err := tables.Err(); err != nil {
		return nil, nil, err
	}
	found, err := db.QueryContext(ctx, `SELECT id, json_remove(doc, '$.steps', '$.output', '$.duration_ms'), doc, flow, trigger_id, queued, finished FROM runs ORDER BY queued`)
	if err != nil {
		return nil, nil, err
	}
	defer found.Close()
	for found.Next() {
		var r storedRun
		if err := found.Scan(&r.id, &r.begun, &r.done, &r.flow, &r.trigger, &r.queued, &r.finished); err != nil {
			return nil, nil, err
		}
		runs = append(runs, r)
	}
	return schema, runs, found.Err()
}
