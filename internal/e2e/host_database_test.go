package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// owned makes a folder of a user's under a short path, as sockets need.
func owned(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "tocsin-") //nolint:usetesting // a socket's path is 107 bytes at most, and the folder another user's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	u, err := user.Lookup(name)
	if err != nil {
		need(t, "the user "+name, "run scripts/tools.sh")
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	if errU != nil || errG != nil {
		t.Fatal(errU, errG)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		need(t, "root", "only root can start a database as its own user")
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// asks runs a statement until it is taken: a server that has just started may not yet.
func asks(t *testing.T, argv ...string) {
	t.Helper()
	eventually(t, argv[0]+" answers", func() bool { return exec.Command(argv[0], argv[1:]...).Run() == nil })
}

// rotated checks the event of a changed password.
func (s *server) rotated(engine, account string, want object) {
	s.t.Helper()
	got := s.told(fmt.Sprintf(`type == "db_root_rotated" && data.engine == %q && data.account == %q`, engine, account), "changed_at")
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Error(diff)
	}
	for _, e := range s.find("filter", `type == "db_root_rotated"`).Events {
		if at, err := time.Parse(time.RFC3339, text(dig(e, "data.changed_at"))); err != nil || time.Since(at) > patience*4 {
			s.t.Errorf("changed_at is %v", dig(e, "data.changed_at"))
		}
	}
}

// A real MariaDB: the password of root is changed; the server is killed and started
// again; a change while Tocsin is down is told when it is back.
func TestHostMariaDB(t *testing.T) {
	t.Parallel()
	tool(t, "mariadbd")
	dir := owned(t, "mysql")
	socket := filepath.Join(dir, "s")
	does(t, 0, nil, tool(t, "mariadb-install-db"), "--no-defaults", "--user=mysql", "--datadir="+dir+"/d", "--auth-root-authentication-method=normal", "--skip-test-db")
	run := func() (stop func()) {
		stop = component(t, nil, tool(t, "mariadbd"), "--no-defaults", "--user=mysql", "--datadir="+dir+"/d", "--socket="+socket, "--skip-networking", "--pid-file="+dir+"/pid", "--innodb-buffer-pool-size=16M")
		asks(t, "mariadb-admin", "--no-defaults", "--socket="+socket, "-u", "watcher", "-pwatching1", "ping")
		return stop
	}
	alter := func(password, statement string) {
		t.Helper()
		does(t, 0, nil, "mariadb", "--no-defaults", "--socket="+socket, "-u", "root", "-p"+password, "-e", statement)
	}
	stop := run()
	alter("", "CREATE USER watcher@localhost IDENTIFIED BY 'watching1'; GRANT SELECT ON mysql.global_priv TO watcher@localhost")
	dsn := writeFile(t, dir, "dsn", "watcher:watching1@unix("+socket+")/\n")
	config := "sources: {db_root_rotated: {interval: 1s, mariadb: [], postgresql: [], mariadb_dsn_files: [" + dsn + "]}}"
	s := start(t, config)
	eventually(t, "MariaDB is asked", func() bool { return s.source("db_root_rotated")["status"] == "running" })
	alter("", "ALTER USER root@localhost IDENTIFIED BY 'correct-horse-battery-1'")
	want := object{"engine": "mariadb", "account": "root", "host": "localhost", "method": "mysql_native_password", "server": dsn}
	s.rotated("mariadb", "root", want)

	// Killed, the password is changed by another instance's life, and Tocsin is down, too.
	s.stop()
	stop()
	_ = os.Remove(socket)
	s = startOn(t, s.data, config)
	eventually(t, "it is away", func() bool { return s.source("db_root_rotated")["status"] == "unavailable" })
	run()
	alter("correct-horse-battery-1", "ALTER USER root@127.0.0.1 IDENTIFIED BY 'correct-horse-battery-2'")
	eventually(t, "the second change is told", func() bool {
		return len(s.find("filter", `type == "db_root_rotated" && data.host == "127.0.0.1"`).Events) == 1
	})
	if n := len(s.find("filter", `type == "db_root_rotated"`).Events); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
	s.noSecret("correct-horse-battery-1", "correct-horse-battery-2", "watching1")
}

// noSecret makes sure that none of some texts is anywhere in what the server keeps
// and says.
func (s *server) noSecret(secrets ...string) {
	s.t.Helper()
	s.stop()
	err := filepath.WalkDir(s.data, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, secret := range secrets {
			if strings.Contains(string(content), secret) || strings.Contains(s.log.String(), secret) {
				s.t.Errorf("%s, or the log, holds %q", path, secret)
			}
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// A real PostgreSQL: the password of a superuser is changed.
func TestHostPostgreSQL(t *testing.T) {
	t.Parallel()
	const bin = "/usr/lib/postgresql/15/bin/"
	if _, err := os.Stat(bin + "postgres"); err != nil {
		need(t, "PostgreSQL 15", "run scripts/tools.sh")
	}
	dir := owned(t, "postgres")
	as := []string{tool(t, "setpriv"), "--reuid", "postgres", "--regid", "postgres", "--clear-groups"}
	does(t, 0, nil, append(as, bin+"initdb", "-A", "trust", "--no-sync", "-U", "postgres", "-D", dir+"/d")...)
	component(t, nil, append(as, bin+"postgres", "-D", dir+"/d", "-c", "listen_addresses=", "-c", "fsync=off", "-c", "unix_socket_directories="+dir)...)
	sql := func(statement string) []string {
		return []string{"psql", "-h", dir, "-U", "postgres", "-d", "postgres", "-qc", statement}
	}
	asks(t, sql("CREATE ROLE watcher LOGIN; GRANT SELECT ON pg_catalog.pg_authid TO watcher; CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'before-before-1'; CREATE ROLE clerk LOGIN PASSWORD 'x'")...)
	config := "sources: {db_root_rotated: {interval: 1s, mariadb: [], postgresql: ['host=" + dir + " user=watcher dbname=postgres']}}"
	s := start(t, config)
	eventually(t, "PostgreSQL is asked", func() bool { return s.source("db_root_rotated")["status"] == "running" })
	does(t, 0, nil, sql("ALTER ROLE boss PASSWORD 'correct-horse-battery-3'; ALTER ROLE clerk PASSWORD 'correct-horse-battery-4'")...)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	s.rotated("postgresql", "boss", object{"engine": "postgresql", "account": "boss", "host": host, "method": "scram-sha-256", "server": "host=" + dir + " user=watcher dbname=postgres"})
	if n := len(s.find("filter", `type == "db_root_rotated"`).Events); n != 1 {
		t.Errorf("%d events, want 1: a role without power does not count", n)
	}
	s.noSecret("correct-horse-battery-3", "correct-horse-battery-4", "SCRAM-SHA-256$")
}
