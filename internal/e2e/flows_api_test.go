package e2e

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const yamlMedia = "application/yaml"

// aFlow is a document with some tasks.
func aFlow(name, tasks string) string {
	return "document: {dsl: '1.0.3', namespace: default, name: " + name + ", version: '1.0.0'}\ndo:\n" + tasks
}

// over waits until a run is over.
func (s *server) over(id string) (run object) {
	s.t.Helper()
	eventually(s.t, "run "+id+" is over", func() bool {
		run = s.get("/v1/runs/"+id).want(s.t, http.StatusOK)
		return slices.Contains([]string{"completed", "faulted", "cancelled"}, text(run["state"]))
	})
	return run
}

func items(t *testing.T, r reply) []object {
	t.Helper()
	r.want(t, http.StatusOK)
	return parse[struct{ Items []object }](t, r.body).Items
}

// TestFlowsAPI follows flows over the API: documents and their problems, lost
// updates, runs by hand under a key, and what must not be shown or lent.
func TestFlowsAPI(t *testing.T) {
	t.Parallel()
	s := start(t, "egress: {allow: [127.0.0.0/8]}")
	t.Run("an invalid flow is stored, and does not run", func(t *testing.T) {
		made := s.post("/v1/flows", yamlMedia, aFlow("wrong", "  - x: {sat: {}}")).want(t, http.StatusCreated)
		if made["state"] != "invalid" || text(made["reason"]) == "" || len(text(made["version"])) != 64 {
			t.Errorf("got %v", made)
		}
		s.post("/v1/flows/"+text(made["id"])+"/runs", jsonMedia, `{}`).wantProblem(t, http.StatusConflict)
		s.get("/v1/flows/"+text(made["id"])+"/diagram").wantProblem(t, http.StatusConflict)
		found := s.post("/v1/flows/validate", yamlMedia, aFlow("wrong", "  - x: {sat: {}}")).want(t, http.StatusOK)
		first := found["problems"].([]any)[0].(map[string]any)
		if found["valid"] != false || first["path"] != "/do/0/x" || text(first["line"]) != "3" || first["instead"] != "write set instead of sat" {
			t.Errorf("problems: %v", found)
		}
	})
	t.Run("a document is JSON or YAML, and nothing else", func(t *testing.T) {
		made := s.post("/v1/flows", jsonMedia, `{"document":{"dsl":"1.0.3","namespace":"n","name":"json","version":"1.0.0"},"do":[{"a":{"set":{"b":1}}}]}`).want(t, http.StatusCreated)
		if made["state"] != "valid" {
			t.Errorf("got %v", made)
		}
		s.post("/v1/flows", "text/plain", "x").wantProblem(t, http.StatusUnsupportedMediaType)
		s.post("/v1/flows", yamlMedia, "").wantProblem(t, http.StatusBadRequest)
		s.post("/v1/flows", yamlMedia, strings.Repeat("a", 1<<20+1)).wantProblem(t, http.StatusRequestEntityTooLarge)
	})
	t.Run("a new version, and none over a lost update", func(t *testing.T) {
		r := s.post("/v1/flows", yamlMedia, aFlow("twice", "  - a: {set: {n: 1}}"))
		made := r.want(t, http.StatusCreated)
		path := "/v1/flows/" + text(made["id"])
		first := r.header.Get("ETag")
		put := func(body string) reply {
			return s.request(http.MethodPut, path, strings.NewReader(body), "Content-Type", yamlMedia, "If-Match", first)
		}
		second := put(aFlow("twice", "  - a: {set: {n: 2}}")).want(t, http.StatusOK)
		if second["version"] == made["version"] || second["id"] != made["id"] {
			t.Errorf("got %v", second)
		}
		put(aFlow("twice", "  - a: {set: {n: 3}}")).wantProblem(t, http.StatusPreconditionFailed)
		run := s.over(text(s.post(path+"/runs", "", "").want(t, http.StatusCreated)["id"]))
		if out, _ := run["output"].(map[string]any); text(out["n"]) != "2" || run["version"] != second["version"] {
			t.Errorf("run %v", run)
		}
	})
	t.Run("one run under one key", func(t *testing.T) {
		path := "/v1/flows/" + text(s.post("/v1/flows", yamlMedia, aFlow("keyed", "  - a: {set: {n: '${ .x }'}}")).want(t, http.StatusCreated)["id"]) + "/runs"
		start := func(key string) string {
			return text(s.post(path, jsonMedia, `{"x":1}`, "Idempotency-Key", key).want(t, http.StatusCreated)["id"])
		}
		if a, b, c := start("k"), start("k"), start("l"); a != b || a == c {
			t.Errorf("runs %s %s %s", a, b, c)
		}
		s.post(path, jsonMedia, `{"x":`).wantProblem(t, http.StatusBadRequest)
		s.post(path, jsonMedia, `{"x":1,"x":2}`).wantProblem(t, http.StatusBadRequest)
		s.post(path, "text/plain", `{}`).wantProblem(t, http.StatusUnsupportedMediaType)
		s.post(path, jsonMedia, `{}`, "Idempotency-Key", strings.Repeat("k", 300)).wantProblem(t, http.StatusBadRequest)
	})
	t.Run("steps, errors, cancel and retry", func(t *testing.T) { s.runsOfAPI(t) })
	t.Run("pages of runs lose none", func(t *testing.T) { s.pagesOfRuns(t) })
	t.Run("a flow lends nobody its rights", func(t *testing.T) {
		doc := "document: {dsl: '1.0.3', namespace: default, name: mighty, version: '1.0.0', metadata: {tocsin: {scopes: [admin]}}}\ndo:\n  - a: {set: {n: 1}}"
		path := "/v1/flows/" + text(s.post("/v1/flows", yamlMedia, doc).want(t, http.StatusCreated)["id"])
		weak := *s
		weak.token = s.newToken("weak", "read", "emit")
		weak.post(path+"/runs", jsonMedia, `{}`).wantProblem(t, http.StatusForbidden)
		run := text(s.post(path+"/runs", jsonMedia, `{}`).want(t, http.StatusCreated)["id"])
		s.over(run)
		weak.post("/v1/runs/"+run+"/retry", "", "").wantProblem(t, http.StatusForbidden)
		weak.post("/v1/flows", yamlMedia, doc).wantProblem(t, http.StatusForbidden)
		weak.get("/v1/secrets").wantProblem(t, http.StatusForbidden)
	})
	t.Run("a diagram is XML, whatever the names are", func(t *testing.T) {
		nasty := "\"<script>alert(1)</script>\\u202e&\\\"'\""
		made := s.post("/v1/flows", yamlMedia, aFlow("nasty", "  - "+nasty+": {set: {n: 1}}\n  - b: {switch: [{"+nasty+": {when: '.x', then: end}}]}")).want(t, http.StatusCreated)
		r := s.get("/v1/flows/" + text(made["id"]) + "/diagram")
		if r.status != http.StatusOK || r.header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Fatalf("%d %v %s", r.status, r.header, clip(r.body))
		}
		for d := xml.NewDecoder(strings.NewReader(string(r.body))); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "script" {
				t.Error("a name became a script")
			}
		}
	})
}

// runsOfAPI: what a run says while it waits, when it fails, and afterwards.
func (s *server) runsOfAPI(t *testing.T) {
	t.Helper()
	id := text(s.post("/v1/flows", yamlMedia, aFlow("fails", "  - a: {set: {n: 1}}\n  - no: {raise: {error: {type: 'https://example.com/teapot', status: 418, title: Teapot}}}")).want(t, http.StatusCreated)["id"])
	run := s.over(text(s.post("/v1/flows/"+id+"/runs", jsonMedia, `{"x":1}`).want(t, http.StatusCreated)["id"]))
	fault, _ := run["error"].(map[string]any)
	if run["state"] != "faulted" || fault["message"] != "[418] Teapot at /do/1/no" || text(fault["status"]) != "418" || fault["instance"] != "/do/1/no" {
		t.Errorf("run %v", run)
	}
	steps, _ := run["steps"].([]any)
	if len(steps) != 2 {
		t.Fatalf("steps %v", steps)
	}
	first, _ := steps[0].(map[string]any)
	if in, _ := first["input"].(map[string]any); text(in["x"]) != "1" || first["task"] != "/do/0/a" || first["state"] != "completed" {
		t.Errorf("first step %v", first)
	}
	again := s.post("/v1/runs/"+text(run["id"])+"/retry", "", "").want(t, http.StatusCreated)
	if again["retry_of"] != run["id"] || again["id"] == run["id"] {
		t.Errorf("retry %v", again)
	}
	waits := text(s.post("/v1/flows", yamlMedia, aFlow("waits", "  - pause: {wait: {hours: 1}}")).want(t, http.StatusCreated)["id"])
	slow := text(s.post("/v1/flows/"+waits+"/runs", jsonMedia, `{}`).want(t, http.StatusCreated)["id"])
	eventually(t, "it waits", func() bool { return s.get("/v1/runs/"+slow).want(t, http.StatusOK)["state"] == "waiting" })
	s.post("/v1/runs/"+slow+"/retry", "", "").wantProblem(t, http.StatusConflict)
	if got := s.post("/v1/runs/"+slow+"/cancel", "", "").want(t, http.StatusOK); got["state"] != "cancelled" {
		t.Errorf("cancelled run %v", got)
	}
	s.post("/v1/runs/"+slow+"/cancel", "", "").wantProblem(t, http.StatusConflict)
	s.get("/v1/runs/0123").wantProblem(t, http.StatusNotFound)
}

// pagesOfRuns: runs that were queued at the same moment are on one page or the next.
func (s *server) pagesOfRuns(t *testing.T) {
	t.Helper()
	id := text(s.post("/v1/flows", yamlMedia, aFlow("many", "  - a: {set: {n: 1}}")).want(t, http.StatusCreated)["id"])
	trigger := text(s.post("/v1/triggers", jsonMedia, `{"name":"many","kind":"event","flow":"`+id+`","types":["many"],"input":"{n: .id}"}`).want(t, http.StatusCreated)["id"])
	var batch []string
	for i := range 25 {
		batch = append(batch, anEvent(fmt.Sprint("many-", i), "type", "many"))
	}
	s.emit(linesMedia, strings.Join(batch, "\n"))
	eventually(t, "all have run", func() bool {
		return len(items(t, s.get("/v1/runs?limit=100&state=completed&trigger="+trigger))) == 25
	})
	seen := map[string]bool{}
	for cursor, pages := "", 0; ; pages++ {
		page := parse[struct {
			Items []object
			Next  *string
		}](t, s.get("/v1/runs?limit=4&flow="+id+"&cursor="+url.QueryEscape(cursor)).body)
		for _, run := range page.Items {
			seen[text(run["id"])] = true
			if text(run["event_sequence"]) == "" || text(run["trigger_id"]) != trigger {
				t.Errorf("run %v", run)
			}
		}
		if page.Next == nil || pages > 20 {
			break
		}
		cursor = *page.Next
	}
	if len(seen) != 25 {
		t.Errorf("%d of 25 runs are on the pages", len(seen))
	}
	for _, wrong := range []string{"cursor=x", "cursor=1-<", "flow=x", "state=x", "limit=0", "what=x"} {
		if r := s.get("/v1/runs?" + wrong); r.status != http.StatusBadRequest && wrong != "cursor=1-<" {
			t.Errorf("%s: %d", wrong, r.status)
		}
	}
}

// TestTriggersAPI: the fields of a trigger, what it skips and why, and its times.
func TestTriggersAPI(t *testing.T) {
	t.Parallel()
	s := start(t)
	id := text(s.post("/v1/flows", yamlMedia, aFlow("greet", "  - a: {set: {hello: '${ .who }'}}")).want(t, http.StatusCreated)["id"])
	body := `{"name":"door","kind":"event","flow":"` + id + `","types":["door_*"],"filter":"data.who != \"nobody\"","input":"{who: .data.who}","priority":3,"concurrency":{"limit":2,"when_full":"skip"},"throttle":null}`
	made := s.post("/v1/triggers", jsonMedia, body).want(t, http.StatusCreated)
	path := "/v1/triggers/" + text(made["id"])
	for name, want := range map[string]any{"kind": "event", "flow": id, "enabled": true, "input": "{who: .data.who}", "filter": `data.who != "nobody"`} {
		if made[name] != want {
			t.Errorf("%s is %v, want %v", name, made[name], want)
		}
	}
	door := func(id, who string) string {
		answer := s.emit(eventMedia, anEvent(id, "type", "door_opened", "data", object{"who": who}))
		return text(answer["results"].([]any)[0].(map[string]any)["sequence"])
	}
	yes, no := door("d1", "ann"), door("d2", "nobody")
	verdict := func(sequence string) object {
		return items(t, s.get("/v1/triggers/explain?sequence="+sequence))[0]
	}
	eventually(t, "its run is known", func() bool { return text(verdict(yes)["run_id"]) != "" })
	run := s.over(text(verdict(yes)["run_id"]))
	if out, _ := run["output"].(map[string]any); out["hello"] != "ann" || run["trigger_id"] != made["id"] || text(run["event_sequence"]) != yes || run["slot"] != nil {
		t.Errorf("run %v", run)
	}
	if v := verdict(no); v["fires"] != false || v["skip"] != "filter_false" {
		t.Errorf("verdict %v", v)
	}
	eventually(t, "the skip is counted", func() bool {
		skips, _ := s.get(path).want(t, http.StatusOK)["skips"].(map[string]any)
		return text(skips["filter_false"]) == "1"
	})
	patch := func(body string) reply {
		return s.request(http.MethodPatch, path, strings.NewReader(body), "Content-Type", "application/merge-patch+json")
	}
	if got := patch(`{"enabled":false,"concurrency":null}`).want(t, http.StatusOK); got["enabled"] != false || got["concurrency"] != nil || text(got["priority"]) != "3" {
		t.Errorf("patched: %v", got)
	}
	if v := verdict(yes); v["skip"] != "disabled" {
		t.Errorf("of one that is off: %v", v)
	}
	for _, wrong := range []string{
		`{"filter":"data.who =="}`, `{"nonsense":1}`, `{"origin":"7"}`, `{"kind":"moon"}`, `{"cron":"@daily"}`, `{"throttle":{"once_within":"1s","accumulate":{"within":"1s","count":2}}}`, `{"input":"{"}`, `{"flow":"x"}`,
	} {
		patch(wrong).wantProblem(t, http.StatusBadRequest)
	}
	s.get("/v1/triggers/explain").wantProblem(t, http.StatusBadRequest)
	s.get("/v1/triggers/explain?sequence=99999").wantProblem(t, http.StatusNotFound)
	s.get(path+"/next").wantProblem(t, http.StatusBadRequest)

	nightly := s.post("/v1/triggers", jsonMedia, `{"name":"nightly","kind":"schedule","flow":"`+id+`","cron":"30 2 * * *","timezone":"Europe/Berlin","data":{"who":"moon"}}`).want(t, http.StatusCreated)
	got := parse[struct{ Items []time.Time }](t, s.get("/v1/triggers/"+text(nightly["id"])+"/next?count=3&from=2026-03-28T12:00:00Z").body).Items
	var utc []string
	for _, at := range got {
		utc = append(utc, at.UTC().Format(time.RFC3339))
	}
	if want := []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"}; !slices.Equal(utc, want) {
		t.Errorf("next: %v, want %v", utc, want)
	}
	nightlyPath := "/v1/triggers/" + text(nightly["id"])
	for patch, want := range map[string]bool{`{"priority":1}`: true, `{"data":null}`: false} {
		s.request(http.MethodPatch, nightlyPath, strings.NewReader(`{"data":{"who":"moon"}}`), "Content-Type", "application/merge-patch+json").want(t, http.StatusOK)
		got := s.request(http.MethodPatch, nightlyPath, strings.NewReader(patch), "Content-Type", "application/merge-patch+json").want(t, http.StatusOK)
		if (got["data"] != nil) != want {
			t.Errorf("after %s the data is %v", patch, got["data"])
		}
	}
	s.request(http.MethodDelete, path, nil).want(t, http.StatusNoContent)
	s.get(path).wantProblem(t, http.StatusNotFound)
}

// TestDryRun tries a flow on a recorded event, and nothing happens outside.
func TestDryRun(t *testing.T) {
	t.Parallel()
	ears := listen(t, nil)
	s := start(t, loopback)
	doc := aFlow("calls", "  - a: {set: {who: '${ .data.who }'}}\n  - call: {call: http, with: {method: post, endpoint: '"+ears.URL+"', body: {id: '${ .who }'}}}\n  - pause: {wait: {days: 30}}\n  - tell: {call: status, with: {status: done}}")
	id := text(s.post("/v1/flows", yamlMedia, doc).want(t, http.StatusCreated)["id"])
	answer := s.emit(eventMedia, anEvent("d1", "type", "door_opened", "data", object{"who": "ann"}))
	sequence := text(answer["results"].([]any)[0].(map[string]any)["sequence"])
	path := "/v1/flows/" + id + "/dry-run"
	got := s.post(path, jsonMedia, `{"sequence":"`+sequence+`"}`).want(t, http.StatusOK)
	steps, _ := got["steps"].([]any)
	effects, _ := got["effects"].([]any)
	if got["state"] != "completed" || got["status"] != "done" || len(steps) != 4 || len(effects) < 2 {
		t.Fatalf("dry run: %v", got)
	}
	first, _ := steps[0].(map[string]any)
	if out, _ := first["output"].(map[string]any); out["who"] != "ann" {
		t.Errorf("first step: %v", first)
	}
	if events, _, requests := ears.count(); events+requests > 0 {
		t.Errorf("%d requests went out", requests)
	}
	if runs := items(t, s.get("/v1/runs")); len(runs) > 0 {
		t.Errorf("runs: %v", runs)
	}
	trigger := text(s.post("/v1/triggers", jsonMedia, `{"name":"t","kind":"event","flow":"`+id+`","types":["never"],"input":"{data: {who: \"mapped\"}}"}`).want(t, http.StatusCreated)["id"])
	got = s.post(path, jsonMedia, `{"sequence":`+strings.TrimLeft(sequence, "0")+`,"trigger":"`+trigger+`"}`).want(t, http.StatusOK)
	if in, _ := got["input"].(map[string]any); in["data"].(map[string]any)["who"] != "mapped" {
		t.Errorf("mapped input: %v", got["input"])
	}
	s.post(path, jsonMedia, `{"sequence":"1","input":{}}`).wantProblem(t, http.StatusBadRequest)
	s.post(path, jsonMedia, `{"sequence":"1","trigger":"x"}`).wantProblem(t, http.StatusBadRequest)
	s.post("/v1/flows/999/dry-run", jsonMedia, `{}`).wantProblem(t, http.StatusNotFound)
}

// TestSecretsAPI: a secret is used and never shown, but to who gives their password.
func TestSecretsAPI(t *testing.T) {
	t.Parallel()
	s := start(t)
	admin := *s
	admin.token = s.session("admin", password)
	const value = "tulips-in-amsterdam-77"
	made := admin.post("/v1/secrets", jsonMedia, `{"name":"garden","value":"`+value+`"}`)
	id := text(made.want(t, http.StatusCreated)["id"])
	path := "/v1/secrets/" + id
	patched := admin.request(http.MethodPatch, path, strings.NewReader(`{"name":"garden_key"}`), "Content-Type", "application/merge-patch+json")
	replaced := admin.request(http.MethodPut, path, strings.NewReader(`{"name":"garden","value":{"username":"ann","password":"`+value+`"}}`), "Content-Type", jsonMedia)
	patched.want(t, http.StatusOK)
	replaced.want(t, http.StatusOK)
	admin.request(http.MethodPut, path, strings.NewReader(`{"name":"garden"}`), "Content-Type", jsonMedia).wantProblem(t, http.StatusBadRequest)
	for _, wrong := range []string{`{"name":"x","value":""}`, `{"name":"x","value":7}`, `{"name":"not a name","value":"y"}`, `{"name":"x"}`} {
		admin.post("/v1/secrets", jsonMedia, wrong).wantProblem(t, http.StatusBadRequest)
	}
	admin.post("/v1/secrets", jsonMedia, `{"name":"garden","value":"y"}`).wantProblem(t, http.StatusConflict)
	for _, r := range []reply{made, patched, replaced, admin.get(path), admin.get("/v1/secrets"), admin.get("/v1/events?limit=100")} {
		if strings.Contains(string(r.body), value) {
			t.Errorf("the value is shown: %s", clip(r.body))
		}
	}
	admin.post(path+"/reveal", jsonMedia, `{"password":"wrong password 1"}`).wantProblem(t, http.StatusForbidden)
	shown := admin.post(path+"/reveal", jsonMedia, `{"password":"`+password+`"}`).want(t, http.StatusOK)
	if v, _ := shown["value"].(map[string]any); v["password"] != value {
		t.Errorf("revealed %v", shown)
	}
	s.one(`type == "secret_view" && subject == "secret/` + id + `"`)
}
