package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// files is a folder with something to back up.
func files(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat(name, 10_000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// backup runs a command through tocsin run as a backup job and returns its exit
// code and the data of its event.
func (s *server) backup(name string, env []string, argv ...string) (int, object) {
	s.t.Helper()
	args := append([]string{"--data", s.data, "run", "--name", name, "--kind", "backup", "--"}, argv...)
	out, errOut, code := runCLI(s.t, env, args...)
	e := s.one(`data.name == "` + name + `"`)
	want := "backup_succeeded"
	if code != 0 {
		want = "backup_failed"
	}
	if e["type"] != want || e["kind"] != "host" || text(dig(e, "data.exit_status")) != itoa(code) {
		s.t.Errorf("%s: exit %d, event %v\n%s%s", name, code, e, out, errOut)
	}
	return code, e["data"].(object)
}

func number(t *testing.T, v any) int64 {
	t.Helper()
	n, ok := v.(json.Number)
	if !ok {
		return 0
	}
	i, err := n.Int64()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestRestic runs a real restic, with its output for programs and for people,
// and one that fails.
func TestRestic(t *testing.T) {
	t.Parallel()
	restic := tool(t, "restic")
	s := start(t)
	repo := filepath.Join(t.TempDir(), "repo")
	env := []string{"RESTIC_REPOSITORY=" + repo, "RESTIC_PASSWORD=hunter-two-three", "RESTIC_CACHE_DIR=" + t.TempDir()}
	initialise := exec.CommandContext(t.Context(), restic, "init")
	initialise.Env = environ(env...)
	if out, err := initialise.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := files(t)
	code, data := s.backup("restic-json", env, restic, "backup", "--json", dir)
	if code != 0 || data["tool"] != "restic" || len(text(data["snapshot"])) < 8 || number(t, data["files"]) != 3 || number(t, data["bytes"]) < 100 {
		t.Errorf("--json: exit %d, %v", code, data)
	}
	code, data = s.backup("restic-plain", env, restic, "backup", dir)
	if code != 0 || len(text(data["snapshot"])) < 8 || number(t, data["files"]) != 3 {
		t.Errorf("plain: exit %d, %v", code, data)
	}
	code, data = s.backup("restic-wrong", append(env, "RESTIC_PASSWORD=wrong"), restic, "backup", "--json", dir)
	if code == 0 || !strings.Contains(text(data["error"]), "password") {
		t.Errorf("wrong password: exit %d, %v", code, data)
	}
	code, data = s.backup("restic-gone", append(env, "RESTIC_REPOSITORY="+repo+"-gone"), restic, "backup", dir)
	if code == 0 || text(data["error"]) == "" {
		t.Errorf("no repository: exit %d, %v", code, data)
	}
	searchFolder(t, s.data, "hunter-two-three")
}

// TestBorg runs a real borg, and one that fails.
func TestBorg(t *testing.T) {
	t.Parallel()
	borg := tool(t, "borg")
	s := start(t)
	repo := filepath.Join(t.TempDir(), "repo")
	env := []string{"BORG_REPO=" + repo, "BORG_BASE_DIR=" + t.TempDir()}
	initialise := exec.CommandContext(t.Context(), borg, "init", "--encryption=none")
	initialise.Env = environ(env...)
	if out, err := initialise.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := files(t)
	code, data := s.backup("borg-json", env, borg, "create", "--json", "::monday", dir)
	if code != 0 || data["tool"] != "borg" || data["snapshot"] != "monday" || number(t, data["files"]) != 3 || number(t, data["bytes"]) < 100 {
		t.Errorf("--json: exit %d, %v", code, data)
	}
	code, data = s.backup("borg-twice", env, borg, "create", "--json", "::monday", dir)
	if code == 0 || !strings.Contains(text(data["error"]), "monday") {
		t.Errorf("the same archive twice: exit %d, %v", code, data)
	}
}

// writeCertificate writes a self-signed certificate that ends at a time.
func writeCertificate(t *testing.T, path, domain string, end time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: domain}, DNSNames: []string{domain},
		NotBefore: end.Add(-90 * 24 * time.Hour), NotAfter: end,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCertificates watches a folder of certificates: one that ends soon, one
// that has ended, and one that is good. A restart tells nothing twice.
func TestCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const day = 24 * time.Hour
	now := time.Now()
	writeCertificate(t, filepath.Join(dir, "soon.pem"), "soon.example", now.Add(2*day+time.Hour))
	writeCertificate(t, filepath.Join(dir, "gone.pem"), "gone.example", now.Add(-36*time.Hour))
	writeCertificate(t, filepath.Join(dir, "good.pem"), "good.example", now.Add(60*day))
	config := "sources: {domain_expiry: {paths: [" + dir + "], interval: 1s}, disk_full: {enabled: false}}"
	s := start(t, config)
	found := func() []object { return s.find("filter", `type == "domain_expiry"`).Events }
	eventually(t, "two events", func() bool { return len(found()) >= 2 })
	for domain, want := range map[string]object{
		"soon.example": {"days_left": json.Number("2"), "expired": false, "severity": "error"},
		"gone.example": {"days_left": json.Number("-2"), "expired": true, "severity": "error"},
	} {
		e := s.one(`type == "domain_expiry" && data.domain == "` + domain + `"`)
		if dig(e, "data.days_left") != want["days_left"] || dig(e, "data.expired") != want["expired"] || e["severitytext"] != want["severity"] ||
			dig(e, "data.path") != filepath.Join(dir, domain[:4]+".pem") || text(dig(e, "data.not_after")) == "" || text(dig(e, "data.issuer")) == "" || text(e["host"]) == "" {
			t.Errorf("%s: %v", domain, e)
		}
	}
	s.stop()
	s = startOn(t, s.data, config)
	writeCertificate(t, filepath.Join(dir, "next.pem"), "next.example", now.Add(6*day))
	eventually(t, "the third event", func() bool { return len(found()) >= 3 })
	if all := found(); len(all) != 3 || dig(all[0], "data.domain") != "next.example" {
		t.Errorf("after a restart: %v", all)
	}
	if out := s.must("sources", "-o", "json"); !strings.Contains(out, `"status": "disabled"`) || !strings.Contains(out, `"status": "running"`) {
		t.Errorf("sources: %s", out)
	}
}

// TestDiskFull fills a small file system; without the right to mount one, the
// mark is set below what is in use.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=1m"); err != nil {
		s := start(t, "sources: {disk_full: {high: 0.001, low: 0.0005, interval: 1s}}")
		eventually(t, "disk_full", func() bool { return len(s.find("filter", `type == "disk_full"`).Events) > 0 })
		return
	}
	t.Cleanup(func() { _ = syscall.Unmount(mount, syscall.MNT_DETACH) })
	s := start(t, "sources: {disk_full: {paths: ["+mount+"], interval: 1s}, domain_expiry: {enabled: false}}")
	found := func() []object { return s.find("filter", `type == "disk_full"`).Events }
	fill := func(kib int) {
		if err := os.WriteFile(filepath.Join(mount, "f"), make([]byte, kib<<10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	status := func() string {
		for _, row := range parse[struct{ Items []object }](t, s.get("/v1/sources").body).Items {
			if row["name"] == "disk_full" {
				return text(row["status"])
			}
		}
		return ""
	}
	eventually(t, "the source to run", func() bool { return status() == "running" })
	if n := len(found()); n != 0 {
		t.Errorf("%d events of an empty file system", n)
	}
	fill(920) // 90 %
	eventually(t, "disk_full", func() bool { return len(found()) == 1 })
	e := found()[0]
	if dig(e, "data.path") != mount || dig(e, "data.scope") != "statfs" || number(t, dig(e, "data.limit_bytes")) != 1<<20 || e["severitytext"] != "warn" || e["subject"] != "filesystem"+mount {
		t.Errorf("%v", e)
	}
	s.stop()
	fill(1000) // above the mark all the time: nothing is told again
	s = startOn(t, s.data, "sources: {disk_full: {paths: ["+mount+"], interval: 1s}, domain_expiry: {enabled: false}}")
	eventually(t, "the source to run again", func() bool { return status() == "running" })
	// The source sees it empty at one look and full at a later one.
	eventually(t, "a second crossing", func() bool {
		fill([]int{10, 1000}[mathrand.IntN(2)])
		return len(found()) == 2
	})
	if e := found()[0]; e["severitytext"] != "error" {
		t.Errorf("above 95 %%: %v", e)
	}
}
