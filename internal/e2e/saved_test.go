package e2e

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestSavedSearches keeps searches for their owners, and records each change.
func TestSavedSearches(t *testing.T) {
	s := start(t)
	r := s.post("/v1/searches", "application/json", `{"name":"bad things","filter":"severity >= error","since":"7d"}`)
	made := parse[object](t, r.body)
	if r.status != http.StatusCreated || made["mine"] != true || made["shared"] != false {
		t.Fatalf("saving: %d %s", r.status, clip(r.body))
	}
	at := "/v1/searches/" + text(made["id"])
	for body, want := range map[string]string{
		`{"name":"x","filter":"severity >= loud"}`: "unknown name",
		`{"name":""}`:                       "1 to 80 characters",
		`{"name":"x","since":"yesterday"}`:  "neither a duration",
		`{"name":"x","by":"host"}`:          "must be type",
		`{"name":"x","colour":"red"}`:       "colour",
		`{"name":"bad things","filter":""}`: "another search has this name",
	} {
		if r := s.post("/v1/searches", "application/json", body); r.status < 400 || r.status >= 500 || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d %s", body, r.status, clip(r.body))
		}
	}
	other := *s
	other.token = s.newToken("somebody else", "read")
	if r := other.get(at); r.status != http.StatusNotFound {
		t.Errorf("another sees it: %d", r.status)
	}
	if r := s.request(http.MethodPatch, at, strings.NewReader(`{"shared":true}`), "Content-Type", "application/merge-patch+json"); r.status != http.StatusOK {
		t.Fatalf("sharing: %d %s", r.status, clip(r.body))
	}
	if r := other.get("/v1/searches"); len(parse[struct{ Items []object }](t, r.body).Items) != 1 {
		t.Errorf("another does not see a shared one: %s", clip(r.body))
	}
	if r := other.request(http.MethodDelete, at, nil); r.status != http.StatusForbidden {
		t.Errorf("another removes it: %d", r.status)
	}
	if r := s.request(http.MethodPut, at, strings.NewReader(`{"name":"worse things","filter":"severity == critical"}`), "Content-Type", "application/json"); r.status != http.StatusOK || parse[object](t, r.body)["since"] != "24h" {
		t.Errorf("replacing: %d %s", r.status, clip(r.body))
	}
	if r := s.request(http.MethodDelete, at, nil); r.status != http.StatusNoContent {
		t.Errorf("removing: %d", r.status)
	}
	var types []string
	for _, e := range s.find("filter", `data.model.model_name == "search"`, "order", "asc").Events {
		types = append(types, text(e["type"]))
	}
	if got := strings.Join(types, " "); got != "model_created model_updated model_updated model_deleted" {
		t.Errorf("recorded: %s", got)
	}
}

// TestSearchExport streams what matches, in both forms and in the order of the
// record, and counts the values of attributes.
func TestSearchExport(t *testing.T) {
	s := start(t)
	var batch []string
	for i := range 2500 {
		batch = append(batch, `{"specversion":"1.0","id":"`+itoa(i)+`","source":"/export","type":"row","subject":"=1+1","host":"h`+itoa(i%3)+`","clientip":"192.0.2.`+itoa(i%5)+`","data":{"n":`+itoa(i)+`}}`)
	}
	s.emit("application/cloudevents-batch+json", "["+strings.Join(batch, ",")+"]")
	q := "?filter=" + url.QueryEscape(`source == "/export"`)
	lines := strings.Split(strings.TrimSpace(string(s.get("/v1/events/export"+q).body)), "\n")
	if len(lines) != 2500 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, l := range lines {
		if e := parse[object](t, []byte(l)); e["id"] != itoa(i) {
			t.Fatalf("line %d is event %v", i, e["id"])
		}
	}
	r := s.get("/v1/events/export" + q + "&format=csv")
	rows, err := csv.NewReader(strings.NewReader(string(r.body))).ReadAll()
	if err != nil || len(rows) != 2501 || rows[0][0] != "sequence" || rows[1][5] != "'=1+1" || rows[1][12] != `{"n":0}` {
		t.Errorf("CSV of %d rows: %v %q", len(rows), err, rows[:min(len(rows), 2)])
	}
	if r := s.get("/v1/events/export?format=xml"); r.status != http.StatusBadRequest {
		t.Errorf("an unknown form: %d", r.status)
	}
	if r := s.get("/v1/events/export?filter=" + url.QueryEscape("severity >= loud")); r.status != http.StatusBadRequest {
		t.Errorf("a wrong filter: %d", r.status)
	}
	got := parse[struct {
		Facets map[string][]struct {
			Value string
			Count int
		}
	}](t, s.get("/v1/events/facets"+q).body).Facets
	if len(got["clientip"]) != 5 || got["clientip"][0].Count != 500 || got["type"][0].Value != "row" || got["source"][0].Count != 2500 {
		t.Errorf("facets %v", got)
	}
}
