package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/telemetry/otlptest"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// posted sends one event, with headers, and gives what is recorded of it.
func posted(s *server, id string, headers ...string) object {
	s.t.Helper()
	r := s.post("/v1/events", eventMedia, `{"specversion":"1.0","id":"`+id+`","source":"/t","type":"traced.thing"}`, headers...)
	if r.status != http.StatusAccepted {
		s.t.Fatalf("%d %s", r.status, r.body)
	}
	return s.one(`id == "` + id + `"`)
}

// A request with an event is a tree of three spans, under the caller's span where
// it names one; the record says only what the sender said.
func TestTraceOfAnEvent(t *testing.T) {
	collector := &otlptest.Receiver{}
	web := httptest.NewServer(collector)
	defer web.Close()
	s := start(t, "traces: {endpoint: '"+web.URL+"', service_name: here}")
	e := posted(s, "with-parent", "Traceparent", traceparent)
	if _, invented := e["traceparent"]; invented {
		t.Errorf("the event has a traceparent that its sender did not give it: %v", e)
	}
	s.stop() // sends what waits

	spans := collector.Spans()
	at := slices.IndexFunc(spans, func(p otlptest.Span) bool {
		return p.Name == "POST /v1/events" && p.Parent == "\xb7\xad\x6b\x71\x69\x20\x33\x31"
	})
	if at < 0 {
		t.Fatalf("no span of the request among %d", len(spans))
	}
	root := spans[at]
	if root.Kind != "SPAN_KIND_SERVER" || root.Attributes["http.response.status_code"] != int64(202) || root.Resource["service.name"] != "here" {
		t.Errorf("root: %+v", root)
	}
	child := func(parent otlptest.Span, name string) otlptest.Span {
		t.Helper()
		for _, p := range spans {
			if p.Parent == parent.ID && p.Trace == parent.Trace && p.Name == name {
				return p
			}
		}
		t.Fatalf("%s has no child %s", parent.Name, name)
		return otlptest.Span{}
	}
	accept := child(root, "ingest.Accept")
	if record := child(accept, "journal.Append"); record.Attributes["tocsin.events"] != int64(1) {
		t.Errorf("append: %+v", record)
	}
	search := slices.IndexFunc(spans, func(p otlptest.Span) bool { return p.Name == "GET /v1/events" })
	if search < 0 {
		t.Fatal("no span of the search")
	}
	child(spans[search], "journal.Search")
}

// With a collector that never answers, requests are answered and a shutdown
// ends; a new configuration sends the spans elsewhere, and a wrong one changes
// nothing.
func TestTracesWithoutACollector(t *testing.T) {
	release := make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer stuck.Close()
	defer close(release)
	collector := &otlptest.Receiver{}
	web := httptest.NewServer(collector)
	defer web.Close()
	s := start(t, "traces: {endpoint: '"+stuck.URL+"'}")
	configure := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.data, "test.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.signal(syscall.SIGHUP)
	}
	posted(s, "stuck")

	configure("traces: {endpoint: '" + web.URL + "', headers_file: /nowhere}")
	eventually(t, "the wrong configuration is told", func() bool { return len(s.find("filter", `type == "configuration_error"`).Events) == 1 })
	configure("traces: {endpoint: '" + web.URL + "'}")
	eventually(t, "the new configuration holds", func() bool { return strings.Contains(s.log.String(), "configuration is reloaded") })
	posted(s, "free")
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > patience/2 {
		t.Errorf("the shutdown took %s", took)
	}
	if !slices.ContainsFunc(collector.Spans(), func(p otlptest.Span) bool { return p.Name == "POST /v1/events" }) {
		t.Errorf("no span came to the new collector: %v", collector.Spans())
	}
}
