package e2e

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger is the other side of what flows do: how often each key came, and for what.
type ledger struct {
	*httptest.Server

	mu   sync.Mutex                // guards keys
	keys map[string]map[string]int // by the event's id: how often each key came
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	l := &ledger{keys: map[string]map[string]int{}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		of := l.keys[r.URL.Query().Get("of")]
		if of == nil {
			of = map[string]int{}
			l.keys[r.URL.Query().Get("of")] = of
		}
		of[r.Header.Get("Idempotency-Key")]++
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"taken":true}`))
	}))
	t.Cleanup(l.Close)
	return l
}

// TestFlowsSurviveKills kills the server with SIGKILL at random moments while events
// start runs: each event that it said yes to has one run and one result event, its
// call arrived at least once and under one key, and what the run emits is there once.
func TestFlowsSurviveKills(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	sink := newLedger(t)
	data := t.TempDir()
	s := startOn(t, data, loopback)
	document := `document: {dsl: '1.0.3', namespace: test, name: told, version: '1.0.0'}
do:
- call: {call: http, with: {method: post, endpoint: "` + sink.URL + `/?of={id}"}}
- say: {emit: {event: {with: {type: told, data: {of: "${ $workflow.input.id }"}}}}}
`
	flow := text(s.post("/v1/flows", "application/yaml", document).want(t, http.StatusCreated)["id"])
	s.post("/v1/triggers", jsonMedia, `{"name":"each","kind":"event","flow":"`+flow+`","types":["com.example.thing"]}`).want(t, http.StatusCreated)
	token := s.token
	s.kill()
	a := &acked{all: map[string]string{}}
	for round := range rounds {
		s := boot(t, data, loopback)
		s.token = token
		killUnder(t, s, a, round, 1+random.IntN(300), []int{2, 4})
	}
	s = boot(t, data, loopback)
	s.token = token
	results := func(name string) map[string]int {
		n := map[string]int{}
		for line := range strings.Lines(string(s.get("/v1/journal/export").body)) {
			e := parse[object](t, []byte(line))
			switch {
			case name == "told" && e["type"] == "told":
				n[text(dig(e, "data.of"))]++
			case name != "told" && strings.HasPrefix(text(e["type"]), "trigger.event.") && dig(e, "data.event_id") != nil:
				n[text(dig(e, "data.event_id"))]++
				if e["type"] != "trigger.event.ok" {
					t.Errorf("%s: %v", e["type"], dig(e, "data.error"))
				}
			}
		}
		return n
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	eventually(t, "all runs are over", func() bool {
		n := results("results")
		for id := range a.all {
			if n[id] == 0 {
				return false
			}
		}
		return true
	})
	ended, told := results("results"), results("told")
	sink.mu.Lock()
	defer sink.mu.Unlock()
	doubled := 0
	for id := range a.all {
		switch {
		case ended[id] != 1:
			t.Errorf("%s has %d results", id, ended[id])
		case told[id] != 1:
			t.Errorf("%s was emitted %d times", id, told[id])
		case len(sink.keys[id]) != 1:
			t.Errorf("%s was called for under %d keys: %v", id, len(sink.keys[id]), sink.keys[id])
		}
		for _, n := range sink.keys[id] {
			doubled += n - 1
		}
	}
	t.Logf("%d events, each with one run, over %d kills; %d calls came twice", len(a.all), rounds, doubled)
	if doubled > rounds*64 {
		t.Errorf("%d calls came twice: more than can have been under way", doubled)
	}
}
