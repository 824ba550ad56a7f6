package app

import (
	"context"

	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/state"
)

// openFlow makes what runs flows.
func (a *App) openFlow(ctx context.Context, key state.Key, filters *filter.Env) (*flow.Engine, error) {
	c, hands := &a.o.Config, flowHands{a.notify, a.identity}
	return flow.New(ctx, flow.Options{
		State: a.state, Journal: a.journal, Catalog: a.catalog, Filters: filters, Key: key, Source: c.PublicURL, Host: a.host, Version: a.o.Version,
		Owner: a.host + ":" + c.Data, Limits: a.flowLimits, HTTP: a.egress.RoundTripper(), HTTPWith: a.egress.RoundTripperWith, Raise: a.ingest.Own,
		Notifier: hands, Silencer: hands, Suspender: hands,
		Metrics: a.metrics, Lag: func(n uint64) { a.metrics.Lag("flow", n) }, Logger: a.log.With("component", "flow"),
	})
}
