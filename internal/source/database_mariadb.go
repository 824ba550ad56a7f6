package source

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/tocsin-events/tocsin/internal/event"
)

// mariaDB is a MariaDB (10.4 or later: mysql.global_priv).
type mariaDB struct {
	config *mysql.Config // nil where it is in the file
	file   string
	db     *sql.DB // nil before the first question
}

func newMariaDB(at, file string) (*mariaDB, error) {
	if file != "" {
		return &mariaDB{file: file}, nil
	}
	c := mysql.NewConfig()
	c.Net, c.Addr = "unix", at
	if !filepath.IsAbs(at) {
		if _, _, err := net.SplitHostPort(at); err != nil {
			return nil, event.Invalidf("mariadb: %q is neither the path of a socket nor host:port", at)
		}
		c.Net = "tcp"
	}
	if u, err := user.Current(); err == nil {
		c.User = u.Username
	}
	return &mariaDB{config: c}, nil
}

func (m *mariaDB) absent() bool {
	if m.config == nil || m.config.Net != "unix" {
		return false
	}
	_, err := os.Stat(m.config.Addr)
	return errors.Is(err, fs.ErrNotExist)
}

func (m *mariaDB) close() {
	if m.db != nil {
		_ = m.db.Close()
		m.db = nil
	}
}

// silent keeps the driver from writing to standard error: what is wrong is
// returned, too.
type silent struct{}

func (silent) Print(...any) {}

func (m *mariaDB) open() error {
	if m.db != nil {
		return nil
	}
	c := m.config
	if c == nil {
		text, err := dsnOf(m.file)
		if err != nil {
			return err
		}
		if c, err = mysql.ParseDSN(text); err != nil {
			return errors.New(m.file + " holds no DSN of MariaDB") // the driver's error may show a part of it
		}
	}
	c = c.Clone()
	c.DBName, c.MultiStatements, c.AllowAllFiles, c.InterpolateParams = "", false, false, false
	c.Timeout, c.ReadTimeout, c.WriteTimeout, c.Logger = databaseTime, databaseTime, databaseTime, silent{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return errors.New("the DSN can't be used")
	}
	m.db = sql.OpenDB(connector)
	m.db.SetMaxOpenConns(1) // one, that is kept: our own password may be the next that is changed
	return nil
}

func (m *mariaDB) credentials(ctx context.Context, salt string, accounts []string) ([]rootCredential, error) {
	if accounts = named(accounts); len(accounts) == 0 {
		return nil, nil
	}
	if err := m.open(); err != nil {
		return nil, err
	}
	args := []any{salt}
	for _, a := range accounts {
		args = append(args, a)
	}
	// The whole of what a login is checked against is digested, by the server.
	//nolint:gosec // only question marks are joined
	rows, err := m.db.QueryContext(ctx, `SELECT User, Host, COALESCE(JSON_VALUE(Priv, '$.plugin'), ''), COALESCE(JSON_VALUE(Priv, '$.password_last_changed'), 0),
		SHA2(CONCAT(?, COALESCE(JSON_EXTRACT(Priv, '$.plugin', '$.authentication_string', '$.auth_or'), '')), 256)
		FROM mysql.global_priv WHERE User IN (?`+strings.Repeat(", ?", len(accounts)-1)+`) ORDER BY User, Host LIMIT 1000`, args...)
	if err != nil {
		if m.file != "" {
			m.close() // the file is read again
		}
		return nil, err
	}
	defer rows.Close()
	var all []rootCredential
	for rows.Next() {
		var c rootCredential
		var changed int64
		if err := rows.Scan(&c.account, &c.host, &c.method, &changed, &c.digest); err != nil {
			return nil, err
		}
		if changed > 0 {
			c.changed = time.Unix(changed, 0)
		}
		all = append(all, c)
	}
	return all, rows.Err()
}
