package alert

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// Webhook is what Alertmanager (format 4) and Grafana (format 1) post: one group
// of alerts, those that fire and those that are resolved.
type Webhook struct {
	Version         string            `json:"version"`
	GroupKey        string            `json:"groupKey"`
	TruncatedAlerts int               `json:"truncatedAlerts"`
	Receiver        string            `json:"receiver"`
	ExternalURL     string            `json:"externalURL"`
	GroupLabels     map[string]string `json:"groupLabels"`
	OrgID           int64             `json:"orgId"` // Grafana's
	Alerts          []Posted          `json:"alerts"`
}

// Posted is one alert of a Webhook.
type Posted struct {
	Alert

	Status      string          `json:"status"` // firing or resolved
	Fingerprint string          `json:"fingerprint"`
	Values      json.RawMessage `json:"values"` // Grafana's, as are those below
	SilenceURL  string          `json:"silenceURL"`
	Dashboard   string          `json:"dashboardURL"`
	Panel       string          `json:"panelURL"`
}

// DecodeWebhook reads a body and refuses one of another version than is wanted.
// Errors are of class event.ErrInvalid.
func DecodeWebhook(body []byte, version string) (*Webhook, error) {
	if err := scan.Valid(body); err != nil {
		return nil, event.Invalidf("body: %w", err)
	}
	var w Webhook
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, event.Invalidf("body: %w", err)
	}
	if w.Version != version {
		return nil, event.Invalidf("version: %q is not the format %q that is understood here", cut(w.Version, 16), version)
	}
	if len(w.Alerts) == 0 {
		return nil, event.Invalidf("alerts: the body holds no alert")
	}
	return &w, nil
}

var fingerprintForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// Events makes an event of each alert. Their ids are made of fingerprint, start
// and status, so that what is sent again, as both senders do while an alert
// fires, is known. prefix keeps the ids of several senders apart.
func (w *Webhook) Events(source, sender, prefix string) ([]event.Event, error) {
	events := make([]event.Event, 0, len(w.Alerts))
	for n := range w.Alerts {
		p := &w.Alerts[n]
		resolved := p.Status == "resolved"
		if !resolved && p.Status != "firing" {
			return nil, event.Invalidf("alerts[%d].status: %q is neither firing nor resolved", n, cut(p.Status, 32))
		}
		if p.StartsAt.IsZero() {
			return nil, event.Invalidf("alerts[%d].startsAt is missing", n)
		}
		if !resolved || p.EndsAt.IsZero() {
			p.EndsAt = p.StartsAt // the sender's end is only when it would time out
		}
		if err := p.validate(); err != nil {
			return nil, event.Invalidf("alerts[%d]: %w", n, err)
		}
		if !fingerprintForm.MatchString(p.Fingerprint) {
			p.Fingerprint = p.Alert.Fingerprint()
		}
		e, err := p.Event(resolved, Details{Source: source, Sender: sender, Fingerprint: p.Fingerprint, More: w.more(p)})
		if err != nil {
			return nil, event.Invalidf("alerts[%d]: %w", n, err)
		}
		e.ID = event.ID(prefix + p.Fingerprint + "-" + p.StartsAt.UTC().Format(time.RFC3339Nano) + "-" + p.Status)
		events = append(events, e)
	}
	return dedupe(events), nil
}

// dedupe leaves one of several events with the same id in one group out: both
// senders may list an alert twice.
func dedupe(events []event.Event) []event.Event {
	seen := map[event.ID]bool{}
	return slices.DeleteFunc(events, func(e event.Event) bool {
		if seen[e.ID] {
			return true
		}
		seen[e.ID] = true
		return false
	})
}

// more are the members of data that say where an alert comes from.
func (w *Webhook) more(p *Posted) map[string]any {
	more := map[string]any{}
	for name, value := range map[string]string{
		"receiver": w.Receiver, "external_url": strings.TrimSuffix(w.ExternalURL, "/"), "group_key": w.GroupKey,
		"dashboard_url": p.Dashboard, "panel_url": p.Panel, "silence_url": p.SilenceURL,
	} {
		if value != "" {
			more[name] = value
		}
	}
	if len(p.Values) > 0 && string(p.Values) != "null" {
		more["values"] = p.Values
	}
	if w.TruncatedAlerts > 0 {
		more["truncated_alerts"] = w.TruncatedAlerts
	}
	return more
}
