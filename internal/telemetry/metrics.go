package telemetry

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the program's own figures, in a registry of their own.
type Metrics struct {
	Registry *prometheus.Registry

	events       *prometheus.CounterVec
	rejected     *prometheus.CounterVec
	append       prometheus.Histogram
	group        prometheus.Histogram
	lag          *prometheus.GaugeVec
	requests     *prometheus.HistogramVec
	tails        prometheus.Gauge
	reloadOK     prometheus.Gauge
	reloadedAt   prometheus.Gauge
	sourceErrors *prometheus.CounterVec
	told         *prometheus.CounterVec
	suppressed   *prometheus.CounterVec
	flows        flowMetrics
	attempts     *prometheus.CounterVec

	mu    sync.Mutex // guards types
	types map[string]bool
}

// maxTypes bounds the label "type", which strangers choose.
const maxTypes = 500

// NewMetrics registers every metric.
func NewMetrics(version string) *Metrics {
	r := prometheus.NewRegistry()
	m := &Metrics{
		Registry: r, types: map[string]bool{},
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tocsin_events_total", Help: "Events by type and outcome (recorded, duplicate, rejected). Types beyond the first 500 count as other.",
		}, []string{"type", "outcome"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tocsin_events_rejected_total", Help: "Rejected events by reason.",
		}, []string{"reason"}),
		append: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tocsin_journal_append_seconds", Help: "Time until a group of events was durable.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tocsin_journal_group_events", Help: "Events that were made durable together.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tocsin_follower_lag_events", Help: "Events that a follower of the journal has not read yet.",
		}, []string{"follower"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tocsin_http_request_seconds", Help: "Time to answer a request, by route and status class.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 10),
		}, []string{"route", "status"}),
		tails:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "tocsin_tails", Help: "Open live tails."}),
		reloadOK:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "tocsin_config_last_reload_success", Help: "1 if the last reload of the configuration succeeded."}),
		reloadedAt:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "tocsin_config_last_reload_timestamp_seconds", Help: "When the configuration was last loaded."}),
		sourceErrors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tocsin_source_errors_total", Help: "Failures of a source."}, []string{"source"}),
		told: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tocsin_notify_messages_total", Help: "Messages that rules made, by transport.",
		}, []string{"transport"}),
		suppressed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tocsin_notify_suppressed_total", Help: "Messages that were not made, by rule and reason.",
		}, []string{"rule", "reason"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tocsin_notify_attempts_total", Help: "Attempts to deliver a message, by transport and outcome (delivered, retrying, dead).",
		}, []string{"transport", "outcome"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tocsin_build_info", Help: "1, with the version as a label.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	r.MustRegister(m.events, m.rejected, m.append, m.group, m.lag, m.requests, m.tails, m.reloadOK, m.reloadedAt, m.sourceErrors, m.told, m.suppressed, m.attempts, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.flows = newFlowMetrics(r)
	return m
}

// Handler serves the metrics in the Prometheus text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{})
}

// CountEvent counts one event.
func (m *Metrics) CountEvent(typ, outcome, reason string) {
	m.events.WithLabelValues(m.boundType(typ), outcome).Inc()
	if reason != "" {
		m.rejected.WithLabelValues(reason).Inc()
	}
}

func (m *Metrics) boundType(typ string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.types[typ] {
		if len(m.types) >= maxTypes || typ == "" || len(typ) > 128 {
			return "other"
		}
		m.types[typ] = true
	}
	return typ
}

// CountRejected counts requests that were refused before an event was read.
func (m *Metrics) CountRejected(reason string) { m.rejected.WithLabelValues(reason).Inc() }

// Appended notes one durable group.
func (m *Metrics) Appended(events int, took time.Duration) {
	m.append.Observe(took.Seconds())
	m.group.Observe(float64(events))
}

// Lag notes how far a follower is behind.
func (m *Metrics) Lag(follower string, events uint64) {
	m.lag.WithLabelValues(follower).Set(float64(events))
}

// Request notes one answered request.
func (m *Metrics) Request(route string, status int, took time.Duration) {
	class := string([]byte{'0' + byte(status/100%10), 'x', 'x'})
	m.requests.WithLabelValues(route, class).Observe(took.Seconds())
}

// Tail notes that a live tail opened (1) or closed (-1).
func (m *Metrics) Tail(delta float64) { m.tails.Add(delta) }

// Reloaded notes the outcome of a reload.
func (m *Metrics) Reloaded(ok bool, at time.Time) {
	m.reloadOK.Set(0)
	if ok {
		m.reloadOK.Set(1)
		m.reloadedAt.Set(float64(at.Unix()))
	}
}

// SourceFailed counts a failure of a source.
func (m *Metrics) SourceFailed(source string) { m.sourceErrors.WithLabelValues(source).Inc() }

// Told counts a message that a rule made for a transport.
func (m *Metrics) Told(transport string) { m.told.WithLabelValues(transport).Inc() }

// Suppressed counts a message that a rule did not make, and why.
func (m *Metrics) Suppressed(rule, reason string) { m.suppressed.WithLabelValues(rule, reason).Inc() }

// Attempted counts an attempt to deliver a message.
func (m *Metrics) Attempted(transport, outcome string) {
	m.attempts.WithLabelValues(transport, outcome).Inc()
}
