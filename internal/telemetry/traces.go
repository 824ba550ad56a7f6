package telemetry

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/tocsin-events/tocsin/internal/redact"
)

// Traces makes a span of every request, where a collector is configured. Its
// zero value, and a nil one, make none and cost nothing: no goroutine, no
// allocation. It is safe for concurrent use.
type Traces struct{ current atomic.Pointer[Pipeline] }

// Use lets new spans go to a pipeline, nil for none, and returns the one before,
// which the caller must close.
func (t *Traces) Use(p *Pipeline) (before *Pipeline) { return t.current.Swap(p) }

// Span is a span under way; the zero value is none.
type Span struct{ span trace.Span }

// scope names the part that makes the spans.
const scope = "github.com/tocsin-events/tocsin"

// maxText bounds what strangers choose, in bytes.
const maxText = 256

// Request begins the span of a request: a root, or where the request carries a
// W3C traceparent, a child of that. Attributes follow the semantic conventions
// for HTTP servers; the query, bodies and other headers are left out, because
// they may hold secrets. The address is the client's, behind proxies.
func (t *Traces) Request(r *http.Request, pattern, address, requestID string) (context.Context, Span) {
	if t == nil {
		return r.Context(), Span{}
	}
	p := t.current.Load()
	if p == nil {
		return r.Context(), Span{}
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	method, other := knownMethod(r.Method)
	name, scheme := method, "http"
	attributes := make([]attribute.KeyValue, 0, 10)
	if _, route, ok := strings.Cut(pattern, " "); ok {
		name = pattern
		attributes = append(attributes, semconv.HTTPRoute(route))
	}
	if other != "" {
		attributes = append(attributes, semconv.HTTPRequestMethodOriginal(clean(other)))
	}
	if r.TLS != nil {
		scheme = "https"
	}
	attributes = append(attributes, semconv.HTTPRequestMethodKey.String(method), semconv.URLPath(clean(r.URL.Path)), semconv.URLScheme(scheme),
		semconv.NetworkProtocolVersion(strings.TrimPrefix(r.Proto, "HTTP/")), semconv.HTTPResponseHeader("x-request-id", requestID))
	if address != "" {
		attributes = append(attributes, semconv.ClientAddress(address))
	}
	if agent := r.UserAgent(); agent != "" {
		attributes = append(attributes, semconv.UserAgentOriginal(clean(agent)))
	}
	ctx, span := p.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes...))
	return ctx, Span{span}
}

// Answered ends the span of a request. Only a fault of the server's own is an
// error (semantic conventions, HTTP server spans, status).
func (s Span) Answered(status int) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= http.StatusInternalServerError {
		s.span.SetStatus(codes.Error, "")
		s.span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(status)))
	}
	s.span.End()
}

// Part begins a span of a part of the work of a request, about a number of
// events where that is not 0, and returns what ends it. Without a traced request
// in ctx it does nothing. It has the form in which other packages ask for it.
func Part(ctx context.Context, name string, events int) (context.Context, func(error)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, untraced
	}
	ctx, span := parent.TracerProvider().Tracer(scope).Start(ctx, name)
	if events != 0 {
		span.SetAttributes(attribute.Int("tocsin.events", events))
	}
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, clean(err.Error()))
		}
		span.End()
	}
}

func untraced(error) {}

// knownMethod is a method as the conventions want it: "_OTHER" for what is none
// of HTTP, which is then given as well.
func knownMethod(method string) (known, other string) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return method, ""
	}
	return "_OTHER", method
}

// clean masks secrets in a text and bounds its length.
func clean(text string) string {
	text = redact.Text(text)
	if len(text) > maxText {
		text = text[:maxText]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
