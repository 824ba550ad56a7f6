package jq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrLimit is what an evaluation ends with that took too long or made too much.
// Nothing in a program can catch it.
var ErrLimit = errors.New("limit")

// maxBuilt is how many bytes the arrays of one evaluation may have taken in all.
const maxBuilt = 8 << 20

// A Meter watches the evaluations of one goroutine: at most one runs at a time.
// The zero value is no Meter; make one with NewMeter and Stop it at the end.
type Meter struct {
	ctx   context.Context // of who evaluates: its end ends the evaluation, too
	limit time.Duration
	built int // by the current evaluation

	// running is even between evaluations and odd in one. The watch, which looks
	// twice per limit, ends the evaluation that it has seen three times, if the
	// process has computed that long meanwhile: on a busy machine little is done in
	// 100 ms. What it has seen for ten limits it ends in any case.
	running atomic.Uint64
	expired atomic.Bool
	done    chan struct{}
	once    sync.Once

	mu     sync.Mutex
	watch  *time.Timer   // guarded by mu, nil until the first evaluation that could take long
	seen   uint64        // guarded by mu
	looks  int           // guarded by mu
	cpu    time.Duration // of the process when seen changed; guarded by mu
	closed bool          // guarded by mu
}

// NewMeter makes a Meter whose evaluations take at most about limit each, and
// end with ctx. 100 ms is a good limit.
func NewMeter(ctx context.Context, limit time.Duration) *Meter {
	return &Meter{ctx: ctx, limit: limit, done: make(chan struct{})}
}

// Stop ends the watch. The Meter can't be used afterwards.
func (m *Meter) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	if m.watch != nil {
		m.watch.Stop()
	}
}

// enter starts the watch for an evaluation that could take long.
func (m *Meter) enter() {
	m.running.Add(1)
	if m.watch != nil { // written by this goroutine only
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watch = time.AfterFunc(m.limit/2, m.look)
}

func (m *Meter) leave() { m.running.Add(1) }

func (m *Meter) look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.running.Load()
	if now%2 == 0 || now != m.seen {
		m.seen, m.looks, m.cpu = now, 0, computed()
	}
	m.looks++
	late := m.looks > 20 || m.looks > 2 && computed()-m.cpu >= m.limit
	if now%2 == 1 && (late || m.ctx.Err() != nil) {
		m.expired.Store(m.ctx.Err() == nil)
		m.once.Do(func() { close(m.done) })
		return
	}
	if !m.closed {
		m.watch.Reset(m.limit / 2)
	}
}

// computed is how long the process has computed, in all its threads.
func computed() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0 // then ten limits by the clock decide
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// err says why the evaluation was ended.
func (m *Meter) err() error {
	if m.expired.Load() {
		return fmt.Errorf("%w: the expression took longer than %v", ErrLimit, m.limit)
	}
	return context.Cause(m.ctx)
}

// grow counts what an array takes in.
func (m *Meter) grow(v any) error {
	m.built += 16
	if s, ok := v.(string); ok {
		m.built += len(s)
	}
	if m.built > maxBuilt {
		return errTooLarge
	}
	return nil
}

// interrupt is the context that gojq asks before each of its steps: asking the
// real one costs a lock.
type interrupt struct{ *Meter }

func (i interrupt) Deadline() (time.Time, bool) { return time.Time{}, false }
func (i interrupt) Done() <-chan struct{}       { return i.done }
func (i interrupt) Value(any) any               { return nil }

func (i interrupt) Err() error {
	select {
	case <-i.done:
		return i.err()
	default:
		return nil
	}
}
