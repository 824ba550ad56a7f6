package web

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/alert"
)

// One request holds no more alerts than may fire: each is written in the same
// transaction, while nobody else writes.
func TestAlertsAreCounted(t *testing.T) {
	list := func(n int) []byte {
		return []byte("[" + strings.TrimSuffix(strings.Repeat(`{"labels":{"a":"{},{"}},`, n), ",") + "]")
	}
	if alerts, wrong := decodeAlerts(list(alert.MaxFiring)); wrong != nil || len(alerts) != alert.MaxFiring {
		t.Errorf("%d alerts: %+v", len(alerts), wrong)
	}
	if alerts, wrong := decodeAlerts(list(alert.MaxFiring + 1)); alerts != nil || wrong == nil || wrong.Code != 413 {
		t.Errorf("one more: %d, %+v", len(alerts), wrong)
	}
}

// FuzzDecodeAlerts feeds the decoder of POST /api/v2/alerts whatever comes: it
// answers with alerts that all have labels, or says what is wrong.
func FuzzDecodeAlerts(f *testing.F) {
	f.Add([]byte(`[{"labels":{"alertname":"a"},"annotations":{"b":"c"},"startsAt":"2026-11-21T10:00:00Z","endsAt":"","generatorURL":"http://p/"}]`))
	f.Add([]byte(`[{}]`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		alerts, wrong := decodeAlerts(body)
		if wrong != nil {
			if alerts != nil || wrong.Message == "" || wrong.Code != lacking && wrong.Code != 400 && wrong.Code != 413 {
				t.Fatalf("%v, %+v", alerts, wrong)
			}
			return
		}
		for _, a := range alerts {
			if len(a.Fingerprint()) != 16 {
				t.Fatalf("fingerprint %q", a.Fingerprint())
			}
			row := alert.Row{Alert: a, UpdatedAt: time.Now()}
			if got := gettable(&row); got.Annotations == nil || got.Status.State != "active" {
				t.Fatalf("%+v", got)
			}
		}
	})
}

// FuzzAlertQuery feeds the parameters of GET /api/v2/alerts whatever comes.
func FuzzAlertQuery(f *testing.F) {
	f.Add("active=true&filter=" + url.QueryEscape(`a="b"`) + "&receiver=t.*")
	f.Fuzz(func(t *testing.T, raw string) {
		wanted, matchers, err := alertQuery(raw)
		if err != nil && (wanted || matchers != nil) {
			t.Fatalf("%q: both an error and an answer", raw)
		}
		if len(matchers) > maxMatchers {
			t.Fatalf("%d matchers", len(matchers))
		}
	})
}
