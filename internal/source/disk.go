package source

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: each file system is measured at every interval (statfs(2)).
// Makes: disk_full, once when use crosses the high-watermark; again only after
// it has fallen below the low-watermark. At 95 % and above it is an error.
// Leaves out: quotas, pseudo file systems, and images that are full by nature
// (squashfs, iso9660).
func init() {
	register("disk_full", "File systems of this host that are almost full.", diskOptions{
		Enabled: true, Interval: config.Duration(30 * time.Second), High: 85, Low: 80,
	}, newDisk)
}

type diskOptions struct {
	Enabled  bool            `yaml:"enabled" doc:"Whether file systems are watched."`
	Interval config.Duration `yaml:"interval" doc:"How often they are measured; at least 1s."`
	High     float64         `yaml:"high" doc:"Percentage in use from which one is told."`
	Low      float64         `yaml:"low" doc:"Percentage below which it may be told again."`
	Paths    []string        `yaml:"paths" doc:"Mount points to watch; empty for all real ones."`
}

type disk struct {
	diskOptions
	mounts func() ([]mount, error)
	statfs func(path string) (used, limit int64, err error)
}

type mount struct{ path, device, fstype string }

func newDisk(o diskOptions) (Source, error) {
	switch {
	case o.High <= 0 || o.High > 100 || o.Low <= 0 || o.Low > o.High:
		return nil, event.Invalidf("high and low must be percentages with low below high; they are %g and %g", o.High, o.Low)
	case time.Duration(o.Interval) < time.Second:
		return nil, event.Invalidf("interval: %s is shorter than 1s", o.Interval)
	}
	return &disk{diskOptions: o, mounts: realMounts, statfs: measure}, nil
}

// Run implements Source.
func (d *disk) Run(ctx context.Context, env *Env) error {
	return every(ctx, time.Duration(d.Interval), func(ctx context.Context, _ time.Time) error {
		return d.look(ctx, env)
	})
}

func (d *disk) look(ctx context.Context, env *Env) error {
	mounts, err := d.mounts()
	if err != nil {
		return err
	}
	watched := 0
	for _, m := range mounts {
		if len(d.Paths) > 0 && !slices.Contains(d.Paths, m.path) {
			continue
		}
		used, limit, err := d.statfs(m.path)
		if err != nil || limit == 0 {
			continue // unmounted since, or without blocks
		}
		watched++
		if err := d.judge(ctx, env, m, used, limit); err != nil {
			return err
		}
	}
	if watched == 0 {
		env.Status(Idle, "no file system to watch: name mount points in sources.disk_full.paths")
		return nil
	}
	env.Status(Running, "")
	return nil
}

// judge tells of one file system if it has crossed the high-watermark.
func (d *disk) judge(ctx context.Context, env *Env, m mount, used, limit int64) error {
	percent := math.Round(float64(used)/float64(limit)*1000) / 10
	told, err := env.Memory.Load(ctx, m.path)
	if err != nil {
		return err
	}
	switch {
	case told != "" && percent < d.Low:
		return env.Memory.Store(ctx, m.path, "")
	case told != "" || percent < d.High:
		return nil
	}
	data, err := json.Marshal(map[string]any{
		"path": m.path, "filesystem": m.device, "scope": "statfs", "used_bytes": used, "limit_bytes": limit,
		"used_percent": percent, "threshold_percent": d.High,
	})
	if err != nil {
		return err
	}
	severity := event.Warn
	if percent >= 95 {
		severity = event.Error
	}
	if err := env.Emit(ctx, newEvent(env, "disk", "disk_full", severity, "filesystem"+m.path, data)); err != nil {
		return err
	}
	return env.Memory.Store(ctx, m.path, time.Now().UTC().Format(time.RFC3339))
}

// measure tells how many bytes are in use and how many could be, as df does: the
// blocks kept back for root count neither way.
func measure(path string) (used, limit int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", path, err)
	}
	used = int64(st.Blocks-st.Bfree) * st.Bsize
	return used, used + int64(st.Bavail)*st.Bsize, nil
}

// realMounts lists the mounted file systems that hold data (proc(5), mountinfo),
// each device once.
func realMounts() ([]mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	defer f.Close()
	return parseMounts(bufio.NewScanner(f))
}

// realTypes are the types of file systems that hold data and can fill up.
var realTypes = []string{"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "overlay", "tmpfs", "vfat", "exfat", "ntfs", "ntfs3", "nfs", "nfs4", "cifs", "9p", "virtiofs", "ceph", "fuseblk"} //nolint:gochecknoglobals // a constant table

func parseMounts(lines *bufio.Scanner) ([]mount, error) {
	var all []mount
	seen := map[string]bool{}
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 2 {
			return nil, errors.New("mounts: /proc/self/mountinfo has an unknown form")
		}
		m := mount{path: unescapeMount(left[4]), device: unescapeMount(right[1]), fstype: right[0]}
		if !slices.Contains(realTypes, m.fstype) || seen[left[2]] || isRuntime(m) {
			continue
		}
		seen[left[2]] = true // major:minor: bind mounts of one device are one
		all = append(all, m)
	}
	return all, lines.Err()
}

// isRuntime passes over the small tmpfs of the system, which containers mount by
// the dozen.
func isRuntime(m mount) bool {
	for _, p := range []string{"/proc", "/sys", "/dev", "/run"} {
		if m.path == p || strings.HasPrefix(m.path, p+"/") {
			return true
		}
	}
	return false
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
