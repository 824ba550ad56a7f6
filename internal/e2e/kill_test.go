package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// acked is what the server has said yes to: sequence by id.
type acked struct {
	mu  sync.Mutex // guards all and got
	all map[string]string
	got chan struct{} // closed when enough of a round is acknowledged
	due int
}

func (a *acked) add(id, sequence string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all[id] = sequence
	if a.due--; a.due == 0 {
		close(a.got)
	}
}

// await is closed when n more events are acknowledged.
func (a *acked) await(n int) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.due, a.got = n, make(chan struct{})
	return a.got
}

// TestKill kills the server with SIGKILL at random moments under load. What it
// said yes to is there, once, with the sequence that it named; the sequences
// have no gap; the journal verifies; and state and record agree.
func TestKill(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	killRounds(t, func(round int) bool { return round < rounds })
}

// TestSoakKill is the same for as long as TOCSIN_SOAK says.
func TestSoakKill(t *testing.T) {
	soak, err := time.ParseDuration(os.Getenv("TOCSIN_SOAK"))
	if err != nil {
		t.Skip("runs for a long time: make soak")
	}
	until := time.Now().Add(soak)
	killRounds(t, func(int) bool { return time.Now().Before(until) })
}

func killRounds(t *testing.T, more func(round int) bool) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	a := &acked{all: map[string]string{}}
	data := t.TempDir()
	token := startOnce(t, data)
	round := 0
	for ; more(round); round++ {
		s := boot(t, data)
		s.token = token
		checkAcked(t, s, a, round)
		killUnder(t, s, a, round, 1+random.IntN(1500), []int{0, 1, 2, 3, 4, 5, 6, 7})
	}
	s := boot(t, data)
	s.token = token
	checkAcked(t, s, a, round)
	checkAgreement(t, s)
	s.stop()
	if out, errOut, code := s.cli("journal", "verify"); code != 0 {
		t.Errorf("journal verify on the stopped server's folder: exit %d: %s%s", code, out, errOut)
	}
	t.Logf("%d events were acknowledged over %d kills", len(a.all), round)
}

// killUnder kills a server while writers of some sorts (see write) keep it busy,
// as soon as a number of events more is acknowledged.
func killUnder(t *testing.T, s *server, a *acked, round, events int, sorts []int) {
	t.Helper()
	enough := a.await(events)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var writers sync.WaitGroup
	for i, sort := range sorts {
		writers.Go(func() { write(ctx, s, a, fmt.Sprintf("r%d-w%d", round, i), sort) })
	}
	select {
	case <-enough:
	case <-time.After(patience):
		t.Fatalf("round %d: too little is acknowledged:\n%s", round, s.log)
	}
	s.kill()
	cancel()
	writers.Wait()
}

// startOnce makes a data folder and a token for all rounds.
func startOnce(t *testing.T, data string) string {
	t.Helper()
	s := startOn(t, data)
	s.kill()
	return s.token
}

// write sends events until the server is gone: every other writer batches, and
// one changes state.
func write(ctx context.Context, s *server, a *acked, name string, w int) {
	for n := 0; ctx.Err() == nil; n++ {
		path, media, body := "/v1/events", eventMedia, anEvent(fmt.Sprintf("%s-%d", name, n), "data", object{"n": n})
		switch {
		case w == 0:
			path, media, body = "/v1/tokens", jsonMedia, fmt.Sprintf(`{"name":"%s-%d","scopes":["read"]}`, name, n)
		case w%2 == 1:
			media, body = batchMedia, batch(events(fmt.Sprintf("%s-%d", name, n), 20)...)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, strings.NewReader(body))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", media)
		req.Header.Set("Authorization", "Bearer "+s.token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusAccepted {
			if w == 0 && resp.StatusCode == http.StatusCreated {
				continue
			}
			return
		}
		var answer struct {
			Results []struct{ ID, Sequence string } `json:"results"`
		}
		if json.Unmarshal(raw, &answer) != nil {
			return // the answer was cut off: nothing was promised
		}
		for _, r := range answer.Results {
			a.add(r.ID, r.Sequence)
		}
	}
}

// checkAcked reads the whole journal in order and compares it with what was
// acknowledged; then it lets the journal verify itself.
func checkAcked(t *testing.T, s *server, a *acked, round int) {
	t.Helper()
	r := s.get("/v1/journal/export")
	lines := bufio.NewScanner(strings.NewReader(string(r.body)))
	lines.Buffer(nil, 4<<20)
	seen := map[string]string{}
	next := 1
	for lines.Scan() {
		var e struct{ ID, Source, Sequence string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.Sequence != fmt.Sprintf("%020d", next) {
			t.Fatalf("round %d: sequence %s where %d should come", round, e.Sequence, next)
		}
		next++
		if e.Source != "urn:test" {
			continue
		}
		if first, twice := seen[e.ID]; twice {
			t.Fatalf("round %d: %s is there twice: %s and %s", round, e.ID, first, e.Sequence)
		}
		seen[e.ID] = e.Sequence
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, sequence := range a.all {
		if seen[id] != sequence {
			t.Fatalf("round %d: %s was acknowledged as %s and is there as %q", round, id, sequence, seen[id])
		}
	}
	report := parse[object](t, s.post("/v1/journal/verify", jsonMedia, `{}`).body)
	if report["ok"] != true {
		t.Fatalf("round %d: journal verify: %v", round, report)
	}
}

// checkAgreement compares the tokens in the state database with the events that
// tell of them: each was created once, in both.
func checkAgreement(t *testing.T, s *server) {
	t.Helper()
	told := map[string]int{}
	cursor := ""
	for {
		parameters := []string{"filter", `type == "model_created" && data.model.model_name == "token"`, "limit", "1000"}
		if cursor != "" {
			parameters = append(parameters, "cursor", cursor)
		}
		p := s.find(parameters...)
		for _, e := range p.Events {
			told[text(dig(e, "data.model.pk"))]++
		}
		if p.Next == nil {
			break
		}
		cursor = *p.Next
	}
	stored := 0
	cursor = "0"
	for cursor != "" {
		p := parse[struct {
			Items []object
			Next  *string
		}](t, s.get("/v1/tokens?limit=1000&cursor="+cursor).body)
		for _, row := range p.Items {
			stored++
			if n := told[text(row["id"])]; n != 1 {
				t.Errorf("token %v is told of %d times", row["id"], n)
			}
		}
		cursor = ""
		if p.Next != nil {
			cursor = *p.Next
		}
	}
	if stored != len(told) {
		t.Errorf("%d tokens are stored and %d told of", stored, len(told))
	}
	t.Logf("%d tokens agree", stored)
}
