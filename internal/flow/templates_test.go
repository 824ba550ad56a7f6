package flow

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Every template compiles, and has what the page of templates shows.
func TestTemplates(t *testing.T) {
	all, err := Templates()
	if err != nil || len(all) != 3 {
		t.Fatalf("%d, %v", len(all), err)
	}
	for _, one := range all {
		p, err := program.Compile([]byte(one.Document), program.Options{Functions: Functions()})
		if err != nil {
			t.Errorf("%s: %v", one.Name, err)
			continue
		}
		if p.Name != one.Name || one.Title == "" || one.Summary == "" || !strings.HasPrefix(one.Document, "# ") {
			t.Errorf("%s: its document is named %s, %q, %q", one.Name, p.Name, one.Title, one.Summary)
		}
	}
}

// template stores a template, with some of its texts replaced: addresses, and how
// long it waits.
func (k *kit) template(name string, replace ...string) state.ObjectID {
	k.t.Helper()
	all, err := Templates()
	if err != nil {
		k.t.Fatal(err)
	}
	for _, one := range all {
		if one.Name != name {
			continue
		}
		for i := 0; i < len(replace); i += 2 {
			if !strings.Contains(one.Document, replace[i]) {
				k.t.Fatalf("%s does not have %q", name, replace[i])
			}
		}
		return k.flow(strings.NewReplacer(replace...).Replace(one.Document))
	}
	k.t.Fatalf("there is no template %s", name)
	return 0
}

// A unit that comes back is told to nobody; one that does not is restarted twice.
func TestRestartTemplate(t *testing.T) {
	k := newKit(t)
	o := k.others()
	dir := t.TempDir()
	// A unit is a file with the number of restarts that it still needs.
	// The program gets the folder, "--" and the unit.
	restart := `n=$(cat "$1/$3" 2>/dev/null || echo 9); echo $((n-1)) > "$1/$3"; echo r >> "$1/$3.log"`
	k.commands(map[string][]string{
		"restart_unit":   {"/bin/sh", "-c", restart, "restart", dir, "--", "{unit}"},
		"unit_is_active": {"/bin/sh", "-c", `test "$(cat "$1/$3")" -le 0 || { echo "$3 is failed" >&2; exit 3; }`, "active", dir, "--", "{unit}"},
	})
	for unit, needs := range map[string]int{"once": 1, "twice": 2} {
		if err := os.WriteFile(filepath.Join(dir, unit), []byte(strconv.Itoa(needs)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := k.template("restart-failed-unit", "seconds: 15", "milliseconds: 5", "seconds: 30", "milliseconds: 5")
	k.trigger(id, func(t *Trigger) { t.Types, t.Filter = []string{"service_down"}, `data.reason == "failed"` })
	for unit, want := range map[string]struct {
		status   string
		restarts int
	}{"once": {"restarted", 1}, "twice": {"restarted", 2}, "never": {"down", 2}} {
		before := len(k.all("trigger.event.ok"))
		k.emits("service_down", unit, `{"unit":"`+unit+`","reason":"failed"}`, "host", "web1")
		done := k.comes("trigger.event.ok", before+1)[before]
		if got := dataOf(t, &done); got["status"] != want.status || !strings.HasPrefix(got["status_msg"].(string), unit) {
			t.Errorf("%s: %s", unit, done.Data)
		}
		if log, err := os.ReadFile(filepath.Join(dir, unit+".log")); err != nil || len(log) != 2*want.restarts {
			t.Errorf("%s was restarted %d times, not %d: %v", unit, len(log)/2, want.restarts, err)
		}
	}
	if len(o.told) != 1 || o.told[0].Title != "never on web1 is down" || o.told[0].Severity != event.Critical || o.told[0].Recipients[0] != "admin" || !strings.Contains(o.told[0].Text, "never is failed") || o.told[0].Sequence == 0 {
		t.Errorf("told is %+v", o.told)
	}
}

// So many failed logins from one address, and CrowdSec is asked to ban it, once.
func TestBlockTemplate(t *testing.T) {
	k := newKit(t)
	k.out(nil, nil)
	k.secretOf("crowdsec", `{"username":"tocsin","password":"hunter2hunter2"}`)
	lapi := newRemote(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1/watchers/login":
			reply(w, "application/json", `{"code":200,"expire":"2030-01-01T00:00:00Z","token":"jwt-of-today"}`)
		case r.Header.Get("Authorization") != "Bearer jwt-of-today":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			w.Write([]byte(`["1"]`))
		}
	})
	id := k.template("block-address-crowdsec", "http://127.0.0.1:8080", lapi.URL, "failures: 10", "failures: 3")
	k.trigger(id, func(t *Trigger) {
		t.Types, t.Throttle = []string{"login_failed"}, &Throttle{Accumulate: &Accumulate{Count: 3, Within: config.Duration(time.Hour)}, GroupBy: []string{"clientip"}}
	})
	for n, address := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.1"} {
		k.emits("login_failed", strconv.Itoa(n), `{}`, "clientip", address)
	}
	done := k.comes("trigger.event.ok", 1)
	if got := dataOf(t, &done[0]); len(done) != 1 || got["status"] != "banned" || got["status_msg"] != "192.0.2.1 for 4h" {
		t.Fatalf("%s", done[0].Data)
	}
	asked := lapi.all()
	if len(asked) != 2 || asked[0].body != `{"machine_id":"tocsin","password":"hunter2hunter2","scenarios":["tocsin/failed-logins"]}` {
		t.Fatalf("CrowdSec is asked %+v", asked)
	}
	var alerts []struct {
		Scenario  string
		Events    int `json:"events_count"`
		Source    struct{ Scope, Value string }
		Decisions []struct{ Type, Value, Duration string }
	}
	if err := json.Unmarshal([]byte(asked[1].body), &alerts); err != nil || len(alerts) != 1 || alerts[0].Events != 3 || alerts[0].Source.Value != "192.0.2.1" ||
		len(alerts[0].Decisions) != 1 || alerts[0].Decisions[0].Type != "ban" || alerts[0].Decisions[0].Value != "192.0.2.1" {
		t.Errorf("the alert is %s, %v", asked[1].body, err)
	}
	r, err := k.StartRun(t.Context(), state.System(), id, json.RawMessage(`{"clientip":"192.0.2.9","time":"2026-01-01T00:00:00Z"}`), "")
	if err != nil {
		t.Fatal(err)
	}
	if r = k.ends(r.ID, Completed, Faulted); r.Status != "ignored" || len(lapi.all()) != 2 {
		t.Errorf("one failure: %s %s, and CrowdSec is asked %d times", r.Status, r.Error, len(lapi.all()))
	}
}

// A ticket is opened, also where the first try fails, waits for the end of its own
// alert over a restart of the server, and is resolved.
func TestTicketTemplate(t *testing.T) {
	dir := t.TempDir()
	k := openKit(t, dir)
	k.secretOf("tickets", `"hunter2hunter2"`)
	var failed atomic.Bool
	desk := newRemote(t, func(w http.ResponseWriter, r *http.Request) {
		if !failed.Swap(true) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		reply(w, "application/json", `{"id":"T-17"}`)
	})
	k.out(nil, nil)
	id := k.template("ticket-by-webhook", "https://tickets.example.com/api/tickets", desk.URL, "seconds: 10", "milliseconds: 5")
	k.trigger(id, func(t *Trigger) { t.Types = []string{"alert"} })
	k.emits("alert", "a1", `{"summary":"the disk is slow"}`, "subject", "alert/9")
	runs := k.comesTo(Waiting)
	open := desk.last(t)
	if open.path != "/" || open.header.Get("Authorization") != "Bearer hunter2hunter2" || !strings.Contains(open.body, `"title":"the disk is slow"`) || !strings.Contains(open.body, `"key":"/test a1"`) {
		t.Errorf("it is opened by %+v", open)
	}
	k.stop()
	k = openKit(t, dir)
	k.out(nil, nil)
	k.emits("alert_resolved", "r1", `{}`, "subject", "alert/8") // another one
	k.emits("alert_resolved", "r2", `{}`, "subject", "alert/9")
	r := k.ends(runs.ID, Completed, Faulted)
	if r.Status != "resolved" || r.StatusMsg != "ticket T-17" {
		t.Fatalf("%s %s %s", r.Status, r.StatusMsg, r.Error)
	}
	if all := desk.all(); len(all) != 3 || all[2].path != "/T-17/resolve" || all[2].header.Get("Idempotency-Key") == all[1].header.Get("Idempotency-Key") {
		t.Errorf("%d requests: %+v", len(all), all)
	}
}

// comesTo waits until the one run of a kit is in a state.
func (k *kit) comesTo(in RunState) Run {
	k.t.Helper()
	for {
		changed := k.Changed()
		runs, err := k.ListRuns(k.t.Context(), RunQuery{Limit: 1})
		if err != nil {
			k.t.Fatal(err)
		}
		if len(runs) == 1 && (runs[0].State == in || runs[0].State.Over()) {
			if runs[0].State != in {
				k.t.Fatalf("the run is %s: %s", runs[0].State, runs[0].Error)
			}
			return runs[0]
		}
		select {
		case <-changed:
		case <-k.t.Context().Done():
			k.t.Fatal("not in time")
		}
	}
}
