package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tocsin-events/tocsin/internal/event"
)

// postgreSQL is a PostgreSQL (11 or later: sha256()).
type postgreSQL struct {
	config *pgx.ConnConfig // nil where it is in the file
	file   string
	conn   *pgx.Conn // nil before the first question, and after a fault
}

func newPostgreSQL(at, file string) (*postgreSQL, error) {
	if file != "" {
		return &postgreSQL{file: file}, nil
	}
	c, err := pgx.ParseConfig(at)
	if err != nil {
		return nil, event.Invalidf("postgresql: a connection string can't be read: write host=/var/run/postgresql dbname=postgres")
	}
	if c.Password != "" && strings.Contains(at, c.Password) {
		return nil, event.Invalidf("postgresql: a password does not belong here: put the connection string into a file, and name it in postgresql_dsn_files")
	}
	return &postgreSQL{config: c}, nil
}

func (p *postgreSQL) absent() bool {
	if p.config == nil || !filepath.IsAbs(p.config.Host) {
		return false
	}
	_, err := os.Stat(filepath.Join(p.config.Host, ".s.PGSQL."+strconv.Itoa(int(p.config.Port))))
	return errors.Is(err, fs.ErrNotExist)
}

func (p *postgreSQL) close() {
	if p.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), databaseTime)
		defer cancel()
		_ = p.conn.Close(ctx)
		p.conn = nil
	}
}

func (p *postgreSQL) open(ctx context.Context) error {
	if p.conn != nil && !p.conn.IsClosed() {
		return nil
	}
	c := p.config
	if c == nil {
		text, err := dsnOf(p.file)
		if err != nil {
			return err
		}
		if c, err = pgx.ParseConfig(text); err != nil {
			return errors.New(p.file + " holds no connection string of PostgreSQL") // the driver's error may show a part of it
		}
	}
	c = c.Copy()
	c.ConnectTimeout = databaseTime
	c.DefaultQueryExecMode = pgx.QueryExecModeExec // nothing is prepared: a pooler may be in between
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return err
	}
	p.conn = conn
	return nil
}

func (p *postgreSQL) credentials(ctx context.Context, salt string, accounts []string) ([]rootCredential, error) {
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	all, err := p.ask(ctx, salt, accounts)
	if err != nil {
		p.close()
	}
	return all, err
}

func (p *postgreSQL) ask(ctx context.Context, salt string, accounts []string) ([]rootCredential, error) {
	// The password's hash is digested by the server.
	rows, err := p.conn.Query(ctx, `SELECT rolname::text,
		CASE WHEN rolpassword IS NULL THEN 'none' WHEN rolpassword LIKE 'SCRAM-SHA-256$%' THEN 'scram-sha-256' WHEN rolpassword LIKE 'md5%' THEN 'md5' ELSE 'other' END,
		encode(sha256(convert_to($1::text || coalesce(rolpassword, ''), 'UTF8')), 'hex')
		FROM pg_catalog.pg_authid WHERE rolsuper OR rolname = ANY($2::text[]) ORDER BY rolname LIMIT 1000`, salt, named(accounts))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []rootCredential
	for rows.Next() {
		var c rootCredential
		if err := rows.Scan(&c.account, &c.method, &c.digest); err != nil {
			return nil, err
		}
		if !filepath.IsAbs(p.conn.Config().Host) {
			c.host = p.conn.Config().Host
		}
		all = append(all, c)
	}
	return all, rows.Err()
}
