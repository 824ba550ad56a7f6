package ingest_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/vfs/faultfs"
	"github.com/tocsin-events/tocsin/internal/state"
)

// carried is a state whose changes go into a journal on a disk with faults.
type carried struct {
	t       *testing.T
	fsys    *faultfs.FS
	journal *journal.Journal
	state   *state.State
	outbox  *ingest.Outbox
	stop    func() error // ends the outbox, closes all
}

// carry opens both, as a server does that starts.
func carry(t *testing.T, fsys *faultfs.FS, dir string) *carried {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{FS: fsys, Dir: "journal"})
	if err != nil {
		t.Fatal(err)
	}
	i := ingest.New(ingest.Options{
		Journal: j, Catalog: catalog.New(), Unknown: func() ingest.Policy { return ingest.AcceptUnknown }, Enrich: func(*event.Event) {},
	})
	s := openState(t, dir)
	o := ingest.NewOutbox(i, s, slog.New(slog.DiscardHandler), func(uint64) {})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	s.SetRecorder(o.Record)
	return &carried{t: t, fsys: fsys, journal: j, state: s, outbox: o, stop: func() error {
		stop()
		return errors.Join(<-done, s.Close(), j.Close())
	}}
}

// part is a faultfs.Chooser: of what was not synced, a crash keeps about a part
// in two, or, at 0, nothing.
type part int

func (p part) IntN(n int) int { return n / 2 * int(p) }

// change makes one that leaves its number, in the order of commits, as subject.
func (c *carried) change(ctx context.Context) (number int64, err error) {
	err = c.state.Write(ctx, state.System(), func(tx *state.Tx) (err error) {
		if number, err = tx.Next("changes", 1); err != nil {
			return err
		}
		return tx.Raise("server", "t", strconv.FormatInt(number, 10), nil)
	})
	return number, err
}

// recorded are the subjects in the journal, in order.
func (c *carried) recorded() []string {
	c.t.Helper()
	all := []string{}
	for seq := event.Seq(1); seq <= c.journal.Last(); seq++ {
		hit, err := c.journal.Get(seq)
		if err != nil {
			c.t.Fatal(err)
		}
		e, err := event.Decode(hit.Body)
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, e.Subject)
	}
	return all
}

func numbers(n int) []string {
	all := []string{}
	for i := range n {
		all = append(all, strconv.Itoa(i+1))
	}
	return all
}

// Many who change something at once are each answered when their event is in the
// journal, and it has them in the order of the commits.
func TestOutboxOfMany(t *testing.T) {
	c := carry(t, faultfs.New(), t.TempDir())
	const writers, each = 12, 20
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				number, err := c.change(t.Context())
				if last := c.journal.Last(); err != nil || last < event.Seq(number) {
					t.Errorf("change %d is answered with %v, while %d events are recorded", number, err, last)
				}
			}
		})
	}
	all.Wait()
	if diff := cmp.Diff(numbers(writers*each), c.recorded()); diff != "" {
		t.Error(diff)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
}

// While the disk is full, changes are kept and answered as unavailable, to all
// who wait; when there is room they are recorded, with nobody asking.
func TestOutboxUnavailable(t *testing.T) {
	c := carry(t, faultfs.New(), t.TempDir())
	if _, err := c.change(t.Context()); err != nil {
		t.Fatal(err)
	}
	var full atomic.Bool
	c.fsys.Inject(func(op faultfs.Op) *faultfs.Fault {
		if full.Load() && op.Kind == faultfs.Write {
			return &faultfs.Fault{Err: syscall.ENOSPC}
		}
		return nil
	})
	full.Store(true)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if number, err := c.change(t.Context()); !errors.Is(err, event.ErrUnavailable) || !errors.Is(err, journal.ErrFull) {
				t.Errorf("change %d on a full disk: %v", number, err)
			}
		})
	}
	all.Wait()
	if diff := cmp.Diff(numbers(1), c.recorded()); diff != "" {
		t.Error(diff)
	}
	full.Store(false)
	if err := c.stop(); err != nil { // the last thing that Run does is to carry the rest
		t.Error(err)
	}
	c = carry(t, c.fsys, t.TempDir())
	if diff := cmp.Diff(numbers(9), c.recorded()); diff != "" {
		t.Error(diff)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
}

// A client who goes away takes no event along, neither its own nor those of
// others who waited for the same append.
func TestOutboxOfThoseWhoLeave(t *testing.T) {
	c := carry(t, faultfs.New(), t.TempDir())
	c.state.SetRecorder(func(ctx context.Context, seq int64) error {
		ctx, leave := context.WithCancel(ctx)
		if seq%3 == 0 { // between commit and record
			leave()
		}
		defer leave()
		return c.outbox.Record(ctx, seq)
	})
	const changes = 60
	var all sync.WaitGroup
	for range changes {
		all.Go(func() {
			if _, err := c.change(t.Context()); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for { // nobody waits for the last one: Run carries it
		grown := c.journal.Grown()
		if c.journal.Last() == changes {
			break
		}
		<-grown
	}
	if diff := cmp.Diff(numbers(changes), c.recorded()); diff != "" {
		t.Error(diff)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
}

// However far an append has come when the machine goes down, what was committed
// is recorded at the next start, once, in its order; what was answered is there.
func TestOutboxCrash(t *testing.T) {
	for _, kind := range []faultfs.Kind{faultfs.Write, faultfs.Sync} {
		for skip := range 5 {
			fsys, dir := faultfs.New(), t.TempDir()
			c := carry(t, fsys, dir)
			committed, answered := 0, 0
			changes := func(n int) {
				for range n {
					_, err := c.change(t.Context())
					if err == nil {
						answered++
					} else if !errors.Is(err, event.ErrUnavailable) {
						t.Fatal(err)
					}
					committed++
				}
			}
			changes(2)
			left := skip
			fsys.Inject(func(op faultfs.Op) *faultfs.Fault {
				if op.Kind != kind {
					return nil
				}
				if left--; left < 0 {
					return &faultfs.Fault{Crash: true}
				}
				return nil
			})
			changes(6)
			if err := c.stop(); err == nil {
				t.Errorf("%s %d: there was no crash", kind, skip)
			}
			fsys.Inject(nil)
			fsys.Recover(part(skip % 2))
			c = carry(t, fsys, dir)
			if got := len(c.recorded()); got < answered {
				t.Errorf("%s %d: %d of %d answered changes are in the journal", kind, skip, got, answered)
			}
			if _, err := c.change(t.Context()); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(numbers(committed+1), c.recorded()); diff != "" {
				t.Errorf("%s %d: %s", kind, skip, diff)
			}
			if err := c.stop(); err != nil {
				t.Error(err)
			}
		}
	}
}
