package source

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The quotas of users and projects, as the kernel counts them (quotactl(2)).
// Q_GETNEXTQUOTA lists whoever has one; it serves XFS, too.

// Kinds of quotas, and the command (linux/quota.h, linux/dqblk_xfs.h).
const (
	userQuota      = 0
	projectQuota   = 2
	getNextQuota   = 0x800009
	subcommandBits = 8
	quotaBlock     = 1024 // bytes of the unit in which limits are given
	maxQuotas      = 100_000
)

// nextQuota is struct if_nextdqblk of linux/quota.h.
type nextQuota struct {
	HardBlocks, SoftBlocks, Space uint64
	HardFiles, SoftFiles, Files   uint64
	SpaceTime, FilesTime          uint64
	Valid, ID                     uint32
}

// quotaMount is a file system on which quotas are on.
type quotaMount struct {
	mount
	kinds []int
}

// quotaTypes are the file systems that count by quotactl.
var quotaTypes = []string{"ext2", "ext3", "ext4", "xfs", "f2fs", "jfs", "reiserfs", "ocfs2", "gfs2", "tmpfs"} //nolint:gochecknoglobals // a constant table

// quotaMounts lists the file systems whose options say that quotas are on: without
// that, nothing is enforced.
func quotaMounts() ([]quotaMount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	defer f.Close()
	return parseQuotaMounts(f), nil
}

func parseQuotaMounts(in io.Reader) []quotaMount {
	var all []quotaMount
	seen := map[string]bool{}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 || !slices.Contains(quotaTypes, right[0]) || seen[left[2]] {
			continue
		}
		q := quotaMount{mount: mount{path: unescapeMount(left[4]), device: unescapeMount(right[1]), fstype: right[0]}}
		for o := range strings.SplitSeq(right[2], ",") {
			name, _, _ := strings.Cut(o, "=")
			switch name {
			case "usrquota", "uquota", "usrjquota", "quota":
				q.kinds = append(q.kinds, userQuota)
			case "prjquota", "pquota":
				q.kinds = append(q.kinds, projectQuota)
			}
		}
		slices.Sort(q.kinds)
		if q.kinds = slices.Compact(q.kinds); len(q.kinds) > 0 {
			seen[left[2]] = true
			all = append(all, q)
		}
	}
	return all
}

// quotasOf lists the quotas of a kind with a limit on space.
func quotasOf(m mount, kind int) ([]usage, error) {
	dir, err := os.Open(m.path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var all []usage
	for id := uint32(0); len(all) < maxQuotas; id++ {
		var q nextQuota
		err := quotactl(dir, m.device, kind, id, &q)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
			break // no more, or not on
		}
		if err != nil {
			return all, fmt.Errorf("quotas of %s: %w", m.path, err)
		}
		if u, limited := q.usage(m, kind); limited {
			all = append(all, u)
		}
		if q.ID == ^uint32(0) || q.ID < id {
			break
		}
		id = q.ID
	}
	return all, nil
}

// quotactl asks by the folder (quotactl_fd, Linux 5.14), which needs no name of a
// device, or else by the device.
func quotactl(dir *os.File, device string, kind int, id uint32, to *nextQuota) error {
	command := getNextQuota<<subcommandBits | kind
	_, _, code := unix.Syscall6(unix.SYS_QUOTACTL_FD, dir.Fd(), uintptr(command), uintptr(id), uintptr(unsafe.Pointer(to)), 0, 0) //nolint:gosec // the kernel fills in the structure
	if code == unix.ENOSYS {
		name, err := unix.BytePtrFromString(device)
		if err != nil {
			return err
		}
		_, _, code = unix.Syscall6(unix.SYS_QUOTACTL, uintptr(command), uintptr(unsafe.Pointer(name)), uintptr(id), uintptr(unsafe.Pointer(to)), 0, 0) //nolint:gosec // as above
	}
	if code != 0 {
		return code
	}
	return nil
}

// usage is what a quota says of space; limited is false where there is no limit.
func (q *nextQuota) usage(m mount, kind int) (u usage, limited bool) {
	u = usage{scope: "user_quota", path: m.path, filesystem: m.device, id: strconv.FormatUint(uint64(q.ID), 10), used: clampBytes(q.Space)}
	u.limit, u.soft = clampBytes(mulBlocks(q.HardBlocks)), clampBytes(mulBlocks(q.SoftBlocks))
	if kind == projectQuota {
		u.scope = "project_quota"
	}
	if u.limit == 0 {
		u.limit = u.soft
	}
	if q.SpaceTime > 0 && q.SpaceTime < 1<<40 {
		u.grace = time.Unix(int64(q.SpaceTime), 0).UTC()
	}
	u.key = u.scope + " " + m.path + " " + u.id
	return u, u.limit > 0
}

func mulBlocks(n uint64) uint64 {
	if n > ^uint64(0)/quotaBlock {
		return ^uint64(0)
	}
	return n * quotaBlock
}

func clampBytes(n uint64) int64 { return int64(min(n, 1<<62)) }

// userOf is the name of a user, or the number where there is no name.
func userOf(id string) string {
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// projectOf is the name of a project (projid(5)) and its first folder (projects(5)).
func projectOf(id, names, folders string) (name, folder string) {
	name = id
	eachPair(names, func(left, right string) {
		if right == id && name == id {
			name = left
		}
	})
	eachPair(folders, func(left, right string) {
		if left == id && folder == "" {
			folder = right
		}
	})
	return name, folder
}

// eachPair gives the pairs of a file of lines "left:right". A file that is not there
// has none.
func eachPair(file string, give func(left, right string)) {
	content, err := readSmall(file, 1<<20)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(content)) {
		if left, right, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(left, "#") {
			give(strings.TrimSpace(left), strings.TrimSpace(right))
		}
	}
}
