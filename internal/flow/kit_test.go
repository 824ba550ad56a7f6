package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/state"
)

const base = "https://tocsin.example"

// kit is all that flows work with, for real: a journal, a database, the way of
// events.
type kit struct {
	*Engine
	t       *testing.T
	dir     string
	journal *journal.Journal
	state   *state.State
	ingest  *ingest.Ingest
	counts  *counts
	stop    func()
}

// counts are metrics that a test reads.
type counts struct {
	mu   sync.Mutex // guards skip
	skip map[string]int
}

func (c *counts) Skipped(trigger, why string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skip[trigger+" "+why] += n
}
func (c *counts) Ran(string, string, time.Duration) { /* not asked for */ }

func newKit(t *testing.T) *kit { t.Helper(); return openKit(t, t.TempDir()) }

// openKit runs an engine on a folder until the test ends, or it is stopped.
func openKit(t *testing.T, dir string) *kit {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "journal"), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	s, err := state.Open(t.Context(), state.Options{Dir: dir, Source: base, Significant: base})
	if err != nil {
		t.Fatal(err)
	}
	c := catalog.New()
	k := &kit{t: t, dir: dir, journal: j, state: s, counts: &counts{skip: map[string]int{}}}
	k.ingest = ingest.New(ingest.Options{
		Journal: j, Catalog: c, Enrich: func(*event.Event) {}, Unknown: func() ingest.Policy { return ingest.AcceptUnknown }, Bases: []string{base},
	})
	outbox := ingest.NewOutbox(k.ingest, s, log, func(uint64) {})
	s.SetRecorder(outbox.Record)
	filters, err := filter.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	key, err := state.OpenKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	k.Engine, err = New(t.Context(), Options{
		State: s, Journal: j, Catalog: c, Filters: filters, Key: key, Source: base, Host: "here", Version: "test", Owner: "test",
		Limits: func() Limits { return Limits{} }, HTTP: http.DefaultTransport, Raise: k.ingest.Own, Metrics: k.counts, Lag: func(uint64) {}, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = outbox.Run(ctx) })
	parts, end := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := k.Run(parts); err != nil {
			t.Error(err)
		}
	})
	var once sync.Once
	k.stop = func() {
		once.Do(func() {
			end()
			run.Wait()
			cancel()
			all.Wait()
			if err := errors.Join(s.Close(), j.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(k.stop)
	return k
}

// flow stores a flow.
func (k *kit) flow(document string) state.ObjectID {
	k.t.Helper()
	r, err := k.CreateFlow(k.t.Context(), state.System(), document, "")
	if err != nil {
		k.t.Fatal(err)
	}
	return r.ID
}

// named is a small flow around its tasks.
func named(name, tasks string) string {
	return "document: {dsl: '1.0.3', namespace: test, name: " + name + ", version: '1.0.0'}\ndo:\n" + tasks
}

// trigger stores a trigger on the defaults.
func (k *kit) trigger(flow state.ObjectID, change func(*Trigger)) state.ObjectID {
	k.t.Helper()
	t := NewTrigger()
	t.Flow, t.Name = flow.String(), "trigger of "+flow.String()
	change(&t)
	r, err := k.CreateTrigger(k.t.Context(), state.System(), t)
	if err != nil {
		k.t.Fatal(err)
	}
	return r.ID
}

// emits records an event of a type, whose id is its number.
func (k *kit) emits(t event.Type, id, data string, attributes ...string) event.Seq {
	k.t.Helper()
	e := event.Event{ID: event.ID(id), Source: "/test", Type: t, Time: time.Now().UTC(), Data: []byte(data)}
	for i := 0; i < len(attributes); i += 2 {
		e.SetExtension(attributes[i], attributes[i+1])
	}
	answer, err := k.ingest.Accept(k.t.Context(), ingest.Sender{Name: "test"}, []ingest.Incoming{{Event: e}})
	if err != nil || answer.Results[0].Err != nil {
		k.t.Fatalf("%v %+v", err, answer)
	}
	return answer.Results[0].Sequence
}

// all are the events of types that match a prefix, in order.
func (k *kit) all(prefix string) (found []event.Event) {
	k.t.Helper()
	for after := event.Seq(0); ; {
		hits, err := k.journal.After(k.t.Context(), after, 500)
		if err != nil {
			k.t.Fatal(err)
		}
		if len(hits) == 0 {
			return found
		}
		for _, h := range hits {
			after = h.Seq
			e, err := event.DecodeStored(h.Body)
			if err != nil {
				k.t.Fatal(err)
			}
			if strings.HasPrefix(string(e.Type), prefix) {
				e.Sequence = h.Seq
				found = append(found, e)
			}
		}
	}
}

// comes waits for a number of events whose types begin so.
func (k *kit) comes(prefix string, n int) []event.Event {
	k.t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for {
		grown := k.journal.Grown()
		if found := k.all(prefix); len(found) >= n {
			return found
		}
		select {
		case <-grown:
		case <-limit.C:
			k.t.Fatalf("%d events of %s* came, not %d: %s", len(k.all(prefix)), prefix, n, k.about())
		}
	}
}

// about are the runs, for messages.
func (k *kit) about() string {
	runs, err := k.ListRuns(k.t.Context(), RunQuery{Limit: 20})
	if err != nil {
		return err.Error()
	}
	var lines []string
	for _, r := range runs {
		lines = append(lines, fmt.Sprintf("%s %s %s %s", r.ID, r.FlowName, r.State, r.Error))
	}
	return strings.Join(lines, "; ")
}

// until waits for something to hold that runs bring about.
func (k *kit) until(what string, holds func() bool) {
	k.t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for {
		changed := k.Changed()
		if holds() {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			k.t.Fatalf("%s: never; %s", what, k.about())
		}
	}
}

// ends waits for a run to be in a state.
func (k *kit) ends(id RunID, in ...RunState) Run {
	k.t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for {
		changed := k.Changed()
		r, err := k.GetRun(k.t.Context(), id)
		if err != nil {
			k.t.Fatal(err)
		}
		if slices.Contains(in, r.State) {
			return r
		}
		select {
		case <-changed:
		case <-limit.C:
			k.t.Fatalf("run %s is %s: %s; %s", id, r.State, r.Error, k.about())
		}
	}
}

// dataOf is the data of an event.
func dataOf(t *testing.T, e *event.Event) map[string]any {
	t.Helper()
	var data map[string]any
	if err := json.Unmarshal(e.Data, &data); err != nil {
		t.Fatal(err)
	}
	return data
}
