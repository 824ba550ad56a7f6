package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestHostBackupUnits lets real systemd run real restic and borg as services: one
// that works, one without a repository, one with a file that may not be read.
func TestHostBackupUnits(t *testing.T) {
	t.Parallel()
	tool(t, "restic")
	tool(t, "borg")
	m := newMachine(t)
	m.start()
	s := start(t, sourcesOf(m, "grace: 2s"))
	for _, name := range []string{"backup_succeeded", "backup_failed"} {
		eventually(t, name+" to run", func() bool { status, _ := s.sourceStatus(name); return status == "running" })
	}
	for _, unit := range []string{"restic-home.service", "restic-away.service", "borg-warned.service"} {
		m.startUnit(unit)
	}
	well := s.await(`type == "backup_succeeded" && data.unit == "restic-home.service"`, "duration_ms", "snapshot", "output")
	if n := number(t, well["bytes"]); n < 100 {
		t.Errorf("%d bytes", n)
	}
	delete(well, "bytes")
	same(t, "restic", object{"name": "restic-home", "unit": "restic-home.service", "tool": "restic", "exit_status": 0, "result": "success", "files": 2}, well)

	badly := s.await(`type == "backup_failed" && data.unit == "restic-away.service"`, "duration_ms", "output", "error", "warnings")
	same(t, "restic without a repository", object{"name": "restic-away", "unit": "restic-away.service", "tool": "restic", "exit_status": 1, "result": "exit-code"}, badly)
	if e := s.one(`type == "backup_failed"`); !strings.Contains(text(dig(e, "data.error")), "/run/nowhere") || e["subject"] != "backup/restic-away" || e["severitytext"] != "error" {
		t.Errorf("restic without a repository: %v", e)
	}

	warned := s.await(`type == "backup_succeeded" && data.unit == "borg-warned.service"`, "duration_ms", "output", "bytes")
	same(t, "borg", object{
		"name": "borg-warned", "unit": "borg-warned.service", "tool": "borg", "exit_status": 1, "result": "exit-code", "files": 1, "snapshot": "monday",
		"warnings": []any{"/run/borg/src/b: open: [Errno 13] Permission denied: 'b'"},
	}, warned)
	if e := s.one(`data.unit == "borg-warned.service"`); e["severitytext"] != "warn" {
		t.Errorf("borg with warnings: %v", e)
	}
	if others := s.find("filter", `type in ["service_down", "cron_failed"]`).Events; len(others) != 0 {
		t.Errorf("a backup is told of by others, too: %v", others)
	}
	searchFolder(t, s.data, "of-the-tests")
}

// TestHostBackupWarnings runs restic and borg under tocsin run as a user who may
// not read one file: restic's snapshot is incomplete, borg warns.
func TestHostBackupWarnings(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		need(t, "root", "it may become a user who may not read a file")
	}
	restic, borg, setpriv := tool(t, "restic"), tool(t, "borg"), tool(t, "setpriv")
	s := start(t)
	work, err := os.MkdirTemp("", "tocsin-backup-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	src := filepath.Join(work, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"open": 0o644, "closed": 0} {
		if err := os.WriteFile(filepath.Join(src, name), []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	if err := os.Chown(work, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"RESTIC_REPOSITORY=" + work + "/restic", "RESTIC_PASSWORD=hunter-two-three", "RESTIC_CACHE_DIR=" + work + "/cache",
		"BORG_REPO=" + work + "/borg", "BORG_BASE_DIR=" + work + "/base", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes",
	}
	for _, argv := range [][]string{{restic, "init"}, {borg, "init", "--encryption=none"}} {
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Env = environ(env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	// tocsin run knows the tool by the name of what it starts.
	wrapped := func(tool, path string) string {
		script := filepath.Join(t.TempDir(), tool)
		text := "#!/bin/sh\nexec " + setpriv + " --reuid=65534 --regid=65534 --clear-groups " + path + " \"$@\"\n"
		if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return script
	}
	code, data := s.run("incomplete", env, wrapped("restic", restic), "backup", "--json", src)
	if code != 3 || data["type"] != "backup_failed" || !strings.Contains(text(dig(data, "data.error")), "closed") || len(text(dig(data, "data.snapshot"))) < 8 ||
		number(t, dig(data, "data.files")) != 1 || number(t, dig(data, "data.bytes")) < 100 || number(t, dig(data, "data.duration_ms")) < 1 {
		t.Errorf("restic: exit %d, %v", code, data)
	}
	code, data = s.run("warned", env, wrapped("borg", borg), "create", "--json", "::monday", src)
	if code != 1 || data["type"] != "backup_succeeded" || data["severitytext"] != "warn" || dig(data, "data.snapshot") != "monday" ||
		!strings.Contains(text(dig(data, "data.warnings")), "closed") || number(t, dig(data, "data.files")) != 1 {
		t.Errorf("borg: exit %d, %v", code, data)
	}
}

// run runs a command under tocsin run and returns its exit code and its event.
func (s *server) run(name string, env []string, argv ...string) (int, object) {
	s.t.Helper()
	_, _, code := runCLI(s.t, env, append([]string{"--data", s.data, "run", "--name", name, "--"}, argv...)...)
	return code, s.one(`data.name == "` + name + `"`)
}
