package bench

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// What the peer, whose audit actions these are (seed 003), writes for one event
// that matches no rule; about so many are updated.
const (
	peerInserts = 21
	peerUpdates = 33
)

const auditSection = "Audit: one changed group"

// audit counts what a change costs that is on record, and compares the rate of
// such changes with the rate of the same without a record.
func (b *bench) audit(ctx context.Context) error {
	if err := b.auditCounts(ctx); err != nil {
		return err
	}
	for _, s := range []struct {
		name           string
		clients, total int
	}{{"changes from 16 clients", 16, b.s.changes}, {"changes from one client", 1, b.s.changes / 4}} {
		var ours, theirs samples
		for round := range b.s.rounds {
			b.o.Say(fmt.Sprintf("audit, %s: round %d of %d", s.name, round+1, b.s.rounds))
			for _, side := range []struct {
				quiet bool
				to    *samples
			}{{false, &ours}, {true, &theirs}} {
				rate, err := b.changeRate(ctx, side.quiet, s.clients, s.total)
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				*side.to = append(*side.to, rate)
			}
		}
		b.report.add(Row{
			Section: auditSection, What: s.name, Ours: ours.median(), Theirs: theirs.median(), Unit: "requests/s",
			Against: "the same request and transaction without an event", Sense: More, Goal: 0.8,
		})
		b.report.note("Audit, %s: with a record %s requests/s, without %s in the rounds; round by round %s.", s.name, list(ours), list(theirs), list(ratios(ours, theirs)))
	}
	return nil
}

// auditCounts counts what a whole server writes for requests that change a group:
// rows by triggers, transactions by the commit frames of SQLite's log, and groups
// of the journal by its metric.
func (b *bench) auditCounts(ctx context.Context) (err error) {
	b.o.Say("audit: counting what one change writes")
	dir, err := b.folder("audit")
	if err != nil {
		return err
	}
	s, err := startServer(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	var session struct{ Token string }
	if err := s.post(ctx, "/v1/auth/token", map[string]any{"username": "admin", "password": adminPassword}, &session); err != nil {
		return err
	}
	var group struct{ ID string }
	s.token = session.Token
	if err := s.post(ctx, "/v1/groups", map[string]any{"name": "group"}, &group); err != nil {
		return err
	}
	state, err := watchState(ctx, filepath.Join(dir, "data", "state.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.db.Close()) }()
	before, err := s.metric(ctx, "tocsin_journal_append_seconds_count")
	if err != nil {
		return err
	}
	const changes = 40
	for i := range changes {
		if err := patch(ctx, http.DefaultClient, s.url+"/v1/groups/"+group.ID, s.token, fmt.Sprintf(`{"name":"group %d"}`, i)); err != nil {
			return err
		}
	}
	after, err := s.metric(ctx, "tocsin_journal_append_seconds_count")
	if err != nil {
		return err
	}
	rows, err := state.counts(ctx)
	if err != nil {
		return err
	}
	commits, err := commitFrames(state.path + "-wal")
	if err != nil {
		return err
	}
	row := Row{Section: auditSection, Unit: "rows", Sense: AtMost, Goal: 1, Against: "the peer, for an event that matches no rule"}
	row.What, row.Ours, row.Theirs = "rows inserted", rows["insert"]/changes, peerInserts
	b.report.add(row)
	row.What, row.Ours, row.Theirs = "rows updated", rows["update"]/changes, peerUpdates
	b.report.add(row)
	row.Unit, row.Against, row.Theirs = "", "the promise", 1
	row.What, row.Ours = "transactions of the state database", float64(commits)/changes
	b.report.add(row)
	row.What, row.Ours = "appends of the journal", (after-before)/changes
	b.report.add(row)
	b.report.note("Audit: rows and transactions are counted in a whole server over %d PATCH requests. Each change also deletes %s rows: %s.", changes, figure(rows["delete"]/changes), rows.list(changes))
	return nil
}

// watched is a state database whose changed rows are counted by triggers, in the
// transactions in which they change.
type watched struct {
	db   *sql.DB
	path string
}

func watchState(ctx context.Context, path string) (*watched, error) {
	q := url.Values{"_pragma": {"busy_timeout(10000)"}}
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	w := &watched{db, path}
	db.SetMaxOpenConns(1)
	if err := w.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return w, nil
}

func (w *watched) prepare(ctx context.Context) error {
	tables, err := w.tables(ctx)
	if err != nil {
		return err
	}
	statements := []string{`CREATE TABLE bench_counts (act TEXT NOT NULL, tab TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (act, tab))`}
	for _, table := range tables {
		for _, act := range []string{"insert", "update", "delete"} {
			statements = append(statements,
				fmt.Sprintf(`INSERT INTO bench_counts VALUES ('%s', '%s', 0)`, act, table),
				fmt.Sprintf(`CREATE TRIGGER "bench_%s_%s" AFTER %s ON "%s" BEGIN UPDATE bench_counts SET n = n + 1 WHERE act = '%s' AND tab = '%s'; END`, act, table, act, table, act, table))
		}
	}
	for _, statement := range append(statements, `PRAGMA wal_checkpoint(TRUNCATE)`) {
		if _, err := w.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

func (w *watched) tables(ctx context.Context) (names []string, err error) {
	rows, err := w.db.QueryContext(ctx, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// rowCounts are changed rows by act, and by act and table.
type rowCounts map[string]float64

func (w *watched) counts(ctx context.Context) (rowCounts, error) {
	rows, err := w.db.QueryContext(ctx, `SELECT act, tab, n FROM bench_counts WHERE n > 0 ORDER BY act, tab`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := rowCounts{}
	for rows.Next() {
		var act, table string
		var n float64
		if err := rows.Scan(&act, &table, &n); err != nil {
			return nil, err
		}
		all[act] += n
		all[act+" "+table] += n
	}
	return all, rows.Err()
}

// list names the tables, for each change.
func (c rowCounts) list(changes float64) string {
	var texts []string
	for _, act := range []string{"insert", "update", "delete"} {
		for _, name := range slices.Sorted(maps.Keys(c)) {
			if table, ok := strings.CutPrefix(name, act+" "); ok {
				texts = append(texts, fmt.Sprintf("%s %s %s", act, figure(c[name]/changes), table))
			}
		}
	}
	return strings.Join(texts, ", ")
}

// commitFrames counts the transactions in a write-ahead log that has not been
// begun anew: frames that give the size of the database (SQLite, "WAL-mode File
// Format"). Frames of an earlier use of the file have other salts.
func commitFrames(path string) (commits int, err error) {
	log, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	const header, frame = 32, 24
	if len(log) < header {
		return 0, nil
	}
	size := int(binary.BigEndian.Uint32(log[8:]))
	salts := string(log[16:24])
	for at := header; at+frame+size <= len(log); at += frame + size {
		if string(log[at+8:at+16]) != salts {
			break
		}
		if binary.BigEndian.Uint32(log[at+4:]) != 0 {
			commits++
		}
	}
	return commits, nil
}

// metric is the value of one that has no labels.
func (s *server) metric(ctx context.Context, name string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer got.Body.Close()
	lines := bufio.NewScanner(got.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(text, 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("there is no metric %s", name), lines.Err())
}
