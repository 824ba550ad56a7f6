package state

import (
	"context"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Folding keeps a stranger from flooding the journal with the server's own
// events, as by failing to sign in a thousand times a second.
const (
	foldLimit  = 10          // events of one type and address that are recorded …
	foldWindow = time.Minute // … within this time, one by one
	foldKeys   = 10_000      // addresses that are told apart at once
)

// FoldedCount is the extension attribute that says for how many events a folded
// one stands.
const FoldedCount = "foldedcount"

// Folder raises events outside of a change, and folds floods of them: above ten
// a minute of one type from one address, the rest of the minute becomes one
// event that carries their number.
type Folder struct {
	state *State

	mu   sync.Mutex // guards open
	open map[foldKey]*fold
}

type foldKey struct {
	typ     event.Type
	address string
}

type fold struct {
	until   time.Time
	seen    int
	waiting int32
	last    event.Event
}

// NewFolder returns a folder; its Run must be running.
func NewFolder(s *State) *Folder { return &Folder{state: s, open: map[foldKey]*fold{}} }

// Raise records events that one act makes, or counts them towards a folded one.
// They are of one cause; the first one's type decides.
func (f *Folder) Raise(ctx context.Context, by Cause, events ...event.Event) error {
	if f.hold(by.ClientIP, events) {
		return nil
	}
	return f.state.Write(ctx, by, func(tx *Tx) error {
		for _, e := range events {
			tx.Emit(e)
		}
		return nil
	})
}

// hold reports that the events are to wait, because there were too many.
func (f *Folder) hold(address string, events []event.Event) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := foldKey{events[0].Type, address}
	if f.open[key] == nil && len(f.open) >= foldKeys {
		key.address = "" // so many addresses are one flood
	}
	now := time.Now()
	if w := f.open[key]; w != nil && now.Before(w.until) {
		w.seen++
		if w.seen <= foldLimit {
			return false
		}
		for _, e := range events {
			k := f.open[foldKey{e.Type, key.address}]
			if k == nil {
				k = &fold{until: w.until, seen: foldLimit}
				f.open[foldKey{e.Type, key.address}] = k
			}
			k.waiting++
			k.last = e
		}
		return true
	} else if w != nil && w.waiting > 0 {
		w.seen++ // Run has not yet told of the minute before
		w.waiting++
		w.last = events[0]
		return true
	}
	f.open[key] = &fold{until: now.Add(foldWindow), seen: 1}
	return false
}

// Run tells of folded events when their minute is over, until ctx ends; then it
// tells of those that still wait.
func (f *Folder) Run(ctx context.Context) error {
	tick := time.NewTicker(foldWindow / 6)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := f.tell(ctx, time.Now()); err != nil && ctx.Err() == nil {
				return err
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return f.tell(last, time.Now().Add(foldWindow))
		}
	}
}

func (f *Folder) tell(ctx context.Context, now time.Time) error {
	events := f.due(now)
	if len(events) == 0 {
		return nil
	}
	return f.state.Write(ctx, System(), func(tx *Tx) error {
		for _, e := range events {
			tx.Emit(e)
		}
		return nil
	})
}

func (f *Folder) due(now time.Time) []event.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	var events []event.Event
	for key, w := range f.open {
		if now.Before(w.until) {
			continue
		}
		delete(f.open, key)
		if w.waiting > 0 {
			e := w.last
			e.Extensions = append(e.Extensions, event.Attribute{Name: FoldedCount, Value: w.waiting})
			events = append(events, e)
		}
	}
	return events
}
