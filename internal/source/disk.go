package source

import (
	"bufio"
	"cmp"
	"context"
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

// Delivery: each file system is measured at every interval (statfs(2)), and so are
// the quotas of users and projects (quotactl(2)) and the groups of btrfs (sysfs); the
// kernel's warnings of quotas (netlink) bring the next look forward.
// Makes: disk_full, once when use crosses the high-watermark, or a quota its soft
// limit; again only after it has fallen below the low-watermark. At 95 % and above it
// is an error.
// Leaves out: quotas of groups and of numbers of files, pseudo file systems, and
// images that are full by nature (squashfs, iso9660).
func init() {
	register("disk_full", "File systems and disk quotas of this host that are almost full.", diskOptions{
		Enabled: true, Interval: config.Duration(30 * time.Second), High: 85, Low: 80, Quotas: true,
	}, newDisk)
}

type diskOptions struct {
	Enabled  bool            `yaml:"enabled" doc:"Whether file systems are watched."`
	Interval config.Duration `yaml:"interval" doc:"How often they are measured; at least 1s."`
	High     float64         `yaml:"high" doc:"Percentage in use from which one is told."`
	Low      float64         `yaml:"low" doc:"Percentage below which it may be told again."`
	Paths    []string        `yaml:"paths" doc:"Mount points to watch; empty for all real ones."`
	Quotas   bool            `yaml:"quotas" doc:"Whether quotas of users, of projects and of btrfs are watched, too."`
}

type disk struct {
	diskOptions
	mounts func() ([]mount, error)
	statfs func(path string) (used, limit int64, err error)
	quotas func(wants func(path string) bool) ([]usage, error)
	hung   map[string]chan measured // questions without an answer, by path
}

type mount struct{ path, device, fstype string }

func newDisk(o diskOptions) (Source, error) {
	switch {
	case o.High <= 0 || o.High > 100 || o.Low <= 0 || o.Low > o.High:
		return nil, event.Invalidf("high and low must be percentages with low below high; they are %g and %g", o.High, o.Low)
	case time.Duration(o.Interval) < time.Second:
		return nil, event.Invalidf("interval: %s is shorter than 1s", o.Interval)
	}
	return &disk{diskOptions: o, mounts: realMounts, statfs: measure, quotas: realQuotas}, nil
}

// Run implements Source.
func (d *disk) Run(ctx context.Context, env *Env) error {
	wake := make(chan struct{}, 1)
	parts := []func(context.Context) error{func(ctx context.Context) error { return d.watch(ctx, env, wake) }}
	if d.Quotas {
		parts = append(parts, func(ctx context.Context) error { return d.listen(ctx, wake) })
	}
	return inParallel(ctx, parts...)
}

// watch looks at every interval, and soon after the kernel has warned.
func (d *disk) watch(ctx context.Context, env *Env, wake <-chan struct{}) error {
	tick := time.NewTicker(time.Duration(d.Interval))
	defer tick.Stop()
	for {
		if err := d.look(ctx, env); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
			continue
		case <-wake:
		case <-ctx.Done():
			return nil
		}
		// A burst of warnings is one look.
		pause := time.NewTimer(diskSettle)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil
		}
	}
}

// diskSettle is how long warnings of the kernel are gathered.
const diskSettle = 200 * time.Millisecond

// listen is woken by the kernel. A socket that fails is opened anew.
func (d *disk) listen(ctx context.Context, wake chan<- struct{}) error {
	for {
		if err := listenQuotas(ctx, wake); err == nil {
			<-ctx.Done()
			return nil
		}
		select { // lost messages, such as ENOBUFS: we look
		case wake <- struct{}{}:
		default:
		}
		again := time.NewTimer(lastPause)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil
		}
	}
}

// usage is how much of something is in use.
type usage struct {
	key              string // in the memory
	scope, id        string
	path, filesystem string
	used, limit      int64     // bytes
	soft             int64     // bytes that may be exceeded until grace; 0 for none
	grace            time.Time // when the soft limit becomes hard
}

func (d *disk) look(ctx context.Context, env *Env) error {
	mounts, err := d.mounts()
	if err != nil {
		return err
	}
	watched, lacks := 0, ""
	for _, m := range mounts {
		if !d.wants(m.path) || len(d.Paths) == 0 && m.layered() {
			continue
		}
		used, limit, err := d.ask(ctx, m.path)
		if errors.Is(err, errHung) {
			lacks = m.path + " does not answer: is its server away?"
		}
		if err != nil || limit == 0 {
			continue // unmounted since, or without blocks
		}
		watched++
		if err := d.judge(ctx, env, &usage{key: m.path, scope: "statfs", path: m.path, filesystem: m.device, used: used, limit: limit}); err != nil {
			return err
		}
	}
	if d.Quotas {
		all, err := d.quotas(d.wants)
		if err != nil {
			lacks = cmp.Or(lacks, quotaLacks(err))
			env.Problem(err)
		} else {
			env.Problem(nil)
		}
		watched += len(all)
		if err := d.judgeQuotas(ctx, env, all); err != nil {
			return err
		}
	}
	switch {
	case watched == 0 && lacks != "":
		env.Status(Unavailable, lacks)
		return nil
	case watched == 0:
		env.Status(Idle, "no file system to watch: name mount points in sources.disk_full.paths")
		return nil
	}
	env.Status(Running, lacks)
	return nil
}

// measured is the answer of statfs.
type measured struct {
	used, limit int64
	err         error
}

var errHung = errors.New("it does not answer")

// statfsTime is how long a file system may take to answer.
const statfsTime = 5 * time.Second

// ask asks a file system how full it is. That of a server that is away may answer
// never: then it is asked no more until it has, and holds up neither the others nor
// the end of the program.
func (d *disk) ask(ctx context.Context, path string) (used, limit int64, err error) {
	if answer, waits := d.hung[path]; waits {
		select {
		case m := <-answer:
			delete(d.hung, path)
			return m.used, m.limit, m.err
		default:
			return 0, 0, errHung
		}
	}
	answer := make(chan measured, 1)
	go func() {
		var m measured
		m.used, m.limit, m.err = d.statfs(path)
		answer <- m
	}()
	late := time.NewTimer(statfsTime)
	defer late.Stop()
	select {
	case m := <-answer:
		return m.used, m.limit, m.err
	case <-late.C:
	case <-ctx.Done():
	}
	if d.hung == nil {
		d.hung = map[string]chan measured{}
	}
	d.hung[path] = answer
	return 0, 0, errHung
}

func (d *disk) wants(path string) bool { return len(d.Paths) == 0 || slices.Contains(d.Paths, path) }

// quotaLacks says what is to be done where quotas can't be read.
func quotaLacks(err error) string {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return err.Error() + ": the quotas of others need CAP_SYS_ADMIN (docs/privileges.md); set sources.disk_full.quotas to false to do without"
	}
	return err.Error()
}

// realQuotas lists the quotas of all wanted file systems. What can be read is given
// also beside an error.
func realQuotas(wants func(path string) bool) ([]usage, error) {
	mounts, err := quotaMounts()
	if err != nil {
		return nil, err
	}
	var all []usage
	var problems []error
	for _, m := range mounts {
		if !wants(m.path) {
			continue
		}
		for _, kind := range m.kinds {
			found, err := quotasOf(m.mount, kind)
			all = append(all, found...)
			if err != nil {
				problems = append(problems, err)
			}
		}
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return all, errors.Join(append(problems, err)...)
	}
	defer f.Close()
	for _, u := range qgroups("/sys/fs/btrfs", parseBtrfsMounts(f)) {
		if wants(u.path) {
			all = append(all, u)
		}
	}
	return all, errors.Join(problems...)
}

// quotaKey is where it is remembered which quotas were told of: there may be many.
const quotaKey = "quotas"

// judgeQuotas judges quotas, of which most are far from their limit.
func (d *disk) judgeQuotas(ctx context.Context, env *Env, all []usage) error {
	told := map[string]string{}
	if err := recall(ctx, env, quotaKey, &told); err != nil {
		return err
	}
	for i := range all {
		u := &all[i]
		was := told[u.key] != ""
		switch {
		case was && d.isLow(u):
			delete(told, u.key)
		case !was && d.isHigh(u) && len(told) < maxQuotas:
			if err := d.tell(ctx, env, u); err != nil {
				return err
			}
			told[u.key] = time.Now().UTC().Format(time.RFC3339)
		default:
			continue
		}
		if err := remember(ctx, env, quotaKey, told); err != nil {
			return err
		}
	}
	return nil
}

func (u *usage) percent() float64 {
	return math.Round(float64(u.used)/float64(u.limit)*1000) / 10
}

// isHigh tells whether the high-watermark is crossed, or a soft limit, beyond which
// time runs.
func (d *disk) isHigh(u *usage) bool {
	return u.percent() >= d.High || u.soft > 0 && u.used > u.soft
}

// isLow tells whether it may be told again.
func (d *disk) isLow(u *usage) bool {
	return u.percent() < d.Low && (u.soft == 0 || u.used <= u.soft)
}

// judge tells of one file system if it has crossed the high-watermark.
func (d *disk) judge(ctx context.Context, env *Env, u *usage) error {
	told, err := env.Memory.Load(ctx, u.key)
	if err != nil {
		return err
	}
	switch {
	case told != "" && d.isLow(u):
		return env.Memory.Store(ctx, u.key, "")
	case told != "" || !d.isHigh(u):
		return nil
	}
	if err := d.tell(ctx, env, u); err != nil {
		return err
	}
	return env.Memory.Store(ctx, u.key, time.Now().UTC().Format(time.RFC3339))
}

func (d *disk) tell(ctx context.Context, env *Env, u *usage) error {
	percent, subject := u.percent(), "filesystem"+u.path
	data := map[string]any{
		"path": u.path, "filesystem": u.filesystem, "scope": u.scope, "used_bytes": u.used, "limit_bytes": u.limit,
		"used_percent": percent, "threshold_percent": d.High,
	}
	switch u.scope {
	case "user_quota":
		data["user"], data["uid"] = userOf(u.id), u.id
		subject = "user/" + userOf(u.id)
	case "project_quota":
		name, folder := projectOf(u.id, "/etc/projid", "/etc/projects")
		data["project"], data["project_id"] = name, u.id
		if folder != "" {
			data["path"] = folder
		}
		subject = "project/" + name
	case "qgroup":
		data["qgroup"] = u.id
	}
	if u.soft > 0 {
		data["soft_bytes"] = u.soft
	}
	if !u.grace.IsZero() {
		data["grace_until"] = u.grace.Format(time.RFC3339)
	}
	severity := event.Warn
	if percent >= 95 {
		severity = event.Error
	}
	return tell(ctx, env, finding{producer: "disk", t: "disk_full", severity: severity, subject: subject, data: data})
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

// layered tells whether a mount has no space of its own: containers mount one overlay
// each, all on a file system that is watched by itself. The root of a container is
// all that it sees of that.
func (m *mount) layered() bool { return m.fstype == "overlay" && m.path != "/" }

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
