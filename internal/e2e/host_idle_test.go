package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// usage is what a process and its children have used.
type usage struct {
	cpu time.Duration // of the process, its children that are alive, and those that have ended
	rss int64         // bytes of memory of the process
	all int64         // the same with its children, of shared pages each its part (PSS)
}

// usageOf reads proc(5) of a process and of all below it.
func usageOf(t *testing.T, pid int) usage {
	t.Helper()
	var u usage
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ") // after the name: field 3 is the first
	fields := strings.Fields(rest)
	for _, n := range []int{14, 15, 16, 17} { // utime, stime, cutime, cstime
		ticks, err := strconv.ParseInt(fields[n-3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 everywhere
	}
	pages, err := strconv.ParseInt(fields[24-3], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	u.rss = pages * int64(os.Getpagesize())
	u.all = proportional(t, pid)
	for _, child := range children(pid) {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/stat", child)); err != nil {
			continue // it has ended
		}
		below := usageOf(t, child)
		u.cpu += below.cpu
		u.all += below.all
	}
	return u
}

// proportional is the memory of a process, in bytes, of shared pages its part.
func proportional(t *testing.T, pid int) int64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "Pss:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the kernel tells no Pss")
	return 0
}

// everySource is a configuration in which each source has something to watch.
func everySource(t *testing.T, m *machine) string {
	t.Helper()
	work := t.TempDir()
	put := func(name, content string) string {
		path := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	crowdsec := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"new":null,"deleted":null}`) }))
	t.Cleanup(crowdsec.Close)
	site := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(site.Close)
	if err := os.Mkdir(filepath.Join(work, "drop"), 0o700); err != nil {
		t.Fatal(err)
	}
	log, key := put("log", "a line\n"), put("key", "key\n")
	writeCertificate(t, put("certificates/shop.pem", ""), "shop.example", time.Now().Add(90*24*time.Hour))
	where := fmt.Sprintf("bus: %q, journal: %q", m.busAddress(), m.journal())
	return strings.NewReplacer("WHERE", where, "LOG", log, "KEY", key, "WORK", work, "CROWDSEC", crowdsec.URL, "SITE", site.Listener.Addr().String()).Replace(`
egress: {allow: [127.0.0.0/8]}
sources:
  service_down: {WHERE}
  cron_failed: {WHERE}
  backup_succeeded: {WHERE}
  backup_failed: {WHERE}
  crowdsec_spike: {url: CROWDSEC, key_file: KEY}
  domain_expiry: {paths: [WORK/certificates], endpoints: [SITE]}
  mail_quarantined: {logs: [LOG]}
  mail_throttle_suspended: {logs: [LOG]}
  malware_file_hit: {clamd_logs: [LOG], maldet_logs: [LOG], tetragon_logs: [LOG]}
  cert_renew: {certbot: [WORK], certbot_logs: [LOG]}
  aide_diff: {paths: [LOG]}
  exec: {commands: [{name: sensor, argv: [sleep, "1000"]}]}
  folder: {paths: [WORK/drop]}
  rspamd: {secret_file: KEY}
  github: {secret_file: KEY}
`)
}

// plainProgram is the binary without the race detector, where that costs more than
// what is measured, or than the machine has.
func plainProgram(t *testing.T) string {
	t.Helper()
	if os.Getenv("E2E_RACE") == "" {
		return program
	}
	plain := filepath.Join(t.TempDir(), "tocsin")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", plain, "./cmd/tocsin")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return plain
}

// TestHostIdle leaves the server alone for a while, with every source on and a
// real systemd, bus and journal to watch: it costs next to nothing. It runs
// beside no other test, whose load would count.
func TestHostIdle(t *testing.T) {
	const (
		mostCPU = 0.01 // of one core
		mostRSS = 80 << 20
		watched = 12 * time.Second
	)
	m := newMachine(t)
	m.start()
	s := bootAs(t, plainProgram(t), nil, t.TempDir(), everySource(t, m))
	s.token = s.newToken("idle", "read")
	eventually(t, "systemd's sources to run", func() bool {
		a, _ := s.sourceStatus("service_down")
		b, _ := s.sourceStatus("cron_failed")
		return a == "running" && b == "running"
	})
	counts := map[string]int{}
	for _, row := range parse[struct{ Items []object }](t, s.get("/v1/sources").body).Items {
		counts[text(row["status"])]++
		if row["status"] == "failed" {
			t.Errorf("%v", row)
		}
	}
	pause(t, 6*time.Second) // what starts with the server is over, and its memory given back
	before, began := usageOf(t, s.cmd.Process.Pid), time.Now()
	pause(t, watched)
	after, took := usageOf(t, s.cmd.Process.Pid), time.Since(began)
	share := float64(after.cpu-before.cpu) / float64(took)
	t.Logf("idle for %s with sources %v: %.2f %% of a core, %.1f MB, with children %.1f MB",
		took.Round(time.Second), counts, 100*share, float64(after.rss)/1e6, float64(after.all)/1e6)
	if share >= mostCPU {
		t.Errorf("%.2f %% of a core", 100*share)
	}
	if max(after.rss, after.all) >= mostRSS {
		t.Errorf("%d bytes, with children %d", after.rss, after.all)
	}
}

// pause lets time pass that is itself what is tested.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("the test has ended")
	}
}
