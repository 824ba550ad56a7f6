package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const packageVersion = "1.2.3~test"

// exposure is the most that systemd-analyze security may find, in tenths: 0 is
// best, 100 is worst. What it is made of is in docs/operation.md.
const exposure = "16"

// shell runs a program in the repository and returns what it printed.
func shell(t *testing.T, env []string, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = root, environ(env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// buildPackage makes the Debian package and returns its path.
func buildPackage(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a package")
	}
	tool(t, "dpkg-deb")
	if _, err := os.Stat(filepath.Join(root, "bin", "nfpm")); err != nil {
		need(t, "bin/nfpm", "run scripts/tools.sh")
	}
	dir := t.TempDir()
	shell(t, []string{"DIST=" + dir, "VERSION=" + packageVersion}, "scripts/package.sh")
	found, err := filepath.Glob(filepath.Join(dir, "tocsin_"+packageVersion+"_*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages: %v, %v", found, err)
	}
	return found[0]
}

// packaged is what the package holds: mode, owner, name.
var packaged = []string{
	"-rw-r--r-- root/root ./etc/tocsin/tocsin.yaml",
	"-rwxr-xr-x root/root ./usr/bin/tocsin",
	"-rw-r--r-- root/root ./usr/lib/systemd/system/tocsin.service",
	"-rw-r--r-- root/root ./usr/lib/sysusers.d/tocsin.conf",
	"-rw-r--r-- root/root ./usr/share/bash-completion/completions/tocsin",
	"-rw-r--r-- root/root ./usr/share/doc/tocsin/changelog.gz",
	"-rw-r--r-- root/root ./usr/share/doc/tocsin/configuration.md",
	"-rw-r--r-- root/root ./usr/share/doc/tocsin/copyright",
	"-rw-r--r-- root/root ./usr/share/doc/tocsin/licences.txt.gz",
	"-rw-r--r-- root/root ./usr/share/doc/tocsin/operation.md",
	"-rw-r--r-- root/root ./usr/share/fish/vendor_completions.d/tocsin.fish",
	"-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_tocsin",
}

func TestPackageContents(t *testing.T) {
	deb := buildPackage(t)
	var files []string
	for line := range strings.Lines(shell(t, nil, "dpkg-deb", "-c", deb)) {
		f := strings.Fields(line) // mode, owner, size, day, time, name
		if len(f) < 6 || f[1] != "root/root" || strings.HasPrefix(f[0], "d") && f[0] != "drwxr-xr-x" {
			t.Errorf("entry %q", line)
		} else if f[0][0] != 'd' {
			files = append(files, strings.Join([]string{f[0], f[1], f[5]}, " "))
		}
	}
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(strings.Fields(a)[2], strings.Fields(b)[2]) })
	if !slices.Equal(files, packaged) {
		t.Errorf("the package holds\n%s", strings.Join(files, "\n"))
	}
	control := t.TempDir()
	shell(t, nil, "dpkg-deb", "-e", deb, control)
	if got, err := os.ReadFile(filepath.Join(control, "conffiles")); err != nil || string(got) != "/etc/tocsin/tocsin.yaml\n" {
		t.Errorf("conffiles: %q, %v", got, err)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		shell(t, nil, "sh", "-n", filepath.Join(control, script))
	}

	dir := t.TempDir()
	shell(t, nil, "dpkg-deb", "-x", deb, dir)
	bin := filepath.Join(dir, "usr/bin/tocsin")
	if out := shell(t, nil, bin, "version"); !strings.HasPrefix(out, "tocsin "+packageVersion+" (") {
		t.Errorf("version: %s", out)
	}
	if out := shell(t, nil, bin, "check", "--config", filepath.Join(dir, "etc/tocsin/tocsin.yaml")); !strings.Contains(out, "is good") {
		t.Errorf("check: %s", out)
	}
	if out := shell(t, nil, bin, "serve", "--help"); !strings.Contains(out, "/var/lib/tocsin") {
		t.Errorf("the packaged program looks for its data elsewhere:\n%s", out)
	}
	for _, want := range []string{"modernc.org/sqlite", "Redistribution and use in source and binary forms"} {
		if !strings.Contains(shell(t, nil, "gzip", "-dc", filepath.Join(dir, "usr/share/doc/tocsin/licences.txt.gz")), want) {
			t.Errorf("the licences lack %s", want)
		}
	}
	if out, err := exec.Command("ldd", bin).CombinedOutput(); err == nil && !strings.Contains(string(out), "not a dynamic") {
		t.Errorf("the binary is not static: %s", out)
	}
	unitOf(t, dir)
}

// unitOf checks the unit below a root with systemd's own eyes.
func unitOf(t *testing.T, dir string) {
	t.Helper()
	tool(t, "systemd-analyze")
	raw, err := os.ReadFile(filepath.Join(dir, "usr/lib/systemd/system/tocsin.service"))
	if err != nil {
		t.Fatal(err)
	}
	// The unit names the program where it will be installed; here it is elsewhere.
	unit := filepath.Join(t.TempDir(), "tocsin.service")
	text := strings.ReplaceAll(string(raw), "/usr/bin/tocsin ", filepath.Join(dir, "usr/bin/tocsin")+" ")
	if text == string(raw) {
		t.Fatal("the unit does not start /usr/bin/tocsin")
	}
	if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := shell(t, nil, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit); strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	shell(t, nil, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+exposure, unit)
	// What the unit runs, the program understands.
	line := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/tocsin serve --config (\S+) --data (\S+)$`).FindStringSubmatch(string(raw))
	if line == nil || line[1] != "/etc/tocsin/tocsin.yaml" || line[2] != "/var/lib/tocsin" {
		t.Errorf("ExecStart: %v", line)
	}
}

// The package is installed, again, removed and purged in a root of its own. No
// systemd runs there, and none is asked.
func TestPackageLife(t *testing.T) {
	deb := buildPackage(t)
	tool(t, "dpkg")
	if os.Getuid() != 0 {
		need(t, "root", "dpkg changes owners")
	}
	dir := t.TempDir()
	in := func(path string) string { return filepath.Join(dir, path) }
	exists := func(path string) bool {
		_, err := os.Stat(in(path))
		return err == nil
	}
	enabled := in("etc/systemd/system/multi-user.target.wants/tocsin.service")
	for _, path := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"} {
		if err := os.MkdirAll(in(path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range map[string]string{
		"var/lib/dpkg/status": "", "var/lib/dpkg/available": "", "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n",
	} {
		if err := os.WriteFile(in(path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dpkg := func(args ...string) string {
		t.Helper()
		return shell(t, nil, append([]string{"dpkg", "--root=" + dir, "--force-script-chrootless", "--force-depends", "--log=" + in("dpkg.log")}, args...)...)
	}
	users := func() int {
		t.Helper()
		raw, err := os.ReadFile(in("etc/passwd"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count("\n"+string(raw), "\ntocsin:")
	}

	dpkg("-i", deb)
	if !exists("usr/bin/tocsin") || users() != 1 || !linked(enabled) {
		t.Errorf("after the installation: %d users, enabled: %v", users(), linked(enabled))
	}
	for path, text := range map[string]string{"var/lib/tocsin/journal/events": "x", "etc/tocsin/tocsin.yaml": "log: {level: warn}\n", "etc/tocsin/mine": "x"} {
		if err := os.MkdirAll(filepath.Dir(in(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(in(path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dpkg("-i", deb) // once more, as an upgrade does
	raw, err := os.ReadFile(in("etc/tocsin/tocsin.yaml"))
	if err != nil || !strings.Contains(string(raw), "warn") || users() != 1 {
		t.Errorf("after an upgrade: %d users, configuration %q, %v", users(), raw, err)
	}
	dpkg("-r", "tocsin")
	if exists("usr/bin/tocsin") || !exists("var/lib/tocsin/journal/events") || !exists("etc/tocsin/tocsin.yaml") {
		t.Error("removal took too much or too little")
	}
	out := dpkg("-P", "tocsin")
	if exists("var/lib/tocsin") || exists("etc/tocsin/tocsin.yaml") || !exists("etc/tocsin/mine") || users() != 1 {
		t.Error("purge took too much or too little")
	}
	for _, want := range []string{"purge deletes /var/lib/tocsin, with every event", "/etc/tocsin is kept"} {
		if !strings.Contains(out, want) {
			t.Errorf("purge does not say %q: %s", want, out)
		}
	}
	if linked(enabled) {
		t.Error("the service is still enabled")
	}
}

// linked reports whether there is a link, wherever it leads.
func linked(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
