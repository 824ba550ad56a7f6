package follow

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// clerk copies the sequences of events into the state database, and fails when
// it is told to.
type clerk struct {
	mu     sync.Mutex // guards all below
	fails  []error    // what Handle says next
	breaks []error    // what the commit says next
	skip   bool       // nothing comes of events
	begun  int
	done   chan struct{}
}

func (c *clerk) Begin(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun++
	return nil
}

func (c *clerk) Due() time.Time { return time.Time{} }

func (c *clerk) Committed(context.Context) {
	select {
	case c.done <- struct{}{}:
	default:
	}
}

func take(list *[]error) (err error) {
	if len(*list) > 0 {
		err, *list = (*list)[0], (*list)[1:]
	}
	return err
}

func (c *clerk) Handle(_ context.Context, hits []segment.Hit, _ time.Time) (Commit, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(hits) == 0 {
		return nil, nil
	}
	if err := take(&c.fails); err != nil {
		return nil, err
	}
	if c.skip {
		return nil, nil
	}
	return func(tx *state.Tx) error {
		for _, h := range hits {
			if _, err := tx.ExecContext(tx.Context(), `INSERT INTO facts (name, value) VALUES ($1, '')`, h.Seq.String()); err != nil {
				return err
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return take(&c.breaks)
	}, nil
}

type rig struct {
	t *testing.T
	j *journal.Journal
	s *state.State
	n int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "journal"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	s, err := state.Open(t.Context(), state.Options{Dir: dir, Source: "https://t.example", Significant: "https://t.example"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &rig{t: t, j: j, s: s}
}

func (r *rig) emit(n int) {
	r.t.Helper()
	for range n {
		r.n++
		e := event.Event{ID: event.ID(strconv.Itoa(r.n)), Source: "/t", Type: "x", Severity: event.Info, Time: time.Now()}
		if _, err := r.j.Append(r.t.Context(), []event.Event{e}); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) follower(owner string, h Handler) *Follower {
	r.t.Helper()
	f, err := New(r.t.Context(), Options{Name: "clerk", Owner: owner, Journal: r.j, State: r.s, Handler: h, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// run follows until the returned function is called.
func (r *rig) run(f *Follower) (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// copied are the sequences that are in the database; the primary key sees to
// it that none is there twice.
func (r *rig) copied() (count, last int) {
	r.t.Helper()
	err := r.s.Reader().QueryRowContext(r.t.Context(), `SELECT count(*), coalesce(max(CAST(name AS BIGINT)), 0) FROM facts`).Scan(&count, &last)
	if err != nil {
		r.t.Fatal(err)
	}
	return count, last
}

func (r *rig) until(c *clerk, want int) {
	r.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		if n, _ := r.copied(); n == want {
			return
		}
		select {
		case <-c.done:
		case <-limit:
			n, last := r.copied()
			r.t.Fatalf("%d events are copied up to %d, not %d", n, last, want)
		}
	}
}

// Every event is handled once, from the end of the day on which it began, over
// failures of the handler, of the commit, and restarts.
func TestFollow(t *testing.T) {
	r := newRig(t)
	r.emit(5) // before anybody follows
	c := &clerk{done: make(chan struct{}, 1), fails: []error{errors.New("first")}, breaks: []error{nil, errors.New("disk")}}
	f := r.follower("one", c)
	r.emit(3)
	stop := r.run(f)
	r.until(c, 3)
	r.emit(4)
	r.until(c, 7)
	if c.begun < 3 {
		t.Errorf("begun %d times over two failures", c.begun)
	}
	stop()
	r.emit(2500)
	r.run(r.follower("one", c))
	r.until(c, 2507)
	if n, last := r.copied(); last != 2512 || n != 2507 {
		t.Errorf("%d copied, the last is %d", n, last)
	}
}

// Where nothing comes of events, the cursor alone is written, and seldom; a stop
// keeps it.
func TestNothing(t *testing.T) {
	r := newRig(t)
	c := &clerk{done: make(chan struct{}, 1), skip: true}
	lags := make(chan uint64, 1)
	f, err := New(t.Context(), Options{Name: "clerk", Owner: "one", Journal: r.j, State: r.s, Handler: c, Logger: slog.New(slog.DiscardHandler), Lag: func(n uint64) {
		select {
		case lags <- n:
		default:
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.emit(3000)
	stop := r.run(f)
	for n := range lags {
		if n == 0 && r.j.Last() == 3000 {
			break
		}
	}
	stop()
	at, _, err := r.s.Cursor(t.Context(), "clerk")
	if n, _ := r.copied(); n != 0 || at == 0 || err != nil {
		t.Errorf("cursor %d, %d rows, %v", at, n, err)
	}
}

// Of two nodes one follows; when it leaves, the other goes on.
func TestLease(t *testing.T) {
	r := newRig(t)
	one, two := &clerk{done: make(chan struct{}, 1)}, &clerk{done: make(chan struct{}, 1)}
	a, b := r.follower("one", one), r.follower("two", two)
	stop := r.run(a)
	r.emit(10)
	r.until(one, 10)
	r.run(b)
	r.emit(10)
	r.until(one, 20)
	if two.begun != 0 {
		t.Error("both follow")
	}
	stop()
	r.emit(10)
	r.until(two, 30)
}
