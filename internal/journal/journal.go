package journal

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
	"github.com/tocsin-events/tocsin/internal/journal/wal"
)

// The names inside a journal's folder.
const (
	logDir     = "wal"
	segmentDir = "segments"
	lockName   = "lock"
)

// Options say where a journal is and how much it may use. The zero value of a
// number means its default.
type Options struct {
	Dir    string
	FS     vfs.FS // default: the real one
	Logger *slog.Logger

	// Window is how many of the newest events are known by (source, id), about
	// 23 bytes of memory each. Default 5 M.
	Window int
	// A table in memory is sealed when it has MemEvents events or MemBytes
	// bytes of them. Default 16,384 and 16 MiB; there are at most five tables.
	MemEvents int
	MemBytes  int64
	// WALBytes is the length of a log file. Default 16 MiB.
	WALBytes int64
	// Reserve is the free disk space that only events of the kinds sys and
	// audit may use. Default 64 MiB, negative for none.
	Reserve int64

	// Classify gives an event's retention class; default: always Default.
	Classify func(*event.Event) segment.Class
	// Policy is asked once a minute what to keep; nil keeps everything but
	// transient events.
	Policy func() Policy
	// AcceptLoss lets Open go on over damage: what is lost is written down, the
	// files are set aside by rename, and the chains go on behind the gap.
	AcceptLoss bool
	// Observer is told about commits; it must not block. It may be nil.
	Observer Observer
	// Span begins a span of the trace in ctx about a number of events, 0 for an
	// unknown one, and returns what ends it. It may be nil.
	Span func(ctx context.Context, name string, events int) (context.Context, func(error))
}

func (o *Options) defaults() error {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Classify == nil {
		o.Classify = func(*event.Event) segment.Class { return segment.Default }
	}
	if o.Span == nil {
		o.Span = func(ctx context.Context, _ string, _ int) (context.Context, func(error)) { return ctx, func(error) {} }
	}
	set := func(to *int64, value int64) {
		if *to == 0 {
			*to = value
		}
	}
	window, events := int64(o.Window), int64(o.MemEvents)
	set(&window, 5_000_000)
	set(&events, 16_384)
	set(&o.MemBytes, 16<<20)
	set(&o.WALBytes, wal.DefaultFileSize)
	set(&o.Reserve, 64<<20)
	if window < 1 || window > math.MaxInt32 || events < 1 || o.MemBytes < 1 || o.WALBytes < 1 {
		return event.Invalidf("a journal's window and sizes must be greater than zero, and the window at most %d", math.MaxInt32)
	}
	o.Window, o.MemEvents = int(window), int(events)
	return nil
}

// Observer is told what the journal does, for metrics.
type Observer interface {
	// Committed is called after each group, from the goroutine that commits.
	Committed(GroupStats)
}

// GroupStats is what one commit did.
type GroupStats struct {
	Requests, Events, Duplicates int
	Took                         time.Duration // from the first look at the group to the last answer
	Err                          error
}

// Journal is an open journal. Use Open.
type Journal struct {
	o        Options
	identity identity
	lock     interface{ Close() error }
	queue    *queue
	log      committer
	seen     *dedupe // for a look ahead by producers
	memory   *memory
	files    *files
	ledger   *ledger // belongs to whoever holds retaining
	requests sync.Pool
	counters counters

	retaining chan struct{} // holds one token: Retain and Verify take it
	toSeal    chan struct{}
	quit      chan struct{} // closed when the committer has ended
	writers   sync.WaitGroup
	closing   sync.Once
	closeErr  error
	stop      atomic.Pointer[error] // why nothing is accepted any more

	mu      sync.Mutex // guards all below
	view    *view
	last    event.Seq
	ends    [classes]Head
	opened  int64         // when the newest table's first event was recorded; 0: empty
	sealing []*sealTask   // oldest first
	sealErr error         // what the sealer waits for to pass: ErrFull
	sealed  chan struct{} // closed and replaced when sealing, sealErr or stop changes

	growth sync.Mutex // guards grown
	grown  chan struct{}
}

// Append records events and returns when they are on disk, with a result for
// each. It sets the sequence and the time of recording of those that are not
// duplicates. All of one call are recorded, or, on an error, none; only when ctx
// ends while they are being written (ctx.Err is returned at once) may they be
// recorded all the same. Errors are ErrFull, ErrStopped, ErrDamaged, ErrClosed,
// ctx.Err, or of class event.ErrInvalid and name the event's index.
func (j *Journal) Append(ctx context.Context, events []event.Event) (_ []Result, err error) {
	ctx, end := j.o.Span(ctx, "journal.Append", len(events))
	defer func() { end(err) }()
	for i := range events {
		if err := events[i].Validate(); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
	}
	if err := j.stopReason(); err != nil || len(events) == 0 {
		return nil, err
	}
	r := j.requests.Get().(*request)
	r.encode(events, &j.identity.seed, j.o.Classify)
	if len(r.buf) > wal.MaxPayload {
		return nil, event.Invalidf("%d bytes of events are more than can be recorded at once", len(r.buf))
	}
	j.lookAhead(r)
	if err := j.submit(ctx, r); err != nil {
		return nil, err
	}
	defer j.recycle(r)
	if r.err != nil {
		return nil, r.err
	}
	results := make([]Result, len(events))
	copy(results, r.results)
	recorded := time.Unix(0, r.recorded).UTC()
	for i := range events {
		events[i].Sequence = results[i].Seq
		if !results[i].Duplicate {
			events[i].RecordedTime = recorded
		}
	}
	return results, nil
}

// lookAhead finds duplicates in the producer's goroutine, so that a flood of
// them holds up no one else: comparing means to read the stored event.
func (j *Journal) lookAhead(r *request) {
	last := j.Last()
	for i := range r.items {
		it := &r.items[i]
		seq, ok := j.seen.find(it.entry.Key)
		if !ok || seq > last { // not durable yet: the committer will know
			continue
		}
		if same, conflict := recordedAs(j.Get, seq, it); same {
			it.known, it.clash = seq, conflict
		}
	}
}

// submit queues a request and waits for its end.
func (j *Journal) submit(ctx context.Context, r *request) error {
	if !j.queue.put(r) {
		return ErrClosed
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		j.queue.withdraw(r)
		return ctx.Err() // r is not used again: the committer may still have it
	}
}

func (j *Journal) recycle(r *request) {
	if cap(r.buf) <= maxGroupBytes {
		j.requests.Put(r)
	}
}

func newRequest() any { return &request{done: make(chan struct{}, 1)} }

func (j *Journal) commit(ctx context.Context, requests []*request) error {
	g := &group{requests: requests, urgent: requests[0].urgent, started: time.Now()}
	err := j.log.Commit(ctx, g)
	if err != nil && isStop(err) {
		j.halt(err)
	}
	j.counters.count(g, err, j.o.Observer)
	return err
}

// halt ends all writing. The first reason counts.
func (j *Journal) halt(err error) {
	err = stopped(err)
	if j.stop.CompareAndSwap(nil, &err) {
		j.o.Logger.ErrorContext(context.Background(), "the journal accepts nothing any more; restart the server once the cause is gone", "err", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.moved()
}

// moved wakes who waits for the sealer. The caller holds j.mu.
func (j *Journal) moved() {
	close(j.sealed)
	j.sealed = make(chan struct{})
}

func (j *Journal) stopReason() error {
	if err := j.stop.Load(); err != nil {
		return *err
	}
	return nil
}

// run has an errand done by the goroutine that commits, between two groups.
func (j *Journal) run(ctx context.Context, errand func() error) error {
	r := newRequest().(*request)
	r.errand = errand
	if err := j.submit(ctx, r); err != nil {
		return err
	}
	return r.err
}

// Close finishes what was accepted and ends all goroutines. Events that are in
// no segment yet stay in the log, and are read from there by the next Open.
// Reads must have ended.
func (j *Journal) Close() error {
	j.closing.Do(func() { j.closeErr = j.close() })
	return j.closeErr
}
