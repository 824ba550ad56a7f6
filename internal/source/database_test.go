package source

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
)

// fakeDatabase answers what a test says.
type fakeDatabase struct {
	answer []rootCredential
	err    error
	away   bool
}

func (f *fakeDatabase) credentials(_ context.Context, salt string, _ []string) ([]rootCredential, error) {
	all := make([]rootCredential, len(f.answer))
	for i, c := range f.answer {
		c.digest += salt
		all[i] = c
	}
	return all, f.err
}
func (f *fakeDatabase) absent() bool { return f.away }
func (f *fakeDatabase) close()       {}

// A change is told once, also over a restart of the server, and one that happened
// while it was down; new accounts are not, and nothing that helps to guess is kept.
func TestDatabaseRotation(t *testing.T) {
	fake := &fakeDatabase{answer: []rootCredential{{account: "root", host: "localhost", digest: "one"}, {account: "root", host: "%", digest: "two"}}}
	s := newStage()
	problem := s.problems()
	target := func() *databaseTarget {
		return &databaseTarget{engine: "mariadb", name: "/s", server: fake, digests: map[string]string{}}
	}
	d := &database{targets: []*databaseTarget{target()}}
	look := func() []string {
		t.Helper()
		if err := d.look(t.Context(), &s.Env); err != nil {
			t.Fatal(err)
		}
		return sorted(t, s.take(t), "engine", "account", "host", "server")
	}
	restart := func() { d.targets[0] = target() }
	const local, everywhere = `db_root_rotated notice database/mariadb/root "mariadb" "root" "localhost" "/s"`, `db_root_rotated notice database/mariadb/root "mariadb" "root" "%" "/s"`
	steps := []struct {
		name   string
		change func()
		want   []string
	}{
		{"the first look", func() {}, nil},
		{"nothing", func() {}, nil},
		{"a change", func() { fake.answer[0].digest = "three" }, []string{local}},
		{"a restart", restart, nil},
		{"a change while the server is down", func() { restart(); fake.answer[1].digest = "four" }, []string{everywhere}},
		{"a new account", func() {
			fake.answer = append(fake.answer, rootCredential{account: "root", host: "::1", digest: "x"})
		}, nil},
		{"the server is away", func() { fake.err = io.ErrUnexpectedEOF }, nil},
		{"the server is back, and was changed", func() { fake.err, fake.answer[0].digest = nil, "five" }, []string{local}},
		{"it has no such server any more", func() { fake.away = true }, nil},
	}
	for _, step := range steps {
		step.change()
		if diff := cmp.Diff(step.want, look()); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
		switch {
		case fake.away:
			if s.status != Idle {
				t.Errorf("%s: %s", step.name, s.status)
			}
		case fake.err != nil:
			if s.status != Unavailable || !strings.Contains(s.lacks, "mariadb at /s can't be asked: unexpected EOF") || !strings.Contains(*problem, "unexpected EOF") {
				t.Errorf("%s: %s %q, %s", step.name, s.status, s.lacks, *problem)
			}
		case s.status != Running || s.lacks != "" || *problem != "":
			t.Errorf("%s: %s %q, %s", step.name, s.status, s.lacks, *problem)
		}
	}
	for key, kept := range s.stored {
		if strings.Contains(kept, "five") || strings.Contains(kept, "four") {
			t.Errorf("%s keeps what the server answered: %s", key, kept)
		}
	}
	fake.away, fake.answer[0].digest, s.fail = false, "six", event.Unavailablef("disk full")
	if err := d.look(t.Context(), &s.Env); !errors.Is(err, event.ErrUnavailable) {
		t.Errorf("look = %v", err)
	}
	s.fail = nil
	if diff := cmp.Diff([]string{local}, look()); diff != "" {
		t.Errorf("what could not be recorded: %s", diff)
	}
}

// When it was changed is the server's word, where that can be true.
func TestDatabaseChangedAt(t *testing.T) {
	target := &databaseTarget{engine: "mariadb", name: "/s"}
	now := time.Now()
	for _, tt := range []struct {
		server, before time.Time
		want           time.Time
	}{
		{now.Add(-time.Hour), now.Add(-2 * time.Hour), now.Add(-time.Hour)},
		{now.Add(-2 * time.Hour), now.Add(-time.Hour), now},
		{time.Time{}, time.Time{}, now},
		{now.Add(time.Hour), time.Time{}, now},
	} {
		f := target.rotated(&newStage().Env, &rootCredential{account: "root", changed: tt.server}, keptCredential{Changed: tt.before})
		if f.at.Sub(tt.want).Abs() > 10*time.Second || f.data["host"] != "web-17" {
			t.Errorf("%v: %s, want %s", tt, f.at, tt.want)
		}
	}
}

// A server that talks garbage, or hangs up, or has nobody behind it, is named; so is a
// file without a DSN, and no password is shown.
func TestDatabaseGarbage(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "\x10\x00\x00\x00garbage that is no greeting\r\n")
			_ = conn.Close()
		}
	}()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	at := l.Addr().String()
	for _, options := range []string{
		"mariadb: [" + at + "], postgresql: []",
		"mariadb: [], postgresql: ['host=127.0.0.1 sslmode=disable dbname=postgres port=" + at[strings.LastIndexByte(at, ':')+1:] + "']",
		"mariadb: [], postgresql: [], mariadb_dsn_files: [" + file("a", "tocsin:hunter2hunter2@tcp("+at+")/\n") + "]",
		"mariadb: [], postgresql: [], mariadb_dsn_files: [" + file("b", "tocsin:hunter2hunter2@tcp(") + "]",
		"mariadb: [], postgresql: [], postgresql_dsn_files: [" + file("c", "postgres://tocsin:hunter2hunter2@"+at+"/postgres?sslmode=disable") + "]",
		"mariadb: [], postgresql: [], postgresql_dsn_files: [" + file("d", "postgres://tocsin:hunter2hunter2@:x/") + "]",
		"mariadb: [], postgresql: [], postgresql_dsn_files: [/nonexistent]",
		"mariadb: [127.0.0.1:1], postgresql: []",
	} {
		s := newStage()
		problem := s.problems()
		stop := s.runs(t, opens(t, "db_root_rotated", "{"+options+"}").source)
		s.until(t, options, func() bool { return s.looks > 0 })
		stop()
		if s.status != Unavailable || *problem == "" || strings.Contains(*problem+s.lacks, "hunter2") {
			t.Errorf("%s: %s %q, %s", options, s.status, s.lacks, *problem)
		}
	}
	_ = l.Close()
}

func TestDatabaseOptions(t *testing.T) {
	for text, says := range map[string]string{
		"mariadb: [/run/mysqld/mysqld.sock], accounts: [root, admin]": "",
		"interval: 1ms":                              "shorter than 1s",
		"mariadb: [localhost]":                       "neither the path",
		"postgresql: ['port=x']":                     "can't be read",
		"postgresql: ['host=/run password=hunter2']": "does not belong here",
	} {
		_, err := Open(options(t, "db_root_rotated: {"+text+"}"), Env{}, nil)
		if (err == nil) != (says == "") || err != nil && (!strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}
