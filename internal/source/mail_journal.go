package source

import (
	"context"
	"errors"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/tail"
)

// mailLines gives the lines of Postfix's log, from a place on, until ctx ends:
// those of files, or of systemd's journal where there is one in place of them.
func mailLines(ctx context.Context, env *Env, source string, logs []string, j journal, place string, give tail.Give) error {
	if j != nil {
		return mailJournal(ctx, env, j, place, give)
	}
	o := tail.Options{Patterns: logs, Present: func(files int, err error) { mailLogStatus(env, source, logs, files, err) }}
	return tail.Run(ctx, o, place, give)
}

// mailJournal gives what Postfix has written into systemd's journal as the lines that
// it would have written into a file. It waits for a journal that is not there.
func mailJournal(ctx context.Context, env *Env, j journal, place string, give tail.Give) error {
	if place == "" || strings.HasPrefix(place, "{") { // that of files
		place = since(time.Now())
		if err := give(ctx, nil, place); err != nil {
			return err
		}
	}
	users := []string{"0"}
	if u, err := user.Lookup("postfix"); err == nil {
		users = append(users, u.Uid)
	}
	pause := shortPause
	for {
		err := j.ready()
		if err == nil {
			env.Status(Running, "")
			err = j.follow(ctx, place, []string{"SYSLOG_FACILITY=2"}, func(r *record) error {
				pause = shortPause
				place = firstText(string(r.Cursor), place)
				if !slices.Contains(users, string(r.UID)) {
					return nil // anybody may write that he is Postfix
				}
				text := r.time().Format(time.RFC3339Nano) + " journal postfix/" + string(r.Comm) + "[0]: " + string(r.Message)
				return give(ctx, []tail.Line{{Path: "journal", Text: text}}, place)
			})
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was to end
		}
		absent, ok := errors.AsType[*absentError](err)
		if !ok {
			return err
		}
		env.Status(Unavailable, absent.lacks)
		if strings.Contains(absent.lacks, "seek to cursor") {
			place = since(time.Now()) // what is stored is no place of this journal
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, longPause)
		case <-ctx.Done():
			return nil
		}
	}
}
