// Package otlptest is a collector for tests.
//
// It promises: it takes OTLP over HTTP as the protocol says (protobuf, gzip),
// answers as it is told, and keeps what it was sent in the order of arrival. It
// is safe for concurrent use. Only tests import it.
package otlptest

import (
	"compress/gzip"
	"io"
	"net/http"
	"sync"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a span as it arrived; ids are bytes.
type Span struct {
	Trace, ID, Parent, Name string
	Kind                    string
	Failed                  bool
	Attributes              map[string]any
	Resource                map[string]any
}

// Receiver is an http.Handler that takes spans. Its zero value is ready.
type Receiver struct {
	mu       sync.Mutex // guards all below
	spans    []Span
	requests []*http.Request
	status   int
}

// Answer sets the status of further answers; 0 and 200 take the spans.
func (c *Receiver) Answer(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
}

// Spans are those that were taken.
func (c *Receiver) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Requests are all that came, without their bodies.
func (c *Receiver) Requests() []*http.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*http.Request(nil), c.requests...)
}

// ServeHTTP takes one export.
func (c *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in, err := decode(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, r)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case c.status != 0 && c.status != http.StatusOK:
		http.Error(w, "told to", c.status)
		return
	}
	for _, rs := range in.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				c.spans = append(c.spans, Span{
					Trace: string(s.GetTraceId()), ID: string(s.GetSpanId()), Parent: string(s.GetParentSpanId()), Name: s.GetName(),
					Kind: s.GetKind().String(), Failed: s.GetStatus().GetCode() == 2,
					Attributes: plain(s.GetAttributes()), Resource: plain(rs.GetResource().GetAttributes()),
				})
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func decode(r *http.Request) (*collector.ExportTraceServiceRequest, error) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		body = z
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	in := &collector.ExportTraceServiceRequest{}
	return in, proto.Unmarshal(raw, in)
}

func plain(list []*common.KeyValue) map[string]any {
	all := map[string]any{}
	for _, a := range list {
		all[a.GetKey()] = value(a.GetValue())
	}
	return all
}

func value(v *common.AnyValue) any {
	switch v.GetValue().(type) {
	case *common.AnyValue_IntValue:
		return v.GetIntValue()
	case *common.AnyValue_BoolValue:
		return v.GetBoolValue()
	case *common.AnyValue_ArrayValue:
		var all []any
		for _, item := range v.GetArrayValue().GetValues() {
			all = append(all, value(item))
		}
		return all
	}
	return v.GetStringValue()
}
