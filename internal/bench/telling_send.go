package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/notify"
)

// senders is how many rules share one destination: the messages of one rule are
// sent one after the other.
const senders = 8

// deliveries compares durable deliveries with a bare loop, and measures how long
// an event takes to its destination at half the rate.
func (b *bench) deliveries(ctx context.Context) (err error) {
	dir, err := b.folder("deliveries")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	to, err := startSink(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.stop()) }()
	var ours, theirs samples
	for round := range b.s.rounds {
		b.o.Say(fmt.Sprintf("telling, deliveries: round %d of %d", round+1, b.s.rounds))
		to.begin(true)
		rate, err := b.deliver(ctx, filepath.Join(dir, fmt.Sprint("ours-", round)), to, round)
		if err != nil {
			return err
		}
		ours = append(ours, rate)
		bodies := to.bodies
		to.begin(false)
		if rate, err = postAll(ctx, filepath.Join(dir, fmt.Sprint("bare-", round)), to, bodies); err != nil {
			return err
		}
		theirs = append(theirs, rate)
	}
	b.report.add(Row{
		Section: tellingSection, What: "events that become durable deliveries to one webhook", Ours: ours.median(), Theirs: theirs.median(), Unit: "/s",
		Against: "a loop of the same POSTs with one SQLite commit each", Sense: More, Goal: 3,
	})
	b.report.note("Deliveries: %s /s, the loop %s in the rounds; round by round %s. Ours is from the first append to the journal until the ledger has the last result: %d rules share the events and one "+
		"destination. The loop posts the same bytes to the same sink, which is in this process, and stores key, status and time of each (WAL, synchronous=FULL).", list(ours), list(theirs), list(ratios(ours, theirs)), senders)
	return b.latency(ctx, dir, to, ours.median()/2)
}

// openSender opens a teller whose rules tell all events of the benchmark, each
// once, by some ways.
func openSender(ctx context.Context, dir string, urls ...string) (_ *teller, err error) {
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
	var ways []string
	for i, url := range urls {
		id, err := t.webhook(ctx, fmt.Sprint("sink ", i), url)
		if err != nil {
			return nil, err
		}
		ways = append(ways, id.String())
	}
	for i := range senders {
		err := t.rule(ctx, func(r *notify.Rule) {
			r.Name, r.Transports = fmt.Sprint("rule ", i), ways
			for typ := i; typ < Types; typ += senders {
				r.Types = append(r.Types, string(typeName(typ)))
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}

// deliver gives the deliveries a second.
func (b *bench) deliver(ctx context.Context, dir string, to *sink, round int) (rate float64, err error) {
	t, err := openSender(ctx, dir, to.url)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	stop := t.run(ctx)
	defer func() { err = errors.Join(err, stop()) }()
	events := generated(NewGenerator(b.seed+uint64(round)*104729, b.s.deliveries, b.s.needleDistance, time.Now()), b.s.deliveries)
	began := time.Now()
	if err := t.record(ctx, events); err != nil {
		return 0, err
	}
	err = waitFor(ctx, 5*time.Minute, func() (bool, error) {
		if to.count() < b.s.deliveries {
			return false, nil
		}
		var left int
		err := t.state.Reader().QueryRowContext(ctx, `SELECT count(*) FROM deliveries WHERE state <> 'delivered'`).Scan(&left)
		return left == 0, err
	})
	return float64(b.s.deliveries) / time.Since(began).Seconds(), err
}

// postAll posts one body after the other, and stores the result of each.
func postAll(ctx context.Context, dir string, to *sink, bodies [][]byte) (rate float64, err error) {
	db, err := openRival(ctx, dir, true)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	if _, err := db.db.ExecContext(ctx, `CREATE TABLE results (id TEXT PRIMARY KEY, status INTEGER NOT NULL, time INTEGER NOT NULL)`); err != nil {
		return 0, err
	}
	insert, err := db.db.PrepareContext(ctx, `INSERT INTO results VALUES (?, ?, ?)`)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, insert.Close()) }()
	began := time.Now()
	for _, body := range bodies {
		status, err := post(ctx, to.url, body)
		if err != nil {
			return 0, err
		}
		if _, err := insert.ExecContext(ctx, string(after(body, eventMark)), status, time.Now().UnixNano()); err != nil {
			return 0, err
		}
	}
	return float64(len(bodies)) / time.Since(began).Seconds(), nil
}

func post(ctx context.Context, url string, body []byte) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", event.JSONMedia)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer got.Body.Close()
	_, err = io.Copy(io.Discard, got.Body)
	return got.StatusCode, err
}

// latency measures from an event's acknowledgement to its webhook.
func (b *bench) latency(ctx context.Context, dir string, to *sink, rate float64) (err error) {
	var middle, most samples
	for round := range b.s.rounds {
		b.o.Say(fmt.Sprintf("telling, latency: round %d of %d", round+1, b.s.rounds))
		took, err := b.timed(ctx, filepath.Join(dir, fmt.Sprint("latency-", round)), to, rate, to.url)
		if err != nil {
			return err
		}
		middle, most = append(middle, took.median()), append(most, took.at(0.99))
	}
	b.report.add(Row{
		Section: tellingSection, What: fmt.Sprintf("acknowledged event to webhook at %.0f events/s, p99", rate), Ours: most.median(), Theirs: middle.median(), Unit: "ms",
		Against: "the median", Sense: AtMost, Goal: 8,
	})
	b.report.note("Acknowledged event to webhook, at half the rate of deliveries: p99 %s ms, median %s in the rounds; round by round %s. Events are appended one by one by %d producers.",
		list(most), list(middle), list(ratios(most, middle)), pacers)
	return nil
}

// pacers is how many producers share an offered rate.
const pacers = 8

// timed records events at a rate, and gives how long each took from its
// acknowledgement to the sink, in milliseconds.
func (b *bench) timed(ctx context.Context, dir string, to *sink, rate float64, urls ...string) (took samples, err error) {
	to.begin(false)
	t, err := openSender(ctx, dir, urls...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	stop := t.run(ctx)
	defer func() { err = errors.Join(err, stop()) }()
	total := int(rate * b.s.tellFor.Seconds())
	acked, err := t.pace(ctx, b, rate, total)
	if err != nil {
		return nil, err
	}
	return to.delays(ctx, acked)
}

// pace appends events one by one at a rate, and gives when each was acknowledged.
func (t *teller) pace(ctx context.Context, b *bench, rate float64, total int) (map[event.ID]time.Time, error) {
	g := NewGenerator(b.seed, total, b.s.needleDistance, time.Now())
	events := generated(g, total)
	times := make([]time.Time, total)
	failed := make([]error, pacers)
	var all sync.WaitGroup
	began := time.Now()
	for p := range pacers {
		all.Go(func() {
			for i := p; i < total; i += pacers {
				if wait := time.Until(began.Add(time.Duration(float64(i) / rate * float64(time.Second)))); wait > 0 {
					time.Sleep(wait)
				}
				if _, failed[p] = t.journal.Append(ctx, events[i:i+1]); failed[p] != nil {
					return
				}
				times[i] = time.Now()
			}
		})
	}
	all.Wait()
	acked := make(map[event.ID]time.Time, total)
	for i := range events {
		acked[events[i].ID] = times[i]
	}
	return acked, errors.Join(failed...)
}

// hangs is how many destinations answer nothing.
const hangs = 10

// hanging measures one destination beside others that hang.
func (b *bench) hanging(ctx context.Context) (err error) {
	dir, err := b.folder("hanging")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	const rate = 200
	var alone, beside samples
	for round := range b.s.rounds {
		for _, side := range []struct {
			name  string
			hangs int
			to    *samples
		}{{"alone", 0, &alone}, {"beside", hangs, &beside}} {
			b.o.Say(fmt.Sprintf("telling, %s: round %d of %d", side.name, round+1, b.s.rounds))
			took, err := b.besides(ctx, filepath.Join(dir, fmt.Sprint(side.name, "-", round)), rate, side.hangs)
			if err != nil {
				return err
			}
			*side.to = append(*side.to, took.at(0.99))
		}
	}
	b.report.add(Row{
		Section: tellingSection, What: fmt.Sprintf("acknowledged event to webhook beside %d that hang, p99", hangs), Ours: beside.median(), Theirs: alone.median(), Unit: "ms",
		Against: "the same alone", Sense: AtMost, Goal: 2,
	})
	b.report.note("Beside %d webhooks that answer nothing, at %d events/s of which each is told to all: p99 %s ms, alone %s in the rounds; round by round %s.", hangs, rate, list(beside), list(alone), list(ratios(beside, alone)))
	return nil
}

func (b *bench) besides(ctx context.Context, dir string, rate float64, hangs int) (took samples, err error) {
	to, err := startSink(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, to.stop()) }()
	urls := []string{to.url}
	for range hangs {
		urls = append(urls, to.url+"/hang")
	}
	return b.timed(ctx, dir, to, rate, urls...)
}
