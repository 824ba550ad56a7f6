package source

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	sys "golang.org/x/sys/unix"
)

// ending is how a run of a unit ended, as the journal tells.
type ending struct {
	unit, run string
	uid       string // of the user whose unit it is; empty for the system's
	last      *record
	result    string // success, exit-code, signal, timeout, …
	status    *int   // as a shell gives it; nil where no process ended badly
	duration  *time.Duration
	stopped   bool     // somebody stopped it
	output    []record // what it printed
}

// settleOutput is how long is waited for what a unit printed last, which comes
// to journald another way than systemd's own records.
const settleOutput = 250 * time.Millisecond

// mostOutput is how many records of a unit's output are read.
const mostOutput = 300

// readEnding gathers what the journal has of the run that a record ends.
func readEnding(ctx context.Context, j journal, last *record) (ending, error) {
	name, run, uid, _ := last.unit()
	e := ending{unit: name, run: run, uid: uid, last: last, result: cmp.Or(string(last.Result), "success")}
	if run == "" {
		return e, nil // systemd of before 2016
	}
	select {
	case <-time.After(settleOutput):
	case <-ctx.Done():
		return e, ctx.Err()
	}
	about := []string{"_PID=1", "INVOCATION_ID=" + run}
	if uid != "" {
		about = []string{"_UID=" + uid, "USER_INVOCATION_ID=" + run}
	}
	records, err := j.records(ctx, mostOutput, about...)
	if err != nil {
		return e, err
	}
	var first *record
	for i := range records {
		switch r := &records[i]; r.ID {
		case messageStarting, messageStarted:
			if first == nil {
				first = r
			}
		case messageStopping:
			e.stopped = true
		case messageExited:
			e.status = exitOf(r)
		}
	}
	if first != nil {
		d := last.since(first)
		e.duration = &d
	}
	return e, e.readOutput(ctx, j, first)
}

func (e *ending) readOutput(ctx context.Context, j journal, first *record) (err error) {
	switch {
	case first == nil:
		return nil
	case e.uid == "": // journald may have been too late to see which run wrote a line
		e.output, err = j.records(ctx, mostOutput, "_SYSTEMD_UNIT="+e.unit)
		e.output = slices.DeleteFunc(e.output, func(r record) bool { return string(r.Of) != e.run && (r.Of != "" || r.before(first)) })
	default: // it writes no id of a run of a user's unit
		e.output, err = j.records(ctx, mostOutput, "_SYSTEMD_USER_UNIT="+e.unit, "_UID="+e.uid)
		e.output = slices.DeleteFunc(e.output, func(r record) bool { return r.before(first) })
	}
	return err
}

// exitOf is the exit status that a record of messageExited tells.
func exitOf(r *record) *int {
	n, err := strconv.Atoi(string(r.Exit))
	if err != nil {
		if n = int(sys.SignalNum("SIG" + string(r.Exit))); n == 0 {
			return nil
		}
	}
	if r.ExitCode == "killed" || r.ExitCode == "dumped" {
		n += 128
	}
	return &n
}

// id makes the event's id the same whenever the ending is met.
func (e *ending) id(kind string) string {
	return kind + "-" + cmp.Or(e.run, string(e.last.Cursor))
}

// data are the members that events about jobs share.
func (e *ending) data() map[string]any {
	data := map[string]any{"name": strings.TrimSuffix(e.unit, ".service"), "unit": e.unit, "result": e.result}
	if e.status != nil {
		data["exit_status"] = *e.status
	}
	if e.duration != nil {
		data["duration_ms"] = e.duration.Milliseconds()
	}
	if text := printed(e.output); text != "" {
		data["output"] = text
	}
	if e.uid != "" {
		data["user"] = accountOf(e.uid)
	}
	return data
}

// recent remembers names for a while. It has one user.
type recent map[string]time.Time

func (r recent) has(name string) bool { return time.Now().Before(r[name]) }

func (r recent) note(name string, d time.Duration) {
	if len(r) >= keptAnswers {
		clear(r)
	}
	r[name] = time.Now().Add(d)
}

// lookup asks systemd about units of the system, and remembers the answers for a
// minute. It has one user.
type lookup struct {
	connect func(ctx context.Context) (manager, error)
	known   map[string]answer
}

type answer struct {
	unit  unit
	err   error
	until time.Time
}

const keptAnswers = 1000

func newLookup(address string) *lookup {
	return &lookup{connect: func(ctx context.Context) (manager, error) { return dialBus(ctx, address, false) }, known: map[string]answer{}}
}

// unit is what systemd says of a unit. No connection is kept: jobs fail seldom.
func (l *lookup) unit(ctx context.Context, name string) (unit, error) {
	now := time.Now()
	if a, ok := l.known[name]; ok && now.Before(a.until) {
		return a.unit, a.err
	}
	a := answer{until: now.Add(time.Minute)}
	m, err := l.connect(ctx)
	if a.err = err; err == nil {
		a.unit, a.err = m.one(ctx, name)
		m.close()
	}
	if ctx.Err() != nil {
		return unit{}, ctx.Err()
	}
	if len(l.known) >= keptAnswers {
		clear(l.known)
	}
	l.known[name] = a
	return a.unit, a.err
}
