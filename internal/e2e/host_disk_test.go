package e2e

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Quotas of users and projects, in a User-Mode Linux: the kernel of the host may
// have none. The whole server runs in it, and looks only every hour: it is the
// kernel's warning that makes it tell.
func TestHostDiskQuota(t *testing.T) {
	t.Parallel()
	kernel := cached(t, "uml", "usr", "bin", "linux.uml")
	dir := t.TempDir()
	image := writeFile(t, dir, "q.img", "")
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	does(t, 0, nil, tool(t, "mkfs.ext4"), "-q", "-O", "quota,project", "-E", "quotatype=usrquota:grpquota:prjquota", image)
	script, err := os.ReadFile(filepath.Join("testdata", "quota", "init.sh"))
	if err != nil {
		t.Fatal(err)
	}
	init := filepath.Join(dir, "init.sh")
	text := strings.NewReplacer("@PROGRAM@", plainProgram(t), "@MODULES@", filepath.Join(filepath.Dir(kernel), "..", "lib", "uml", "modules")).Replace(string(script))
	if err := os.WriteFile(init, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"setquota", "insmod", "setpriv", "chattr"} {
		tool(t, p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	uml := exec.CommandContext(ctx, kernel, "mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "ubd0="+image, "con=null", "con0=fd:0,fd:1", "init="+init, "quiet")
	uml.Dir, uml.Env = dir, environ("TMPDIR="+dir, "HOME="+dir)
	uml.WaitDelay = time.Second
	uml.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it is several processes
	uml.Cancel = func() error { return syscall.Kill(-uml.Process.Pid, syscall.SIGKILL) }
	out, err := uml.CombinedOutput()
	_, events, ok := bytes.Cut(out, []byte("<<<EVENTS"))
	events, _, whole := bytes.Cut(events, []byte("EVENTS>>>"))
	if !ok || !whole {
		t.Fatalf("User-Mode Linux: %v\n%s", err, out)
	}
	got := map[string]object{}
	for line := range bytes.Lines(bytes.ReplaceAll(events, []byte("\r"), nil)) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			e := parse[object](t, line)
			got[written(dig(e, "data.scope"))+" "+written(e["subject"])+" "+written(e["severitytext"])] = dig(e, "data").(object)
		}
	}
	for _, d := range got {
		used := written(d["used_bytes"])
		if len(used) != 7 || d["grace_until"] == nil {
			t.Errorf("used_bytes %s, grace_until %v", used, d["grace_until"])
		}
		delete(d, "used_bytes")
		delete(d, "used_percent")
		delete(d, "grace_until")
		for k, v := range d {
			d[k] = written(v)
		}
	}
	same := object{"path": "/mnt/q", "filesystem": "/dev/ubda", "limit_bytes": "5242880", "soft_bytes": "4194304", "threshold_percent": "85"}
	with := func(more object) object {
		maps.Copy(more, same)
		return more
	}
	want := map[string]object{
		"user_quota user/www-data error": with(object{"scope": "user_quota", "user": "www-data", "uid": "33"}),
		"project_quota project/42 error": with(object{"scope": "project_quota", "project": "42", "project_id": "42"}),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%s", diff, out)
	}
}

// mounts mounts a file system, and takes it away at the
// test's end.
func mounts(t *testing.T, at string, argv ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		need(t, "root", "only root can mount")
	}
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	does(t, 0, nil, append(append([]string{tool(t, "mount")}, argv...), at)...)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v %s", at, err, out)
		}
	})
}

// A small file system fills up, is emptied and fills up again: two events.
func TestHostDiskFull(t *testing.T) {
	t.Parallel()
	at := filepath.Join(t.TempDir(), "full")
	mounts(t, at, "-t", "tmpfs", "-o", "size=1M", "tocsin-test")
	s := start(t, "sources: {disk_full: {interval: 1s, paths: ["+at+"]}}")
	eventually(t, "the source looks", func() bool { return s.source("disk_full")["status"] == "running" })
	fill := func() { writeFile(t, at, "f", strings.Repeat("x", 1000<<10)) }
	count := func() int { return len(s.find("filter", `type == "disk_full"`).Events) }
	fill()
	got := s.told(`type == "disk_full" && severity == error`)
	for k, v := range got {
		got[k] = written(v)
	}
	want := object{"path": at, "filesystem": "tocsin-test", "scope": "statfs", "used_bytes": "1024000", "limit_bytes": "1048576", "used_percent": "97.7", "threshold_percent": "85"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	since := time.Now()
	eventually(t, "it is told again", func() bool { // full and empty by turns, each for longer than a look takes
		if int(time.Since(since)/(1500*time.Millisecond))%2 == 0 {
			_ = os.Remove(filepath.Join(at, "f"))
		} else {
			fill()
		}
		return count() > 1
	})
	s.stop()
}

// A group of btrfs is filled up to its limit.
func TestHostDiskBtrfs(t *testing.T) {
	t.Parallel()
	btrfs := tool(t, "btrfs")
	dir := t.TempDir()
	image := writeFile(t, dir, "b.img", "")
	if err := os.Truncate(image, 400<<20); err != nil {
		t.Fatal(err)
	}
	does(t, 0, nil, tool(t, "mkfs.btrfs"), "-q", image)
	at := filepath.Join(dir, "mnt")
	mounts(t, at, "-o", "loop", image)
	does(t, 0, nil, btrfs, "quota", "enable", at)
	does(t, 0, nil, btrfs, "subvolume", "create", at+"/web")
	does(t, 0, nil, btrfs, "qgroup", "limit", "20M", at+"/web")
	s := start(t, "sources: {disk_full: {interval: 1s, paths: ["+at+"]}}")
	eventually(t, "the source looks", func() bool { return s.source("disk_full")["status"] == "running" })
	if err := os.WriteFile(filepath.Join(at, "web", "f"), bytes.Repeat([]byte("x"), 30<<20), 0o600); err == nil {
		t.Error("the quota does not hold")
	}
	does(t, 0, nil, btrfs, "filesystem", "sync", at)
	got := s.told(`type == "disk_full"`, "filesystem", "used_bytes", "used_percent")
	for k, v := range got {
		got[k] = written(v)
	}
	want := object{"path": at, "scope": "qgroup", "qgroup": "0/256", "limit_bytes": "20971520", "threshold_percent": "85"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	s.stop()
}

// written is a value as it stands in JSON, without quotes.
func written(v any) string { return fmt.Sprint(v) }
