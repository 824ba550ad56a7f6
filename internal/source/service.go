package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: systemd's signals over D-Bus; nothing is polled. At the start, and
// after a connection was lost, all services are read once.
// Makes: service_down: `failed` once for each run of a unit that fails, also for
// one that has failed before the start; `restarted` when systemd has restarted
// it by itself; `degraded` once when it has neither run nor been stopped for
// longer than the grace period. What comes too often is folded.
// Leaves out: services that a timer starts (cron_failed tells of them), those
// that make backups, restarts after an exit with status 0, and the running of a
// oneshot service, however long.
func init() {
	register("service_down", "systemd's services that fail, restart unexpectedly, or stay degraded.", serviceOptions{
		Enabled: true, Units: []string{"*"}, Ignore: slices.Concat(backupUnits, []string{"getty@*", "serial-getty@*", "console-getty", "container-getty@*", "autovt@*"}),
		Grace: config.Duration(2 * time.Minute), Fold: config.Duration(5 * time.Minute), Bus: systemBus,
	}, newService)
}

type serviceOptions struct {
	Enabled bool            `yaml:"enabled" doc:"Whether services are watched."`
	Units   []string        `yaml:"units" doc:"Patterns of the services to watch."`
	Ignore  []string        `yaml:"ignore" doc:"Patterns of services to leave out: those of backups, which have sources of their own, and terminals, which end at each logout."`
	Grace   config.Duration `yaml:"grace" doc:"How long a service may start, stop, wait for a restart or stay failed before it is degraded; at least 1s."`
	Fold    config.Duration `yaml:"fold" doc:"How long restarts of one service are counted before they are told again; at least 1s."`
	Timers  bool            `yaml:"timers" doc:"Whether services that a timer starts are watched, too; cron_failed tells of them."`
	Clean   bool            `yaml:"clean" doc:"Whether a restart after an exit with status 0 is told."`
	Bus     string          `yaml:"bus" doc:"Address of the D-Bus to which systemd is connected."`
	Journal string          `yaml:"journal" doc:"Folder of systemd's journal, for the last lines of what failed; empty for the system's."`
}

type service struct {
	serviceOptions
	connect func(ctx context.Context) (manager, error)
	journal journal

	tracks  map[string]*track // of this connection and those before
	told    map[string]told
	unsaved bool
	floods  []*flood // of failures, of restarts
}

func newService(o serviceOptions) (Source, error) {
	if err := errors.Join(checkGlobs("units", o.Units), checkGlobs("ignore", o.Ignore)); err != nil {
		return nil, err
	}
	if time.Duration(min(o.Grace, o.Fold)) < time.Second {
		return nil, event.Invalidf("grace and fold: %s and %s; at least 1s", o.Grace, o.Fold)
	}
	return &service{
		serviceOptions: o, journal: &journalctl{dir: o.Journal}, tracks: map[string]*track{},
		connect: func(ctx context.Context) (manager, error) { return dialBus(ctx, o.Bus, true) },
	}, nil
}

// Pauses between attempts to connect. Each is one connect(2).
const (
	shortPause = 500 * time.Millisecond
	longPause  = 10 * time.Second
)

// Run implements Source.
func (s *service) Run(ctx context.Context, env *Env) error {
	if err := s.load(ctx, env); err != nil {
		return err
	}
	s.floods = []*flood{newFlood(time.Minute, mostJobs), newFlood(time.Duration(s.Fold), mostJobs)}
	ctx, stop := context.WithCancel(ctx)
	failed := make(chan error, len(s.floods))
	var folding sync.WaitGroup
	defer folding.Wait()
	defer stop()
	for i, f := range s.floods {
		f.key = fmt.Sprint("flood", i)
		if err := f.load(ctx, env); err != nil {
			return err
		}
		folding.Go(func() {
			failed <- guarded(ctx, func(ctx context.Context) error { return f.run(ctx, env) })
		})
	}
	pause := shortPause
	for ctx.Err() == nil {
		worked, err := s.session(ctx, env, failed)
		if worked {
			pause = shortPause
		}
		var absent *absentError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &absent):
			env.Status(Unavailable, absent.lacks)
		case err != nil:
			return err
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, longPause)
		case <-ctx.Done():
		}
	}
	return nil
}

// session watches over one connection. It ends with nil or an absentError where
// another one is to be tried; worked says whether there was a connection.
func (s *service) session(ctx context.Context, env *Env, failed <-chan error) (worked bool, err error) {
	m, err := s.connect(ctx)
	if err != nil {
		return false, asAbsent(err)
	}
	defer m.close()
	if err := s.readAll(ctx, env, m); err != nil {
		return false, err
	}
	env.Status(Running, "")
	grace := time.NewTimer(s.nextDue(time.Now()))
	defer grace.Stop()
	for {
		select {
		case c, open := <-m.changes():
			switch {
			case !open:
				return true, &absentError{"the connection to systemd was lost: waiting for it"}
			case c.lost:
				err = s.readAll(ctx, env, m)
			default:
				err = s.take(ctx, env, m, c)
			}
		case <-grace.C:
			err = s.overdue(ctx, env, time.Now())
		case err = <-failed:
		case <-ctx.Done():
			return true, nil
		}
		if err == nil {
			err = s.save(ctx, env)
		}
		if err != nil {
			return true, err
		}
		grace.Reset(s.nextDue(time.Now()))
	}
}

// readAll takes in all services, and forgets those that are gone.
func (s *service) readAll(ctx context.Context, env *Env, m manager) error {
	units, err := m.all(ctx)
	if err != nil {
		return asAbsent(err)
	}
	now, loaded := time.Now(), map[string]bool{}
	for i := range units {
		loaded[units[i].name] = true
		if err := s.judge(ctx, env, units[i], now, true); err != nil {
			return err
		}
	}
	s.forget(func(name string) bool { return !loaded[name] })
	return s.save(ctx, env)
}

// asAbsent makes what goes wrong with the connection a reason to connect anew.
func asAbsent(err error) error {
	if _, absent := errors.AsType[*absentError](err); absent {
		return err
	}
	return &absentError{err.Error()}
}

// take takes in one change.
func (s *service) take(ctx context.Context, env *Env, m manager, c change) error {
	if c.gone {
		s.forget(func(name string) bool { return name == c.unit.name })
		return nil
	}
	if c.unit.kind == "" && s.watched(&c.unit) { // signals say only what changes
		if full, err := m.one(ctx, c.unit.name); err == nil {
			c.unit.kind, c.unit.description, c.unit.triggeredBy, c.unit.user, c.unit.programs = full.kind, full.description, full.triggeredBy, full.user, full.programs
		}
	}
	return s.judge(ctx, env, c.unit, time.Now(), false)
}

func (s *service) watched(u *unit) bool {
	return matches(s.Units, u.name) && !matches(s.Ignore, u.name) && (s.Timers || !u.byTimer())
}
