package flow

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

const (
	quick = "  - one: {set: {done: true}}\n"
	says  = "  - say: {emit: {event: {with: {type: said, data: {}}}}}\n"
	rests = "  - rest: {wait: {seconds: 1}}\n" // in memory
)

// exec runs a statement in the state database.
func (k *kit) exec(query string, args ...any) {
	k.t.Helper()
	err := k.state.Write(k.t.Context(), state.System(), func(tx *state.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

// watch notes the states that runs come to be in.
func (k *kit) watch() {
	k.t.Helper()
	k.exec(`CREATE TABLE seen (n INTEGER PRIMARY KEY, run TEXT, state TEXT)`)
	k.exec(`CREATE TRIGGER watch AFTER UPDATE OF state ON runs BEGIN INSERT INTO seen (run, state) VALUES (new.id, new.state); END`)
}

func (k *kit) seen(id RunID) (states []RunState) {
	k.t.Helper()
	found, err := k.state.Reader().QueryContext(k.t.Context(), `SELECT state FROM seen WHERE run = $1 ORDER BY n`, id)
	if err != nil {
		k.t.Fatal(err)
	}
	defer found.Close()
	for found.Next() {
		var one RunState
		if err := found.Scan(&one); err != nil {
			k.t.Fatal(err)
		}
		states = append(states, one)
	}
	if err := found.Err(); err != nil {
		k.t.Fatal(err)
	}
	return states
}

// one runs a flow for an event.
func (k *kit) one(name, tasks string) RunID {
	k.t.Helper()
	trigger := k.trigger(k.flow(named(name, tasks)), func(t *Trigger) { t.Types = []string{"test." + name} })
	before := len(k.all("trigger.event.ok"))
	id := runOfEvent(trigger, k.emits(event.Type("test."+name), name, `{}`))
	k.comes("trigger.event.ok", before+1)
	return id
}

// That a run is under way is written before it does what others see, and when it
// takes long; one that is over at once has one transaction less.
func TestBegin(t *testing.T) {
	k := newKit(t)
	k.watch()
	for _, c := range []struct {
		name, tasks string
		want        []RunState
	}{
		{"quick", quick, []RunState{Completed}},
		{"says", says, []RunState{Running, Completed}},
		{"rests", rests, []RunState{Running, Completed}},
	} {
		id := k.one(c.name, c.tasks)
		if diff := cmp.Diff(c.want, k.seen(id)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// A run that a server finds when it starts may be the one that has ended the server
// before: that it is under way is written first, so that it is counted.
func TestBeginAgain(t *testing.T) {
	k := newKit(t)
	k.watch()
	quiet, bad := k.one("quick", quick), k.one("worse", quick)
	k.exec(`UPDATE runs SET state = 'queued', finished = 0 WHERE id = $1`, quiet)
	k.exec(`UPDATE runs SET state = 'running', finished = 0, recoveries = $2 WHERE id = $1`, bad, maxRecoveries)
	k.exec(`DELETE FROM seen`)
	k.stop()
	k = openKit(t, k.dir)
	k.ends(quiet, Completed)
	if diff := cmp.Diff([]RunState{Running, Completed}, k.seen(quiet)); diff != "" {
		t.Errorf("a run that was queued (-want +got):\n%s", diff)
	}
	if r := k.ends(bad, Faulted, Completed); r.State != Faulted || r.Recovers != maxRecoveries+1 {
		t.Errorf("a run that has ended the server %d times is %s: %s", r.Recovers, r.State, r.Error)
	}
}

// A run that was cancelled while it was in the queue does nothing, although the
// queue knows it as it was.
func TestBeginCancelled(t *testing.T) {
	k := newKit(t)
	id := k.one("says", says)
	r := k.ends(id, Completed)
	k.comes("said", 1)
	k.exec(`INSERT INTO runs SELECT 'another', 'cancelled', flow, trigger_id, priority, queued, due, recoveries, finished, doc FROM runs WHERE id = $1`, id)
	r.State, r.Finished, r.ID = Queued, time.Time{}, "another"
	if _, err := k.attempt(t.Context(), ready{id: r.ID, fresh: true, run: &r}); err == nil {
		t.Error("that the run is over is not noticed")
	}
	if now := k.ends("another", Cancelled, Completed, Running); now.State != Cancelled {
		t.Errorf("the run is %s", now.State)
	}
	if n := len(k.all("said")); n != 1 {
		t.Errorf("it said so %d times", n)
	}
}
