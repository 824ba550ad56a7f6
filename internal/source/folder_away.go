package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// away removes a file that was taken, or moves it. why is what is wrong with it. A
// file that has come into its place since it was read stays, to be taken itself.
func (f *folder) away(path, mark string, why error) error {
	if info, err := os.Lstat(path); err == nil && markOf(info) != mark {
		return nil
	}
	var err error
	switch {
	case why != nil:
		err = setAside(path, "bad", why.Error()+"\n")
	case f.After == "done":
		err = setAside(path, "done", "")
	default:
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		if len(f.stuck) < 10000 {
			f.stuck[path] = mark
		}
		why = errors.Join(why, err)
	}
	if why != nil {
		return fmt.Errorf("%s: %w", path, why)
	}
	return nil
}

// setAside moves a file into a folder beside it, where nothing is overwritten, and
// writes the reason beside it, if there is one. Whoever may put files into the
// folder may have made that folder, and what is in it: no link is followed there,
// or the server would write where he may not.
func setAside(path, name, reason string) (err error) {
	above, base := filepath.Split(path)
	to := filepath.Join(above, name)
	if err := os.Mkdir(to, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := unix.Open(to, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: to, Err: err}
	}
	defer func() { err = errors.Join(err, unix.Close(dir)) }()
	moved := base
	for n := 1; ; n++ {
		err := unix.Renameat2(unix.AT_FDCWD, path, dir, moved, unix.RENAME_NOREPLACE)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EEXIST) || n > 1000 {
			return &os.LinkError{Op: "rename", Old: path, New: filepath.Join(to, moved), Err: err}
		}
		moved = base + "." + strconv.Itoa(n)
	}
	if reason == "" {
		return nil
	}
	return writeBeside(dir, moved+".reason", reason)
}

// writeBeside writes a new file into an open folder, in the place of what has its name.
func writeBeside(dir int, name, text string) error {
	if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	// Who puts files in is to read why they are bad.
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o640)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}
