package transport

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Sends: one alert by POST /api/v2/alerts (Alertmanager's API, OpenAPI
// specification of v2). What identifies an alert are its labels; they come from
// the attributes of the event alone, so that a message that resolves names the
// same alert. Success: 200.
func init() {
	register(Mode{Name: "alertmanager", Doc: "An alert to Prometheus Alertmanager, which groups, silences and routes it; ended where the rule says that it is over.", Resolves: true},
		alertmanagerSettings{Timeout: defaultTimeout}, newAlertmanager)
}

type alertmanagerSettings struct {
	URL      string            `json:"url" required:"true" secret:"url" doc:"Alertmanager's address, such as http://alertmanager:9093; /api/v2/alerts is added."`
	Labels   map[string]string `json:"labels" doc:"More labels for every alert."`
	Expires  config.Duration   `json:"expires" doc:"When an alert ends by itself; 0s for Alertmanager's resolve_timeout."`
	Username string            `json:"username" doc:"Name for basic authentication."`
	Password string            `json:"password" secret:"whole" doc:"Its password."`
	Token    string            `json:"token" secret:"whole" doc:"Bearer token, in place of a name and password."`
	Timeout  config.Duration   `json:"timeout" doc:"How long an answer may take."`
}

type alertmanager struct {
	env    *Env
	s      alertmanagerSettings
	where  *url.URL
	header http.Header
}

// labelName is what Prometheus takes for the name of a label.
var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func newAlertmanager(s alertmanagerSettings, env *Env) (Transport, error) {
	where, err := destination(s.URL, s.Timeout)
	if err != nil {
		return nil, err
	}
	for name := range s.Labels {
		if !labelName.MatchString(name) {
			return nil, event.Invalidf("settings.labels: %q is no name of a label", cut(name, 64))
		}
	}
	if s.Expires < 0 {
		return nil, event.Invalidf("settings.expires: %s is in the past", s.Expires)
	}
	if !strings.HasSuffix(where.Path, "/api/v2/alerts") {
		where = where.JoinPath("api/v2/alerts")
	}
	t := &alertmanager{env: env, s: s, where: where, header: http.Header{"Content-Type": {"application/json"}}}
	switch {
	case s.Token != "" && s.Username != "":
		return nil, event.Invalidf("settings: give a token, or a name and password")
	case s.Token != "":
		t.header.Set("Authorization", "Bearer "+s.Token)
		if err := checkHeader("Authorization", "Bearer "+s.Token); err != nil {
			return nil, event.Invalidf("settings.token: has characters that a header can't have")
		}
	case s.Username != "":
		where.User = url.UserPassword(s.Username, s.Password)
	}
	return t, nil
}

// eventAnnotation names the event that an alert is made of, so that one that
// comes back is known for what it is: an effect of that event.
const eventAnnotation = "tocsin_event_id"

// alert is one alert of v2.
type alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       *time.Time        `json:"endsAt,omitempty"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// Send implements Transport.
func (t *alertmanager) Send(ctx context.Context, m *Message) (Answer, error) {
	body, err := json.Marshal([]alert{t.alert(m, time.Now())})
	if err != nil {
		return Answer{}, event.Invalidf("alert: %w", err)
	}
	return t.env.do(ctx, call{method: http.MethodPost, url: t.where, header: t.header, body: body, limit: time.Duration(t.s.Timeout)})
}

func (t *alertmanager) alert(m *Message, now time.Time) alert {
	e := m.Event
	labels := map[string]string{}
	for name, value := range map[string]string{
		"alertname": string(e.Type), "severity": m.Severity.String(), "kind": string(e.Kind), "source": e.Source, "subject": e.Subject,
		"instance": e.Host, "brand": e.Brand, "rule": m.Rule,
	} {
		if value != "" { // an empty label is none
			labels[name] = clean(value)
		}
	}
	maps.Copy(labels, t.s.Labels)
	a := alert{
		Labels: labels, StartsAt: e.Time.UTC(), GeneratorURL: m.Link,
		Annotations: map[string]string{"summary": oneLine(m.Title), "description": clean(m.Text), eventAnnotation: clean(string(e.ID))},
	}
	switch {
	case m.Resolved:
		now = now.UTC()
		if now.Before(a.StartsAt) { // a producer's clock is ahead
			a.StartsAt = now
		}
		a.EndsAt = &now
	case t.s.Expires > 0:
		end := now.Add(time.Duration(t.s.Expires)).UTC()
		a.EndsAt = &end
	}
	return a
}
