package app

import (
	"context"
	"fmt"

	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/config"
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
