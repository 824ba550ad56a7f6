package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFilterErrors name line and column and are never taken for a text search.
func TestFilterErrors(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, tt := range []struct {
		filter       string
		line, column string
	}{
		{`severity >= `, "1", ""},
		{`type ==`, "1", ""},
		{`nosuch == "x"`, "1", "1"},
		{"type == \"a\" &&\n  nosuch == 1", "2", "3"},
		{`inCIDR(clientip, "300.0.0.0/8")`, "1", ""},
		{`ago("soon") < time`, "1", ""},
		{`type.matches("(")`, "1", ""},
		{`type`, "1", ""},
	} {
		for _, path := range []string{"/v1/events", "/v1/events/volume", "/v1/events/tail"} {
			p := s.get(path+"?filter="+url.QueryEscape(tt.filter)).wantProblem(t, http.StatusBadRequest)
			if p["line"] == nil || p["column"] == nil {
				t.Errorf("%s: %s: no line or column: %v", path, tt.filter, p)
				continue
			}
			if text(p["line"]) != tt.line || tt.column != "" && text(p["column"]) != tt.column {
				t.Errorf("%s: %s: line %v, column %v; want %s, %s", path, tt.filter, p["line"], p["column"], tt.line, tt.column)
			}
		}
	}
}

func TestUnknownParameters(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, path := range []string{
		"/v1/events?limits=3", "/v1/events?limit=0", "/v1/events?limit=1001", "/v1/events?limit=x", "/v1/events?order=up",
		"/v1/events?view=xml", "/v1/events?cursor=abc", "/v1/events?since=soon", "/v1/events?since=1h&until=2h", "/v1/events?limit=1&limit=2",
		"/v1/events?transient=maybe", "/v1/events/volume?step=0s", "/v1/events/volume?by=actor", "/v1/events/volume?since=3650d&step=1s",
		"/v1/events/volume?limit=3", "/v1/events/tail?since=1h", "/v1/events/tail?after=x", "/v1/events/1?views=audit",
		"/v1/catalog?x=1", "/v1/tokens?offset=3", "/v1/sources?x", "/v1/settings?x", "/v1/journal?x",
	} {
		s.get(path).wantProblem(t, http.StatusBadRequest)
	}
	p := s.get("/v1/events?limits=3").wantProblem(t, http.StatusBadRequest)
	if !strings.Contains(p["detail"].(string), "limits") {
		t.Errorf("the detail does not name the parameter: %v", p["detail"])
	}
	s.get("/v1/events/999999").wantProblem(t, http.StatusNotFound)
	s.get("/v1/events/first").wantProblem(t, http.StatusNotFound)
	s.get("/v1/nothing").wantProblem(t, http.StatusNotFound)
	s.get("/v1/catalog/nothing").wantProblem(t, http.StatusNotFound)
	s.request(http.MethodPut, "/v1/catalog", nil).wantProblem(t, http.StatusMethodNotAllowed)
}

// TestCursors walks through all events, page by page, in both orders, while new
// ones come in; each way gives every event once.
func TestCursors(t *testing.T) {
	t.Parallel()
	s := start(t)
	for i := range 7 {
		s.emit(batchMedia, batch(events(fmt.Sprintf("c%d", i), 100)...))
	}
	const filter = `source == "urn:test" && data.n % 3 != 1`
	walk := func(order string, limit int) []string {
		var got []string
		cursor := ""
		for n := 0; ; n++ {
			parameters := []string{"filter", filter, "order", order, "limit", itoa(limit)}
			if cursor != "" {
				parameters = append(parameters, "cursor", cursor)
			}
			p := s.find(parameters...)
			if len(p.Events) > limit {
				t.Fatalf("%d events on a page of %d", len(p.Events), limit)
			}
			for _, e := range p.Events {
				got = append(got, text(e["sequence"]))
			}
			if n == 1 && order == "desc" {
				s.emit(eventMedia, anEvent(fmt.Sprintf("late-%d", limit), "data", object{"n": 0}))
			}
			if p.Next == nil {
				return got
			}
			cursor = *p.Next
		}
	}
	full := s.find("filter", filter, "order", "asc", "limit", "1000")
	if full.Next != nil || len(full.Events) != 7*67 {
		t.Fatalf("%d events, next %v", len(full.Events), full.Next)
	}
	var want []string
	for _, e := range full.Events {
		want = append(want, text(e["sequence"]))
	}
	if !slices.IsSorted(want) {
		t.Fatal("ascending order is not by sequence")
	}
	if diff := cmp.Diff(want, walk("asc", 13)); diff != "" {
		t.Errorf("asc: %s", diff)
	}
	slices.Reverse(want)
	for _, limit := range []int{7, 100} {
		got := walk("desc", limit)
		if limit == 100 {
			got = got[1:] // what came during the walk before
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("desc by %d: %s", limit, diff)
		}
	}
}

func TestSinceUntil(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.emit(batchMedia, batch(
		anEvent("t1", "time", "2026-01-01T10:00:00Z"), anEvent("t2", "time", "2026-01-01T11:00:00Z"),
		anEvent("t3", "time", "2026-01-01T12:00:00Z"), anEvent("now"),
	))
	for _, tt := range []struct {
		since, until string
		want         string
	}{
		{"2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z", "t2"},
		{"2026-01-01T12:00:00%2B01:00", "2026-01-01T12:00:00Z", "t2"},
		{"2026-01-01T10:00:00Z", "2026-01-01T12:00:00.000000001Z", "t3 t2 t1"},
		{"5m", "", "now"},
	} {
		r := s.get("/v1/events?filter=" + url.QueryEscape(`source == "urn:test"`) + "&since=" + tt.since + "&until=" + tt.until)
		var ids []string
		for _, e := range parse[page](t, r.body).Events {
			ids = append(ids, text(e["id"]))
		}
		if got := strings.Join(ids, " "); got != tt.want {
			t.Errorf("since %s until %s: %q, want %q", tt.since, tt.until, got, tt.want)
		}
	}
}

// TestVolume is zero-filled, aligned to UTC, and exclusive of until.
func TestVolume(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.emit(batchMedia, batch(
		anEvent("v1", "time", "2026-01-01T10:00:00Z", "severitytext", "warn"), anEvent("v2", "time", "2026-01-01T10:59:59.999Z"),
		anEvent("v3", "time", "2026-01-01T12:30:00Z"), anEvent("v4", "time", "2026-01-01T13:00:00Z"),
	))
	volume := func(query string) string {
		r := s.get("/v1/events/volume?" + query)
		if r.status != 200 {
			t.Fatalf("%s: %d %s", query, r.status, r.body)
		}
		return strings.TrimSpace(string(r.body))
	}
	for _, tt := range []struct{ query, want string }{
		{
			"since=2026-01-01T10:00:00Z&until=2026-01-01T13:00:00Z",
			`{"buckets":[{"time":"2026-01-01T10:00:00Z","counts":{"":2}},{"time":"2026-01-01T11:00:00Z","counts":{"":0}},{"time":"2026-01-01T12:00:00Z","counts":{"":1}}],"partial":false}`,
		},
		{
			"since=2026-01-01T10:00:00Z&until=2026-01-01T12:00:00Z&by=severity",
			`{"buckets":[{"time":"2026-01-01T10:00:00Z","counts":{"info":1,"warn":1}},{"time":"2026-01-01T11:00:00Z","counts":{"info":0,"warn":0}}],"partial":false}`,
		},
		{
			"since=2026-01-01T10:30:00Z&until=2026-01-01T11:30:00Z&step=30m&by=type",
			`{"buckets":[{"time":"2026-01-01T10:30:00Z","counts":{"com.example.thing":1}},{"time":"2026-01-01T11:00:00Z","counts":{"com.example.thing":0}}],"partial":false}`,
		},
		{
			"since=2026-01-01T10:30:00Z&until=2026-01-01T11:00:00Z&by=kind&filter=" + url.QueryEscape(`severity >= warn`),
			`{"buckets":[{"time":"2026-01-01T10:00:00Z","counts":{"":0}}],"partial":false}`,
		},
		{
			"since=2025-12-31T00:00:00Z&until=2026-01-02T00:00:00Z&step=1d",
			`{"buckets":[{"time":"2025-12-31T00:00:00Z","counts":{"":0}},{"time":"2026-01-01T00:00:00Z","counts":{"":4}}],"partial":false}`,
		},
	} {
		if got := volume(tt.query); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.query, got, tt.want)
		}
	}
	if n := len(parse[object](t, []byte(volume("")))["buckets"].([]any)); n != 24 && n != 25 {
		t.Errorf("%d hourly buckets of the last day", n)
	}
}

// TestViews holds the views to their seeds' members, in their order.
func TestViews(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.emit(eventMedia, anEvent("aud", "time", "2026-01-02T03:04:05.678901Z", "source", "urn:x/idp", "authid", "42", "authname", "ann", "authemail", "ann@example.com",
		"clientip", "192.0.2.7", "data", object{"reason": "why", "n": 1}))
	e := s.one(`id == "aud"`)
	path := "/v1/events/" + text(e["sequence"])
	got := strings.TrimSpace(string(s.get(path + "?view=audit").body))
	want := `{"pk":"aud","user":{"pk":42,"email":"ann@example.com","username":"ann"},"action":"com.example.thing","app":"tocsin.idp",` +
		`"context":{"n":1,"reason":"why"},"client_ip":"192.0.2.7","created":"2026-01-02T03:04:05.678901Z","expires":null,"brand":null}`
	if got != want {
		t.Errorf("audit view\n%s\nwant\n%s", got, want)
	}
	got = strings.TrimSpace(string(s.get(path + "?view=significant").body))
	want = `{"id":"aud","time":"2026-01-02T03:04:05.678Z","type":"com.example.thing","source":"urn:x/idp","specversion":"1.0","datacontenttype":"application/json","data":{"n":"1","reason":"why"}}`
	if got != want {
		t.Errorf("significant view\n%s\nwant\n%s", got, want)
	}
	list := s.get("/v1/events?view=audit&filter=" + url.QueryEscape(`id == "aud"`))
	if !strings.Contains(string(list.body), `"events":[{"pk":"aud",`) {
		t.Errorf("list in the audit view: %s", list.body)
	}
	if media := s.get(path).header.Get("Content-Type"); media != eventMedia {
		t.Errorf("one event has the media type %q", media)
	}
}

// TestTransient events are hidden unless they are asked for.
func TestTransient(t *testing.T) {
	t.Parallel()
	s := start(t)
	var name string
	for _, row := range parse[struct{ Items []object }](t, s.get("/v1/catalog").body).Items {
		if row["transient"] == true {
			name = text(row["type"])
		}
	}
	if name == "" {
		t.Fatal("no type is transient")
	}
	s.emit(eventMedia, anEvent("tr", "type", name, "data", object{}))
	if n := len(s.find("filter", `id == "tr"`).Events); n != 0 {
		t.Errorf("a transient event is shown")
	}
	found := s.find("filter", `id == "tr"`, "transient", "true").Events
	if len(found) != 1 {
		t.Fatalf("%d transient events, want 1", len(found))
	}
	if expiry, err := time.Parse(time.RFC3339Nano, text(found[0]["expirytime"])); err == nil && time.Until(expiry) > time.Hour {
		t.Errorf("it expires at %s, more than an hour from now", expiry)
	}
}

// TestCatalog has every member of DESIGN 8, and takes custom types.
func TestCatalog(t *testing.T) {
	t.Parallel()
	s := start(t)
	rows := parse[struct{ Items []object }](t, s.get("/v1/catalog").body).Items
	if len(rows) < 97 {
		t.Errorf("%d types, want at least the 97 of the seeds", len(rows))
	}
	for _, row := range rows {
		for _, name := range []string{"type", "kind", "description", "severity", "producer", "fields", "schema", "routes", "wired", "transient", "last_24h"} {
			if _, has := row[name]; !has {
				t.Errorf("%v has no %s", row["type"], name)
			}
		}
	}
	r := s.post("/v1/catalog", jsonMedia, `{"type":"acme.door","severity":"warn","description":"A door was opened.","fields":[{"name":"door","type":"string","required":true,"secret":false,"doc":"Which."},{"name":"badge","type":"string","secret":true,"doc":"Whose."}]}`)
	if r.status != http.StatusCreated {
		t.Fatalf("POST /v1/catalog: %d %s", r.status, r.body)
	}
	s.emit(eventMedia, anEvent("door", "type", "acme.door", "data", object{"door": "north", "badge": "A-77-SECRET"}))
	e := s.one(`type == "acme.door"`)
	if e["severitytext"] != "warn" || e["kind"] != "custom" || dig(e, "data.badge") != strings.Repeat("*", 20) {
		t.Errorf("an event of a custom type: %v", e)
	}
	if got := text(parse[object](t, s.get("/v1/catalog/acme.door").body)["last_24h"]); got != "1" {
		t.Errorf("last_24h is %s, want 1", got)
	}
	s.post("/v1/catalog", jsonMedia, `{"type":"login","description":"Shadows a built-in.","severity":"info","fields":[]}`).wantProblem(t, http.StatusConflict)
	s.post("/v1/catalog", jsonMedia, `{"type":"acme.x","description":"d","colour":"red"}`).wantProblem(t, http.StatusBadRequest)
	s.stop()
	s = startOn(t, s.data)
	if got := s.get("/v1/catalog/acme.door").status; got != 200 {
		t.Errorf("after a restart the custom type answers %d", got)
	}
}
