package flow

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/program"
)

// What pages and the command line look at; nothing here changes anything.

// RunPlace is the place of a run in a list of runs.
type RunPlace struct {
	Queued time.Time
	ID     RunID
}

// RunsBehind lists runs, the newest first, from behind a place on; the zero place is
// before all. Runs that were queued at the same moment are in the order of their ids.
// The Before of the query does not count.
func (e *Engine) RunsBehind(ctx context.Context, q RunQuery, at RunPlace) ([]Run, error) {
	var where []string
	var args []any
	and := func(column string, value any) {
		args = append(args, value)
		where = append(where, column+" = $"+strconv.Itoa(len(args)))
	}
	if q.Flow != 0 {
		and("flow", int64(q.Flow))
	}
	if q.Trigger != 0 {
		and("trigger_id", int64(q.Trigger))
	}
	if q.State != "" {
		and("state", string(q.State))
	}
	if !at.Queued.IsZero() {
		args = append(args, at.Queued.UnixNano(), string(at.ID))
		n := strconv.Itoa(len(args) - 1)
		where = append(where, "(queued < $"+n+" OR queued = $"+n+" AND id > $"+strconv.Itoa(len(args))+")")
	}
	text := ""
	if len(where) > 0 {
		text = "WHERE " + strings.Join(where, " AND ")
	}
	args = append(args, q.Limit)
	return runsOf(ctx, e.o.State.Reader(), text+" ORDER BY queued DESC, id LIMIT $"+strconv.Itoa(len(args)), args...)
}

// ComingSlots are the slots of a schedule that may not be stored, as if it were
// stored now, behind a time; at most n. The error is that of a trigger that can't
// be stored.
func (e *Engine) ComingSlots(t *Trigger, from time.Time, n int) ([]time.Time, error) {
	if err := e.check(t); err != nil {
		return nil, err
	}
	return t.Next(from, from, n)
}

// Graph draws a document; the error is that of a document that is not valid.
func (e *Engine) Graph(document string) (program.Graph, error) {
	p, err := e.programs.compile(document)
	if err != nil {
		return program.Graph{}, err
	}
	return p.Describe(), nil
}

// GraphOf draws a stored version of a flow.
func (e *Engine) GraphOf(ctx context.Context, hash string) (program.Graph, error) {
	p, err := e.programs.ofHash(ctx, hash)
	if err != nil {
		return program.Graph{}, err
	}
	return p.Describe(), nil
}
