// Package alert knows alerts as Prometheus and Alertmanager speak of them:
// labels that say which alert it is, annotations that say what it means, and a
// time from which to which it fires. It makes events of them, and keeps those
// that were sent to Alertmanager's API (v2) until they are over.
//
// It promises: an alert that fires is one event, alert, and its end is one,
// alert_resolved, however often it is sent in between; what fires survives a
// restart; state and record are written in one transaction, so that they never
// disagree. A Store is safe for concurrent use.
package alert

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Types of the events that alerts become.
const (
	Fired    event.Type = "alert"
	Resolved event.Type = "alert_resolved"
)

// Alert is one alert. Its labels are what it is known by.
type Alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
}

// Fingerprint names an alert as Alertmanager does: FNV-1a with 64 bits over the
// labels in the order of their names, each name and value followed by the byte
// 255, in 16 hexadecimal digits (prometheus/common, model.LabelSet.Fingerprint).
func (a *Alert) Fingerprint() string {
	h := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
		_, _ = h.Write([]byte(name + "\xff" + a.Labels[name] + "\xff"))
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// resolvedAt reports whether an alert is over at a time. One without an end is
// not.
func (a *Alert) resolvedAt(now time.Time) bool { return !a.EndsAt.IsZero() && !a.EndsAt.After(now) }

// Severity is that of the label severity. Prometheus has no list of severities:
// a name that is not one of ours, or none at all, is an error.
func (a *Alert) Severity() event.Severity {
	name := strings.ToLower(a.Labels["severity"])
	switch name {
	case "warning":
		return event.Warn
	case "information", "informational":
		return event.Info
	}
	if s, err := event.ParseSeverity(name); err == nil {
		return s
	}
	return event.Error
}

// validate refuses what Alertmanager refuses (model.Alert.Validate), with an
// error of class event.ErrInvalid. Labels without a value are none, and removed.
func (a *Alert) validate() error {
	maps.DeleteFunc(a.Labels, func(_, value string) bool { return value == "" })
	switch {
	case len(a.Labels) == 0:
		return event.Invalidf("at least one label pair required")
	case a.StartsAt.Year() < 1970 || a.StartsAt.After(latest):
		return event.Invalidf("startsAt: %s is out of range", a.StartsAt.Format(time.RFC3339))
	case a.EndsAt.Before(a.StartsAt):
		return event.Invalidf("start time must be before end time")
	}
	for _, set := range []map[string]string{a.Labels, a.Annotations} {
		for name := range set {
			if name == "" || len(name) > maxName || !isPrintable(name) {
				return event.Invalidf("invalid name %q", cut(name, 64))
			}
		}
	}
	return nil
}

// maxName is the longest name of a label or annotation, in bytes.
const maxName = 1024

// latest is the last time that a number of nanoseconds can say.
var latest = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant

func isPrintable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// Details are what a sender says of an alert besides the alert.
type Details struct {
	Source      string         // of the event
	Sender      string         // the actor, such as "alertmanager"
	Fingerprint string         // by which the sender knows it; empty for ours
	More        map[string]any // more members of data
}

// Event makes the event that an alert fires, or is resolved. Its correlationid
// joins the two. The id and what only the caller knows are left to the caller.
func (a *Alert) Event(resolved bool, d Details) (event.Event, error) {
	fingerprint := d.Fingerprint
	if fingerprint == "" {
		fingerprint = a.Fingerprint()
	}
	data := maps.Clone(d.More)
	if data == nil {
		data = map[string]any{}
	}
	maps.Copy(data, map[string]any{
		"name": a.name(), "status": "firing", "fingerprint": fingerprint, "labels": emptyNotNull(a.Labels), "annotations": emptyNotNull(a.Annotations),
		"starts_at": a.StartsAt.UTC().Format(time.RFC3339Nano),
	})
	for name, value := range map[string]string{"summary": a.summary(), "generator_url": a.GeneratorURL} {
		if value != "" {
			data[name] = value
		}
	}
	e := event.Event{
		Source: d.Source, Type: Fired, Subject: "alert/" + fingerprint, Time: a.StartsAt.UTC(), DataContentType: "application/json",
		Severity: a.Severity(), AuthType: "system", AuthName: d.Sender, Host: a.host(),
		CorrelationID: fingerprint + "-" + a.start(), CausationID: a.cause(),
	}
	if resolved {
		e.Type, e.Severity, e.Time = Resolved, event.Notice, a.EndsAt.UTC()
		data["status"], data["ends_at"] = "resolved", a.EndsAt.UTC().Format(time.RFC3339Nano)
	}
	body, err := json.Marshal(data)
	if err != nil {
		return event.Event{}, event.Invalidf("alert: %w", err)
	}
	e.Data = body
	return e, nil
}

// causeAnnotation names the event of ours that an alert was made of, as our own
// transport to Alertmanager writes it.
const causeAnnotation = "tocsin_event_id"

// cause is the event that an alert was made of, where it is one that we have sent:
// a chain of such alerts, each the cause of the next, is cut like any other.
func (a *Alert) cause() string {
	if id := a.Annotations[causeAnnotation]; len(id) <= 128 && isPrintable(id) {
		return id
	}
	return ""
}

// start is the time at which it began, for ids.
func (a *Alert) start() string { return strconv.FormatInt(a.StartsAt.Unix(), 10) }

// name is what people call it: the label alertname, which almost every alert has.
func (a *Alert) name() string {
	if name := a.Labels["alertname"]; name != "" {
		return name
	}
	return "alert"
}

// summary is the sentence about it, under the names that people use.
func (a *Alert) summary() string {
	for _, name := range []string{"summary", "description", "message"} {
		if text := a.Annotations[name]; text != "" {
			return text
		}
	}
	return ""
}

// host is the machine that an alert is about: the label instance without its
// port.
func (a *Alert) host() string {
	instance := a.Labels["instance"]
	if at := strings.LastIndexByte(instance, ':'); at > 0 {
		if p, err := netip.ParseAddrPort(instance); err == nil {
			return p.Addr().String()
		}
		if strings.IndexByte(instance, ':') == at {
			instance = instance[:at]
		}
	}
	if len(instance) > 255 || !isPrintable(instance) {
		return ""
	}
	return instance
}

func emptyNotNull(set map[string]string) map[string]string {
	if set == nil {
		return map[string]string{}
	}
	return set
}

// cut shortens a stranger's text before it is quoted.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
