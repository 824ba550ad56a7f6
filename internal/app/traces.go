package app

import (
	"context"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/telemetry"
)

func (a *App) openTraces(c *config.Config) (*telemetry.Pipeline, error) {
	return telemetry.OpenTraces(c.Traces, a.o.Version, a.host, a.log.With("component", "traces"))
}

// closeTraces sends what waits in a pipeline, for a while.
func (a *App) closeTraces(p *telemetry.Pipeline) {
	ctx, cancel := context.WithTimeout(context.Background(), telemetry.FlushTime)
	defer cancel()
	p.Close(ctx)
}

// CheckTraces finds mistakes in the files that the configuration names for
// traces, for tocsin check.
func CheckTraces(c config.Traces) error {
	p, err := telemetry.OpenTraces(c, "", "", nil)
	if err != nil {
		return err
	}
	p.Close(context.Background())
	return nil
}
