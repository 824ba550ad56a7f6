package app

import (
	"context"
	"errors"
	"fmt"

	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/source"
	"github.com/tocsin-events/tocsin/internal/state"
)

// recordReload records what a reload changes in the configuration.
func (a *App) recordReload(ctx context.Context, by state.Cause, old, now *config.Config) error {
	before, err := members(old)
	if err != nil {
		return err
	}
	after, err := members(now)
	if err != nil {
		return err
	}
	return a.state.Write(ctx, by, func(tx *state.Tx) error {
		return tx.Changed("server", "configuration", "configuration", before, after)
	})
}

// recordRefused records that a reload was refused, and who wanted it.
func (a *App) recordRefused(ctx context.Context, by state.Cause, why error) error {
	data := map[string]any{"message": "the configuration is not reloaded: " + why.Error(), "exception": event.NewException(why, 1)}
	if by.Request != nil {
		data["http_request"] = by.Request
	}
	e, err := by.Event(a.o.Config.PublicURL+"/server", "configuration_error", "server/"+a.host, data)
	if err != nil {
		return err
	}
	e.Host = a.host
	return a.ingest.Own(ctx, e)
}

// members are the keys of a configuration with their values, as one writes them:
// log.level and not log.
func members(c *config.Config) (map[string]any, error) {
	text, err := yaml.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	var nested map[string]any
	if err := yaml.Unmarshal(text, &nested); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	flat := map[string]any{}
	flatten("", nested, flat)
	return flat, nil
}

func flatten(path string, from, into map[string]any) {
	for name, value := range from {
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 {
			flatten(path+name+".", inner, into)
			continue
		}
		into[path+name] = value
	}
}

// taskFailed records that a background task, here a source, has ended with an
// error or a panic. It is started anew; floods are folded.
func (a *App) taskFailed(name string, err error) {
	a.metrics.SourceFailed(name)
	x := event.NewException(err, 1)
	if panicked, ok := errors.AsType[*source.PanicError](err); ok {
		x = panicked.Exception
	}
	ctx, by := context.Background(), state.System()
	e, err := by.Event(a.o.Config.PublicURL+"/server", "system_task_exception", "source/"+name, map[string]any{
		"message": "the source " + name + " has failed: " + x.Message, "exception": x,
	})
	if err == nil {
		e.Host = a.host
		err = a.folder.Raise(ctx, by, e)
	}
	if err != nil {
		a.log.WarnContext(ctx, "a failed task is not recorded", "task", name, "err", err)
	}
}
