package e2e

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// TestEveryWriteIsRecorded walks every request of the description that can
// change something, and fails where one leaves no event, or where a new one is
// not in the walk.
func TestEveryWriteIsRecorded(t *testing.T) {
	data := t.TempDir()
	s := startOn(t, data, "log: {level: info}")
	observer := *s
	s.token = text(parse[object](t, s.signIn("admin", password).body)["token"])
	w := &walk{server: s, observer: &observer, done: map[string]bool{}, ids: map[string]string{}}
	const patch = "application/merge-patch+json"

	w.call("POST /v1/events", "", eventMedia, anEvent("walk"))
	w.record("POST /v1/hooks/{name}", http.MethodPost, "/v1/hooks/standard_webhooks", eventMedia, anEvent("hooked"))
	w.record("POST /api/v2/alerts", http.MethodPost, "/api/v2/alerts", jsonMedia, `[{"labels":{"alertname":"walk"}}]`)
	w.call("POST /v1/catalog", "", jsonMedia, `{"type":"door_opened","description":"A door was opened."}`)
	w.call("PATCH /v1/settings", "", jsonMedia, `{"retention":{"short":"9d"}}`)
	if err := os.WriteFile(filepath.Join(data, "test.yaml"), []byte("log: {level: warn}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.call("POST /v1/reload", "", "", "")
	if d := s.one(`type == "model_updated" && data.model.model_name == "configuration"`)["data"].(object)["diff"].(object); d["log.level"].(object)["new_value"] != "warn" || len(d) != 1 {
		t.Errorf("the reload is recorded as %v", d)
	}
	w.call("POST /v1/journal/import", "", linesMedia, anEvent("imported"))

	w.call("POST /v1/tokens", "token", jsonMedia, `{"name":"ci","scopes":["emit"]}`)
	w.call("PUT /v1/tokens/{id}", "token", jsonMedia, `{"name":"ci2","scopes":["emit"]}`)
	w.call("PATCH /v1/tokens/{id}", "token", patch, `{"name":"ci3"}`)
	w.call("DELETE /v1/tokens/{id}", "token", "", "")
	for _, c := range []struct{ path, one, two, three string }{
		{"/v1/searches", `{"name":"a"}`, `{"name":"b"}`, `{"name":"c"}`},
		{"/v1/brands", `{"name":"a"}`, `{"name":"b"}`, `{"name":"c"}`},
		{"/v1/groups", `{"name":"a"}`, `{"name":"b"}`, `{"name":"c"}`},
		{"/v1/roles", `{"name":"auditor","scopes":["read"]}`, `{"name":"auditors","scopes":["read"]}`, `{"scopes":["read","emit"]}`},
		{"/v1/rules", `{"name":"a"}`, `{"name":"b"}`, `{"name":"c"}`},
		{"/v1/policies", `{"name":"a","expression":"true"}`, `{"name":"b","expression":"true"}`, `{"name":"c"}`},
		{"/v1/transports", `{"name":"a","mode":"inbox"}`, `{"name":"b","mode":"inbox"}`, `{"name":"c"}`},
		{"/v1/silences", `{"filter":"false","expires_at":"2999-01-01T00:00:00Z"}`, `{"filter":"false","expires_at":"2998-01-01T00:00:00Z"}`, `{"comment":"c"}`},
		{"/v1/templates", `{"type":"a","text":"a"}`, `{"type":"a","text":"b"}`, `{"title":"c"}`},
	} {
		w.call("POST "+c.path, c.path, jsonMedia, c.one)
		w.call("PUT "+c.path+"/{id}", c.path, jsonMedia, c.two)
		w.call("PATCH "+c.path+"/{id}", c.path, patch, c.three)
		w.call("DELETE "+c.path+"/{id}", c.path, "", "")
	}
	w.call("POST /v1/invitations", "invitation", jsonMedia, `{"email":"bob@example.com","access_level":"viewer"}`)
	w.call("POST /v1/invitations/{id}/reveal", "invitation", jsonMedia, `{"password":"`+password+`"}`)
	invited := text(w.last["token"])
	if invited == "" {
		link, _ := url.Parse(text(w.last["url"]))
		invited = strings.TrimPrefix(link.Fragment, "token=")
	}
	w.call("POST /v1/invitations/accept", "", jsonMedia, `{"token":"`+invited+`","username":"bob","name":"Bob","password":"`+password+`"}`)
	w.call("POST /v1/invitations", "invitation", jsonMedia, `{"email":"eve@example.com","access_level":"viewer"}`)
	w.call("DELETE /v1/invitations/{id}", "invitation", "", "")
	w.agents()
	w.telling()
	w.flows(patch)
	w.users(patch)
	w.auth()

	for path, item := range s.get("/openapi.json").want(t, http.StatusOK)["paths"].(object) {
		for _, method := range slices.Sorted(maps.Keys(item.(object))) {
			route := strings.ToUpper(method) + " " + path
			if method != "get" && method != "options" && !w.done[route] && unrecorded[route] == "" {
				t.Errorf("%s is not in the walk", route)
			}
		}
	}
}

// unrecorded are the writes that leave no event of their own, each with why.
var unrecorded = map[string]string{
	"POST /v1/journal/verify":              "it only reads",
	"POST /v1/auth/device":                 "nothing is granted yet: consent and the sign-in are recorded, in TestDeviceFlow",
	"POST /v1/auth/device/token":           "recorded when it gives a session, in TestDeviceFlow",
	"POST /v1/users/{id}/totp":             "nothing holds before it is confirmed, which is recorded",
	"POST /v1/auth/password-reset":         "without a mail server nothing happens: TestIdentityMail",
	"POST /v1/auth/verify-email":           "needs a mail: TestIdentityMail",
	"POST /v1/auth/password-reset/confirm": "needs a mail: TestIdentityMail",
	"POST /v1/rules/explain":               "it only reads",
	"POST /v1/rules/backtest":              "it only reads",
	"POST /v1/templates/preview":           "it only reads",
	"POST /v1/transports/{id}/test":        "it sends a message and changes nothing",
	"POST /v1/flows/validate":              "it only reads",
	"POST /v1/flows/{id}/dry-run":          "it does nothing outside, and only reads",
	"POST /v1/inbox/seen":                  "whether somebody has read their own messages is nobody else's business",
	"POST /v1/inbox/{id}/seen":             "likewise",
}

type walk struct {
	*server
	observer *server // looks at the record with a token of its own
	done     map[string]bool
	ids      map[string]string // of the object that a name stands for
	last     object
}

// call makes a request and wants an event that names it. The id of what it makes
// is kept under a name, and stands for {id} afterwards.
func (w *walk) call(route, name, media, body string) {
	w.t.Helper()
	method, path, _ := strings.Cut(route, " ")
	path = strings.Replace(path, "{id}", w.ids[name], 1)
	w.record(route, method, path, media, body)
	if id := text(w.last["id"]); name != "" && method == http.MethodPost && id != "" && !strings.Contains(route, "{id}") {
		w.ids[name] = id
	}
}

func (w *walk) record(route, method, path, media, body string) {
	w.t.Helper()
	before := w.newest()
	headers := []string{}
	if media != "" {
		headers = append(headers, "Content-Type", media)
	}
	r := w.request(method, path, strings.NewReader(body), headers...)
	w.last = nil
	if r.status >= 300 {
		w.t.Errorf("%s: %d %s", route, r.status, clip(r.body))
		return
	}
	if len(r.body) > 0 {
		w.last = parse[object](w.t, r.body)
	}
	w.done[route] = true
	found := w.observer.find("filter", "sequence > "+before, "limit", "50")
	for _, e := range found.Events {
		d, _ := e["data"].(object)
		request, _ := d["http_request"].(object)
		if request["path"] == path && request["method"] == method || strings.HasPrefix(text(e["type"]), "user.") || e["source"] == "urn:test" || e["type"] == "alert" || strings.HasPrefix(text(e["type"]), "notification.") || strings.HasPrefix(text(e["type"]), "flow.run.") || e["type"] == "agent.joined" {
			return
		}
	}
	w.t.Errorf("%s leaves no event: %d came", route, len(found.Events))
}

func (w *walk) newest() string {
	found := w.observer.find("limit", "1")
	return strings.TrimLeft(text(found.Events[0]["sequence"]), "0")
}

// agents walks what a remote host says, and what is done to it.
func (w *walk) agents() {
	w.t.Helper()
	admin := w.token
	w.token = w.newToken("an-agent", "forward")
	w.ids["agent"] = "walk-1"
	w.call("PUT /v1/agents/{id}", "agent", jsonMedia, `{"name":"web-1","version":"1","sources":[]}`)
	w.token = admin
	w.call("DELETE /v1/agents/{id}", "agent", "", "")
}

// users walks what is done to accounts.
func (w *walk) users(patch string) {
	w.t.Helper()
	const user = "/v1/users/{id}"
	w.call("POST /v1/users", "other", jsonMedia, `{"username":"dan","name":"Dan","password":"`+password+`","access_level":"viewer"}`)
	w.call("POST /v1/users", "user", jsonMedia, `{"username":"cat","name":"Cat","email":"cat@example.com","password":"`+password+`","access_level":"viewer"}`)
	w.call("PUT "+user, "user", jsonMedia, `{"username":"cat","name":"Cat C","email":"cat@example.com","access_level":"viewer"}`)
	w.call("PATCH "+user, "user", patch, `{"name":"Cat D"}`)
	for _, verb := range []string{"suspend", "unsuspend", "archive", "unarchive", "password-reset", "api-key"} {
		w.call("POST "+user+"/"+verb, "user", "", "")
	}
	w.call("POST "+user+"/delegates", "user", jsonMedia, `{"user":"`+w.ids["other"]+`"}`)
	w.sub("DELETE "+user+"/delegates/{delegate}", text(w.last["id"]))
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl cat"
	w.call("POST "+user+"/ssh-keys", "user", jsonMedia, `{"name":"laptop","public_key":"`+key+`"}`)
	w.sub("DELETE "+user+"/ssh-keys/{key}", text(w.last["id"]))

	admin := w.token
	w.call("POST "+user+"/impersonate", "user", "", "")
	w.token = text(w.last["token"])
	w.call("DELETE "+user+"/impersonate", "user", "", "")
	w.token = text(parse[object](w.t, w.signIn("cat", password).body)["token"])
	begun := parse[object](w.t, w.post("/v1/users/"+w.ids["user"]+"/totp", "", "").body)
	code, err := totp.GenerateCode(text(begun["secret"]), time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	w.call("POST "+user+"/totp/confirm", "user", jsonMedia, `{"otp":"`+code+`"}`)
	w.call("DELETE "+user+"/totp", "user", "", "")
	sessions := parse[struct{ Items []object }](w.t, w.get("/v1/users/me/sessions").body).Items
	w.token = admin
	w.sub("DELETE "+user+"/sessions/{session}", text(sessions[0]["id"]))
	w.call("DELETE "+user, "user", "", "")
}

// sub removes something of a user's.
func (w *walk) sub(route, id string) {
	w.t.Helper()
	method, path, _ := strings.Cut(route, " ")
	path = strings.Replace(path, "{id}", w.ids["user"], 1)
	w.record(route, method, path[:strings.LastIndex(path, "/")+1]+id, "", "")
}

// telling walks what is done to the ledger, and to the secrets of transports.
func (w *walk) telling() {
	w.t.Helper()
	w.call("POST /v1/transports", "hook", jsonMedia, `{"name":"hook","mode":"webhook","settings":{"url":"http://127.0.0.1:1/"}}`) // refused: loopback
	w.call("POST /v1/transports/{id}/reveal", "hook", jsonMedia, `{"password":"`+password+`"}`)
	w.call("POST /v1/rules", "told", jsonMedia, `{"name":"told","types":["told"],"transports":["`+w.ids["hook"]+`"]}`)
	w.call("PUT /v1/routing", "", jsonMedia, `{"type":"disk_full","transport":"`+w.ids["hook"]+`","severity":"warn"}`)
	w.emit(eventMedia, anEvent("told", "type", "told"))
	var dead []object
	eventually(w.t, "the message is dead", func() bool {
		dead = parse[struct{ Items []object }](w.t, w.get("/v1/deliveries?state=dead").body).Items
		return len(dead) == 1
	})
	w.ids["delivery"] = text(dead[0]["id"])
	w.call("POST /v1/deliveries/{id}/acknowledge", "delivery", "", "")
	w.call("POST /v1/deliveries/{id}/replay", "delivery", "", "")
	w.call("POST /v1/deliveries/replay", "", jsonMedia, `{"state":"dead"}`)
}

// flows walks what is done to flows, triggers, runs and secrets.
func (w *walk) flows(patch string) {
	w.t.Helper()
	doc := aFlow("walk", "  - pause: {wait: {hours: 1}}")
	w.call("POST /v1/flows", "flow", yamlMedia, doc)
	w.call("PUT /v1/flows/{id}", "flow", yamlMedia, doc+"\n")
	w.call("POST /v1/flows/{id}/runs", "flow", jsonMedia, `{}`)
	w.ids["run"] = text(w.last["id"])
	w.call("POST /v1/runs/{id}/cancel", "run", "", "")
	w.call("POST /v1/runs/{id}/retry", "run", "", "")
	w.call("POST /v1/triggers", "trigger", jsonMedia, `{"name":"a","kind":"event","flow":"`+w.ids["flow"]+`","types":["never"]}`)
	w.call("PUT /v1/triggers/{id}", "trigger", jsonMedia, `{"name":"b","kind":"event","flow":"`+w.ids["flow"]+`","types":["never"]}`)
	w.call("PATCH /v1/triggers/{id}", "trigger", patch, `{"name":"c"}`)
	w.call("DELETE /v1/triggers/{id}", "trigger", "", "")
	w.call("POST /v1/secrets", "secret", jsonMedia, `{"name":"a","value":"tulips"}`)
	w.call("PUT /v1/secrets/{id}", "secret", jsonMedia, `{"name":"b","value":"roses"}`)
	w.call("PATCH /v1/secrets/{id}", "secret", patch, `{"name":"c"}`)
	w.call("POST /v1/secrets/{id}/reveal", "secret", jsonMedia, `{"password":"`+password+`"}`)
	w.call("DELETE /v1/secrets/{id}", "secret", "", "")
	w.call("DELETE /v1/flows/{id}", "flow", "", "")
}

// auth walks signing in and out.
func (w *walk) auth() {
	w.t.Helper()
	w.call("POST /v1/auth/token", "", jsonMedia, `{"username":"admin","password":"`+password+`"}`)
	w.token = text(w.last["token"])
	w.call("POST /v1/auth/renew", "", "", "")
	w.token = text(w.last["token"])
	before := w.newest()
	if r := w.request(http.MethodPost, "/v1/auth/logout", nil); r.status != http.StatusNoContent {
		w.t.Errorf("logout: %d", r.status)
	}
	w.token = w.observer.token
	if e := w.observer.one("sequence > " + before + ` && type == "logout"`); e["authname"] != "admin" {
		w.t.Errorf("logout: %v", e)
	}
	w.done["POST /v1/auth/logout"] = true
}
