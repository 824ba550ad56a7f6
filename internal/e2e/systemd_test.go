package e2e

import (
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// supervisor is the service manager's end of sd_notify(3).
type supervisor struct {
	t    *testing.T
	conn *net.UnixConn
}

func supervise(t *testing.T) (*supervisor, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &supervisor{t, conn}, path
}

// next is the next message that holds a text; others are passed over.
func (s *supervisor) next(text string) string {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			s.t.Fatalf("the server does not say %s: %v", text, err)
		}
		if got := string(buf[:n]); strings.Contains(got, text) {
			return got
		}
	}
}

// The server tells its service manager when it is ready, reloads, lives and ends.
func TestServiceManager(t *testing.T) {
	manager, socket := supervise(t)
	data := t.TempDir()
	cmd := exec.Command(program, "serve", "--data", data, "--listen", "127.0.0.1:0")
	cmd.Env = environ("NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=200000", "TOCSIN_ADMIN_PASSWORD="+password)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()

	if got := manager.next("READY=1"); !regexp.MustCompile(`STATUS=Ready at http://127\.0\.0\.1:\d+`).MatchString(got) {
		t.Errorf("ready: %q", got)
	}
	if out, errOut, code := runCLI(t, nil, "--data", data, "events"); code != 0 {
		t.Errorf("ready, but: %s%s", out, errOut)
	}
	for range 3 {
		manager.next("WATCHDOG=1")
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	got := manager.next("RELOADING=1")
	_, usec, _ := strings.Cut(got, "MONOTONIC_USEC=")
	if n, err := strconv.ParseInt(strings.TrimSpace(usec), 10, 64); err != nil || n <= 0 {
		t.Errorf("reloading: %q", got)
	}
	manager.next("READY=1")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	manager.next("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}
