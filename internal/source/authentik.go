package source

import (
	"regexp"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: authentik's notification transport "Webhook (generic)"; its body is
// also what Tocsin's own webhook transport sends as plain. There is no signature:
// the secret itself is in a header, which a header mapping of authentik sets, or
// in the user part of the URL.
// Makes: authentik.notification. A webhook mapping may add two members: action,
// for the type authentik.<action> (authentik.login_failed), and id, by which
// what is sent again is known. Without an id each request is an event: authentik
// says neither when something happened, nor gives it a name.
// Leaves out: what the event of authentik holds besides, unless a mapping adds it.
// Reference: docs.goauthentik.io, "Transports".
func init() {
	registerPush("authentik", "Notifications of authentik, by its generic webhook.", authentikOptions{Enabled: true, Header: "Authorization"}, newAuthentik)
}

type authentikOptions struct {
	Enabled    bool   `yaml:"enabled" doc:"Whether notifications are taken."`
	SecretFile string `yaml:"secret_file" doc:"File with the secret that authentik sends; several lines for several secrets."`
	SecretEnv  string `yaml:"secret_env" doc:"Environment variable with the secret, in place of a file."`
	Header     string `yaml:"header" doc:"Header with the secret: in Authorization as Bearer token or as the password of Basic, else as the whole value."`
}

type authentik struct {
	secrets [][]byte
	header  string
}

func newAuthentik(o authentikOptions) (Push, error) {
	if err := checkHeader("header", o.Header); err != nil {
		return nil, err
	}
	secrets, err := loadSecrets(o.SecretFile, o.SecretEnv)
	return &authentik{secrets, o.Header}, err
}

var headerForm = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// checkHeader refuses an option that is no header's name.
func checkHeader(option, name string) error {
	if !headerForm.MatchString(name) {
		return event.Invalidf("%s: %q is no name of a header", option, name)
	}
	return nil
}

// Terms implements Push.
func (a *authentik) Terms() Terms { return Terms{Signed: a.secrets != nil} }

// Verify implements Push.
func (a *authentik) Verify(r *Request) error { return bearing(a.secrets, r, a.header) }

var authentikAction = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// Decode implements Push.
func (a *authentik) Decode(r *Request) ([]event.Event, error) {
	p, err := readPayload(r.Body)
	if err != nil {
		return nil, err
	}
	if _, ok := p["body"].(string); !ok {
		return nil, event.Invalidf("body: the member body is missing: keep the members of authentik's default, and add to them")
	}
	e := event.Event{Type: "authentik.notification", Severity: authentikSeverity(p.text("severity")), Data: r.Body, ID: event.ID(p.text("id"))}
	if action := p.text("action"); action != "" {
		if !authentikAction.MatchString(action) {
			return nil, event.Invalidf("action: not a name of small letters, digits and underscores")
		}
		e.Type = event.Type("authentik." + action)
	}
	e.AuthType, e.AuthName, e.AuthEmail = "user", p.text("event_user_username"), p.text("event_user_email")
	if e.AuthName == "" && e.AuthEmail == "" {
		e.AuthType, e.AuthName = "system", "authentik"
	}
	if user := firstText(p.text("event_user_username"), p.text("user_username")); user != "" {
		e.Subject = "user/" + user
	}
	return []event.Event{e}, nil
}

// authentikSeverity reads authentik's three severities, and ours.
func authentikSeverity(name string) event.Severity {
	switch name {
	case "warning":
		return event.Warn
	case "alert":
		return event.Critical
	}
	if s, err := event.ParseSeverity(name); err == nil {
		return s
	}
	return event.Notice
}
