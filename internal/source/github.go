package source

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"mime"
	"net/url"
	"regexp"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// Delivery: GitHub's webhooks, of a repository, an organisation or an app; as JSON
// or as a form. Signature: X-Hub-Signature-256, the HMAC-SHA256 of the body.
// Makes: github. with the name of the event, and the action where there is one:
// github.push, github.pull_request.opened. The data is the payload as it came;
// the id is that of the delivery, so that a redelivery is known.
// Leaves out: the time, which GitHub does not say; X-Hub-Signature, which is SHA-1.
// Reference: docs.github.com, "Webhook events and payloads".
func init() {
	registerPush("github", "Webhooks of GitHub.", githubOptions{Enabled: true}, newGithub)
}

type githubOptions struct {
	Enabled    bool   `yaml:"enabled" doc:"Whether deliveries are taken."`
	SecretFile string `yaml:"secret_file" doc:"File with the webhook's secret; several lines for several secrets."`
	SecretEnv  string `yaml:"secret_env" doc:"Environment variable with the secret, in place of a file."`
}

type github struct{ secrets [][]byte }

func newGithub(o githubOptions) (Push, error) {
	secrets, err := loadSecrets(o.SecretFile, o.SecretEnv)
	return &github{secrets}, err
}

// Terms implements Push.
func (g *github) Terms() Terms { return Terms{Signed: g.secrets != nil} }

// Verify implements Push.
func (g *github) Verify(r *Request) error {
	const header = "X-Hub-Signature-256"
	text, ok := strings.CutPrefix(r.Header.Get(header), "sha256=")
	if !ok {
		return &RefusedError{Missing: true, Why: "the header " + header + " is missing: give the webhook its secret"}
	}
	signature, err := hex.DecodeString(text)
	if err != nil || !signedWith(g.secrets, signature, r.Body) {
		return &RefusedError{Why: "the signature in " + header + " is wrong"}
	}
	return nil
}

var (
	githubName     = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	githubDelivery = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
)

// Decode implements Push.
func (g *github) Decode(r *Request) ([]event.Event, error) {
	name, delivery := r.Header.Get("X-GitHub-Event"), r.Header.Get("X-GitHub-Delivery")
	if !githubName.MatchString(name) {
		return nil, event.Invalidf("the header X-GitHub-Event is missing or holds no event's name")
	}
	if !githubDelivery.MatchString(delivery) {
		return nil, event.Invalidf("the header X-GitHub-Delivery is missing or holds no id")
	}
	body, err := githubBody(r)
	if err != nil {
		return nil, err
	}
	p, err := readPayload(body)
	if err != nil {
		return nil, err
	}
	e := event.Event{ID: event.ID(delivery), Type: event.Type("github." + name), Data: body, Severity: githubSeverity(name, p), Subject: githubSubject(name, p)}
	if action := p.text("action"); githubName.MatchString(action) {
		e.Type += event.Type("." + action)
	}
	githubActor(&e, p)
	return []event.Event{e}, nil
}

// githubBody is the payload, which a webhook may also send as a form.
func githubBody(r *Request) ([]byte, error) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media != "application/x-www-form-urlencoded" {
		return r.Body, nil
	}
	form, err := url.ParseQuery(string(r.Body))
	if err != nil || !form.Has("payload") {
		return nil, event.Invalidf("the form has no readable field payload")
	}
	return []byte(form.Get("payload")), nil
}

// payload is a stranger's JSON object, of which a few members are looked at and
// none is trusted to have the type that it should have.
type payload map[string]any

// readPayload reads a JSON object.
func readPayload(body []byte) (payload, error) {
	if err := scan.Valid(body); err != nil {
		return nil, event.Invalidf("body: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var p payload
	if err := d.Decode(&p); err != nil || p == nil {
		return nil, event.Invalidf("body: must be a JSON object")
	}
	return p, nil
}

// text is the string or number at a path of names, without control characters
// and cut at 256 bytes; empty where there is none.
func (p payload) text(path ...string) string {
	var v any = map[string]any(p)
	for _, name := range path {
		o, _ := v.(map[string]any)
		v = o[name]
	}
	switch v := v.(type) {
	case string:
		return plainText(v, 256)
	case json.Number:
		return v.String()
	}
	return ""
}

// plainText makes a stranger's text fit for an attribute.
func plainText(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7F && r <= 0x9F || r == 0xFFFD || r&0xFFFE == 0xFFFE || r >= 0xFDD0 && r <= 0xFDEF {
			return -1
		}
		return r
	}, text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// has reports whether there is a member of a name that is an object.
func (p payload) has(name string) bool {
	_, ok := p[name].(map[string]any)
	return ok
}

// githubItems are what a payload may be about: the member, how GitHub calls it in
// its addresses, and the member that names it. The first that is there counts.
func githubItems() [][3]string {
	return [][3]string{
		{"pull_request", "pull", "number"},
		{"issue", "issues", "number"},
		{"discussion", "discussions", "number"},
		{"workflow_job", "actions/jobs", "id"},
		{"workflow_run", "actions/runs", "id"},
		{"check_run", "check-runs", "id"},
		{"check_suite", "check-suites", "id"},
		{"deployment", "deployments", "id"},
		{"release", "releases", "tag_name"},
		{"alert", "alerts", "number"},
		{"milestone", "milestone", "number"},
		{"comment", "comments", "id"},
		{"package", "packages", "name"},
		{"project_card", "cards", "id"},
		{"project_column", "columns", "id"},
		{"project", "projects", "number"},
		{"projects_v2_item", "projects/items", "id"},
		{"key", "keys", "id"},
		{"label", "labels", "name"},
		{"member", "members", "login"},
		{"team", "teams", "slug"},
		{"merge_group", "merge-groups", "head_sha"},
		{"rule", "rules", "name"},
		{"security_advisory", "advisories", "ghsa_id"},
		{"blocked_user", "blocked", "login"},
		{"hook", "hooks", "id"},
	}
}

// githubSubject is what happened to something: the repository and the item in it,
// as in octo-org/octo-repo/pull/42; without a repository, the organisation or
// account.
func githubSubject(name string, p payload) string {
	owner := "github"
	for _, path := range [][]string{{"repository", "full_name"}, {"organization", "login"}, {"installation", "account", "login"}, {"enterprise", "slug"}, {"sender", "login"}} {
		if text := p.text(path...); text != "" {
			owner = text
			break
		}
	}
	switch name {
	case "push", "create", "delete":
		if ref := p.text("ref"); ref != "" {
			return owner + "/" + strings.Trim(p.text("ref_type")+"/"+ref, "/")
		}
	case "status":
		if sha := p.text("sha"); sha != "" {
			return owner + "/commit/" + sha
		}
	}
	for _, item := range githubItems() {
		if id := p.text(item[0], item[2]); id != "" {
			return owner + "/" + item[1] + "/" + id
		}
	}
	return owner
}

// githubActor says who did it: the sender, who is a person or a bot.
func githubActor(e *event.Event, p payload) {
	e.AuthType, e.AuthName, e.AuthID = "user", p.text("sender", "login"), p.text("sender", "id")
	if p.text("sender", "type") == "Bot" {
		e.AuthType = "service_account"
	}
	if e.AuthName == "" {
		e.AuthName = p.text("pusher", "name")
	}
	if e.AuthName == "" { // GitHub itself, as for its advisories
		e.AuthType, e.AuthName, e.AuthID = "system", "github", ""
	}
}

// githubSeverity is how bad it is that something happened: what failed is an
// error, what was found in the code is as bad as GitHub says.
func githubSeverity(name string, p payload) event.Severity {
	switch name {
	case "workflow_run", "workflow_job", "check_run", "check_suite":
		switch p.text(name, "conclusion") {
		case "failure", "timed_out", "startup_failure":
			return event.Error
		case "action_required", "cancelled", "stale":
			return event.Notice
		}
	case "status", "deployment_status", "page_build":
		state := p.text("state") + p.text("deployment_status", "state") + p.text("build", "status")
		if state == "failure" || state == "error" || state == "errored" {
			return event.Error
		}
	case "secret_scanning_alert":
		if p.text("action") == "created" || p.text("action") == "reopened" {
			return event.Critical
		}
	case "dependabot_alert", "repository_vulnerability_alert", "code_scanning_alert", "security_advisory":
		return githubFinding(p)
	case "branch_protection_rule", "deploy_key", "member", "membership", "organization", "org_block", "installation", "meta":
		return event.Notice
	case "repository":
		if p.text("action") == "deleted" || p.text("action") == "publicized" || p.text("action") == "transferred" {
			return event.Warn
		}
	case "public":
		return event.Warn
	}
	return event.Info
}

// githubFinding is the severity of something found in the code: that of the
// finding while it is open.
func githubFinding(p payload) event.Severity {
	switch p.text("action") {
	case "created", "create", "reopened", "reintroduced", "appeared_in_branch", "published":
	default:
		return event.Notice
	}
	severity := p.text("alert", "security_advisory", "severity") + p.text("alert", "rule", "security_severity_level") + p.text("security_advisory", "severity")
	if p.has("alert") && severity == "" {
		severity = p.text("alert", "severity") + p.text("alert", "rule", "severity")
	}
	switch strings.ToLower(severity) {
	case "critical":
		return event.Critical
	case "high", "error":
		return event.Error
	case "low", "note":
		return event.Notice
	}
	return event.Warn
}
