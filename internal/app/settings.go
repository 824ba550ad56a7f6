package app

import (
	"context"

	"github.com/tocsin-events/tocsin/internal/config"
)

// settingsChanged puts settings to work that somebody has changed.
func (a *App) settingsChanged(ctx context.Context, keep config.Retention, server config.SMTP) error {
	a.keep.Store(&keep)
	a.mu.Lock()
	c := *a.current.Load()
	c.SMTP = server
	a.current.Store(&c)
	a.mu.Unlock()
	return a.notify.Defaults(ctx) // there may be a mail server now
}

// settle completes a configuration that was read anew by the settings. Where it
// gives no address, that of this start stays: what the settings say of it holds
// from the next one on.
func (a *App) settle(ctx context.Context, c *config.Config) error {
	running, own := a.current.Load(), c.Significant.SourceBase != c.PublicURL
	if err := a.settings.Overlay(ctx, c); err != nil {
		return err
	}
	if c.Origin["public_url"] == "" {
		c.PublicURL = running.PublicURL
		if !own {
			c.Significant.SourceBase = running.PublicURL
		}
	}
	return nil
}
