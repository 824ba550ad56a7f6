package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/follow"
	"github.com/tocsin-events/tocsin/internal/notify"
)

// matching compares how fast events are decided about with many rules and with
// few, and with the rate at which the journal takes them.
func (b *bench) matching(ctx context.Context) (err error) {
	dir, err := b.folder("matching")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b.o.Say(fmt.Sprintf("telling: %d rules", b.s.rules))
	many, err := b.openMatcher(ctx, filepath.Join(dir, "many"), b.s.rules)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, many.close()) }()
	few, err := b.openMatcher(ctx, filepath.Join(dir, "few"), fewRules)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, few.close()) }()
	var rates [2]samples
	var recorded samples
	for round := range b.s.rounds {
		b.o.Say(fmt.Sprintf("telling, matching: round %d of %d", round+1, b.s.rounds))
		for i, m := range []*matcher{many, few} {
			rate, err := m.rate(ctx)
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], rate)
		}
		at := filepath.Join(dir, fmt.Sprint("journal-", round))
		rate, _, err := appendJournal(ctx, at, b.prepare(4, 500, b.s.batch, round))
		if err := errors.Join(err, os.RemoveAll(at)); err != nil {
			return err
		}
		recorded = append(recorded, rate)
	}
	row := Row{Section: tellingSection, Unit: "events/s", Sense: More, Goal: 0.5}
	row.What = fmt.Sprintf("matching with %d rules, %d of which match", b.s.rules, matchers)
	row.Ours, row.Theirs, row.Against = rates[0].median(), rates[1].median(), fmt.Sprintf("%d rules, %d of which match", fewRules, matchers)
	b.report.add(row)
	row.Theirs, row.Against = recorded.median(), "the journal, batches of 500 from 4 producers"
	b.report.add(row)
	row.What, row.Ours = fmt.Sprintf("matching with %d rules, %d of which match", fewRules, matchers), rates[1].median()
	b.report.add(row)
	b.report.note("Matching: with %d rules %s events/s, with %d %s, the journal %s in the rounds; many against few round by round %s, against the journal %s. One goroutine reads the events from the "+
		"journal, decodes them and decides; three rules match each event, and have no way to tell, so nothing is written. Of all rules half read data: a quarter compare a text, an eighth "+
		"two members, an eighth severity and a text; of the others an eighth each compare source and host, and a quarter are thresholds that the type does not reach.",
		b.s.rules, list(rates[0]), fewRules, list(rates[1]), list(recorded), list(ratios(rates[0], rates[1])), list(ratios(rates[0], recorded)))
	return nil
}

const fewRules = 10

// matcher decides about the events of a journal, again and again.
type matcher struct {
	*teller
	handler follow.Handler
	first   event.Seq // before the events
}

func (b *bench) openMatcher(ctx context.Context, dir string, rules int) (_ *matcher, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	t, err := startTeller(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if err := t.spread(ctx, rules); err != nil {
		return nil, err
	}
	m := &matcher{teller: t, handler: t.Handler(), first: t.journal.Last()}
	if err := t.fill(ctx, b, b.s.matched, 0); err != nil {
		return nil, err
	}
	if err := m.checkMatches(ctx); err != nil {
		return nil, err
	}
	return m, m.handler.Begin(ctx)
}

// checkMatches makes sure that three rules fire for an event.
func (m *matcher) checkMatches(ctx context.Context) error {
	for _, seq := range []event.Seq{m.first + 1, m.journal.Last()} {
		all, err := m.ExplainAll(ctx, seq)
		if err != nil {
			return err
		}
		fired := 0
		for i := range all {
			if all[i].Explanation.Fires {
				fired++
			}
		}
		if fired != matchers {
			return fmt.Errorf("%d rules match event %d, not %d", fired, seq, matchers)
		}
	}
	return nil
}

// rate gives the events a second.
func (m *matcher) rate(ctx context.Context) (float64, error) {
	if _, err := m.handler.Handle(ctx, nil, time.Now()); err != nil { // rules are read
		return 0, err
	}
	runtime.GC()
	began, n := time.Now(), 0
	for at := m.first; ; {
		hits, err := m.journal.After(ctx, at, follow.Batch)
		if err != nil {
			return 0, err
		}
		if len(hits) == 0 {
			return float64(n) / time.Since(began).Seconds(), nil
		}
		commit, err := m.handler.Handle(ctx, hits, time.Now())
		if err != nil || commit != nil {
			return 0, errors.Join(errors.New("something was to be written"), err)
		}
		n, at = n+len(hits), hits[len(hits)-1].Seq
	}
}

// silent counts what is written for events that match nothing.
func (b *bench) silent(ctx context.Context) (err error) {
	dir, err := b.folder("silent")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t, err := startTeller(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	for i := range b.s.silentRules {
		if err := t.rule(ctx, func(r *notify.Rule) { spreadRule(r, i+matchers) }); err != nil {
			return err
		}
	}
	w, err := watchState(ctx, filepath.Join(dir, "state.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.db.Close()) }()
	b.o.Say(fmt.Sprintf("telling: %d events that match nothing", b.s.silentEvents))
	stop := t.run(ctx)
	began := time.Now()
	if err := errors.Join(t.fill(ctx, b, b.s.silentEvents, 1), t.followed(ctx, "notify", t.journal.Last())); err != nil {
		return errors.Join(err, stop())
	}
	took := time.Since(began)
	if err := stop(); err != nil {
		return err
	}
	rows, err := w.counts(ctx)
	if err != nil {
		return err
	}
	written, clock := 0.0, 0.0
	for _, act := range []string{"insert", "update", "delete"} {
		clock += rows[act+" leases"]
		written += rows[act] - rows[act+" cursors"] - rows[act+" leases"]
	}
	b.report.add(Row{
		Section: tellingSection, What: fmt.Sprintf("events that match none of %d rules, without a row written", b.s.silentRules), Ours: float64(b.s.silentEvents) - written, Theirs: float64(b.s.silentEvents),
		Against: "all events", Sense: More, Goal: 1,
	})
	b.report.note("Events that match nothing: %s rows of the state database were written besides the cursor (%s times in %.1f s, in which %s events were recorded and decided about) and the leases (%s times, by the clock): %s.",
		figure(written), figure(rows["update cursors"]+rows["insert cursors"]), took.Seconds(), figure(float64(b.s.silentEvents)), figure(clock), rows.list(1))
	return nil
}

// followed waits until a follower's stored cursor has come to an event.
func (t *teller) followed(ctx context.Context, name string, to event.Seq) error {
	return waitFor(ctx, 5*time.Minute, func() (bool, error) {
		at, _, err := t.state.Cursor(ctx, name)
		return at >= to, err
	})
}

// waitFor asks every few milliseconds whether something is so.
func waitFor(ctx context.Context, most time.Duration, is func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if yes, err := is(); yes || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %w", ctx.Err())
		}
	}
}
