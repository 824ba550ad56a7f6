package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// flowMetrics are about triggers and runs.
type flowMetrics struct {
	skipped *prometheus.CounterVec
	runs    *prometheus.HistogramVec
}

func newFlowMetrics(r *prometheus.Registry) flowMetrics {
	m := flowMetrics{
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tocsin_trigger_skipped_total", Help: "Events and slots for which a trigger did not run, by reason.",
		}, []string{"trigger", "reason"}),
		runs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tocsin_flow_run_seconds", Help: "How long the last attempt of a run took, by flow and what it came to (completed, faulted, cancelled).",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}, []string{"flow", "state"}),
	}
	r.MustRegister(m.skipped, m.runs)
	return m
}

// Skipped counts events and slots for which a trigger did not run.
func (m *Metrics) Skipped(trigger, reason string, n int) {
	m.flows.skipped.WithLabelValues(trigger, reason).Add(float64(n))
}

// Ran notes a run of a flow that is over.
func (m *Metrics) Ran(flow, state string, took time.Duration) {
	m.flows.runs.WithLabelValues(flow, state).Observe(took.Seconds())
}
