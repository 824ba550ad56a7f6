package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// Delivery: files that are put into folders: *.json with an event or an array of
// them, *.ndjson and *.jsonl with one a line. A file is taken when nobody has it
// open for writing; where the kernel won't tell, when nothing was written to it for
// a while. To be sure, write it under another name and rename it.
// Makes: what the files say; the source of the short form is folder. A file is
// recorded as a whole, and then removed or moved to done; one with a mistake is moved
// to bad, beside a file that says why.
// Leaves out: symbolic links, files that are too large, names with a dot in front,
// and what is below the folders.
func init() {
	register("folder", "Events in files that are put into a folder.", folderOptions{
		Enabled: true, Interval: config.Duration(10 * time.Second), Settle: config.Duration(2 * time.Second), After: "remove", MaxSize: 16 << 20,
	}, newFolder)
}

type folderOptions struct {
	Enabled  bool            `yaml:"enabled" doc:"Whether the folders are watched."`
	Paths    []string        `yaml:"paths" doc:"The folders."`
	Interval config.Duration `yaml:"interval" doc:"How often they are read although nothing was heard of them; at least 1s."`
	Settle   config.Duration `yaml:"settle" doc:"How long nothing must have been written to a file of which the kernel won't tell whether it is open."`
	After    string          `yaml:"after" doc:"What becomes of a file that was taken: remove, or done to move it into the folder done."`
	MaxSize  config.Bytes    `yaml:"max_size" doc:"Size of the largest file."`
}

type folder struct {
	folderOptions
	stuck map[string]string // files that were dealt with and could not be moved away: what they were
}

func newFolder(o folderOptions) (Source, error) {
	switch {
	case time.Duration(o.Interval) < time.Second:
		return nil, event.Invalidf("interval: %s is shorter than 1s", o.Interval)
	case o.Settle < 0:
		return nil, event.Invalidf("settle: %s is less than nothing", o.Settle)
	case o.After != "remove" && o.After != "done":
		return nil, event.Invalidf("after: %q must be remove or done", o.After)
	case o.MaxSize < 1 || o.MaxSize > 256<<20:
		return nil, event.Invalidf("max_size: %d is out of range: 1 byte to 256MiB", o.MaxSize)
	}
	for _, p := range o.Paths {
		if !filepath.IsAbs(p) {
			return nil, event.Invalidf("paths: %q must be an absolute path", p)
		}
	}
	return &folder{folderOptions: o, stuck: map[string]string{}}, nil
}

// Run implements Source.
func (f *folder) Run(ctx context.Context, env *Env) error {
	if len(f.Paths) == 0 {
		env.Status(Idle, "no folders to watch: name them in sources.folder.paths")
		<-ctx.Done()
		return nil
	}
	give := newGiver(env, "folder")
	events, errs := make(chan fsnotify.Event), make(chan error) // of nobody, without a watcher
	w, err := fsnotify.NewWatcher()
	if err != nil {
		env.Problem(err) // the interval remains
	} else {
		defer func() { _ = w.Close() }()
		events, errs = w.Events, w.Errors
	}
	for {
		for _, p := range f.Paths {
			if w != nil && !slices.Contains(w.WatchList(), p) {
				_ = w.Add(p) // one that is not there is said below
			}
		}
		soon := f.look(ctx, env, give, time.Now())
		wait := time.Duration(f.Interval)
		if soon {
			wait = min(wait, 250*time.Millisecond)
		}
		next := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			next.Stop()
			return nil
		case <-next.C:
		case <-errs: //nolint:errcheck // changes were lost: we look now anyway
		case <-events:
			if w != nil {
				settled(ctx, w, 20*time.Millisecond)
			}
		}
		next.Stop()
	}
}

// look takes what is there, and tells whether there is something to be taken soon.
func (f *folder) look(ctx context.Context, env *Env, give *giver, now time.Time) (soon bool) {
	var problems []error
	lacks, took := "", false
	for _, dir := range f.Paths {
		entries, err := os.ReadDir(dir)
		if err != nil {
			lacks = fmt.Sprintf("%v: make the folder, with the right to write for the server and for those who put files into it", err)
			continue
		}
		for _, e := range entries {
			if ctx.Err() != nil {
				return false
			}
			path := filepath.Join(dir, e.Name())
			if e.IsDir() || strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{".json", ".ndjson", ".jsonl"}, filepath.Ext(path)) {
				continue
			}
			later, err := f.take(ctx, env, give, path, now)
			soon, took = soon || later, took || !later
			if err != nil {
				problems = append(problems, err)
			}
		}
	}
	if len(problems) > 10 {
		problems = append(problems[:10], fmt.Errorf("and %d more", len(problems)-10))
	}
	if took { // the last problem is shown until another file is looked at
		env.Problem(errors.Join(problems...))
	}
	if lacks != "" {
		env.Status(Unavailable, lacks)
	} else {
		env.Status(Running, "")
	}
	return soon
}

// take deals with one file. What can't be recorded now stays where it is.
func (f *folder) take(ctx context.Context, env *Env, give *giver, path string, now time.Time) (later bool, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil // gone again
		}
		return false, err
	}
	mark := markOf(info)
	if f.stuck[path] == mark {
		return false, fmt.Errorf("%s was dealt with and can't be moved away: give the server the right to write to its folder", path)
	}
	delete(f.stuck, path)
	content, ready, err := f.read(path, info, now)
	if err == nil && !ready {
		return true, nil
	}
	var events []event.Event
	if err == nil {
		events, err = give.all(content, filepath.Ext(path) != ".json", madeID("folder", env.Host, path, mark), info.ModTime().UTC())
	}
	if err == nil {
		for part := range slices.Chunk(events, 1000) { // what is recorded twice is known by its id
			if err = env.Emit(ctx, part...); err != nil {
				break
			}
		}
		if err != nil && !errors.Is(err, event.ErrInvalid) && !errors.Is(err, event.ErrDenied) {
			return false, fmt.Errorf("%s waits: %w", path, err)
		}
	}
	if err != nil && !errors.Is(err, event.ErrInvalid) && !errors.Is(err, event.ErrDenied) {
		return false, err // not to be read now
	}
	if err != nil {
		env.Log.WarnContext(ctx, "a file is no event", "path", path, "err", redact.Text(err.Error()))
	}
	return false, f.away(path, mark, err)
}

// markOf tells one file from a later one of the same name.
func markOf(info fs.FileInfo) string {
	inode := uint64(0)
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	return fmt.Sprint(inode, info.Size(), info.ModTime().UnixNano())
}

// read reads a file that is complete. What will never be one is an error of class
// event.ErrInvalid.
func (f *folder) read(path string, info fs.FileInfo, now time.Time) (content []byte, ready bool, err error) {
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, false, event.Invalidf("a symbolic link is not followed")
	case !info.Mode().IsRegular():
		return nil, false, event.Invalidf("not a regular file")
	case info.Size() > int64(f.MaxSize):
		return nil, false, event.Invalidf("it has %d bytes; sources.folder.max_size is %d", info.Size(), int64(f.MaxSize))
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	opened, err := file.Stat()
	if err != nil || !os.SameFile(info, opened) {
		return nil, false, err // replaced since: it is looked at again
	}
	quiet := now.Sub(opened.ModTime()).Abs() >= time.Duration(f.Settle)
	if writing, known := beingWritten(file); writing || !known && !quiet || opened.Size() == 0 && !quiet {
		return nil, false, nil
	}
	content, err = io.ReadAll(io.LimitReader(file, int64(f.MaxSize)+1))
	if err == nil && int64(len(content)) > int64(f.MaxSize) {
		err = event.Invalidf("it grows beyond sources.folder.max_size")
	}
	return content, true, err
}

// beingWritten asks the kernel whether somebody has a file open for writing: then
// it gives no lease (fcntl(2), F_SETLEASE). It answers the owner of the file, and who
// has CAP_LEASE.
func beingWritten(file *os.File) (writing, known bool) {
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EAGAIN)
	}
	_, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	return false, err == nil
}
