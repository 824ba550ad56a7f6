package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/jq"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// listening is a run that waits for events.
type listening struct {
	run   RunID
	key   string
	since event.Seq // events up to it do not count
	l     *program.Listen
}

// hearing is what an event, or several, have come to for a run that listens.
type hearing struct {
	*listening

	done bool
}

// waits are all runs that wait for events, by the types for which they do.
type waits struct {
	mu     sync.Mutex // guards all but at
	byType map[string]listeners
	any    listeners
	fresh  []*listening // begun since the dispatcher looked: events may lie behind it
	byRun  map[RunID][]*listening

	at   event.Seq // how far the dispatcher is; belongs to it, as the next
	back event.Seq // events from here to at are shown once more, to all
}

// listeners are a set: a hundred thousand may listen for the same, and end one by one.
type listeners map[*listening]struct{}

func newWaits() *waits {
	return &waits{byType: map[string]listeners{}, any: listeners{}, byRun: map[RunID][]*listening{}}
}

// open reads them anew, for a dispatcher that is at a place in the journal. Those that
// had begun but were not shown yet what lies behind it are shown it.
func (w *waits) open(ctx context.Context, q state.Querier, at event.Seq) error {
	found, err := q.QueryContext(ctx, `SELECT run, effect, since, doc FROM run_listens`)
	if err != nil {
		return fmt.Errorf("read what is waited for: %w", err)
	}
	defer found.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	begun := map[[2]string]bool{}
	for _, one := range w.fresh {
		begun[[2]string{string(one.run), one.key}] = true
	}
	w.byType, w.byRun, w.any, w.fresh, w.at, w.back = map[string]listeners{}, map[RunID][]*listening{}, listeners{}, nil, at, at
	for found.Next() {
		var one listening
		var since int64
		var doc string
		if err := found.Scan(&one.run, &one.key, &since, &doc); err != nil {
			return fmt.Errorf("read what is waited for: %w", err)
		}
		if one.l, err = program.ReadListen([]byte(doc)); err != nil {
			return fmt.Errorf("run %s: %w", one.run, err)
		}
		one.since = event.Seq(since)
		w.put(&one)
		if begun[[2]string{string(one.run), one.key}] {
			w.fresh = append(w.fresh, &one)
		}
		if one.since < at { // it may have begun just before the server ended
			w.back = at - min(at, recent)
		}
	}
	return wrap("read what is waited for", found.Err())
}

// recent is how many events are shown once more after a start. To those that were
// shown them, they matter as little as the first time.
const recent = 2000

// add begins to listen, when that is on disk.
func (w *waits) add(all []*listening) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range all {
		w.put(one)
		w.fresh = append(w.fresh, one)
	}
}

func (w *waits) put(one *listening) {
	w.byRun[one.run] = append(w.byRun[one.run], one)
	types := one.l.Types()
	if types == nil {
		w.any[one] = struct{}{}
		return
	}
	for _, t := range types {
		if w.byType[t] == nil {
			w.byType[t] = listeners{}
		}
		w.byType[t][one] = struct{}{}
	}
}

// drop ends one, or with an empty key all of a run.
func (w *waits) drop(run RunID, key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var gone []*listening
	w.byRun[run] = slices.DeleteFunc(w.byRun[run], func(one *listening) bool {
		if key == "" || one.key == key {
			gone = append(gone, one)
			return true
		}
		return false
	})
	if len(w.byRun[run]) == 0 {
		delete(w.byRun, run)
	}
	for _, one := range gone {
		for _, t := range one.l.Types() {
			if delete(w.byType[t], one); len(w.byType[t]) == 0 {
				delete(w.byType, t)
			}
		}
		delete(w.any, one)
		w.fresh = slices.DeleteFunc(w.fresh, func(other *listening) bool { return other == one })
	}
}

// others are the keys under which a run listens beside those that it waits for.
func (w *waits) others(run RunID, waits []program.Effect) (keys []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.byRun[run] {
		if !slices.ContainsFunc(waits, func(f program.Effect) bool { return f.Key == one.key }) {
			keys = append(keys, one.key)
		}
	}
	return keys
}

// late reports whether somebody has begun to listen since the dispatcher looked.
func (w *waits) late() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.fresh) > 0
}

// of are those that an event may matter to.
func (w *waits) of(t event.Type) []*listening {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.AppendSeq(slices.Collect(maps.Keys(w.byType[string(t)])), maps.Keys(w.any))
}

// offer shows an event to all that listen.
func (w *waits) offer(ev *event.Event) []hearing {
	all := w.of(ev.Type)
	if len(all) == 0 {
		return nil
	}
	value, err := jq.Decode(ev.AppendJSON(nil))
	if err != nil {
		return nil // it was recorded, so it is JSON
	}
	var heard []hearing
	for _, one := range all {
		if h, ok := one.hear(value, ev.Sequence); ok {
			heard = append(heard, h)
		}
	}
	return heard
}

// hear shows one event. What it has heard is enough at most once: after that it is
// dropped when that is on disk, and until then hears no more.
func (one *listening) hear(value any, seq event.Seq) (hearing, bool) {
	if seq <= one.since {
		return hearing{}, false
	}
	object, ok := value.(map[string]any)
	if !ok {
		return hearing{}, false
	}
	one.since = seq
	changed, done := one.l.Offer(object)
	if done {
		one.since = ^event.Seq(0)
	}
	return hearing{one, done}, changed
}

// save writes what was heard.
func (h *hearing) save(tx *state.Tx, now time.Time) error {
	if !h.done {
		doc, err := json.Marshal(h.l)
		if err != nil {
			return fmt.Errorf("what run %s has heard: %w", h.run, err)
		}
		_, err = tx.ExecContext(tx.Context(), `UPDATE run_listens SET since = $3, doc = $4 WHERE run = $1 AND effect = $2`, h.run, h.key, int64(h.since), string(doc))
		return wrap("save what was heard", err)
	}
	a := h.l.Answer(now)
	if err := putAnswer(tx, h.run, h.key, &a); err != nil {
		return err
	}
	if _, err := tx.ExecContext(tx.Context(), `DELETE FROM run_listens WHERE run = $1 AND effect = $2`, h.run, h.key); err != nil {
		return fmt.Errorf("end a listen: %w", err)
	}
	return wake(tx, h.run, now)
}

// wake makes a waiting run be looked at.
func wake(tx *state.Tx, run RunID, now time.Time) error {
	_, err := tx.ExecContext(tx.Context(), `UPDATE runs SET due = $2 WHERE id = $1 AND state = 'waiting'`, run, now.UnixNano())
	return wrap("wake run "+string(run), err)
}

// catchUpBatch is how many events are read again at once.
const catchUpBatch = 500

// catchUp shows those that have begun to listen the events that the dispatcher had
// seen already: between the moment at which they began and now.
func (b *batch) catchUp(ctx context.Context) error {
	w := b.d.e.waits
	w.mu.Lock()
	fresh := w.fresh
	w.fresh = nil
	w.mu.Unlock()
	for w.back < w.at {
		hits, err := b.behind(ctx, w.back)
		if err != nil {
			return err
		}
		if len(hits) == 0 {
			break
		}
		for i := range hits {
			if ev, ok := heardOf(&hits[i]); ok {
				b.heard = append(b.heard, w.offer(&ev)...)
			}
		}
		w.back = hits[len(hits)-1].Seq
	}
	w.back = w.at
	for _, one := range fresh {
		for one.since < w.at {
			hits, err := b.behind(ctx, one.since)
			if err != nil {
				return err
			}
			if len(hits) == 0 || b.again(one, hits) {
				break
			}
		}
	}
	return nil
}

// behind are events between a place and where the dispatcher is.
func (b *batch) behind(ctx context.Context, seq event.Seq) ([]segment.Hit, error) {
	hits, err := b.d.e.o.Journal.After(ctx, seq, catchUpBatch)
	if err != nil && len(hits) == 0 {
		return nil, err
	}
	return slices.DeleteFunc(hits, func(h segment.Hit) bool { return h.Seq > b.d.e.waits.at }), nil
}

// heardOf is the event of a hit, if somebody may hear it.
func heardOf(h *segment.Hit) (event.Event, bool) {
	ev, err := event.DecodeStored(h.Body)
	ev.Sequence, ev.RecordedTime = h.Seq, time.Unix(0, h.Recorded).UTC()
	return ev, err == nil && ev.Text(ingest.QuarantineAttribute) != "true"
}

// again shows a run events that lie behind; true when it has heard enough.
func (b *batch) again(one *listening, hits []segment.Hit) bool {
	for i := range hits {
		ev, ok := heardOf(&hits[i])
		value, err := jq.Decode(ev.AppendJSON(nil))
		if !ok || err != nil {
			one.since = hits[i].Seq
			continue
		}
		if h, changed := one.hear(value, ev.Sequence); changed {
			b.heard = append(b.heard, h)
			if h.done {
				return true
			}
		}
	}
	return false
}

func decodeAnswer(doc string) (program.Answer, error) {
	var a program.Answer
	var raw struct {
		Output json.RawMessage `json:"output"`
		Err    *program.Error  `json:"error"`
		At     time.Time       `json:"at"`
	}
	if err := json.Unmarshal([]byte(doc), &raw); err != nil {
		return a, err
	}
	a.Err, a.At = raw.Err, raw.At
	if raw.Output != nil {
		value, err := jq.Decode(raw.Output)
		if err != nil {
			return a, err
		}
		a.Output = value
	}
	return a, nil
}
