package telemetry_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/telemetry"
	"github.com/tocsin-events/tocsin/internal/telemetry/otlptest"
)

const (
	sampledParent   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampledParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func traces(t *testing.T, c config.Traces, log *bytes.Buffer) (*telemetry.Traces, *telemetry.Pipeline) {
	t.Helper()
	if c.ServiceName == "" {
		c.ServiceName = "tocsin"
	}
	if problems := c.Validate(); len(problems) > 0 {
		t.Fatal(problems)
	}
	p, err := telemetry.OpenTraces(c, "v1", "h1", telemetry.NewLogger(log, "info"))
	if err != nil {
		t.Fatal(err)
	}
	var all telemetry.Traces
	all.Use(p)
	return &all, p
}

func request(all *telemetry.Traces, parent string, status int) {
	r := httptest.NewRequest(http.MethodPost, "/v1/events?access_token=s3cret", nil)
	r.Header.Set("Authorization", "Bearer s3cret")
	r.Header.Set("User-Agent", "test token=s3cret")
	if parent != "" {
		r.Header.Set("Traceparent", parent)
	}
	ctx, span := all.Request(r, "POST /v1/events", "192.0.2.7", "r1")
	_, end := telemetry.Part(ctx, "part", 3)
	end(errors.New("broken: password=s3cret"))
	span.Answered(status)
}

func TestSpans(t *testing.T) {
	collector := &otlptest.Receiver{}
	server := httptest.NewServer(collector)
	defer server.Close()
	headers := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(headers, []byte("# for the collector\n\nX-Key: k:1\r\nAuthorization: Basic abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, p := traces(t, config.Traces{Endpoint: server.URL, HeadersFile: headers, Sample: 1, ServiceName: "svc"}, &bytes.Buffer{})
	request(all, sampledParent, 503)
	p.Close(t.Context())

	spans := collector.Spans()
	if len(spans) != 2 {
		t.Fatalf("%d spans: %+v", len(spans), spans)
	}
	child, root := spans[0], spans[1]
	if root.Name != "POST /v1/events" || root.Kind != "SPAN_KIND_SERVER" || !root.Failed || root.Parent != "\xb7\xad\x6b\x71\x69\x20\x33\x31" ||
		child.Name != "part" || child.Parent != root.ID || child.Trace != root.Trace || !child.Failed || child.Attributes["tocsin.events"] != int64(3) {
		t.Errorf("spans: %+v", spans)
	}
	for key, want := range map[string]any{
		"http.request.method": "POST", "http.route": "/v1/events", "url.path": "/v1/events", "url.scheme": "http", "client.address": "192.0.2.7",
		"http.response.status_code": int64(503), "error.type": "503", "network.protocol.version": "1.1",
	} {
		if root.Attributes[key] != want {
			t.Errorf("attribute %s is %v, want %v", key, root.Attributes[key], want)
		}
	}
	if root.Resource["service.name"] != "svc" || root.Resource["service.version"] != "v1" || root.Resource["host.name"] != "h1" {
		t.Errorf("resource: %v", root.Resource)
	}
	for _, s := range spans {
		for key, v := range s.Attributes {
			if text, ok := v.(string); ok && strings.Contains(text, "s3cret") {
				t.Errorf("attribute %s tells a secret: %s", key, text)
			}
		}
	}
	got := collector.Requests()[0]
	if got.URL.Path != "/v1/traces" || got.Header.Get("X-Key") != "k:1" || got.Header.Get("Authorization") != "Basic abc" {
		t.Errorf("request: %s %v", got.URL, got.Header)
	}
}

func TestSampling(t *testing.T) {
	tests := []struct {
		name   string
		sample float64
		parent string
		least  int
		most   int
	}{
		{"all", 1, "", 200, 200},
		{"none", 0, "", 0, 0},
		{"half", 0.5, "", 60, 140}, // 100, and more than five deviations to both sides
		{"the caller wants it", 0, sampledParent, 200, 200},
		{"the caller does not want it", 1, unsampledParent, 0, 0},
		{"a broken parent", 0, "00-zz-01", 0, 0},
	}
	for _, tt := range tests {
		collector := &otlptest.Receiver{}
		server := httptest.NewServer(collector)
		all, p := traces(t, config.Traces{Endpoint: server.URL + "/custom", Sample: tt.sample}, &bytes.Buffer{})
		for range 200 {
			request(all, tt.parent, 200)
		}
		p.Close(t.Context())
		server.Close()
		if n := len(collector.Spans()) / 2; n < tt.least || n > tt.most {
			t.Errorf("%s: %d of 200 requests are traced, want %d to %d", tt.name, n, tt.least, tt.most)
		}
		if list := collector.Requests(); len(list) > 0 && list[0].URL.Path != "/custom" {
			t.Errorf("the path of the endpoint is not kept: %s", list[0].URL.Path)
		}
	}
}

// Without a collector nothing is made and nothing is allocated.
func TestTracesOff(t *testing.T) {
	p, err := telemetry.OpenTraces(config.Default().Traces, "v1", "h1", nil)
	if err != nil || p != nil {
		t.Fatalf("a pipeline without an endpoint: %v, %v", p, err)
	}
	p.Close(t.Context())
	r := httptest.NewRequest(http.MethodPost, "/v1/events", nil)
	r.Header.Set("Traceparent", sampledParent)
	for _, all := range []*telemetry.Traces{nil, {}} {
		if n := testing.AllocsPerRun(100, func() {
			ctx, span := all.Request(r, "POST /v1/events", "192.0.2.7", "r1")
			inner, end := telemetry.Part(ctx, "part", 3)
			if inner != ctx {
				t.Error("the context is another one")
			}
			end(nil)
			span.Answered(200)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// An outage is told when it begins and when it ends, not for every batch.
func TestOutageIsToldOnce(t *testing.T) {
	collector := &otlptest.Receiver{}
	collector.Answer(http.StatusForbidden)
	server := httptest.NewServer(collector)
	defer server.Close()
	var log bytes.Buffer
	all, p := traces(t, config.Traces{Endpoint: server.URL, Sample: 1}, &log)
	for range 3 {
		request(all, "", 200)
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	collector.Answer(http.StatusOK)
	request(all, "", 200)
	p.Close(t.Context())
	text := log.String()
	if len(collector.Requests()) != 4 || strings.Count(text, "traces can't be sent") != 1 || strings.Count(text, `"traces are sent again","lost_spans":6`) != 1 {
		t.Errorf("%d requests, log: %s", len(collector.Requests()), text)
	}
}

// A collector that takes and never answers holds neither requests nor Close up.
func TestStuckCollector(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	all, p := traces(t, config.Traces{Endpoint: server.URL, Sample: 1}, &bytes.Buffer{})
	began := time.Now()
	for range 20_000 { // far more than the queue holds
		request(all, "", 200)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p.Close(ctx)
	if took := time.Since(began); took > 8*time.Second { // one export alone would take 10 s
		t.Errorf("it took %s", took)
	}
}

func TestCollectorFiles(t *testing.T) {
	collector := &otlptest.Receiver{}
	server := httptest.NewTLSServer(collector)
	defer server.Close()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	all, p := traces(t, config.Traces{Endpoint: server.URL, CAFile: ca, Sample: 1}, &bytes.Buffer{})
	request(all, "", 200)
	p.Close(t.Context())
	if n := len(collector.Spans()); n != 2 {
		t.Errorf("%d spans over TLS", n)
	}
	for _, c := range []config.Traces{
		{CAFile: filepath.Join(dir, "absent")},
		{CAFile: file("no.pem", "no certificate")},
		{HeadersFile: filepath.Join(dir, "absent")},
		{HeadersFile: file("h1", "s3cret")},
		{HeadersFile: file("h2", "a b: s3cret")},
		{HeadersFile: file("h3", "a: s3cret\x01")},
	} {
		c.Endpoint = server.URL
		_, err := telemetry.OpenTraces(c, "", "", nil)
		if !errors.Is(err, event.ErrInvalid) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
