package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// tailSenders is how many clients share the offered rate.
const tailSenders = 8

// tail sends events at a steady rate, without and with clients that follow the
// journal, and counts what each of them gets.
func (b *bench) tail(ctx context.Context) (err error) {
	dir, err := b.folder("tail")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := startServer(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	total := b.s.tailRate * int(b.s.tailFor/time.Second)
	b.o.Say("tail: without clients")
	alone, _, err := b.offer(ctx, s, total, 0)
	if err != nil {
		return err
	}
	b.o.Say(fmt.Sprintf("tail: %d clients", b.s.tails))
	watchCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := watch(watchCtx, s, b.s.tails, total)
	if err != nil {
		return err
	}
	rate, delay, err := b.offer(ctx, s, total, 1)
	if err != nil {
		return err
	}
	missed, doubled := w.wait(cancel, 30*time.Second)
	section := fmt.Sprintf("Live tail: %d clients at %d events/s", b.s.tails, b.s.tailRate)
	b.report.add(Row{Section: section, What: "rate of recording with clients", Ours: rate, Theirs: alone, Unit: "events/s", Against: "the same without clients", Sense: More, Goal: 0.9})
	b.report.add(Row{
		Section: section, What: "events that reached a client exactly once", Ours: float64(total*b.s.tails - missed - doubled), Theirs: float64(total * b.s.tails), Unit: "",
		Against: "all events, times clients", Sense: More, Goal: 1,
	})
	b.report.note("Live tail: %d missed, %d doubled; an emit took %.1f ms (median) and %.1f ms (p99) with clients.", missed, doubled, delay.median(), delay.at(0.99))
	return nil
}

// offer sends total events at the offered rate, and gives the rate that came of it.
func (b *bench) offer(ctx context.Context, s *server, total, round int) (rate float64, delay samples, err error) {
	bodies, media := b.bodies(tailSenders, 1, total, 1000+round)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: tailSenders}}
	var all sync.WaitGroup
	failed := make([]error, tailSenders)
	delays := make([]samples, tailSenders)
	pause := time.Second * tailSenders / time.Duration(b.s.tailRate)
	began := time.Now()
	for c := range bodies {
		all.Go(func() {
			for i, text := range bodies[c] {
				if wait := time.Until(began.Add(time.Duration(i) * pause)); wait > 0 {
					time.Sleep(wait)
				}
				sent := time.Now()
				if failed[c] = emit(ctx, client, s.url, s.token, media, text); failed[c] != nil {
					return
				}
				delays[c].took(sent)
			}
		})
	}
	all.Wait()
	rate = float64(total) / time.Since(began).Seconds()
	for _, d := range delays {
		delay = append(delay, d...)
	}
	return rate, delay, errors.Join(failed...)
}

// watchers are the clients of a live tail.
type watchers struct {
	all     sync.WaitGroup
	first   event.Seq // before the events that count
	total   int
	seen    [][]uint8 // of each client, how often each event came
	pending atomic.Int64
	done    chan struct{} // closed when every client has everything
}

// watch opens the streams, and returns once each has begun.
func watch(ctx context.Context, s *server, clients, total int) (*watchers, error) {
	w := &watchers{total: total, seen: make([][]uint8, clients), done: make(chan struct{})}
	w.pending.Store(int64(clients))
	transport := &http.Transport{}
	for c := range clients {
		w.seen[c] = make([]uint8, total)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v1/events/tail", nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer "+s.token)
		got, err := transport.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewReaderSize(got.Body, 64<<10)
		at, err := nextID(lines)
		if err != nil || got.StatusCode != http.StatusOK {
			return nil, errors.Join(fmt.Errorf("tail: %s", got.Status), err, got.Body.Close())
		}
		w.first = at
		w.all.Go(func() {
			defer func() { _ = got.Body.Close() }() // it has ended, or nobody wants more
			w.follow(lines, w.seen[c])
		})
	}
	return w, nil
}

// follow notes every event that has data.
func (w *watchers) follow(lines *bufio.Reader, seen []uint8) {
	var at event.Seq
	for count := 0; ; {
		line, err := lines.ReadSlice('\n')
		switch {
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return
		case bytes.HasPrefix(line, []byte("id: ")):
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(line[4:])), 10, 64) // 0 counts as nothing below
			at = event.Seq(n)
		case bytes.HasPrefix(line, []byte("data: ")):
			if i := int(at) - int(w.first) - 1; i >= 0 && i < len(seen) {
				seen[i]++
				if count++; count == w.total && w.pending.Add(-1) == 0 {
					close(w.done)
				}
			}
		}
	}
}

// nextID reads up to the first id, which a stream sends at its start.
func nextID(lines *bufio.Reader) (event.Seq, error) {
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if len(line) > 4 && line[:4] == "id: " {
			return event.ParseSeq(line[4 : len(line)-1])
		}
	}
}

// wait ends the streams once all is there, or the time is over, and counts.
func (w *watchers) wait(cancel context.CancelFunc, most time.Duration) (missed, doubled int) {
	select {
	case <-w.done:
	case <-time.After(most):
	}
	cancel()
	w.all.Wait()
	for _, seen := range w.seen {
		for _, n := range seen {
			switch {
			case n == 0:
				missed++
			case n > 1:
				doubled += int(n) - 1
			}
		}
	}
	return missed, doubled
}
