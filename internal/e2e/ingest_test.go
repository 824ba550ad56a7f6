package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestIngestModes sends one event in each way that the CloudEvents HTTP binding
// knows, and finds it again as it was sent.
func TestIngestModes(t *testing.T) {
	t.Parallel()
	s := start(t)
	data := object{"name": "Zoë", "ok": true}
	want := func(t *testing.T, id string, members object) {
		t.Helper()
		e := s.one(fmt.Sprintf("id == %q", id))
		for name, value := range members {
			if diff := cmp.Diff(value, dig(e, name)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
	t.Run("structured", func(t *testing.T) {
		s.emit(eventMedia+"; charset=UTF-8", anEvent("m1", "subject", "a/1", "data", data, "comexample", "x"))
		want(t, "m1", object{"subject": "a/1", "data": data, "comexample": "x", "kind": "custom", "severitytext": "info", "specversion": "1.0"})
	})
	t.Run("batch", func(t *testing.T) {
		s.emit(batchMedia, batch(anEvent("m2", "data", data), anEvent("m3", "data_base64", "AAECAw==")))
		want(t, "m2", object{"data": data})
		want(t, "m3", object{"data_base64": "AAECAw==", "data": nil})
	})
	t.Run("lines", func(t *testing.T) {
		s.emit(linesMedia, anEvent("m4", "data", "text")+"\r\n\n"+anEvent("m5", "data", nil))
		want(t, "m4", object{"data": "text"})
		want(t, "m5", object{"data": nil})
	})
	binary := func(id, media, body string, headers ...string) {
		r := s.post("/v1/events", media, body, append([]string{
			"ce-specversion", "1.0", "ce-id", id, "ce-source", "urn:test", "ce-type", "com.example.thing",
		}, headers...)...)
		if r.status != http.StatusAccepted {
			t.Errorf("%s: %d %s", id, r.status, r.body)
		}
	}
	t.Run("binary", func(t *testing.T) {
		binary("m6", jsonMedia, `{"name":"Zoë","ok":true}`, "ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80", "ce-time", "2026-11-21T10:00:00+02:00", "ce-comexample", "a%25b")
		want(t, "m6", object{"data": data, "subject": "Euro € 😀", "time": "2026-11-21T08:00:00Z", "datacontenttype": jsonMedia, "comexample": "a%b"})
		binary("m7", "text/plain; charset=utf-8", "Hello, 🌎!")
		want(t, "m7", object{"data": "Hello, 🌎!", "datacontenttype": "text/plain; charset=utf-8"})
		binary("m8", "application/octet-stream", "\x00\x01\xff")
		want(t, "m8", object{"data_base64": "AAH/"})
		binary("m9", "application/vnd.example+json", `[1,2]`, "ce-severitynumber", "17")
		want(t, "m9", object{"severitytext": "error"})
	})
	t.Run("token in the query", func(t *testing.T) {
		r := s.request(http.MethodPost, "/v1/events?access_token="+url.QueryEscape(s.token), strings.NewReader(anEvent("m10")), "Content-Type", eventMedia, "Authorization", "")
		if r.status != http.StatusAccepted {
			t.Fatalf("%d %s", r.status, r.body)
		}
		s.request(http.MethodGet, "/v1/events?access_token="+url.QueryEscape(s.token), nil, "Authorization", "").wantProblem(t, http.StatusUnauthorized)
	})
}

// TestAnswer holds the answer to the letter of DESIGN 8.
func TestAnswer(t *testing.T) {
	t.Parallel()
	s := start(t)
	last := parse[object](t, s.get("/v1/journal").body)["last"].(string)
	seq := func(n int) string {
		var at int
		if _, err := fmt.Sscanf(last, "%d", &at); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%020d", at+n)
	}
	check := func(r reply, status int, media, want string) {
		t.Helper()
		if r.status != status || r.header.Get("Content-Type") != media {
			t.Errorf("status %d, %s; want %d, %s", r.status, r.header.Get("Content-Type"), status, media)
		}
		if got := strings.TrimSpace(string(r.body)); got != want {
			t.Errorf("answer\n%s\nwant\n%s", got, want)
		}
	}
	check(s.post("/v1/events", eventMedia, anEvent("a", "data", 1)), 202, jsonMedia,
		`{"accepted":1,"duplicates":0,"rejected":0,"results":[{"index":0,"id":"a","sequence":"`+seq(1)+`","duplicate":false}]}`)
	check(s.post("/v1/events", eventMedia, anEvent("a", "data", 1)), 202, jsonMedia,
		`{"accepted":0,"duplicates":1,"rejected":0,"results":[{"index":0,"id":"a","sequence":"`+seq(1)+`","duplicate":true}]}`)
	check(s.post("/v1/events", eventMedia, anEvent("a", "data", 2)), 202, jsonMedia,
		`{"accepted":0,"duplicates":1,"rejected":0,"results":[{"index":0,"id":"a","sequence":"`+seq(1)+`","duplicate":true,"conflict":true}]}`)
	check(s.post("/v1/events", batchMedia, batch(anEvent("b"), anEvent("", "id", ""), anEvent("a", "data", 1), anEvent("b"), `7`, anEvent("c", "time", "yesterday"))), 202, jsonMedia,
		`{"accepted":1,"duplicates":2,"rejected":3,"results":[`+
			`{"index":0,"id":"b","sequence":"`+seq(2)+`","duplicate":false},`+
			`{"index":1,"error":"id is missing or empty"},`+
			`{"index":2,"id":"a","sequence":"`+seq(1)+`","duplicate":true},`+
			`{"index":3,"id":"b","sequence":"`+seq(2)+`","duplicate":true},`+
			`{"index":4,"error":"an event must be a JSON object"},`+
			`{"index":5,"error":"attribute \"time\": \"yesterday\" is not an RFC 3339 time such as 2026-11-21T10:00:00Z"}]}`)
	p := s.post("/v1/events", batchMedia, batch(anEvent("d", "source", nil), `{}`)).wantProblem(t, 400)
	if dig(p, "rejected") == nil || len(p["results"].([]any)) != 2 {
		t.Errorf("a refused batch does not say what became of each event: %v", p)
	}
	if n := len(s.find("filter", `source == "urn:test"`).Events); n != 2 {
		t.Errorf("%d events are recorded, want 2", n)
	}
}

// TestHandshake is that of webhook senders (CloudEvents HTTP 1.1 Web Hooks, 4).
func TestHandshake(t *testing.T) {
	t.Parallel()
	s := start(t)
	r := s.request(http.MethodOptions, "/v1/events", nil, "WebHook-Request-Origin", "sender.example.com", "WebHook-Request-Rate", "120")
	if r.status != 200 || r.header.Get("WebHook-Allowed-Origin") != "sender.example.com" || r.header.Get("WebHook-Allowed-Rate") != "120" {
		t.Errorf("%d %v", r.status, r.header)
	}
	if allow := r.header.Get("Allow"); !strings.Contains(allow, "POST") {
		t.Errorf("Allow %q does not name POST", allow)
	}
	r = s.request(http.MethodOptions, "/v1/events", nil, "WebHook-Request-Origin", "sender.example.com")
	if got := r.header.Get("WebHook-Allowed-Rate"); got != "*" {
		t.Errorf("WebHook-Allowed-Rate %q, want *", got)
	}
}

// TestBadInput sends every sort of bad input: each gets a clear problem, the
// server goes on, and a good event that comes along in a batch is kept.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := start(t)
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	for _, tt := range []struct {
		name, body, says string
		broken           bool // no JSON: what comes behind it in a batch can't be read
	}{
		{"empty", ``, "", true},
		{"truncated", `{"specversion":"1.0","id":"x","sou`, "", true},
		{"no object", `"text"`, "object", false},
		{"duplicate key", `{"specversion":"1.0","id":"1","id":"2","source":"urn:test","type":"t"}`, "id", true},
		{"duplicate key in data", `{"specversion":"1.0","id":"1","source":"urn:test","type":"t","data":{"a":1,"a":2}}`, "a", true},
		{"invalid UTF-8", "{\"specversion\":\"1.0\",\"id\":\"\xff\xfe\",\"source\":\"urn:test\",\"type\":\"t\"}", "UTF-8", true},
		{"invalid UTF-8 in data", "{\"specversion\":\"1.0\",\"id\":\"u\",\"source\":\"urn:test\",\"type\":\"t\",\"data\":\"\xc0\x80\"}", "UTF-8", true},
		{"lone surrogate", anEventRaw(`"data":"\ud800"`), "", true},
		{"NUL byte", "{\"specversion\":\"1.0\",\x00\"id\":\"n\"}", "", true},
		{"NUL in an attribute", anEvent("bad", "subject", "a\x00b"), "U+0000", false},
		{"deep nesting", anEventRaw(`"data":` + deep), "deep", true},
		{"deep nesting of objects", anEventRaw(`"data":` + strings.Repeat(`{"a":`, 100_000) + `1` + strings.Repeat("}", 100_000)), "deep", true},
		{"wrong specversion", anEvent("bad", "specversion", "0.3"), "specversion", false},
		{"number as specversion", anEvent("bad", "specversion", 1.0), "specversion", false},
		{"no specversion", anEvent("bad", "specversion", nil), "specversion", false},
		{"empty id", anEvent(""), "id", false},
		{"number as id", anEvent("bad", "id", 7), "id", false},
		{"no type", anEvent("bad", "type", nil), "type", false},
		{"empty source", anEvent("bad", "source", ""), "source", false},
		{"source is no URI", anEvent("bad", "source", "a b"), "source", false},
		{"huge number as attribute", anEventRaw(`"comexample":123456789012345678901234567890`), "comexample", false},
		{"fraction as attribute", anEventRaw(`"comexample":1.5`), "comexample", false},
		{"object as attribute", anEventRaw(`"comexample":{}`), "comexample", false},
		{"upper case attribute", anEventRaw(`"comExample":"x"`), "comExample", false},
		{"time out of range", anEvent("bad", "time", "9999-12-31T23:59:59Z"), "time", false},
		{"time before the range", anEvent("bad", "time", "0001-01-01T00:00:00Z"), "time", false},
		{"no such time", anEvent("bad", "time", "2026-02-30T00:00:00Z"), "time", false},
		{"data twice", anEvent("bad", "data", 1, "data_base64", "AA=="), "data", false},
		{"bad base64", anEvent("bad", "data_base64", "=!"), "base64", false},
		{"unknown severity", anEvent("bad", "severitytext", "fatal"), "severitytext", false},
		{"severities disagree", anEvent("bad", "severitytext", "info", "severitynumber", 17), "agree", false},
		{"number beyond every float", anEventRaw(`"data":1e400`), "number", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := s.post("/v1/events", eventMedia, tt.body).wantProblem(t, http.StatusBadRequest)
			if !strings.Contains(p["detail"].(string), tt.says) {
				t.Errorf("the detail %q does not mention %q", p["detail"], tt.says)
			}
			good := "good-" + strings.ReplaceAll(tt.name, " ", "-")
			if tt.body != "" {
				r := s.post("/v1/events", batchMedia, batch(anEvent(good), tt.body, anEvent(good+"-2")))
				if r.status != http.StatusAccepted {
					t.Fatalf("in a batch: %d %s", r.status, clip(r.body))
				}
				a := parse[object](t, r.body)
				want := map[bool]string{false: "2", true: "1"}[tt.broken]
				if text(a["accepted"]) != want || text(a["rejected"]) != "1" {
					t.Errorf("in a batch: accepted %v, want %s; rejected %v, want 1: %s", a["accepted"], want, a["rejected"], clip(r.body))
				}
				s.one(fmt.Sprintf("id == %q", good))
			}
			if !strings.ContainsAny(tt.body, "\r\n") && tt.body != "" {
				a := s.emit(linesMedia, anEvent(good+"-3")+"\n"+tt.body+"\n"+anEvent(good+"-4"))
				if text(a["accepted"]) != "2" || text(a["rejected"]) != "1" {
					t.Errorf("in lines: %v", a)
				}
			}
		})
	}
	if found := s.find("filter", `id == "bad" || id == "raw"`).Events; len(found) > 0 {
		t.Errorf("bad events were recorded: %v", found)
	}
	for _, media := range []string{"text/plain", "application/xml", "application/cloudevents+avro", jsonMedia, ""} {
		s.post("/v1/events", media, anEvent("x")).wantProblem(t, http.StatusUnsupportedMediaType)
	}
	s.post("/v1/events", eventMedia+"; charset=latin1", anEvent("x")).wantProblem(t, http.StatusUnsupportedMediaType)
	s.post("/v1/events", eventMedia, anEvent("bad")+"x").wantProblem(t, http.StatusBadRequest)
	s.post("/v1/events", batchMedia, `{"a":1}`).wantProblem(t, http.StatusBadRequest)
	s.post("/v1/events", batchMedia, `[]`).wantProblem(t, http.StatusBadRequest)
	s.post("/v1/events", jsonMedia, `{"a":1,}`, "ce-specversion", "1.0", "ce-id", "x", "ce-source", "urn:test", "ce-type", "t").wantProblem(t, http.StatusBadRequest)
	s.post("/v1/events", jsonMedia, `{}`, "ce-specversion", "1.0", "ce-id", "x", "ce-source", "urn:test", "ce-type", "t", "ce-subject", "%zz").wantProblem(t, http.StatusBadRequest)
	s.post("/v1/events?acess_token=x", eventMedia, anEvent("x")).wantProblem(t, http.StatusBadRequest)
}

// anEventRaw is an event with members that encoding/json would not write.
func anEventRaw(members string) string {
	return `{"specversion":"1.0","id":"raw","source":"urn:test","type":"com.example.thing",` + members + `}`
}

// TestHugeNumbersInData are kept digit by digit: data belongs to the sender.
func TestHugeNumbersInData(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.emit(eventMedia, anEventRaw(`"data":{"n":123456789012345678901234567890.125,"e":1e300}`))
	r := s.get("/v1/events?filter=" + url.QueryEscape(`id == "raw"`))
	for _, digits := range []string{"123456789012345678901234567890.125", "1e300"} {
		if !strings.Contains(string(r.body), digits) {
			t.Errorf("%s is gone: %s", digits, r.body)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := start(t)
	filler := strings.Repeat("x", 1<<20)
	p := s.post("/v1/events", eventMedia, anEvent("big", "data", filler)).wantProblem(t, http.StatusBadRequest)
	if !strings.Contains(p["detail"].(string), "ingest.max_event") {
		t.Errorf("the detail does not name the limit: %v", p["detail"])
	}
	s.emit(eventMedia, anEvent("fits", "data", filler[:1<<20-200]))
	a := s.emit(batchMedia, batch(anEvent("beside"), anEvent("big", "data", filler)))
	if text(a["accepted"]) != "1" || text(a["rejected"]) != "1" {
		t.Errorf("a batch with an event that is too large: %v", a)
	}
	s.post("/v1/events", eventMedia, "", "ce-specversion", "1.0") // nothing but headers
	s.post("/v1/events", "text/plain", filler+"x", "ce-specversion", "1.0", "ce-id", "b", "ce-source", "urn:test", "ce-type", "t").wantProblem(t, http.StatusBadRequest)
	one := anEvent("n", "data", filler[:1<<19])
	many := make([]string, 34)
	for i := range many {
		many[i] = one
	}
	for _, media := range []string{eventMedia, batchMedia} {
		s.post("/v1/events", media, batch(many...)).wantProblem(t, http.StatusRequestEntityTooLarge)
	}
	if n := len(s.find("filter", `id == "n"`).Events); n != 0 {
		t.Errorf("%d events of a refused batch were recorded", n)
	}
	// Lines are durable piece by piece: what came before the limit is kept.
	r := s.post("/v1/events", linesMedia, strings.Join(many, "\n"))
	if r.status != http.StatusAccepted || !strings.Contains(string(r.body), `"error":"nothing behind this line was read`) {
		t.Errorf("lines beyond the limit: %d %s", r.status, clip(r.body[max(0, len(r.body)-400):]))
	}
}

// TestSlowBody sends a body that never ends: it is broken off by its deadline,
// and others are served meanwhile.
func TestSlowBody(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a deadline of 30 s")
	}
	t.Parallel()
	s := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	fmt.Fprintf(conn, "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\n{", s.token, eventMedia)
	s.emit(eventMedia, anEvent("meanwhile"))
	if err := conn.SetReadDeadline(began.Add(45 * time.Second)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status %d, want 408", resp.StatusCode)
	}
	if took := time.Since(began); took < 25*time.Second || took > 40*time.Second {
		t.Errorf("answered after %s, want about 30s", took)
	}
}

// TestServersOwn holds back what only the server may say of an event.
func TestServersOwn(t *testing.T) {
	t.Parallel()
	s := start(t)
	own := strings.TrimSuffix(text(s.one(`type == "server.ready"`)["source"]), "/server")
	for _, source := range []string{own, own + "/server", own + "/identity"} {
		s.post("/v1/events", eventMedia, anEvent("x", "source", source)).wantProblem(t, http.StatusForbidden)
	}
	a := s.emit(batchMedia, batch(anEvent("y"), anEvent("x", "source", own+"/server")))
	if text(a["rejected"]) != "1" {
		t.Errorf("the server's own source in a batch: %v", a)
	}
	forbidden := []any{
		"sequence", "00000000000000000099", "recordedtime", "2001-01-01T00:00:00Z", "brand", "acme", "causationdepth", 7,
		"geocountry", "XX", "geocity", "Nowhere", "geocontinent", "YY", "geolat", "1", "geolon", "2",
		"asn", "64500", "asorg", "None", "asnetwork", "192.0.2.0/24", "recordedby", "me",
	}
	check := func(id string, kept bool) {
		t.Helper()
		e := s.one(fmt.Sprintf("id == %q", id))
		for i := 0; i < len(forbidden); i += 2 {
			name := forbidden[i].(string)
			always := name == "sequence" || name == "recordedtime" || name == "recordedby"
			if same := text(e[name]) == text(forbidden[i+1]); same != (kept && !always) {
				t.Errorf("%s: %s is %v; kept: %v", id, name, e[name], same)
			}
		}
	}
	s.emit(eventMedia, anEvent("z", forbidden...))
	check("z", false)
	admin := s.token
	s.token = s.newToken("peer", "forward", "emit")
	s.emit(eventMedia, anEvent("f", forbidden...))
	s.token = admin
	check("f", true)

	// The depth is looked up, and a loop ends.
	s.emit(eventMedia, anEvent("c0"))
	for i := 1; i <= 8; i++ {
		s.emit(eventMedia, anEvent(fmt.Sprintf("c%d", i), "causationid", fmt.Sprintf("c%d", i-1)))
	}
	if got := text(s.one(`id == "c8"`)["causationdepth"]); got != "8" {
		t.Errorf("causationdepth %s, want 8", got)
	}
	s.post("/v1/events", eventMedia, anEvent("c9", "causationid", "c8")).wantProblem(t, http.StatusForbidden)
}

// TestNoChange refuses every attempt to change what is recorded, and records it.
func TestNoChange(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete} {
		r := s.request(method, "/v1/events/1", strings.NewReader(`{}`), "Content-Type", jsonMedia)
		r.wantProblem(t, http.StatusMethodNotAllowed)
		if r.header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", method)
		}
		e := s.one(fmt.Sprintf(`type == "suspicious_request" && data.method == %q`, method))
		if dig(e, "data.path") != "/v1/events/1" || e["kind"] != "audit" || e["clientip"] != "127.0.0.1" || e["authtype"] != "api_key" {
			t.Errorf("%s: %v", method, e)
		}
	}
	s.request(http.MethodDelete, "/v1/events", nil).wantProblem(t, http.StatusMethodNotAllowed)
	s.one(`type == "suspicious_request" && data.path == "/v1/events"`)
}
