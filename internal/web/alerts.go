package web

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/alert"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/source"
)

// This file answers as Prometheus Alertmanager does (its OpenAPI description of
// version 2), so that what sends alerts to it can send them here. Its errors are
// a JSON text, not a problem; what every route of this server may answer, such
// as 401, is a problem here, too.

// alertReceiver is the one receiver that alerts have here: what becomes of them is
// a matter of rules.
const alertReceiver = "tocsin"

// alertsOff says why alerts are not taken; nil when they are.
func (s *Server) alertsOff() error {
	for _, row := range s.Sources() {
		if row.Name == "prometheus" && row.Status == source.Disabled {
			return event.NotFoundf("alerts are not taken here: the source prometheus is disabled (sources.prometheus.enabled)")
		}
	}
	return nil
}

// postAlerts takes alerts. Those that are valid are kept, also where others are
// not.
func (s *Server) postAlerts(w http.ResponseWriter, r *http.Request) error {
	if err := errors.Join(s.alertsOff(), s.Ready()); err != nil {
		return err
	}
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(media), "application/json") {
		return newProblem(http.StatusUnsupportedMediaType, "media-type", "send the alerts as application/json")
	}
	body, leave, err := readHook(w, r, s.gate, s.Limits().Batch)
	if err != nil {
		s.countBusy(err)
		return err
	}
	defer leave()
	alerts, wrong := decodeAlerts(body)
	if wrong != nil {
		s.Metrics.CountRejected("malformed")
		return writeJSON(w, min(wrong.Code, http.StatusUnprocessableEntity), wrong)
	}
	err = s.Alerts.Put(r.Context(), cause(r), alerts)
	if errors.Is(err, event.ErrInvalid) {
		s.Metrics.CountRejected("malformed")
		return writeJSON(w, http.StatusBadRequest, redact.Text(err.Error()))
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// wrongBody is how Alertmanager answers a body that is no list of alerts: with 400
// where it can't be read, and with 422 where it lacks something.
type wrongBody struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// lacking is Alertmanager's code for what is missing or has a wrong form.
const lacking = 602

// decodeAlerts reads a list of alerts (postableAlerts).
func decodeAlerts(body []byte) ([]alert.Alert, *wrongBody) {
	unreadable := func(why string) *wrongBody {
		return &wrongBody{http.StatusBadRequest, redact.Text(`parsing alerts body from "" failed, because ` + why)}
	}
	n, err := countObjects(body)
	if err != nil {
		return nil, unreadable(err.Error())
	}
	if n > alert.MaxFiring {
		return nil, &wrongBody{http.StatusRequestEntityTooLarge, "more than " + strconv.Itoa(alert.MaxFiring) + " alerts in one request: send them in several"}
	}
	var posted []struct {
		Labels       *map[string]string `json:"labels"`
		Annotations  map[string]string  `json:"annotations"`
		StartsAt     looseTime          `json:"startsAt"`
		EndsAt       looseTime          `json:"endsAt"`
		GeneratorURL string             `json:"generatorURL"`
	}
	if err := json.Unmarshal(body, &posted); err != nil {
		return nil, unreadable(plainJSON(err))
	}
	alerts := make([]alert.Alert, len(posted))
	for n, p := range posted {
		if p.Labels == nil {
			return nil, &wrongBody{lacking, strconv.Itoa(n) + ".labels in body is required"}
		}
		if _, err := url.Parse(p.GeneratorURL); err != nil {
			return nil, &wrongBody{lacking, strconv.Itoa(n) + ".generatorURL in body must be of type uri"}
		}
		alerts[n] = alert.Alert{
			Labels: *p.Labels, Annotations: p.Annotations, StartsAt: time.Time(p.StartsAt), EndsAt: time.Time(p.EndsAt), GeneratorURL: p.GeneratorURL,
		}
	}
	return alerts, nil
}

// countObjects counts the objects of a list, before there is room for them.
func countObjects(body []byte) (n int, err error) {
	var sc scan.Scanner
	sc.Reset(body)
	for {
		kind, err := sc.Next()
		if err != nil || kind == scan.End {
			return n, err
		}
		if kind == scan.ObjectStart && sc.Depth() == 2 {
			n++
		}
	}
}

// looseTime is a time that may be empty.
type looseTime time.Time

// UnmarshalJSON reads a time in RFC 3339.
func (t *looseTime) UnmarshalJSON(raw []byte) error {
	if string(raw) == `""` || string(raw) == "null" {
		return nil
	}
	return (*time.Time)(t).UnmarshalJSON(raw)
}

// gettableAlert is an alert as it is shown.
type gettableAlert struct {
	Annotations  map[string]string `json:"annotations"`
	EndsAt       string            `json:"endsAt"`
	Fingerprint  string            `json:"fingerprint"`
	Receivers    []alertName       `json:"receivers"`
	StartsAt     string            `json:"startsAt"`
	Status       alertStatus       `json:"status"`
	UpdatedAt    string            `json:"updatedAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
	Labels       map[string]string `json:"labels"`
}

type alertName struct {
	Name string `json:"name"`
}

type alertStatus struct {
	InhibitedBy []string `json:"inhibitedBy"`
	MutedBy     []string `json:"mutedBy"`
	SilencedBy  []string `json:"silencedBy"`
	State       string   `json:"state"`
}

// alertTime is how Alertmanager writes times.
const alertTime = "2006-01-02T15:04:05.000Z"

// getAlerts shows the alerts that fire. All of them are active: nothing here is
// silenced, inhibited or waits to be processed.
func (s *Server) getAlerts(w http.ResponseWriter, r *http.Request) error {
	if p := callerOf(r).principal; !p.Can(identity.Emit) && !p.Can(identity.Read) {
		return event.Deniedf("this needs the scope %q or %q, which you do not have", identity.Emit, identity.Read)
	}
	if err := s.alertsOff(); err != nil {
		return err
	}
	wanted, matchers, err := alertQuery(r.URL.RawQuery)
	if err != nil {
		return writeJSON(w, http.StatusBadRequest, redact.Text(err.Error()))
	}
	shown := []gettableAlert{}
	if wanted {
		rows, err := s.Alerts.Firing(r.Context(), matchers)
		if err != nil {
			return err
		}
		for i := range rows {
			shown = append(shown, gettable(&rows[i]))
		}
	}
	return writeJSON(w, http.StatusOK, shown)
}

func gettable(a *alert.Row) gettableAlert {
	annotations := a.Annotations
	if annotations == nil {
		annotations = map[string]string{}
	}
	return gettableAlert{
		Annotations: annotations, Labels: a.Labels, Fingerprint: a.Fingerprint, GeneratorURL: a.GeneratorURL,
		StartsAt: a.StartsAt.Format(alertTime), EndsAt: a.EndsAt.Format(alertTime), UpdatedAt: a.UpdatedAt.Format(alertTime),
		Receivers: []alertName{{alertReceiver}}, Status: alertStatus{InhibitedBy: []string{}, MutedBy: []string{}, SilencedBy: []string{}, State: "active"},
	}
}

// maxMatchers bounds the matchers of one request.
const maxMatchers = 64

// alertQuery reads the parameters of GET /api/v2/alerts. wanted is false where
// active alerts are not asked for, or only those of another receiver.
func alertQuery(raw string) (wanted bool, matchers []alert.Matcher, err error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return false, nil, event.Invalidf("query: %w", err)
	}
	wanted = true
	for _, name := range slices.Sorted(maps.Keys(q)) {
		switch value := q.Get(name); name {
		case "active", "silenced", "inhibited", "unprocessed":
			wanted = wanted && (isYes(value) || name != "active")
		case "receiver":
			pattern, err := regexp.Compile("^(?:" + value + ")$")
			if err != nil {
				return false, nil, event.Invalidf("failed to parse receiver param: %w", err)
			}
			wanted = wanted && pattern.MatchString(alertReceiver)
		case "filter":
			if len(q[name]) > maxMatchers {
				return false, nil, event.Invalidf("query: at most %d filters are possible", maxMatchers)
			}
			for _, text := range q[name] {
				m, err := alert.ParseMatcher(text)
				if err != nil {
					return false, nil, err
				}
				matchers = append(matchers, m)
			}
		}
	}
	return wanted, matchers, nil
}

// isYes reads a flag as Alertmanager does: what is no yes is a no.
func isYes(text string) bool {
	switch strings.ToLower(text) {
	case "true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled":
		return true
	}
	return false
}

// alertVersion is the Alertmanager whose API this is: clients look at it.
const alertVersion = "0.25.0"

// alertConfig is the configuration of an Alertmanager that does what is done here.
const alertConfig = "global:\n  resolve_timeout: 5m\nroute:\n  receiver: " + alertReceiver + "\nreceivers:\n- name: " + alertReceiver + "\n"

// getAlertStatus tells clients of Alertmanager's API what they talk to.
func (s *Server) getAlertStatus(w http.ResponseWriter, r *http.Request) error {
	if p := callerOf(r).principal; !p.Can(identity.Emit) && !p.Can(identity.Read) {
		return event.Deniedf("this needs the scope %q or %q, which you do not have", identity.Emit, identity.Read)
	}
	return writeJSON(w, http.StatusOK, object{
		"cluster": object{"status": "disabled", "peers": []object{}},
		"config":  object{"original": alertConfig},
		"uptime":  s.began.UTC().Format(alertTime),
		"versionInfo": object{
			"version": alertVersion, "revision": s.Version, "branch": "tocsin", "buildUser": "", "buildDate": "", "goVersion": runtime.Version(),
		},
	})
}

// alertTable is every route that Alertmanager has, too.
func (s *Server) alertTable() []route {
	op := describeAlerts()
	return []route{
		{"POST /v1/hooks/{name}", open, s.postHook, op["hook"]},
		{"POST /api/v2/alerts", identity.Emit, s.postAlerts, op["post"]},
		{"GET /api/v2/alerts", known, s.getAlerts, op["get"]},
		{"GET /api/v2/status", known, s.getAlertStatus, op["status"]},
	}
}

func describeAlerts() map[string]operation {
	str, boolean := object{"type": "string"}, object{"type": "boolean"}
	labels := object{"type": "object", "additionalProperties": str}
	when := object{"type": "string", "format": "date-time"}
	names := object{"type": "array", "items": str}
	posted := object{"type": []string{"array", "null"}, "items": object{"type": "object", "required": []string{"labels"}, "properties": object{
		"labels": labels, "annotations": labels, "startsAt": when, "endsAt": when, "generatorURL": object{"type": "string", "format": "uri"},
	}}}
	shown := object{"type": "array", "items": record("annotations endsAt fingerprint receivers startsAt status updatedAt labels", object{
		"annotations": labels, "labels": labels, "startsAt": when, "endsAt": when, "updatedAt": when, "generatorURL": str, "fingerprint": str,
		"receivers": object{"type": "array", "items": record("name", object{"name": str})},
		"status":    record("state silencedBy inhibitedBy mutedBy", object{"state": str, "silencedBy": names, "inhibitedBy": names, "mutedBy": names}),
	})}
	wrong := answerDoc{"The request is wrong; valid alerts of it are kept.", "application/json", object{"type": []string{"string", "object"}}}
	problem := func(doc string) answerDoc { return answerDoc{doc, "application/problem+json", ref("Problem")} }
	off := problem("The source prometheus is disabled.")
	return map[string]operation{
		"hook": {
			summary: "Record what a webhook says, such as that of GitHub; the sources that have a path are possible. The answer comes when it is durable.",
			body:    map[string]object{"application/json": {}},
			answers: map[string]answerDoc{
				"202": {"It is recorded, or was before.", "application/json", ref("Answer")},
				"401": problem("There is neither a signature nor a token."), "403": problem("The signature is wrong, or was used before."),
			},
		},
		"post": {
			summary: "Take alerts, as Prometheus sends them to Alertmanager (API v2).", body: jsonBody(posted),
			answers: map[string]answerDoc{"200": {doc: "They are taken, and what has changed is durable."}, "400": wrong, "404": off, "422": {"An alert lacks something.", "application/json", object{"type": "object"}}},
		},
		"get": {
			summary: "The alerts that fire, as Alertmanager shows them (API v2). Needs the scope emit or read.",
			params: []parameter{
				param("active", boolean, "Whether active alerts are shown; all are."), param("silenced", boolean, "As in Alertmanager."),
				param("inhibited", boolean, "As in Alertmanager."), param("unprocessed", boolean, "As in Alertmanager."),
				param("filter", names, `Matchers such as severity="critical"; all must hold.`), param("receiver", str, "Pattern for the receiver, which is tocsin."),
			},
			answers: map[string]answerDoc{"200": {"The alerts.", "application/json", shown}, "400": wrong, "404": off},
		},
		"status": {
			summary: "What Alertmanager tells of itself (API v2). Needs the scope emit or read.",
			answers: ok("200", "The status.", record("cluster config uptime versionInfo", object{
				"cluster": object{"type": "object"}, "config": object{"type": "object"}, "uptime": when, "versionInfo": object{"type": "object"},
			})),
		},
	}
}
