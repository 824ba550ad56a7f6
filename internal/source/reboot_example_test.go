package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: the file is looked for at every interval.
// Makes: reboot_required, once for each time that the file appears.
// Leaves out: which packages want it; they are in the file beside it.
func init() {
	register("reboot_required", "Updates that wait for a restart of this host.", rebootOptions{
		Enabled: true, Interval: config.Duration(time.Minute), Path: "/run/reboot-required",
	}, newReboot)
}

type rebootOptions struct {
	Enabled  bool            `yaml:"enabled" doc:"Whether the file is watched."`
	Interval config.Duration `yaml:"interval" doc:"How often it is looked for; at least 1s."`
	Path     string          `yaml:"path" doc:"The file."`
}

type reboot struct{ rebootOptions }

func newReboot(o rebootOptions) (Source, error) {
	if time.Duration(o.Interval) < time.Second {
		return nil, event.Invalidf("interval: %s is shorter than 1s", o.Interval)
	}
	return &reboot{o}, nil
}

// Run implements Source.
func (r *reboot) Run(ctx context.Context, env *Env) error {
	return every(ctx, time.Duration(r.Interval), func(ctx context.Context, _ time.Time) error {
		return r.look(ctx, env)
	})
}

func (r *reboot) look(ctx context.Context, env *Env) error {
	since := ""
	info, err := os.Stat(r.Path)
	switch {
	case err == nil:
		since = info.ModTime().UTC().Format(time.RFC3339)
	case !errors.Is(err, fs.ErrNotExist):
		env.Status(Unavailable, err.Error())
		return nil // it is looked for again
	}
	env.Status(Running, "")
	told, err := env.Memory.Load(ctx, "since") // also after a restart of the server
	if err != nil || told == since {
		return err
	}
	if since != "" {
		err := tell(ctx, env, finding{
			producer: "reboot", t: "reboot_required", severity: event.Notice, subject: "host/" + env.Host,
			data: map[string]any{"since": since, "path": r.Path},
		})
		if err != nil {
			return err
		}
	}
	return env.Memory.Store(ctx, "since", since)
}
