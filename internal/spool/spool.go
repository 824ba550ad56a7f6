// Package spool keeps events in files while no server can be reached, one file
// an event.
//
// It promises: Put returns when the event is durable; Each gives every event
// until it was taken, oldest first, and removes it only then; two processes may
// use one folder at once, since an event that is sent twice is known by its id.
package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Dir is the spool in a data folder.
func Dir(data string) string { return filepath.Join(data, "spool") }

const suffix = ".json"

// Put stores an event in a folder, which is made where there is none.
func Put(dir string, e *event.Event) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	f, err := os.CreateTemp(dir, "tmp-*")
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	_, err = f.Write(e.AppendJSON(nil))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		// Names sort by the time of their making, because the ids do (UUIDv7).
		err = os.Rename(f.Name(), filepath.Join(dir, string(event.NewID())+suffix))
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("spool: %w", err), removeIfThere(f.Name()))
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Each hands every waiting event to take, oldest first, and removes it when
// take returns nil. An error of class event.ErrUnavailable ends the round; one
// of class event.ErrInvalid sets the file aside under the suffix .bad, so that
// it neither blocks the others nor gets lost.
func Each(dir string, take func(*event.Event) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	names := []string{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, name := range names {
		path := filepath.Join(dir, name)
		err := one(path, take)
		switch {
		case err == nil:
			err = removeIfThere(path)
		case errors.Is(err, os.ErrNotExist): // another process was quicker
			err = nil
		case errors.Is(err, event.ErrInvalid):
			err = os.Rename(path, path+".bad")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func one(path string, take func(*event.Event) error) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	e, err := event.Decode(raw)
	if err != nil {
		return err
	}
	return take(&e)
}
