package source

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
)

// cached finds a file that scripts/tools.sh installs, or skips.
func cached(tb testing.TB, parts ...string) string {
	tb.Helper()
	path := filepath.Join(append([]string{"..", "..", ".cache"}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatalf("%s is missing: run scripts/tools.sh", path)
		}
		tb.Skipf("%s is missing: run scripts/tools.sh", path)
	}
	return path
}

// githubExample is one payload of npm @octokit/webhooks-examples.
type githubExample struct {
	name string
	body []byte
}

func githubExamples(tb testing.TB) []githubExample {
	tb.Helper()
	content, err := os.ReadFile(cached(tb, "npm", "node_modules", "@octokit", "webhooks-examples", "api.github.com", "index.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var index []struct {
		Name     string            `json:"name"`
		Examples []json.RawMessage `json:"examples"`
	}
	if err := json.Unmarshal(content, &index); err != nil {
		tb.Fatal(err)
	}
	var all []githubExample
	for _, one := range index {
		for _, body := range one.Examples {
			all = append(all, githubExample{one.Name, body})
		}
	}
	return all
}

// Every example of GitHub's payloads becomes an event that says what happened, to
// what, and by whom.
func TestGithubExamples(t *testing.T) {
	in := inlet(t, "github", "")
	examples := githubExamples(t)
	if len(examples) != 329 {
		t.Errorf("%d payloads, want 329", len(examples))
	}
	subjects, severities := map[string]string{}, map[event.Severity]int{}
	c := catalog.New()
	for n, x := range examples {
		events, err := receive(in, string(x.body), headers("X-GitHub-Event", x.name, "X-GitHub-Delivery", strconv.Itoa(n)))
		if err != nil || len(events) != 1 {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		e := events[0]
		var p struct {
			Action string `json:"action"`
			Sender struct {
				Login string `json:"login"`
			} `json:"sender"`
			Repository struct {
				Name string `json:"full_name"`
			} `json:"repository"`
		}
		if err := json.Unmarshal(x.body, &p); err != nil {
			t.Fatal(err)
		}
		want := "github." + x.name
		if p.Action != "" && p.Action != "on-demand-test" {
			want += "." + p.Action
		}
		actor := p.Sender.Login
		if actor == "" {
			actor = "github"
		}
		if string(e.Type) != want || e.Subject == "" || !strings.HasPrefix(e.Subject, p.Repository.Name) || e.Actor() != actor || e.Severity == 0 {
			t.Errorf("%s %s: type %s, subject %q, actor %q, severity %s", x.name, p.Action, e.Type, e.Subject, e.Actor(), e.Severity)
		}
		if m := c.Check(&e); m != nil && !m.Unknown {
			t.Errorf("%s: %v", e.Type, m)
		}
		subjects[string(e.Type)] = e.Subject
		severities[e.Severity]++
	}
	want := map[string]string{
		"github.push": "Codertocat/Hello-World/refs/tags/simple-tag", "github.pull_request.opened": "Codertocat/Hello-World/pull/2",
		"github.issue_comment.created": "Codertocat/Hello-World/issues/1", "github.star.created": "Codertocat/Hello-World",
		"github.membership.added": "Octocoders/members/Codertocat", "github.security_advisory.published": "github/advisories/GHSA-rf4j-j272-fj86",
	}
	for typ := range want {
		if subjects[typ] == "" {
			t.Errorf("there is no %s", typ)
		}
	}
	t.Log(severities)
	for typ, subject := range want {
		if subjects[typ] != subject {
			t.Errorf("%s is about %q, want %q", typ, subjects[typ], subject)
		}
	}
}

// How bad it is.
func TestGithubSeverity(t *testing.T) {
	in := inlet(t, "github", "")
	tests := []struct{ name, body, want string }{
		{"workflow_run", `{"action":"completed","workflow_run":{"id":1,"conclusion":"failure"}}`, "error"},
		{"workflow_run", `{"action":"completed","workflow_run":{"id":1,"conclusion":"success"}}`, "info"},
		{"check_suite", `{"action":"completed","check_suite":{"id":1,"conclusion":"timed_out"}}`, "error"},
		{"workflow_job", `{"action":"completed","workflow_job":{"id":1,"conclusion":"cancelled"}}`, "notice"},
		{"status", `{"state":"failure","sha":"abc"}`, "error"},
		{"deployment_status", `{"deployment_status":{"state":"error"},"deployment":{"id":2}}`, "error"},
		{"page_build", `{"build":{"status":"errored"}}`, "error"},
		{"secret_scanning_alert", `{"action":"created","alert":{"number":1}}`, "critical"},
		{"secret_scanning_alert", `{"action":"resolved","alert":{"number":1}}`, "info"},
		{"dependabot_alert", `{"action":"created","alert":{"number":1,"security_advisory":{"severity":"high"}}}`, "error"},
		{"dependabot_alert", `{"action":"fixed","alert":{"number":1,"security_advisory":{"severity":"high"}}}`, "notice"},
		{"code_scanning_alert", `{"action":"created","alert":{"number":1,"rule":{"severity":"warning"}}}`, "warn"},
		{"security_advisory", `{"action":"published","security_advisory":{"severity":"critical"}}`, "critical"},
		{"repository", `{"action":"deleted","repository":{"full_name":"a/b"}}`, "warn"},
		{"push", `{"ref":"refs/heads/main","sender":7,"repository":"x"}`, "info"},
	}
	for _, tt := range tests {
		events, err := receive(in, tt.body, headers("X-GitHub-Event", tt.name, "X-GitHub-Delivery", "1"))
		if err != nil || events[0].Severity.String() != tt.want || events[0].Subject == "" || events[0].Actor() == "" {
			t.Errorf("%s: %v %+v, want %s", tt.body, err, events, tt.want)
		}
	}
}

// What is no delivery is told so.
func TestBadBodies(t *testing.T) {
	gh := []string{"X-GitHub-Event", "push", "X-GitHub-Delivery", "1"}
	tests := []struct {
		name, body, says string
		header           []string
	}{
		{"github", `{}`, "X-GitHub-Event", nil},
		{"github", `{}`, "X-GitHub-Event", []string{"X-GitHub-Event", "../x", "X-GitHub-Delivery", "1"}},
		{"github", `{}`, "X-GitHub-Delivery", []string{"X-GitHub-Event", "push", "X-GitHub-Delivery", "a b"}},
		{"github", `[]`, "object", gh},
		{"github", `{"a":1,"a":2}`, "body", gh},
		{"github", strings.Repeat("[", 100_000), "body", gh},
		{"github", "\xff\xfe", "body", gh},
		{"github", "a=b", "payload", append(gh, "Content-Type", "application/x-www-form-urlencoded")},
		{"stalwart", `{}`, "events", nil},
		{"stalwart", `{"events":{}}`, "events", nil},
		{"stalwart", `{"events":[{"createdAt":"x","type":"a"}]}`, "events[0].createdAt", nil},
		{"stalwart", `{"events":[{"createdAt":"2026-11-21T10:00:00Z","type":"A b"}]}`, "events[0].type", nil},
		{"stalwart", `{"events":[{"createdAt":"2026-11-21T10:00:00Z","type":"a","data":[]}]}`, "events[0].data", nil},
		{"authentik", `{"severity":"notice"}`, "body", nil},
		{"authentik", `{"body":"x","action":"A B"}`, "action", nil},
		{"alertmanager", `{"version":"3","alerts":[]}`, "version", nil},
		{"alertmanager", `{"version":"4","alerts":[]}`, "alerts", nil},
		{"alertmanager", `{"version":"4","alerts":[{"status":"odd","labels":{"a":"b"},"startsAt":"2026-11-21T10:00:00Z"}]}`, "status", nil},
		{"alertmanager", `{"version":"4","alerts":[{"status":"firing","labels":{"a":"b"}}]}`, "startsAt", nil},
		{"alertmanager", `{"version":"4","alerts":[{"status":"firing","labels":{},"startsAt":"2026-11-21T10:00:00Z"}]}`, "label", nil},
		{"alertmanager", `{"version":"4","alerts":[{"status":"firing","labels":{"a\n":"b"},"startsAt":"2026-11-21T10:00:00Z"}]}`, "name", nil},
		{"alertmanager", `{"version":"4","alerts":"x"}`, "body", nil},
		{"grafana", `{"version":"4","alerts":[]}`, "version", nil},
	}
	for _, tt := range tests {
		_, err := receive(inlet(t, tt.name, ""), tt.body, headers(tt.header...))
		if !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %.60s: %v, want %q in it", tt.name, tt.body, err, tt.says)
		}
	}
}

// line is what a test compares of an event.
func line(e event.Event) string {
	return strings.Join([]string{string(e.Type), e.Severity.String(), e.Subject, e.Actor(), e.ClientIP, string(e.Data)}, " | ")
}

// Stalwart's format, as its documentation and its serializer have it.
func TestStalwart(t *testing.T) {
	in := inlet(t, "stalwart", "")
	one := func(id, typ, data string) string {
		return `{"id":"` + id + `","createdAt":"2026-11-21T10:00:00Z","type":"` + typ + `","data":` + data + `}`
	}
	failed := `{"accountName":"ann","remoteIp":"192.0.2.7","listenerId":"imaps"}`
	body := func(prefix string) string {
		return `{"events":[` + strings.Join([]string{
			one(prefix+"1", "auth.failed", failed), one(prefix+"2", "auth.failed", failed), one(prefix+"3", "auth.success", failed),
			one(prefix+"4", "mta-hook.action-quarantine", `{"queueId":77,"from":"a@x","to":["b@y","c@y"],"messageId":"m@x","remoteIp":"2001:db8::1"}`),
			one(prefix+"5", "security.ip-blocked", `{"remoteIp":"192.0.2.9"}`), one(prefix+"6", "dkim.fail", `null`), one(prefix+"7", "store.foundationdb-error", `{}`),
		}, ",") + `]}`
	}
	events, err := receive(in, body("1732"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	c := catalog.New()
	for _, e := range events {
		got = append(got, line(e))
		if m := c.Check(&e); m != nil && !m.Unknown {
			t.Errorf("%s: %v", e.Type, m)
		}
	}
	login := `{"reason":"authentication failed","stage":{"name":"stalwart"},"stalwart":` + failed + `,"stalwart_type":"auth.failed","username":"ann"}`
	want := []string{
		"login_failed | warn | user/ann | ann | 192.0.2.7 | " + login,
		"login_failed | warn | user/ann | ann | 192.0.2.7 | " + login,
		`login | info | user/ann | ann | 192.0.2.7 | {"auth_method":"mail","stalwart":` + failed + `,"stalwart_type":"auth.success"}`,
		`mail_quarantined | notice | message/77 | stalwart | 2001:db8::1 | {"message_id":"m@x","mta":"stalwart","queue_id":"77","reason":"mta-hook.action-quarantine","recipients":["b@y","c@y"],"sender":"a@x","stalwart":{"queueId":77,"from":"a@x","to":["b@y","c@y"],"messageId":"m@x","remoteIp":"2001:db8::1"},"stalwart_type":"mta-hook.action-quarantine"}`,
		`stalwart.security.ip-blocked | warn | address/192.0.2.9 | stalwart | 192.0.2.9 | {"remoteIp":"192.0.2.9"}`,
		`stalwart.dkim.fail | info | stalwart | stalwart |  | {}`,
		`stalwart.store.foundationdb-error | error | stalwart | stalwart |  | {}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Sent again it has other ids there, and the same here.
	again, err := receive(in, body("9999"), nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[event.ID]bool{}
	for n := range events {
		if events[n].ID != again[n].ID || seen[events[n].ID] {
			t.Errorf("%d: id %s, then %s", n, events[n].ID, again[n].ID)
		}
		seen[events[n].ID] = true
	}
}

// authentik's default body, and one of a mapping.
func TestAuthentik(t *testing.T) {
	in := inlet(t, "authentik", "")
	const plain = `{"body":"Failed login","severity":"warning","user_email":"ops@x","user_username":"ops","event_user_email":"ann@x","event_user_username":"ann"}`
	const bare = `{"body":"Update","severity":"alert","user_email":"ops@x","user_username":"ops"}`
	const mapped = `{"body":"b","severity":"notice","action":"login_failed","id":"0192"}`
	var got []string
	c := catalog.New()
	ids := map[event.ID]bool{}
	for _, body := range []string{plain, plain, bare, mapped} {
		events, err := receive(in, body, nil)
		if err != nil {
			t.Fatal(err)
		}
		if m := c.Check(&events[0]); m != nil && !m.Unknown {
			t.Error(m)
		}
		got = append(got, line(events[0]))
		ids[events[0].ID] = true
	}
	want := []string{
		"authentik.notification | warn | user/ann | ann |  | " + plain, "authentik.notification | warn | user/ann | ann |  | " + plain,
		"authentik.notification | critical | user/ops | authentik |  | " + bare, "authentik.login_failed | notice |  | authentik |  | " + mapped,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(ids) != 4 || !ids["0192"] {
		t.Errorf("ids: %v", ids)
	}
}

// Grafana's documented body: title, message and state aside.
const grafanaBody = `{"receiver":"My Super Webhook","status":"firing","orgId":1,"alerts":[
 {"status":"firing","labels":{"alertname":"High memory usage","team":"blue","zone":"us-1"},"annotations":{"description":"The system has high memory usage","runbook_url":"https://myrunbook.com/runbook/1234","summary":"This alert was triggered for zone us-1"},
  "startsAt":"2021-10-12T09:51:03.157076+02:00","endsAt":"0001-01-01T00:00:00Z","generatorURL":"https://play.grafana.org/alerting/1afz29v7z/edit","fingerprint":"c6eadffa33fcdf37","silenceURL":"https://play.grafana.org/alerting/silence/new?x=1","dashboardURL":"","panelURL":"","values":{"B":44.23943737541908,"C":1}},
 {"status":"resolved","labels":{"alertname":"High CPU usage","team":"blue","zone":"eu-1","severity":"warning","instance":"web-1:9100"},"annotations":{"description":"The system has high CPU usage"},
  "startsAt":"2021-10-12T09:56:03.157076+02:00","endsAt":"2021-10-12T10:01:03.157076+02:00","generatorURL":"https://play.grafana.org/alerting/d1rdpdv7k/edit","fingerprint":"bc97ff14869b13e3","values":null}],
 "groupLabels":{},"commonLabels":{"team":"blue"},"commonAnnotations":{},"externalURL":"https://play.grafana.org/","version":"1","groupKey":"{}:{}","truncatedAlerts":0,"title":"[FIRING:2]  (blue)","state":"alerting","message":"**Firing**"}`

func TestGrafana(t *testing.T) {
	events, err := receive(inlet(t, "grafana", ""), grafanaBody, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	c := catalog.New()
	for _, e := range events {
		if m := c.Check(&e); m != nil {
			t.Error(m)
		}
		var d map[string]any
		if err := json.Unmarshal(e.Data, &d); err != nil {
			t.Fatal(err)
		}
		got = append(got, string(e.ID)+" "+e.Source+" "+string(e.Type)+" "+e.Severity.String()+" "+e.Subject+" "+e.Text("time")+" "+e.Host+" "+c.Message(&e)+" "+e.CorrelationID)
		if d["receiver"] != "My Super Webhook" || d["external_url"] != "https://play.grafana.org" {
			t.Errorf("data %s", e.Data)
		}
	}
	want := []string{
		"1-c6eadffa33fcdf37-2021-10-12T07:51:03.157076Z-firing https://t.example/grafana alert error alert/c6eadffa33fcdf37 2021-10-12T07:51:03.157076Z  High memory usage: This alert was triggered for zone us-1 c6eadffa33fcdf37-1634025063",
		"1-bc97ff14869b13e3-2021-10-12T07:56:03.157076Z-resolved https://t.example/grafana alert_resolved notice alert/bc97ff14869b13e3 2021-10-12T08:01:03.157076Z web-1 High CPU usage is over: The system has high CPU usage bc97ff14869b13e3-1634025363",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// fuzzDecode feeds a source whatever comes: what it accepts are whole events with
// ids of their own, and the same again the second time.
func fuzzDecode(f *testing.F, name string, header http.Header, freshIDs bool) {
	f.Helper()
	in := inlet(f, name, "")
	f.Fuzz(func(t *testing.T, body string) {
		events, err := receive(in, body, header)
		if err != nil {
			if !errors.Is(err, event.ErrInvalid) {
				t.Fatalf("%v is not the sender's fault", err)
			}
			return
		}
		again, err := receive(in, body, header)
		if err != nil || len(again) != len(events) {
			t.Fatalf("%d events, then %d: %v", len(events), len(again), err)
		}
		seen := map[event.ID]bool{}
		for n, e := range events {
			if e.ID == "" || e.Type == "" || e.Source == "" || seen[e.ID] || !freshIDs && e.ID != again[n].ID {
				t.Fatalf("event %d: %+v", n, e)
			}
			seen[e.ID] = true
			if _, err := event.Decode(e.AppendJSON(nil)); err != nil {
				t.Fatalf("event %d can't be read again: %v", n, err)
			}
		}
	})
}

func FuzzGithub(f *testing.F) {
	f.Add(`{"action":"opened","pull_request":{"number":7},"repository":{"full_name":"o/r"},"sender":{"login":"ann","id":5}}`)
	f.Add(`{"ref":"refs/heads/main","pusher":{"name":"x"}}`)
	fuzzDecode(f, "github", headers("X-GitHub-Event", "dependabot_alert", "X-GitHub-Delivery", "1"), false)
}

func FuzzGithubForm(f *testing.F) {
	f.Add(`payload=%7B%7D&x=1`)
	fuzzDecode(f, "github", headers("X-GitHub-Event", "push", "X-GitHub-Delivery", "1", "Content-Type", "application/x-www-form-urlencoded"), false)
}

func FuzzStalwart(f *testing.F) {
	f.Add(`{"events":[{"id":"1","createdAt":"2026-11-21T10:00:00Z","type":"auth.failed","data":{"accountName":"a","remoteIp":"::1"}},{"createdAt":"2026-11-21T10:00:00Z","type":"message-ingest.spam","data":{"to":["a"],"score":1.5}}]}`)
	fuzzDecode(f, "stalwart", nil, false)
}

func FuzzAuthentik(f *testing.F) {
	f.Add(`{"body":"b","severity":"alert","event_user_username":"ann","action":"login","id":"1"}`)
	fuzzDecode(f, "authentik", nil, true)
}

func FuzzAlertmanager(f *testing.F) {
	f.Add(strings.Replace(grafanaBody, `"version":"1"`, `"version":"4"`, 1))
	fuzzDecode(f, "alertmanager", nil, false)
}

func FuzzGrafana(f *testing.F) {
	f.Add(grafanaBody)
	fuzzDecode(f, "grafana", nil, false)
}

func FuzzStandardWebhooks(f *testing.F) {
	f.Add(`{"type":"a.b","timestamp":"2026-11-21T10:00:00Z","data":{}}`)
	f.Add(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1}`)
	fuzzDecode(f, "standard_webhooks", headers("Webhook-Id", "1"), false)
}
