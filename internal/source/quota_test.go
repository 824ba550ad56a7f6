package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestQuotaMounts(t *testing.T) {
	const info = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,quota,usrquota,prjquota
23 1 8:2 / /home\040dir rw - xfs /dev/sda2 rw,attr2,prjquota
24 1 8:3 / /srv rw - ext4 /dev/sda3 rw,noquota
25 1 8:1 /x /bind rw - ext4 /dev/sda1 rw,usrquota
26 1 0:5 / /tmp rw - btrfs /dev/sdb rw,usrquota
garbage
`
	var got []string
	for _, q := range parseQuotaMounts(strings.NewReader(info)) {
		got = append(got, fmt.Sprint(q.path, " ", q.device, " ", q.kinds))
	}
	if diff := cmp.Diff([]string{"/ /dev/sda1 [0 2]", "/home dir /dev/sda2 [2]"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestQuotaUsage(t *testing.T) {
	m := mount{"/home", "/dev/sda1", "ext4"}
	tests := []struct {
		q    nextQuota
		kind int
		want string
	}{
		{nextQuota{ID: 33, HardBlocks: 5120, SoftBlocks: 4096, Space: 5239808, SpaceTime: 1795300000}, userQuota, "user_quota /home 33 5239808 5242880 4194304 2026-11-21T22:26:40Z"},
		{nextQuota{ID: 42, SoftBlocks: 4}, projectQuota, "project_quota /home 42 0 4096 4096 0001-01-01T00:00:00Z"},
		{nextQuota{ID: 1, HardBlocks: 1 << 63, Space: 1 << 63}, userQuota, "user_quota /home 1 4611686018427387904 4611686018427387904 0 0001-01-01T00:00:00Z"},
		{nextQuota{ID: 2, Space: 4096}, userQuota, ""},
	}
	for _, tt := range tests {
		u, limited := tt.q.usage(m, tt.kind)
		got := fmt.Sprint(u.key, " ", u.used, " ", u.limit, " ", u.soft, " ", u.grace.Format(time.RFC3339))
		if limited != (tt.want != "") || limited && got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.q, got, tt.want)
		}
	}
}

// A user is told of once at the high-watermark or the soft limit, again only after
// the low one, and a restart in between changes nothing; ten thousand who are over
// are each told once.
func TestQuotaHysteresis(t *testing.T) {
	s := newStage()
	problem := s.problems()
	var all []usage
	var fail error
	newOne := func() *disk {
		d := opens(t, "disk_full", "").source.(*disk)
		d.mounts = func() ([]mount, error) { return nil, nil }
		d.quotas = func(wants func(string) bool) ([]usage, error) {
			if !wants("/home") {
				t.Error("a path that is to be watched is not wanted")
			}
			return all, fail
		}
		return d
	}
	d := newOne()
	quota := func(id string, used, limit, soft int64) usage {
		return usage{key: "user_quota /home " + id, scope: "user_quota", id: id, path: "/home", filesystem: "/dev/sda1", used: used, limit: limit, soft: soft}
	}
	steps := []struct {
		used    int64
		soft    int64
		restart bool
		want    []string
	}{
		{50, 0, false, nil},
		{86, 0, false, []string{`disk_full warn user/99999 "user_quota" "99999" "/home" 86 85`}},
		{99, 0, true, nil},
		{99, 0, false, nil},
		{82, 0, false, nil},
		{70, 0, false, nil},
		{75, 70, false, []string{`disk_full warn user/99999 "user_quota" "99999" "/home" 75 85`}},
		{71, 70, true, nil},
		{70, 70, false, nil},
		{100, 70, false, []string{`disk_full error user/99999 "user_quota" "99999" "/home" 100 85`}},
	}
	for i, step := range steps {
		if step.restart {
			d = newOne()
		}
		all = []usage{quota("99999", step.used, 100, step.soft), quota("5", 1, 100, 0)}
		if err := d.look(t.Context(), &s.Env); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, sorted(t, s.take(t), "scope", "uid", "path", "used_percent", "threshold_percent")); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}
	all = nil
	for i := range 10000 {
		all = append(all, quota(strconv.Itoa(100000+i), 99, 100, 0))
	}
	all, fail = all[:300], fmt.Errorf("quotas of /home: %w", unix.EPERM)
	for range 2 {
		if err := d.look(t.Context(), &s.Env); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.take(t)); n != 300 || !strings.Contains(s.lacks, "CAP_SYS_ADMIN") || !strings.Contains(*problem, "not permitted") {
		t.Errorf("%d events; %s; %s", n, s.lacks, *problem)
	}
}

// The kernel's warning brings the look forward, and a storm of them is one look.
func TestQuotaWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := opens(t, "disk_full", "interval: 1h").source.(*disk)
		var looks atomic.Int64
		d.mounts = func() ([]mount, error) { looks.Add(1); return nil, nil }
		d.quotas = func(func(string) bool) ([]usage, error) { return nil, errors.New("no quotas") }
		s := newStage()
		wake := make(chan struct{}, 1)
		done := make(chan struct{})
		go func() { defer close(done); _ = d.watch(t.Context(), &s.Env, wake) }()
		synctest.Wait()
		for range 10000 {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
		time.Sleep(2 * diskSettle)
		synctest.Wait()
		if n := looks.Load(); n < 2 || n > 3 {
			t.Errorf("%d looks after a storm of warnings", n)
		}
		before := looks.Load()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := looks.Load(); n != before+1 {
			t.Errorf("%d looks after an hour, before %d", n, before)
		}
	})
}

func TestQgroups(t *testing.T) {
	dir := t.TempDir()
	put := func(path, text string) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	group := func(name, flags, referenced, most, exclusive, mostExclusive string) {
		t.Helper()
		for file, text := range map[string]string{"limit_flags": flags, "referenced": referenced, "max_referenced": most, "exclusive": exclusive, "max_exclusive": mostExclusive} {
			put("uuid/qgroups/"+name+"/"+file, text+"\n")
		}
	}
	put("uuid/devices/loop7", "")
	put("other/devices/loop8", "")
	put("other/qgroups/0_5/limit_flags", "1\n")
	put("uuid/qgroups/enabled", "1\n")
	group("0_5", "0x0", "16384", "0", "16384", "0")
	group("0_256", "0x1", "900", "1000", "10", "0")
	group("0_257", "3", "100", "1000", "99", "100")
	group("1_100", "1", "garbage", "1000", "0", "0")
	const mounts = `40 1 0:50 / /mnt rw - btrfs /dev/loop7 rw,subvolid=5,subvol=/
41 1 0:50 /home /home rw - btrfs /dev/loop7 rw,subvolid=256,subvol=/home
42 1 8:1 / / rw - ext4 /dev/sda1 rw
`
	var got []string
	for _, u := range qgroups(dir, parseBtrfsMounts(strings.NewReader(mounts))) {
		got = append(got, fmt.Sprintf("%s %s %s %d/%d", u.key, u.path, u.filesystem, u.used, u.limit))
	}
	want := []string{"qgroup uuid 0/256 /home /dev/loop7 900/1000", "qgroup uuid 0/257 /mnt /dev/loop7 99/100"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestProjectOf(t *testing.T) {
	dir := t.TempDir()
	names, folders := filepath.Join(dir, "projid"), filepath.Join(dir, "projects")
	if name, folder := projectOf("42", names, folders); name != "42" || folder != "" {
		t.Errorf("without files: %s %s", name, folder)
	}
	if err := errors.Join(os.WriteFile(names, []byte("#x:42\nweb : 42\nother:7\ngarbage\n"), 0o600), os.WriteFile(folders, []byte("7:/srv/other\n42:/srv/web\n42:/srv/more\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if name, folder := projectOf("42", names, folders); name != "web" || folder != "/srv/web" {
		t.Errorf("%s %s", name, folder)
	}
	if got := userOf("0"); got != "root" {
		t.Errorf("user 0 is %s", got)
	}
}
