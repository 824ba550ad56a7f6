package state_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/state"
)

type gadget struct {
	Name     string   `json:"name"`
	Colour   string   `json:"colour"`
	Password string   `json:"password,omitempty"`
	Parts    []string `json:"parts"`
}

func gadgets() *state.Collection[gadget] {
	return &state.Collection[gadget]{
		App: "shop", Model: "gadget", Name: func(g *gadget) string { return g.Name },
		Keys: func(g *gadget) map[string]string { return map[string]string{"name": g.Name} },
		Check: func(g *gadget) error {
			if g.Colour == "" {
				return event.Invalidf("colour is missing")
			}
			return nil
		},
	}
}

func open(t *testing.T, dir string) *state.State {
	t.Helper()
	s, err := state.Open(t.Context(), state.Options{Dir: dir, Source: "https://t.example", Significant: "https://m.example"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func by() state.Cause {
	return state.Cause{AuthType: "user", AuthID: "7", AuthName: "ann", ClientIP: "192.0.2.1", Request: map[string]any{"method": "POST", "path": "/x"}}
}

// pending are the types and data of the outbox.
func pending(t *testing.T, s *state.State) []state.Pending {
	t.Helper()
	all, err := s.Outbox(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestObjectLife(t *testing.T) {
	s, c, ctx := open(t, t.TempDir()), gadgets(), t.Context()
	var r state.Record[gadget]
	write := func(do func(tx *state.Tx) error) {
		t.Helper()
		if err := s.Write(ctx, by(), do); err != nil {
			t.Fatal(err)
		}
	}
	write(func(tx *state.Tx) (err error) {
		r, err = c.Insert(tx, gadget{Name: "a", Colour: "red", Password: "hunter2", Parts: []string{"x"}})
		return err
	})
	write(func(tx *state.Tx) (err error) {
		r, err = c.Update(tx, r.ID, r.Version, func(g *gadget) error {
			g.Colour, g.Password = "blue", "other"
			return nil
		})
		return err
	})
	write(func(tx *state.Tx) error { // no difference: no version, no event
		same, err := c.Update(tx, r.ID, state.AnyVersion, func(*gadget) error { return nil })
		if same.Version != r.Version {
			t.Errorf("an update without a difference made version %d", same.Version)
		}
		return err
	})
	if got, err := c.Find(ctx, s.Reader(), "name", "a"); err != nil || got.Value.Colour != "blue" || got.Version != 2 || got.ID != r.ID {
		t.Errorf("Find = %+v, %v", got, err)
	}
	write(func(tx *state.Tx) error { _, err := c.Delete(tx, r.ID, 2); return err })
	if _, err := c.Get(ctx, s.Reader(), r.ID); !errors.Is(err, event.ErrNotFound) {
		t.Errorf("after Delete: %v", err)
	}

	rows := pending(t, s)
	var got []string
	for _, p := range rows {
		e := p.Event
		got = append(got, string(e.Type)+" "+e.Subject+" "+e.AuthName+" "+e.ClientIP+" "+string(e.Data))
	}
	const request, model = `"http_request":{"method":"POST","path":"/x"}`, `"model":{"app":"tocsin_shop","model_name":"gadget","name":"a","pk":"1"}`
	masked := `"` + redact.Mask + `"`
	want := []string{
		`model_created gadget/1 ann 192.0.2.1 {"diff":{"colour":{"previous_value":null,"new_value":"red"},"name":{"previous_value":null,"new_value":"a"},"parts":{"previous_value":null,"new_value":["x"]},"password":{"previous_value":null,"new_value":` + masked + `}},` + request + `,` + model + `}`,
		`model_updated gadget/1 ann 192.0.2.1 {"diff":{"colour":{"previous_value":"red","new_value":"blue"},"password":{"previous_value":` + masked + `,"new_value":` + masked + `}},` + request + `,` + model + `}`,
		`model_deleted gadget/1 ann 192.0.2.1 {"diff":{"colour":{"previous_value":"blue","new_value":null},"name":{"previous_value":"a","new_value":null},"parts":{"previous_value":["x"],"new_value":null},"password":{"previous_value":` + masked + `,"new_value":null}},` + request + `,` + model + `}`,
	}
	want[2] = strings.Replace(want[2], `"previous_value":`+masked, `"previous_value":`+masked, 1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, p := range rows {
		if p.Event.Source != "https://t.example/state" {
			t.Errorf("source %s", p.Event.Source)
		}
	}
}

// TestRelations tells what was added to a list of ids and what was removed, with
// names as they were at that moment.
func TestRelations(t *testing.T) {
	s, c, ctx := open(t, t.TempDir()), gadgets(), t.Context()
	c.Relations = map[string]func(*state.Tx, string) string{"parts": func(_ *state.Tx, id string) string { return "part " + id }}
	var r state.Record[gadget]
	for _, parts := range [][]string{{}, {"1", "2"}, {"2", "3"}, {"3", "2"}, nil} {
		err := s.Write(ctx, by(), func(tx *state.Tx) (err error) {
			if r.ID == 0 {
				r, err = c.Insert(tx, gadget{Name: "a", Colour: "red", Parts: parts})
				return err
			}
			r, err = c.Update(tx, r.ID, state.AnyVersion, func(g *gadget) error { g.Parts = parts; return nil })
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, p := range pending(t, s) {
		var d struct{ Diff map[string]json.RawMessage }
		if err := json.Unmarshal(p.Event.Data, &d); err != nil {
			t.Fatal(err)
		}
		got = append(got, string(d.Diff["parts"]))
	}
	want := []string{
		"",
		`{"add":[{"pk":"1","name":"part 1"},{"pk":"2","name":"part 2"}],"remove":[]}`,
		`{"add":[{"pk":"3","name":"part 3"}],"remove":[{"pk":"1","name":"part 1"}]}`,
		"",
		`{"add":[],"remove":[{"pk":"3","name":"part 3"},{"pk":"2","name":"part 2"}]}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConflicts(t *testing.T) {
	s, c, ctx := open(t, t.TempDir()), gadgets(), t.Context()
	insert := func(g gadget) error {
		return s.Write(ctx, by(), func(tx *state.Tx) error { _, err := c.Insert(tx, g); return err })
	}
	if err := insert(gadget{Name: "a", Colour: "red"}); err != nil {
		t.Fatal(err)
	}
	if err := insert(gadget{Name: "a", Colour: "red"}); !errors.Is(err, event.ErrConflict) {
		t.Errorf("the same key twice: %v", err)
	}
	if err := insert(gadget{Name: "b"}); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("what Check refuses: %v", err)
	}
	stale := s.Write(ctx, by(), func(tx *state.Tx) error {
		_, err := c.Update(tx, 1, 9, func(*gadget) error { return nil })
		return err
	})
	if !errors.Is(stale, event.ErrConflict) {
		t.Errorf("a stale version: %v", stale)
	}
	missing := s.Write(ctx, by(), func(tx *state.Tx) error { _, err := c.Delete(tx, 77, state.AnyVersion); return err })
	if !errors.Is(missing, event.ErrNotFound) {
		t.Errorf("a missing object: %v", missing)
	}
	if n := len(pending(t, s)); n != 1 {
		t.Errorf("%d events of one successful change", n)
	}
	all, err := c.List(ctx, s.Reader(), 0, 10)
	if err != nil || len(all) != 1 {
		t.Errorf("List = %v, %v", all, err)
	}
}

// What a transaction that fails has said is unsaid.
func TestRollBack(t *testing.T) {
	s, c := open(t, t.TempDir()), gadgets()
	boom := errors.New("boom")
	err := s.Write(t.Context(), by(), func(tx *state.Tx) error {
		if _, err := c.Insert(tx, gadget{Name: "a", Colour: "red"}); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) || len(pending(t, s)) != 0 {
		t.Errorf("Write = %v, with %d events", err, len(pending(t, s)))
	}
	if _, err := c.Find(t.Context(), s.Reader(), "name", "a"); !errors.Is(err, event.ErrNotFound) {
		t.Errorf("Find = %v", err)
	}
}

// The outbox survives a crash between commit and record, in order; recorded rows
// go with the next write.
func TestOutbox(t *testing.T) {
	dir := t.TempDir()
	first, err := state.Open(t.Context(), state.Options{Dir: dir, Source: "https://t.example"})
	if err != nil {
		t.Fatal(err)
	}
	raise := func(s *state.State, types ...event.Type) error {
		return s.Write(t.Context(), by(), func(tx *state.Tx) error {
			for _, typ := range types {
				if err := tx.Raise("identity", typ, "", map[string]any{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := raise(first, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	rows := pending(t, s)
	if len(rows) != 2 || rows[0].Event.Type != "a" || rows[1].Event.Type != "b" || rows[0].Event.CorrelationID != rows[1].Event.CorrelationID {
		t.Fatalf("after the restart: %+v", rows)
	}
	s.Recorded(rows[1].Seq)
	if err := raise(s, "c"); err != nil {
		t.Fatal(err)
	}
	if rows = pending(t, s); len(rows) != 1 || rows[0].Event.Type != "c" {
		t.Errorf("after recording: %+v", rows)
	}
	failing := errors.New("disk full")
	s.SetRecorder(func(context.Context, int64) error { return failing })
	if err := raise(s, "d"); !errors.Is(err, event.ErrUnavailable) || !errors.Is(err, failing) {
		t.Errorf("Write with a failing recorder = %v", err)
	}
	if rows = pending(t, s); len(rows) != 2 {
		t.Errorf("the change is kept, its event waits: %+v", rows)
	}
}

func TestConcurrentWrites(t *testing.T) {
	s, c := open(t, t.TempDir()), gadgets()
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for n := range 10 {
				name := string(rune('a'+w)) + string(rune('0'+n))
				err := s.Write(t.Context(), by(), func(tx *state.Tx) error {
					_, err := c.Insert(tx, gadget{Name: name, Colour: "red"})
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	rows := pending(t, s)
	if len(rows) != 80 {
		t.Fatalf("%d events of 80 changes", len(rows))
	}
	for i, p := range rows {
		if p.Seq != int64(i+1) {
			t.Fatalf("row %d has the number %d", i, p.Seq)
		}
	}
}

func TestLease(t *testing.T) {
	s, ctx := open(t, t.TempDir()), t.Context()
	have := func(owner string, ttl time.Duration) bool {
		t.Helper()
		ok, err := s.Lease(ctx, "retention", owner, ttl)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !have("a", time.Hour) || have("b", time.Hour) || !have("a", time.Hour) {
		t.Error("a lease has one owner, who may prolong it")
	}
	if err := s.Unlease(ctx, "retention", "b"); err != nil || have("b", time.Hour) {
		t.Error("only its owner gives a lease back")
	}
	if err := s.Unlease(ctx, "retention", "a"); err != nil || !have("b", -time.Second) {
		t.Error("a lease that was given back is free")
	}
	if !have("c", time.Hour) {
		t.Error("a lease that has expired is free")
	}
}

func TestCursor(t *testing.T) {
	s, ctx := open(t, t.TempDir()), t.Context()
	if _, found, err := s.Cursor(ctx, "notify"); found || err != nil {
		t.Errorf("a new cursor: %v, %v", found, err)
	}
	for _, seq := range []event.Seq{5, 9, 7} {
		if err := s.Write(ctx, state.System(), func(tx *state.Tx) error { return tx.Advance("notify", seq) }); err != nil {
			t.Fatal(err)
		}
	}
	if at, found, err := s.Cursor(ctx, "notify"); at != 9 || !found || err != nil {
		t.Errorf("Cursor = %d, %v, %v: it never goes back", at, found, err)
	}
}

func TestFactsAndKey(t *testing.T) {
	dir := t.TempDir()
	s, ctx := open(t, dir), t.Context()
	if v, err := s.Fact(ctx, "x"); v != "" || err != nil {
		t.Errorf("Fact = %q, %v", v, err)
	}
	for _, v := range []string{"1", "2"} {
		if err := s.SetFact(ctx, "x", v); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := s.Fact(ctx, "x"); v != "2" || err != nil {
		t.Errorf("Fact = %q, %v", v, err)
	}
	k1, err := state.OpenKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	k2, err := state.OpenKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := k1.Derive("x"), k2.Derive("x"); string(a) != string(b) || len(a) != 32 || string(a) == string(k1.Derive("y")) {
		t.Error("a key derives the same for one purpose, and another for another")
	}
}
