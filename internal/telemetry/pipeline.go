package telemetry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/net/http/httpguts"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

const (
	// exportTime is how long one batch may take, with its retries. Spans that
	// come while the queue of 2,048 is full are dropped: nobody waits for them.
	exportTime = 10 * time.Second
	// FlushTime is how long Close should be given.
	FlushTime = 5 * time.Second
)

// Pipeline carries spans to a collector, in batches, from one goroutine.
type Pipeline struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	client   *http.Client
	stop     context.CancelFunc // breaks off what is being sent
}

// OpenTraces makes a pipeline to the configured collector; nil where there is
// none. It does not wait for the collector. Its errors, of class
// event.ErrInvalid, are about the files that the configuration names.
func OpenTraces(c config.Traces, version, host string, log *slog.Logger) (*Pipeline, error) {
	if c.Endpoint == "" {
		return nil, nil //nolint:nilnil // no pipeline is what is asked for
	}
	headers, err := readHeaders(c.HeadersFile)
	if err != nil {
		return nil, err
	}
	client, err := collectorClient(c.CAFile)
	if err != nil {
		return nil, err
	}
	exporter, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(tracesURL(c.Endpoint)), otlptracehttp.WithHeaders(headers),
		otlptracehttp.WithHTTPClient(client), otlptracehttp.WithCompression(otlptracehttp.GzipCompression), otlptracehttp.WithTimeout(exportTime),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Second, MaxInterval: exportTime / 2, MaxElapsedTime: exportTime}))
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	running, stop := context.WithCancel(context.Background())
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.Sample))),
		sdktrace.WithResource(resource.NewWithAttributes(semconv.SchemaURL,
			semconv.ServiceName(c.ServiceName), semconv.ServiceVersion(version), semconv.HostName(host))),
		sdktrace.WithBatcher(&outages{SpanExporter: exporter, running: running, log: log}, sdktrace.WithExportTimeout(exportTime)),
	)
	return &Pipeline{provider: provider, tracer: provider.Tracer(scope), client: client, stop: stop}, nil
}

// Close sends what waits, until ctx ends, and ends the pipeline's goroutine. A
// nil pipeline is closed already. What could not be sent is no error: outages
// are logged when they begin.
func (p *Pipeline) Close(ctx context.Context) {
	if p == nil {
		return
	}
	_ = p.provider.Shutdown(ctx) // only the deadline, or what is logged already
	p.stop()
	p.client.CloseIdleConnections()
}

// Flush sends what waits now. Its error is that ctx has ended.
func (p *Pipeline) Flush(ctx context.Context) error { return p.provider.ForceFlush(ctx) }

// tracesURL completes an endpoint without a path with the standard's one
// (OTLP 1.x, OTLP/HTTP request).
func tracesURL(endpoint string) string {
	if u, err := url.Parse(endpoint); err == nil && strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
		return u.String()
	}
	return endpoint
}

// outages passes spans on and tells once when that begins to fail, and once when
// it works again. It reports no error upwards: nobody else is to log it.
type outages struct {
	sdktrace.SpanExporter
	running context.Context //nolint:containedctx // ends with the pipeline, whose part this is
	log     *slog.Logger

	mu   sync.Mutex // guards lost
	lost int        // spans since the outage began
}

func (o *outages) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(o.running, cancel)()
	err := o.SpanExporter.ExportSpans(ctx, spans)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil:
		if o.lost == 0 {
			o.log.WarnContext(ctx, "traces can't be sent", "err", err)
		}
		o.lost += len(spans)
	case o.lost > 0:
		o.log.InfoContext(ctx, "traces are sent again", "lost_spans", o.lost)
		o.lost = 0
	}
	return nil
}

// collectorClient trusts the system's authorities, or those of a file alone. It
// follows no redirect, so that the headers go nowhere else.
func collectorClient(caFile string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return nil, event.Invalidf("traces.ca_file: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, event.Invalidf("traces.ca_file: %s holds no certificate in PEM form", caFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport: transport, Timeout: exportTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// readHeaders reads lines of the form "Name: value"; empty ones and those that
// begin with # are skipped. Values are secrets: no error shows one.
func readHeaders(file string) (map[string]string, error) {
	headers := map[string]string{}
	if file == "" {
		return headers, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, event.Invalidf("traces.headers_file: %w", err)
	}
	n := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, event.Invalidf("traces.headers_file: %s: line %d is not of the form Name: value", file, n)
		}
		headers[name] = value
	}
	return headers, nil
}
