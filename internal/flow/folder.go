package flow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Flows may be kept in files: a file is a flow, and its name stays with it. When the
// file changes, the flow does; when it is gone, so is the flow. What somebody changes
// here and not in the file is kept until the file changes, and shown as drift.

const (
	// lookAtFolder is how often the folder is read although the kernel says nothing.
	lookAtFolder = 30 * time.Second
	// gatherFiles is how long a burst of changes is waited for.
	gatherFiles = 100 * time.Millisecond
)

// WatchFolder keeps flows in step with a folder until ctx ends; folder is asked
// again each time, since a reload may change it.
func (e *Engine) WatchFolder(ctx context.Context, folder func() string) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the flows' folder: %w", err)
	}
	defer func() { _ = w.Close() }() // it was only listened to
	said := ""
	for {
		if dir := folder(); dir != "" {
			if !slices.Contains(w.WatchList(), dir) {
				_ = w.Add(dir) // without it, the look every half minute remains
			}
			problem := ""
			if err := e.SyncFolder(ctx, dir); err != nil && ctx.Err() == nil {
				problem = err.Error()
			}
			if problem != said && problem != "" {
				e.o.Logger.WarnContext(ctx, "flows are not in step with their folder", "err", problem)
			}
			said = problem
		}
		wait := time.NewTimer(lookAtFolder)
		select {
		case <-wait.C:
		case <-w.Errors: //nolint:errcheck // changes were lost: we look now anyway
		case <-w.Events:
			settle(ctx, w.Events)
		case <-ctx.Done():
			wait.Stop()
			return nil
		}
		wait.Stop()
	}
}

// settle waits until a burst of changes is over.
func settle(ctx context.Context, changes <-chan fsnotify.Event) {
	quiet := time.NewTimer(gatherFiles)
	defer quiet.Stop()
	for {
		select {
		case <-changes:
		case <-quiet.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// SyncFolder brings the flows in step with the files of a folder. The error joins
// what could not be read; the other files are taken.
func (e *Engine) SyncFolder(ctx context.Context, dir string) error {
	files, problems := readFolder(dir)
	if files == nil {
		return errors.Join(problems...)
	}
	kept := map[string]state.Record[Definition]{}
	for after := state.ObjectID(0); ; {
		found, err := e.ListFlows(ctx, after, pageSize)
		if err != nil {
			return err
		}
		for _, r := range found {
			after = r.ID
			if r.Value.Source != "" {
				kept[r.Value.Source] = r
			}
		}
		if len(found) < pageSize {
			break
		}
	}
	for name, text := range files {
		old, known := kept[name]
		if known && old.Value.SourceHash == hashOf(text) {
			continue
		}
		if err := e.take(ctx, name, text, old.ID); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	for name, r := range kept {
		if _, there := files[name]; there || len(problems) > 0 { // what can't be read is not gone
			continue
		}
		if err := e.DeleteFlow(ctx, state.System(), r.ID, state.AnyVersion); err != nil && !errors.Is(err, event.ErrNotFound) {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

// take stores what a file has: in a flow that it is kept in, or a new one.
func (e *Engine) take(ctx context.Context, name, text string, id state.ObjectID) error {
	if id == 0 {
		_, err := e.CreateFlow(ctx, state.System(), text, name)
		return err
	}
	next := e.compile(text)
	err := e.o.State.Write(ctx, state.System(), func(tx *state.Tx) error {
		_, err := e.update(tx, id, state.AnyVersion, next, next.Hash)
		return err
	})
	e.changedBy(err)
	return err
}

// readFolder reads the files of a folder; nil where it can't be read.
func readFolder(dir string) (map[string]string, []error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, []error{fmt.Errorf("flows.folder: %w", err)}
	}
	files := map[string]string{}
	var problems []error
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) {
			continue
		}
		path := filepath.Join(dir, name)
		info, err := os.Stat(path) // through links: that is how configuration is mounted
		if err == nil && (!info.Mode().IsRegular() || info.Size() > maxDocument) {
			err = event.Invalidf("is no regular file of at most %d bytes", maxDocument)
		}
		var text []byte
		if err == nil {
			text, err = os.ReadFile(path)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("flows.folder: %s: %w", name, err))
			continue
		}
		if strings.TrimSpace(string(text)) != "" { // one that is being written
			files[name] = string(text)
		}
	}
	return files, problems
}
