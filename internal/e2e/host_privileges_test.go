package e2e

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestHostPrivileges runs the server as a user with no rights, and then with the
// one group of docs/privileges.md: without it the journal's sources say what they
// lack, and systemd's services are told of all the same.
func TestHostPrivileges(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	group, err := user.LookupGroup("systemd-journal")
	if err != nil {
		need(t, "the group systemd-journal", "systemd makes it")
	}
	journal, err := strconv.ParseUint(group.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	work, err := os.MkdirTemp("", "tocsin-nobody-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	for _, dir := range []string{work, filepath.Dir(m.base)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, public := filepath.Join(work, "data"), filepath.Join(work, "tocsin")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "cp", program, public).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m.start()
	// As systemd-tmpfiles does it, which is masked in these namespaces.
	files, err := filepath.Glob(filepath.Join(m.journal(), "*", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files of the journal: %v, %v", files, err)
	}
	for path, mode := range map[string]os.FileMode{filepath.Dir(files[0]): 0o755 | os.ModeSetgid, files[0]: 0o640} {
		if err := errors.Join(os.Chown(path, 0, int(journal)), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}

	s := bootAs(t, public, &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{}}, data, sourcesOf(m, "grace: 1h"))
	s.token = s.newToken("first", "read", "admin")
	eventually(t, "service_down to run", func() bool { status, _ := s.sourceStatus("service_down"); return status == "running" })
	for _, name := range []string{"cron_failed", "backup_succeeded", "backup_failed"} {
		eventually(t, name+" to lack a group", func() bool {
			status, lacks := s.sourceStatus(name)
			return status == "unavailable" && strings.Contains(lacks, "group systemd-journal") && strings.Contains(lacks, "docs/privileges.md")
		})
	}
	m.kill9("flaky.service")
	if told := s.await(`type == "service_down" && data.unit == "flaky.service"`); told["output"] != nil || text(told["result"]) != "signal" {
		t.Errorf("without the group: %v", told)
	}
	s.stop()

	s = bootAs(t, public, &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{uint32(journal)}}, data, sourcesOf(m, "grace: 1h"))
	s.token = s.newToken("second", "read", "admin")
	eventually(t, "cron_failed to run", func() bool { status, _ := s.sourceStatus("cron_failed"); return status == "running" })
	m.startUnit("tidy.timer")
	if told := s.await(`type == "cron_failed"`); text(told["output"]) != "tidying\nno such folder\n" || text(told["user"]) != "www-data" {
		t.Errorf("with the group: %v", told)
	}
}
