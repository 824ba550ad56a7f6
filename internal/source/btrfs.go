package source

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The groups of btrfs's quotas, as the kernel shows them in /sys/fs/btrfs (Linux 5.9):
// nothing but reading is needed, and no right.

// Bits of limit_flags (linux/btrfs_tree.h).
const (
	btrfsMaxReferenced = 1 << 0
	btrfsMaxExclusive  = 1 << 1
)

// btrfsMount is where a btrfs is mounted, and which subvolume.
type btrfsMount struct{ path, device, subvolume string }

func parseBtrfsMounts(in io.Reader) (all []btrfsMount) {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 || right[0] != "btrfs" {
			continue
		}
		m := btrfsMount{path: unescapeMount(left[4]), device: unescapeMount(right[1])}
		for o := range strings.SplitSeq(right[2], ",") {
			if id, ok := strings.CutPrefix(o, "subvolid="); ok {
				m.subvolume = id
			}
		}
		all = append(all, m)
	}
	return all
}

// qgroups lists the groups with a limit of the file systems that are mounted. sys is
// /sys/fs/btrfs.
func qgroups(sys string, mounts []btrfsMount) (all []usage) {
	systems, err := filepath.Glob(filepath.Join(sys, "*", "qgroups"))
	if err != nil {
		return nil // the pattern is constant
	}
	for _, groups := range systems {
		at := mountsOf(filepath.Join(filepath.Dir(groups), "devices"), mounts)
		if len(at) == 0 {
			continue // of another namespace
		}
		entries, err := os.ReadDir(groups)
		if err != nil {
			continue // gone again
		}
		for _, e := range entries {
			level, id, ok := strings.Cut(e.Name(), "_")
			if !ok || !e.IsDir() || len(all) >= maxQuotas {
				continue
			}
			if u, limited := qgroup(filepath.Join(groups, e.Name())); limited {
				u.scope, u.id, u.path, u.filesystem = "qgroup", level+"/"+id, at[0].path, at[0].device
				if i := slices.IndexFunc(at, func(m btrfsMount) bool { return level == "0" && m.subvolume == id }); i >= 0 {
					u.path = at[i].path
				}
				u.key = "qgroup " + filepath.Base(filepath.Dir(groups)) + " " + u.id
				all = append(all, u)
			}
		}
	}
	return all
}

// mountsOf are the mounts of the file system whose devices are listed in a folder;
// that of the whole file system first.
func mountsOf(devices string, mounts []btrfsMount) (at []btrfsMount) {
	for _, m := range mounts {
		device := m.device
		if followed, err := filepath.EvalSymlinks(device); err == nil {
			device = followed // /dev/mapper/x is a link to /dev/dm-0
		}
		if _, err := os.Lstat(filepath.Join(devices, filepath.Base(device))); err == nil {
			at = append(at, m)
		}
	}
	slices.SortStableFunc(at, func(a, b btrfsMount) int {
		return boolInt(b.subvolume == "5") - boolInt(a.subvolume == "5")
	})
	return at
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// qgroup reads one group: of its two limits the one that is nearer.
func qgroup(dir string) (u usage, limited bool) {
	flags := readNumber(filepath.Join(dir, "limit_flags"))
	for _, l := range []struct {
		flag       int64
		used, most string
	}{{btrfsMaxReferenced, "referenced", "max_referenced"}, {btrfsMaxExclusive, "exclusive", "max_exclusive"}} {
		used, limit := readNumber(filepath.Join(dir, l.used)), readNumber(filepath.Join(dir, l.most))
		if flags&l.flag == 0 || used < 0 || limit <= 0 {
			continue
		}
		if !limited || float64(used)/float64(limit) > float64(u.used)/float64(u.limit) {
			u.used, u.limit, limited = used, limit, true
		}
	}
	return u, limited
}

// readNumber reads a file with a number; -1 where there is none.
func readNumber(path string) int64 {
	content, err := readSmall(path, 64)
	if err != nil {
		return -1
	}
	text := strings.TrimSpace(string(content))
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		return -1
	}
	return clampBytes(n)
}
