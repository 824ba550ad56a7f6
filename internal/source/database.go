package source

import (
	"cmp"
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: MariaDB and PostgreSQL are asked at every interval for a digest of the
// credentials of their superusers.
// Makes: db_root_rotated, when it differs from the last one, also over a restart.
// Leaves out: the password and its hash. The server makes the digest, with a salt
// that only this installation knows; what is kept of it has gone through PBKDF2, so
// that nobody who reads the state database can try passwords at speed. New
// accounts, and those that go, are not told.
func init() {
	register("db_root_rotated", "Changed root passwords of MariaDB and PostgreSQL.", databaseOptions{
		Enabled: true, Interval: config.Duration(30 * time.Second), Accounts: []string{"root"},
		MariaDB: []string{"/run/mysqld/mysqld.sock"}, PostgreSQL: []string{"host=/var/run/postgresql port=5432 dbname=postgres"},
	}, newDatabase)
}

type databaseOptions struct {
	Enabled         bool            `yaml:"enabled" doc:"Whether databases are watched."`
	Interval        config.Duration `yaml:"interval" doc:"How often they are asked; at least 1s."`
	Accounts        []string        `yaml:"accounts" doc:"Accounts of MariaDB that count as root; of PostgreSQL, those besides all superusers."`
	MariaDB         []string        `yaml:"mariadb" doc:"Sockets (or host:port) of MariaDB, where the user of this server needs no password (unix_socket)."`
	MariaDBFiles    []string        `yaml:"mariadb_dsn_files" doc:"Files with one DSN each, such as tocsin:password@tcp(127.0.0.1:3306)/"`
	PostgreSQL      []string        `yaml:"postgresql" doc:"Connection strings of PostgreSQL without a password, as libpq reads them."`
	PostgreSQLFiles []string        `yaml:"postgresql_dsn_files" doc:"Files with one connection string each, such as postgres://tocsin:password@127.0.0.1/postgres"`
}

const (
	// databaseTime is how long one server may take to answer.
	databaseTime = 10 * time.Second
	// maxAccounts bounds what is remembered of one server.
	maxAccounts = 1000
	// digestRounds makes a guess cost about 20 ms (PBKDF2, RFC 8018).
	digestRounds = 100_000
)

// rootCredential is what a server says of an account.
type rootCredential struct {
	account, host, method string
	digest                string    // made by the server, with our salt
	changed               time.Time // where the server knows it
}

// databaseServer is a server that is asked.
type databaseServer interface {
	// credentials asks for all accounts that count.
	credentials(ctx context.Context, salt string, accounts []string) ([]rootCredential, error)
	// absent tells whether there is no such server on this host.
	absent() bool
	close()
}

// databaseTarget is one server, and what is known of it while the program runs.
type databaseTarget struct {
	engine, name string
	server       databaseServer
	digests      map[string]string // by account, as they came last
}

type database struct {
	databaseOptions
	targets []*databaseTarget
}

func newDatabase(o databaseOptions) (Source, error) {
	if time.Duration(o.Interval) < time.Second {
		return nil, event.Invalidf("interval: %s is shorter than 1s", o.Interval)
	}
	d := &database{databaseOptions: o}
	add := func(engine, name string, s databaseServer, err error) error {
		d.targets = append(d.targets, &databaseTarget{engine: engine, name: name, server: s, digests: map[string]string{}})
		return err
	}
	var problems []error
	for _, at := range o.MariaDB {
		s, err := newMariaDB(at, "")
		problems = append(problems, add("mariadb", at, s, err))
	}
	for _, file := range o.MariaDBFiles {
		s, err := newMariaDB("", file)
		problems = append(problems, add("mariadb", file, s, err))
	}
	for _, at := range o.PostgreSQL {
		s, err := newPostgreSQL(at, "")
		problems = append(problems, add("postgresql", at, s, err))
	}
	for _, file := range o.PostgreSQLFiles {
		s, err := newPostgreSQL("", file)
		problems = append(problems, add("postgresql", file, s, err))
	}
	return d, errors.Join(problems...)
}

// Run implements Source.
func (d *database) Run(ctx context.Context, env *Env) error {
	defer func() {
		for _, t := range d.targets {
			t.server.close()
		}
	}()
	return every(ctx, time.Duration(d.Interval), func(ctx context.Context, _ time.Time) error { return d.look(ctx, env) })
}

// look asks every server. One that can't be asked is named, and ends nothing.
func (d *database) look(ctx context.Context, env *Env) error {
	answered, lacks := 0, ""
	var problems []error
	for _, t := range d.targets {
		if t.server.absent() {
			continue
		}
		err := t.look(ctx, env, d.Accounts)
		if e, ok := errors.AsType[*askError](err); ok {
			problems = append(problems, fmt.Errorf("%s %s: %w", t.engine, t.name, e.error))
			lacks = cmp.Or(lacks, fmt.Sprintf("%s at %s can't be asked: %v; docs/privileges.md says what the account of this server needs", t.engine, t.name, e.error))
			continue
		}
		if err != nil {
			return err
		}
		answered++
	}
	if ctx.Err() == nil {
		d.show(env, answered, lacks, errors.Join(problems...))
	}
	return nil
}

// show shows how many servers have answered, and what the others lack.
func (d *database) show(env *Env, answered int, lacks string, problem error) {
	env.Problem(problem)
	switch {
	case answered > 0:
		env.Status(Running, lacks)
	case lacks != "":
		env.Status(Unavailable, lacks)
	default:
		env.Status(Idle, "no MariaDB and no PostgreSQL was found: name them in sources.db_root_rotated")
	}
}

// askError says that a server could not be asked.
type askError struct{ error }

// databaseMemory is what is kept of a server.
type databaseMemory struct {
	Salt     string                    `json:"salt"`
	Accounts map[string]keptCredential `json:"accounts"`
}

type keptCredential struct {
	Digest  string    `json:"digest"` // after PBKDF2
	Changed time.Time `json:"changed"`
}

// look asks one server and tells of each account whose credentials have changed.
func (t *databaseTarget) look(ctx context.Context, env *Env, accounts []string) error {
	key := t.engine + " " + t.name
	kept := databaseMemory{}
	if err := recall(ctx, env, key, &kept); err != nil {
		return err
	}
	first := kept.Salt == ""
	if first {
		salt := make([]byte, 16)
		if _, err := rand.Read(salt); err != nil {
			return fmt.Errorf("salt: %w", err)
		}
		kept = databaseMemory{hex.EncodeToString(salt), map[string]keptCredential{}}
	}
	asking, cancel := context.WithTimeout(ctx, databaseTime)
	defer cancel()
	all, err := t.server.credentials(asking, kept.Salt, accounts)
	if err != nil {
		return &askError{err}
	}
	for _, c := range all[:min(len(all), maxAccounts)] {
		who := c.account + "@" + c.host
		if t.digests[who] == c.digest {
			continue
		}
		now, err := strengthen(c.digest, kept.Salt)
		if err != nil {
			return err
		}
		was, known := kept.Accounts[who]
		if known && was.Digest != now {
			if err := tell(ctx, env, t.rotated(env, &c, was)); err != nil {
				return err
			}
		}
		if !known || was.Digest != now {
			if !known && len(kept.Accounts) >= maxAccounts {
				continue
			}
			kept.Accounts[who] = keptCredential{now, c.changed}
			if err := remember(ctx, env, key, kept); err != nil {
				return err
			}
		}
		t.digests[who] = c.digest
	}
	if first {
		return remember(ctx, env, key, kept)
	}
	return nil
}

// strengthen makes of a digest what may be kept.
func strengthen(digest, salt string) (string, error) {
	kept, err := pbkdf2.Key(sha256.New, digest, []byte(salt), digestRounds, 32)
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	return hex.EncodeToString(kept), nil
}

// rotated is the finding of changed credentials.
func (t *databaseTarget) rotated(env *Env, c *rootCredential, was keptCredential) finding {
	at := time.Now().UTC()
	if c.changed.After(was.Changed) && c.changed.Before(at) { // the server knows better when
		at = c.changed.UTC()
	}
	return finding{
		producer: "database", t: "db_root_rotated", severity: event.Notice, subject: "database/" + t.engine + "/" + c.account, at: at,
		data: map[string]any{
			"engine": t.engine, "account": c.account, "host": cmp.Or(c.host, env.Host), "changed_at": at.Format(time.RFC3339), "method": c.method, "server": t.name,
		},
	}
}

// dsnOf is the content of a file with a DSN, which is read at every connection: the
// password in it may be the one that was changed.
func dsnOf(file string) (string, error) {
	content, err := readSmall(file, 64<<10)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return "", fmt.Errorf("%w: give the server's user read access", err)
		}
		return "", err
	}
	text := strings.TrimSpace(string(content))
	if text == "" || strings.ContainsAny(text, "\r\n\x00") {
		return "", fmt.Errorf("%s holds no single line", file)
	}
	return text, nil
}

// named keeps the names that can be accounts.
func named(accounts []string) []string {
	return slices.DeleteFunc(slices.Clone(accounts), func(a string) bool { return a == "" })
}
