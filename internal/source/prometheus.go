package source

import (
	"context"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: Alertmanager's own API: Prometheus sends to /api/v2/alerts, as do
// vmalert, Loki, Thanos and amtool. It is authenticated by a token of this server.
// Makes: alert when an alert begins to fire, alert_resolved when it is over: it
// was sent as resolved, or its end has passed. What fires is kept in the state
// database.
// Leaves out: silences, inhibitions and groups. Rules of this server do that.
// Reference: prometheus.io/docs/alerting/latest/alerts_api.
func init() {
	register("prometheus", "Alerts of Prometheus, by Alertmanager's API at /api/v2/alerts.", prometheusOptions{
		Enabled: true, ResolveTimeout: config.Duration(5 * time.Minute),
	}, newPrometheus)
}

type prometheusOptions struct {
	Enabled        bool            `yaml:"enabled" doc:"Whether alerts are taken."`
	ResolveTimeout config.Duration `yaml:"resolve_timeout" doc:"How long an alert without an end lasts when it is not sent again; at least 1s."`
}

// Alerts keeps the alerts of /api/v2/alerts and ends those that are over, while
// Run runs; told is called whenever something was recorded.
type Alerts interface {
	Run(ctx context.Context, resolveTimeout time.Duration, told func()) error
}

type prometheus struct{ prometheusOptions }

func newPrometheus(o prometheusOptions) (Source, error) {
	if time.Duration(o.ResolveTimeout) < time.Second {
		return nil, event.Invalidf("resolve_timeout: %s is shorter than 1s", o.ResolveTimeout)
	}
	return &prometheus{o}, nil
}

// Run implements Source.
func (p *prometheus) Run(ctx context.Context, env *Env) error {
	if env.Alerts == nil {
		env.Status(Unavailable, "nothing takes alerts here")
		<-ctx.Done()
		return nil
	}
	return env.Alerts.Run(ctx, time.Duration(p.ResolveTimeout), env.Told)
}
