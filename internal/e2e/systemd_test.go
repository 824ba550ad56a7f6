package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// The unit lets the server do what it does: every system call, every family of
// sockets, and no memory that is both written and run. systemd is not started,
// so strace watches instead.
func TestUnitIsNotTooTight(t *testing.T) {
	strace := tool(t, "strace")
	tool(t, "systemd-analyze")
	raw, err := os.ReadFile(filepath.Join(root, "packaging", "tocsin.service"))
	if err != nil {
		t.Fatal(err)
	}
	unit := string(raw)
	allowed := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^SystemCallFilter=(.*)$`).FindAllStringSubmatch(unit, -1) {
		list, deny := strings.CutPrefix(line[1], "~")
		for _, set := range append(strings.Fields(list), "@default") {
			for _, call := range callsOf(t, set) {
				if set != "@default" || !deny {
					allowed[call] = !deny
				}
			}
		}
	}

	data, trace := t.TempDir(), filepath.Join(t.TempDir(), "trace")
	file := filepath.Join(data, "c.yaml")
	if err := os.WriteFile(file, []byte("group: root\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	manager, socket := supervise(t)
	cmd := exec.Command(strace, "-f", "-qq", "-o", trace, program, "serve", "--data", data, "--listen", "127.0.0.1:0", "--config", file)
	cmd.Env = environ("NOTIFY_SOCKET=" + socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	manager.next("READY=1")
	for _, args := range [][]string{{"emit", "a.b", "x=1"}, {"events"}, {"journal", "verify"}} {
		if _, errOut, code := runCLI(t, nil, append([]string{"--data", data}, args...)...); code != 0 {
			t.Errorf("%v: %s", args, errOut)
		}
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // strace ends as the signal says, or as the server does

	seen := 0
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	families := regexp.MustCompile(`(?m)^RestrictAddressFamilies=(.*)$`).FindStringSubmatch(unit)
	call := regexp.MustCompile(`^\d+ +([a-z0-9_]+)\((AF_[A-Z0-9]+)?`)
	for line := range strings.Lines(string(text)) {
		m := call.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		seen++
		if !allowed[m[1]] {
			t.Errorf("the unit refuses %s", line)
			allowed[m[1]] = true // say it once
		}
		if m[1] == "socket" && !slices.Contains(strings.Fields(families[1]), m[2]) {
			t.Errorf("the unit refuses the family of %s", line)
		}
		if strings.Contains(line, "PROT_EXEC") && (strings.Contains(line, "PROT_WRITE") || m[1] == "mprotect") {
			t.Errorf("MemoryDenyWriteExecute refuses %s", line)
		}
	}
	if seen < 500 {
		t.Errorf("only %d system calls are seen:\n%.2000s", seen, text)
	}
}

// callsOf lists the system calls of a set of systemd's.
func callsOf(t *testing.T, set string) (calls []string) {
	t.Helper()
	out := shell(t, nil, "systemd-analyze", "syscall-filter", "--no-pager", set)
	for line := range strings.Lines(out) {
		switch name := strings.TrimSpace(line); {
		case name == set, name == "", name[0] == '#':
		case name[0] == '@':
			calls = append(calls, callsOf(t, name)...)
		default:
			calls = append(calls, name)
		}
	}
	return calls
}
