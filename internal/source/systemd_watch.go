package source

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strings"
	"time"
)

// journalWatch follows the journal for a source: its place is kept in the memory, so
// that nothing is told twice and what happened while the server was down is told
// when it is up again.
type journalWatch struct {
	journal journal
	match   []string
	flood   *flood
	take    func(ctx context.Context, env *Env, r *record) error

	place string
	saved time.Time
}

const (
	placeKey   = "place"
	placeEvery = time.Second // it is stored no more often
)

// run follows until ctx ends.
func (w *journalWatch) run(ctx context.Context, env *Env) error {
	if err := w.begin(ctx, env); err != nil {
		return err
	}
	folding, stop := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		stop(guarded(folding, func(ctx context.Context) error { return w.flood.run(ctx, env) }))
	}()
	defer func() { stop(nil); <-done }()
	pause := shortPause
	for {
		err := w.journal.ready()
		if err == nil {
			env.Status(Running, "")
			began := time.Now()
			err = w.follow(folding, env)
			if time.Since(began) > time.Minute {
				pause = shortPause
			}
		}
		var absent *absentError
		switch {
		case ctx.Err() != nil:
			return w.store(context.WithoutCancel(ctx), env, true)
		case folding.Err() != nil:
			return context.Cause(folding)
		case errors.As(err, &absent):
			env.Status(Unavailable, absent.lacks)
		default:
			return err
		}
		if strings.Contains(absent.lacks, "seek to cursor") || strings.Contains(absent.lacks, "parse timestamp") {
			w.place = since(time.Now()) // what is stored is no place of this journal
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, longPause)
		case <-folding.Done():
		}
	}
}

// begin finds the place from which to follow: at first the time of the start.
func (w *journalWatch) begin(ctx context.Context, env *Env) (err error) {
	if w.place, err = env.Memory.Load(ctx, placeKey); err != nil {
		return err
	}
	if w.place == "" {
		w.place = since(time.Now())
		if err := w.store(ctx, env, true); err != nil {
			return err
		}
	}
	return w.flood.load(ctx, env)
}

// since is the place of a time.
func since(t time.Time) string { return fmt.Sprintf("@%d.%06d", t.Unix(), t.Nanosecond()/1000) }

func (w *journalWatch) follow(ctx context.Context, env *Env) error {
	return w.journal.follow(ctx, w.place, w.match, func(r *record) error {
		if err := w.take(ctx, env, r); err != nil {
			return err
		}
		if r.Cursor != "" {
			w.place = string(r.Cursor)
		}
		return w.store(ctx, env, false)
	})
}

func (w *journalWatch) store(ctx context.Context, env *Env, must bool) error {
	if !must && time.Since(w.saved).Abs() < placeEvery {
		return nil
	}
	if err := env.Memory.Store(ctx, placeKey, w.place); err != nil {
		return err
	}
	w.saved = time.Now()
	return nil
}

// accountOf is the name of a user's number, or the number where it has none.
func accountOf(uid string) string {
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}
