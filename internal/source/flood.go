package source

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// finding is what a source wants to tell.
type finding struct {
	producer string
	t        event.Type
	severity event.Severity
	subject  string
	id       event.ID // empty for a new one; made from the finding where it may be met again
	at       time.Time
	key      string // findings of one key are one thing; empty for each its own
	data     map[string]any
}

// event is the event of a finding.
func (f *finding) event(env *Env) (event.Event, error) {
	data, err := json.Marshal(f.data)
	if err != nil {
		return event.Event{}, fmt.Errorf("%s: %w", f.t, err)
	}
	e := newEvent(env, f.producer, f.t, f.severity, f.subject, data)
	if f.id != "" {
		e.ID = f.id
	}
	if !f.at.IsZero() {
		e.Time = f.at.UTC()
	}
	return e, nil
}

// tell records one finding.
func tell(ctx context.Context, env *Env, f finding) error {
	e, err := f.event(env)
	if err != nil {
		return err
	}
	return env.Emit(ctx, e)
}

// flood folds what comes too often. The first finding of a key is told at once;
// what follows within the window is counted, and at the window's end told as one
// event with the newest finding's data and, in data.folded, how many it
// stands for besides. Beyond burst keys in a window all further findings are
// folded together.
//
// What is counted is kept in the source's memory once a second: a server that
// is killed loses a second's counts at most, and never a first finding.
type flood struct {
	window time.Duration
	burst  int
	key    string // in the memory

	mu    sync.Mutex // guards all below
	open  map[string]*folded
	dirty bool
	saved time.Time
}

// folded is what was counted of one key.
type folded struct {
	Until  time.Time `json:"until"`
	Count  int       `json:"count"`
	Newest *stored   `json:"newest,omitempty"`
}

// stored is a finding in the memory.
type stored struct {
	Producer string         `json:"producer"`
	Type     event.Type     `json:"type"`
	Severity string         `json:"severity"`
	Subject  string         `json:"subject"`
	At       time.Time      `json:"at"`
	Data     map[string]any `json:"data"`
}

// overflow is the key of what is beyond burst keys.
const overflow = "\x00more"

func newFlood(window time.Duration, burst int) *flood {
	return &flood{window: window, burst: burst, key: "flood", open: map[string]*folded{}}
}

// load takes up what an earlier run has counted. What is stored but can't be read
// is forgotten.
func (f *flood) load(ctx context.Context, env *Env) error {
	text, err := env.Memory.Load(ctx, f.key)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var open map[string]*folded
	if text != "" && json.Unmarshal([]byte(text), &open) == nil && open != nil {
		f.open = open
	}
	return nil
}

// take tells a finding, or counts it.
func (f *flood) take(ctx context.Context, env *Env, now time.Time, one finding) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.settle(ctx, env, now, false); err != nil {
		return err
	}
	key := one.key
	if key == "" {
		key = string(cmp.Or(one.id, event.NewID()))
	}
	open := f.open[key]
	if open == nil && len(f.open) < f.burst {
		if err := tell(ctx, env, one); err != nil {
			return err
		}
		f.open[key] = &folded{Until: now.Add(f.window)}
		f.dirty = true
		return f.save(ctx, env, now, false)
	}
	if open == nil {
		key = overflow
		if open = f.open[key]; open == nil {
			open = &folded{Until: now.Add(f.window)}
			f.open[key] = open
		}
	}
	open.Count++
	open.Newest = &stored{one.producer, one.t, one.severity.String(), one.subject, one.at, one.data}
	f.dirty = true
	return f.save(ctx, env, now, false)
}

// run tells what was counted as the windows end, until ctx does.
func (f *flood) run(ctx context.Context, env *Env) error {
	tick := time.NewTicker(max(f.window/10, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.save(context.WithoutCancel(ctx), env, time.Now(), true)
		}
		if err := f.flush(ctx, env, time.Now()); err != nil {
			return err
		}
	}
}

// flush tells what was counted in windows that have ended.
func (f *flood) flush(ctx context.Context, env *Env, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.settle(ctx, env, now, true)
}

// settle ends windows. A clock that was set back ends none too late: a window
// that would be open for longer than its length is shortened.
func (f *flood) settle(ctx context.Context, env *Env, now time.Time, save bool) error {
	for _, key := range slices.Sorted(maps.Keys(f.open)) {
		open := f.open[key]
		if latest := now.Add(f.window); open.Until.After(latest) {
			open.Until = latest
		}
		if now.Before(open.Until) {
			continue
		}
		if open.Newest != nil {
			one, err := open.Newest.finding()
			if err != nil {
				return err
			}
			// Told again behind a crash, or a stop in the middle, it is the same event.
			one.id = madeID("folded", env.Host, string(one.t), f.key, key, open.Until.UTC().Format(time.RFC3339Nano))
			one.data["folded"] = open.Count - 1
			if key == overflow {
				one.data["folded_more"] = true
			}
			if err := tell(ctx, env, one); err != nil {
				return err
			}
		}
		delete(f.open, key)
		f.dirty = true
	}
	return f.save(ctx, env, now, save)
}

// save keeps what is counted; at most once a second, unless it must be now.
func (f *flood) save(ctx context.Context, env *Env, now time.Time, must bool) error {
	if !f.dirty || !must && now.Sub(f.saved).Abs() < time.Second {
		return nil
	}
	text, err := json.Marshal(f.open)
	if err != nil {
		return fmt.Errorf("flood: %w", err)
	}
	if err := env.Memory.Store(ctx, f.key, string(text)); err != nil {
		return err
	}
	f.dirty, f.saved = false, now
	return nil
}

func (s *stored) finding() (finding, error) {
	severity, err := event.ParseSeverity(s.Severity)
	if err != nil {
		return finding{}, err
	}
	data := maps.Clone(s.Data)
	if data == nil {
		data = map[string]any{}
	}
	return finding{producer: s.Producer, t: s.Type, severity: severity, subject: s.Subject, at: s.At, data: data}, nil
}
