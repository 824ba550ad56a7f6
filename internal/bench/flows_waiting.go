package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// waitTypes is how many types of events start runs that wait. Half of them wait for
// time, the others for an event of a type of their own each.
const waitTypes = 50

// rest is how long runs wait that wait for time.
const rest = 30 * 24 * time.Hour

// waiting measures many runs that wait: what they cost to hold, and how fast all of
// them go on after a restart.
func (b *bench) waiting(ctx context.Context) (err error) {
	dir, err := b.folder("waiting")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var started, taken, resumed samples
	for round := range max(1, b.s.rounds/2) {
		at := filepath.Join(dir, fmt.Sprint("round-", round))
		b.o.Say(fmt.Sprintf("flows: %d runs begin to wait, round %d", b.s.waits, round+1))
		rate, err := b.beginWaits(ctx, at)
		if err != nil {
			return err
		}
		started = append(started, rate)
		if round == 0 {
			if err := b.heldWaits(ctx, at); err != nil {
				return err
			}
		}
		if rate, err = b.takeUp(ctx, at); err != nil {
			return err
		}
		taken = append(taken, rate)
		b.o.Say(fmt.Sprintf("flows: %d runs go on after a restart, round %d", b.s.waits, round+1))
		if rate, err = b.endWaits(ctx, at); err != nil {
			return err
		}
		resumed = append(resumed, rate)
		if err := os.RemoveAll(at); err != nil {
			return err
		}
	}
	b.report.add(Row{
		Section: flowsSection, What: fmt.Sprintf("%d waiting runs taken up by a restart", b.s.waits), Ours: taken.median(), Theirs: started.median(), Unit: "/s",
		Against: "starting them", Sense: More, Goal: 3,
	})
	b.report.add(Row{
		Section: flowsSection, What: fmt.Sprintf("%d waiting runs that go on after a restart", b.s.waits), Ours: resumed.median(), Theirs: started.median(), Unit: "/s",
		Against: "starting them", Sense: More, Goal: 3,
	})
	b.report.note("Waiting runs: %s /s go on, %s were started in the rounds; round by round %s. Half of them wait for %s, half for an event, of %d types. Starting is from the first append of the events "+
		"until the last run waits. Taking up (%s /s) is from opening the folder until the engine knows what each run waits for, and when. Then the server ends, %s go by at once in its database, and the events come that are waited for; going on is from opening the folder until the last run is over and its "+
		"result event is in the journal.", list(resumed), list(started), list(ratios(resumed, started)), rest, waitTypes/2, list(taken), rest)
	return nil
}

// beginWaits gives the runs a second that begin to wait.
func (b *bench) beginWaits(ctx context.Context, dir string) (rate float64, err error) {
	a, err := openActor(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	for i := range waitTypes {
		tasks := fmt.Sprintf("  - rest: {wait: {hours: %d}}\n  - last: {set: {done: true}}\n", int(rest.Hours()))
		if i%2 == 1 {
			tasks = fmt.Sprintf("  - rest: {listen: {to: {one: {with: {type: %s}}}}}\n  - last: {set: {done: true}}\n", typeName(waitTypes+i))
		}
		if err := a.trigger(ctx, fmt.Sprint("waits-", i), tasks, "", string(typeName(i))); err != nil {
			return 0, err
		}
	}
	stop := a.run(ctx)
	defer func() { err = errors.Join(err, stop()) }()
	events := b.ofTypes(b.s.waits, waitTypes)
	began := time.Now()
	if err := a.record(ctx, events); err != nil {
		return 0, err
	}
	last := a.journal.Last()
	err = waitFor(ctx, 10*time.Minute, func() (bool, error) {
		if at, _, err := a.state.Cursor(ctx, "flow"); err != nil || at < last {
			return false, err
		}
		var busy bool
		err := a.state.Reader().QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM runs WHERE state IN ('queued', 'running'))`).Scan(&busy)
		return !busy, err
	})
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	var waits, listens int
	err = a.state.Reader().QueryRowContext(ctx, `SELECT (SELECT count(*) FROM runs WHERE state = 'waiting'), (SELECT count(*) FROM run_listens)`).Scan(&waits, &listens)
	if err == nil && (waits != b.s.waits || listens != b.s.waits/2) {
		err = fmt.Errorf("%d runs wait, %d of them for events, not %d and %d", waits, listens, b.s.waits, b.s.waits/2)
	}
	return float64(b.s.waits) / took.Seconds(), err
}

// heldWaits measures a whole server over a folder in which runs wait.
func (b *bench) heldWaits(ctx context.Context, dir string) error {
	b.o.Say(fmt.Sprintf("memory: a server in which %d runs wait", b.s.waits))
	_, m, err := b.child(ctx, "TOCSIN_ADMIN_PASSWORD="+adminPassword, "serve", "--data", dir, "--listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	what := fmt.Sprintf("memory of a server in which %d runs wait", b.s.waits)
	b.memoryRow(what, m, 300)
	b.report.Rows[len(b.report.Rows)-1].Section = flowsSection
	return nil
}

// takeUp gives the runs a second that an engine takes up when it starts: what each
// waits for, and when. None of them goes on.
func (b *bench) takeUp(ctx context.Context, dir string) (rate float64, err error) {
	began := time.Now()
	a, err := openActor(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.Handler().Begin(ctx); err != nil {
		return 0, err
	}
	return float64(b.s.waits) / time.Since(began).Seconds(), nil
}

// endWaits gives the runs a second that go on, and end, when all of them may at
// once after a restart.
func (b *bench) endWaits(ctx context.Context, dir string) (rate float64, err error) {
	if err := b.passTime(ctx, dir); err != nil {
		return 0, err
	}
	began := time.Now()
	a, err := openActor(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	stop := a.run(ctx)
	defer func() { err = errors.Join(err, stop()) }()
	err = waitFor(ctx, 10*time.Minute, func() (bool, error) { return int(a.over.Load()) >= b.s.waits, nil })
	took := time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("%d of %d are over: %w", a.over.Load(), b.s.waits, err)
	}
	return float64(b.s.waits) / took.Seconds(), a.checkRuns(ctx, b.s.waits)
}

// passTime makes it later in a folder that nobody has open: all waits are over,
// and the events have come that are waited for.
func (b *bench) passTime(ctx context.Context, dir string) (err error) {
	a, err := openActor(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	answers := b.ofTypes(waitTypes, waitTypes)
	for i := range answers {
		answers[i].ID, answers[i].Type = event.NewID(), typeName(waitTypes+i)
	}
	if err := a.record(ctx, answers); err != nil {
		return err
	}
	return a.earlier(ctx, rest)
}

// earlier makes runs that wait for time have been started earlier.
func (a *actor) earlier(ctx context.Context, by time.Duration) error {
	db, err := openPlain(ctx, filepath.Join(a.dir, "state.db"), nil)
	if err != nil {
		return err
	}
	began := time.Now().Add(-by - time.Hour).UTC().Format(time.RFC3339Nano)
	_, err = db.ExecContext(ctx, `UPDATE runs SET due = due - ?, doc = json_set(doc, '$.started_at', ?) WHERE state = 'waiting' AND due > 0`, int64(by+time.Hour), began)
	return errors.Join(err, db.Close())
}
