package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ears keep what a destination hears, by the number in the event's data.
type ears struct {
	*httptest.Server
	mu    sync.Mutex     // guards all below
	heard map[string]int // by idempotency key
	about map[string]int // by the event's id
}

func listen(t *testing.T, answer func(http.ResponseWriter)) *ears {
	t.Helper()
	e := &ears{heard: map[string]int{}, about: map[string]int{}}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var told struct {
			ID string `json:"id"`
		}
		if err != nil || json.Unmarshal(body, &told) != nil {
			return // broken off
		}
		e.mu.Lock()
		e.heard[r.Header.Get("Webhook-Id")]++
		e.about[told.ID]++
		e.mu.Unlock()
		if answer != nil {
			answer(w)
		}
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *ears) count() (events, keys, requests int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.heard {
		requests += n
	}
	return len(e.about), len(e.heard), requests
}

const loopback = "egress: {allow: [127.0.0.0/8]}"

// TestTellingSurvivesKills kills the server with SIGKILL at random moments while
// it tells: every event that it said yes to is told, under one key, and no more
// is doubled than was under way.
func TestTellingSurvivesKills(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	sink := listen(t, nil)
	data := t.TempDir()
	s := startOn(t, data, loopback)
	hook := text(s.post("/v1/transports", jsonMedia, `{"name":"hook","mode":"webhook","settings":{"url":"`+sink.URL+`","format":"cloudevents"}}`).want(t, http.StatusCreated)["id"])
	s.post("/v1/rules", jsonMedia, `{"name":"all","types":["com.example.thing"],"transports":["`+hook+`"]}`).want(t, http.StatusCreated)
	token := s.token
	s.kill()
	a := &acked{all: map[string]string{}}
	for round := range rounds {
		s := boot(t, data, loopback)
		s.token = token
		killUnder(t, s, a, round, 1+random.IntN(400), []int{2, 3, 2, 3})
	}
	s = boot(t, data, loopback)
	s.token = token
	a.mu.Lock()
	defer a.mu.Unlock()
	eventually(t, "all that was acknowledged is told", func() bool {
		sink.mu.Lock()
		defer sink.mu.Unlock()
		for id := range a.all {
			if sink.about[id] == 0 {
				return false
			}
		}
		return true
	})
	eventually(t, "the ledger is at rest", func() bool {
		for _, state := range []string{"queued", "retrying"} {
			if len(parse[struct{ Items []object }](t, s.get("/v1/deliveries?limit=1&state="+state).body).Items) > 0 {
				return false
			}
		}
		return true
	})
	events, keys, requests := sink.count()
	const underWay = 64
	if keys != events || requests > keys+rounds*underWay {
		t.Errorf("%d events, %d keys, %d requests", events, keys, requests)
	}
	t.Logf("%d events told by %d requests over %d kills", events, requests, rounds)
}

// TestTellingByMail: with a mail server there is a transport for it, and the
// administrators' rule uses it; a mail has a way out of it, which works without
// signing in and once.
func TestTellingByMail(t *testing.T) {
	box, mails := startPostbox(t)
	data := t.TempDir()
	s := startOn(t, data)
	modes := func() (found []string) {
		for _, one := range parse[struct{ Items []object }](t, s.get("/v1/transports").body).Items {
			found = append(found, text(one["name"])+" "+text(one["mode"]))
		}
		return found
	}
	if got := modes(); !slices.Equal(got, []string{"Inbox inbox"}) {
		t.Errorf("a new installation has %v", got)
	}
	token := s.token
	s.kill()
	s = boot(t, data, mails)
	s.token = token
	if got := modes(); !slices.Equal(got, []string{"Inbox inbox", "default-email-transport email"}) {
		t.Errorf("with a mail server: %v", got)
	}
	s.request(http.MethodPatch, "/v1/users/1", strings.NewReader(`{"email":"admin@example.com"}`), "Content-Type", jsonMedia).want(t, http.StatusOK)
	s.emit(eventMedia, anEvent("fire", "type", "backup_failed", "severitytext", "critical", "data", object{"name": "db", "error": "<b>no space</b>"}))
	var l letter
	for l.subject = "x"; !strings.Contains(l.subject, "backup_failed"); { // the change of the address is mailed, too
		l = box.next(t, "admin@example.com")
	}
	s.one(`type == "email_sent" && data.subject.contains("backup_failed")`)
	of := l.text[strings.Index(l.text, "/unsubscribe?of="):]
	of = of[:strings.IndexAny(of, " \n\"<>")]
	for range 2 { // mail programs ask again
		if r := s.request(http.MethodPost, of, strings.NewReader("List-Unsubscribe=One-Click"), "Content-Type", "application/x-www-form-urlencoded", "Authorization", ""); r.status >= 300 {
			t.Fatalf("unsubscribe: %d %s", r.status, clip(r.body))
		}
	}
	s.one(`type == "model_created" && data.model.model_name == "mute"`)
	s.emit(eventMedia, anEvent("fire2", "type", "backup_failed", "severitytext", "critical", "data", object{"name": "db2"}))
	eventually(t, "it is suppressed", func() bool {
		return len(parse[struct{ Items []object }](t, s.get("/v1/deliveries?state=suppressed").body).Items) > 0
	})
}

// TestTellingStaysOutside: a webhook reaches nothing inside unless that is
// allowed, by whatever name; the ledger says why.
func TestTellingStaysOutside(t *testing.T) {
	sink := listen(t, nil)
	port := sink.URL[strings.LastIndexByte(sink.URL, ':'):]
	s := start(t)
	for i, url := range []string{sink.URL, "http://localhost" + port, "http://[::1]" + port, "http://169.254.169.254/latest/meta-data", "http://0.0.0.0" + port, "http://[::ffff:127.0.0.1]" + port} {
		hook := text(s.post("/v1/transports", jsonMedia, fmt.Sprintf(`{"name":"hook%d","mode":"webhook","settings":{"url":%q}}`, i, url)).want(t, http.StatusCreated)["id"])
		answer := s.post("/v1/transports/"+hook+"/test", jsonMedia, "").want(t, http.StatusOK)
		if answer["delivered"] != false || !strings.Contains(text(answer["error"]), "egress.allow") && !strings.Contains(text(answer["error"]), "host") {
			t.Errorf("%s: %v", url, answer)
		}
	}
	s.post("/v1/transports", jsonMedia, `{"name":"digits","mode":"webhook","settings":{"url":"http://2130706433/"}}`).wantProblem(t, http.StatusBadRequest)
	if n, _, _ := sink.count(); n != 0 {
		t.Errorf("%d requests came through", n)
	}
}

// TestTestedRule: explain and back-test by the command line, on what was
// recorded before there was a rule.
func TestTestedRule(t *testing.T) {
	s := start(t)
	for i := range 12 {
		s.emit(eventMedia, anEvent(fmt.Sprint("login", i), "type", "login_failed", "data", object{"username": "ann", "stage": "password", "reason": "wrong"}))
	}
	rule := `{"name":"guessing","types":["login_failed"],"threshold":{"count":5,"within":"10m","group_by":["data.username"]},"transports":["1"],"recipients":{"access_levels":["admin"]}}`
	b := s.post("/v1/rules/backtest", jsonMedia, `{"rule":`+rule+`,"since":"1h"}`).want(t, http.StatusOK)
	first := b["first"].([]any)
	if fmt.Sprintf("%v %v %v", b["matched"], b["tellings"], b["messages"]) != "12 2 2" || len(first) != 2 || !strings.Contains(text(first[0].(object)["title"]), "5 events in 10m (ann)") {
		t.Errorf("back-test: %v", b)
	}
	seq := text(s.one(`id == "login0"`)["sequence"])
	out, _, code := s.cli("rules", "test", "1", "--sequence", seq)
	if code != 0 || !strings.Contains(out, "It does not fire: the severity is too low.") {
		t.Errorf("exit %d: %s", code, out)
	}
	if r := s.post("/v1/rules/explain", jsonMedia, `{"rule":{"name":"x","filter":"data.username == 'bob' && severity >= warn"},"sequence":"`+seq+`"}`).want(t, http.StatusOK); r["fires"] != false || !strings.Contains(fmt.Sprint(r["conditions"]), `data.username == "bob"`) || !strings.Contains(fmt.Sprint(r["conditions"]), `"ann"`) {
		t.Errorf("explain: %v", r)
	}
	s.post("/v1/rules/explain", jsonMedia, `{"rule":{"name":"x","filter":"tru"},"sequence":"`+seq+`"}`).wantProblem(t, http.StatusBadRequest)
}
