// Package tail reads the lines that programs append to their logs.
//
// It promises: each whole line is given once and in the order of its file, over
// rotation (renamed or copied and truncated), removal and return of the file; a
// reader that was stopped goes on where the place that it saved says, also when
// the file was renamed in the meantime; a line without its end is not given; one
// that is too long is cut, and its rest passed over. Files that are there when
// somebody reads for the first time are read from their end. It is woken by
// the kernel (inotify(7)) and looks by itself every few seconds, for file systems
// that do not tell. A file that was renamed or removed is read for a minute more, because
// its writer may not know yet; one that appears under another name, which a pattern
// fits, too, goes on where it was.
package tail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options say what is read.
type Options struct {
	// Patterns are paths of files, with the wildcards of filepath.Match.
	Patterns []string
	// Whole reads files from their beginning that are there at the first time.
	Whole bool
	// Present is told how many files there are, and what keeps one from being
	// read: at the start, and whenever that changes.
	Present func(files int, err error)
}

// Line is one line of a file.
type Line struct {
	Path   string
	Offset int64 // where it begins, in bytes
	Text   string
}

// Give takes lines, at most [Batch] at once, and none at the beginning. place is to be stored when they are
// dealt with: it is where reading goes on later. An error ends the reading.
type Give func(ctx context.Context, lines []Line, place string) error

const (
	// Batch is how many lines are given at once.
	Batch = 256
	// Longest is the longest line that is given whole, in bytes.
	Longest = 64 << 10
	// look is how often files are looked at although the kernel says nothing.
	look = 15 * time.Second
	// settle is how long changes are gathered before they are read.
	settle = 20 * time.Millisecond
	// most is how many files are read at most.
	most = 1000
	// linger is how long a file that was renamed or removed is read still: its writer
	// goes on with it until somebody tells him to open the new one.
	linger = time.Minute
)

// Run reads until ctx ends and then returns nil. place is what was stored last;
// empty for the first time, and so is one that can't be read.
func Run(ctx context.Context, o Options, place string, give Give) error {
	for _, p := range o.Patterns {
		if _, err := filepath.Match(p, ""); err != nil {
			return fmt.Errorf("tail: pattern %q: %w", p, err)
		}
	}
	r := &reader{o: o, files: map[string]*file{}, give: give, told: -1}
	defer r.close()
	if json.Unmarshal([]byte(place), &r.saved) != nil {
		r.saved = nil
	}
	r.fromStart = o.Whole || r.saved != nil
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	defer func() { _ = w.Close() }() // it was only listened to
	tick := time.NewTicker(look)
	defer tick.Stop()
	for first := true; ; {
		r.watch(w)
		err := r.scan(ctx)
		if err == nil && first {
			// Where reading begins is to be known, also if nothing comes before a stop.
			err = give(ctx, nil, r.place(nil))
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if g, ok := errors.AsType[*giveError](err); ok {
				return g.error
			}
			return err
		}
		first, r.fromStart = false, true // what appears from now on is new
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-w.Errors: //nolint:errcheck // changes were lost: we look now anyway
		case <-w.Events:
			drain(ctx, w)
		}
	}
}

// drain gathers a burst of changes, so that one scan serves them all.
func drain(ctx context.Context, w *fsnotify.Watcher) {
	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	for {
		select {
		case <-w.Events:
		case <-quiet.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// reader is what Run knows.
type reader struct {
	o         Options
	files     map[string]*file
	old       []*file         // renamed or removed ones, that may still be written to
	now       []string        // the paths of this scan
	saved     map[string]mark // of files that were not met yet
	fromStart bool
	give      Give
	told      int // what Present was told
	toldErr   string
}

// watch asks the kernel for changes in the folders of the patterns: of a file
// itself, a rotation would go unseen.
func (r *reader) watch(w *fsnotify.Watcher) {
	var folders []string
	for _, p := range r.o.Patterns {
		found, err := filepath.Glob(filepath.Dir(p))
		if err != nil {
			continue // checked by Run
		}
		folders = append(folders, found...)
	}
	slices.Sort(folders)
	folders = slices.Compact(folders)
	for _, d := range folders[:min(len(folders), most)] {
		if slices.Contains(w.WatchList(), d) {
			continue
		}
		_ = w.Add(d) // without it, the look every few seconds remains
	}
}

// scan reads all that is new.
func (r *reader) scan(ctx context.Context) error {
	paths, err := r.paths()
	r.now = paths
	if err := r.leave(ctx); err != nil {
		return err
	}
	problem := err
	for _, path := range paths {
		if err := r.file(ctx, path); err != nil {
			if _, ok := errors.AsType[*fs.PathError](err); !ok {
				return err
			}
			problem = err
		}
	}
	if err := r.forget(ctx, paths); err != nil {
		return err
	}
	r.present(len(r.files), problem)
	return nil
}

// leave reads the rest of files that have gone from their paths, and closes them
// after a while.
func (r *reader) leave(ctx context.Context) error {
	now := time.Now()
	for path, f := range r.files {
		if !f.still() || !slices.Contains(r.now, path) {
			f.until, f.key = now.Add(linger), fmt.Sprint(f.key, successor, f.at.Inode)
			r.old = append(r.old, f)
			delete(r.files, path)
		}
	}
	for _, f := range r.old {
		if err := r.read(ctx, f); err != nil {
			if _, ok := errors.AsType[*fs.PathError](err); !ok {
				return err
			}
			f.until = now // it can't be read any more
		}
	}
	over := len(r.old) - most
	for i, f := range r.old {
		if i < over || !now.Before(f.until) {
			f.close()
			r.old[i] = nil
		}
	}
	r.old = slices.DeleteFunc(r.old, func(f *file) bool { return f == nil })
	return nil
}

// successor is behind the path in the key of a file's place when another file has come
// into its path.
const successor = "\x00"

// forget gives up the stored places of files that were met or are gone; what is
// left in a renamed one is read before.
func (r *reader) forget(ctx context.Context, paths []string) error {
	for path, was := range r.saved {
		if !slices.Contains(paths, path) {
			if err := r.rotated(ctx, path, was); err != nil {
				return err
			}
		} else if r.files[path] == nil {
			continue // it could not be opened yet
		}
		delete(r.saved, path)
	}
	return nil
}

func (r *reader) present(files int, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if files != r.told || text != r.toldErr {
		r.told, r.toldErr = files, text
		if r.o.Present != nil {
			r.o.Present(files, err)
		}
	}
}

// paths are the files of the patterns, each once.
func (r *reader) paths() ([]string, error) {
	var all []string
	for _, p := range r.o.Patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				all = append(all, path)
			}
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > most {
		return all[:most], fmt.Errorf("tail: %d files match, of which %d are read", len(all), most)
	}
	return all, nil
}

// file reads what is new in the file of a path.
func (r *reader) file(ctx context.Context, path string) error {
	f := r.files[path]
	if f == nil {
		opened, err := r.open(ctx, path)
		if err != nil {
			return err
		}
		f = opened
		r.files[path] = f
	}
	return r.read(ctx, f)
}

// open opens a file at the place where reading goes on.
func (r *reader) open(ctx context.Context, path string) (*file, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	was, known := r.saved[path]
	switch {
	case known && f.is(was):
		f.at = was
	case r.renamed(f):
	case known:
		if err := r.rotated(ctx, path, was); err != nil {
			f.close()
			return nil, err
		}
	case !r.fromStart:
		if err := f.toEnd(); err != nil {
			f.close()
			return nil, err
		}
	}
	return f, nil
}

// renamed tells whether a file was read under another name, and sets its place to
// where that came.
func (r *reader) renamed(f *file) bool {
	for i, old := range r.old {
		if old.at.Offset > 0 && f.is(old.at) {
			f.at = old.at
			old.close()
			r.old = slices.Delete(r.old, i, i+1)
			return true
		}
	}
	for _, was := range r.saved {
		if was.Offset > 0 && f.is(was) {
			f.at = was
			return true
		}
	}
	return false
}

// rotated reads the rest of a file that was renamed while nobody read it.
func (r *reader) rotated(ctx context.Context, path string, was mark) error {
	key := path
	path, _, _ = strings.Cut(path, successor)
	siblings, err := filepath.Glob(escape(path) + "?*")
	if err != nil {
		return err
	}
	for _, sibling := range siblings {
		if slices.Contains(r.now, sibling) {
			continue // it is read for itself
		}
		f, err := openFile(sibling)
		if err != nil {
			continue // not to be read, or gone again
		}
		if !f.is(was) {
			f.close()
			continue
		}
		f.at, f.path, f.key = was, path, key
		err = r.read(ctx, f)
		f.close()
		return err
	}
	return nil
}

// read gives all whole lines behind the place of a file.
func (r *reader) read(ctx context.Context, f *file) error {
	if err := f.truncated(); err != nil {
		return err
	}
	for {
		lines, err := f.lines()
		if err != nil || len(lines) == 0 {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.give(ctx, lines, r.place(f)); err != nil {
			return &giveError{err}
		}
	}
}

// giveError is one of the taker, which ends the reading, also where it is about a file
// of his own, such as a disk that is full.
type giveError struct{ error }

// place is how far reading came, with a file that may not be among those of the
// paths any more.
func (r *reader) place(with *file) string {
	all := make(map[string]mark, len(r.files)+1)
	maps.Copy(all, r.saved)
	for path, f := range r.files {
		all[path] = f.at
	}
	for _, f := range r.old {
		all[f.key] = f.at
	}
	if with != nil {
		all[with.key] = with.at
	}
	text, err := json.Marshal(all)
	if err != nil {
		return "" // numbers and text always marshal
	}
	return string(text)
}

func (r *reader) close() {
	for _, f := range r.files {
		f.close()
	}
	for _, f := range r.old {
		f.close()
	}
}
