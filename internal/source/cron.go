package source

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Delivery: systemd's journal, followed from where the last run of the server
// stopped, so that what failed meanwhile is told, too.
// Makes: cron_failed for each service that a timer starts and that fails, of the
// system and of every user. What fails more than once a minute is folded.
// Leaves out: services without a timer (service_down tells of them), those that
// make backups, and what runs under tocsin run, which tells itself. A unit of the
// system has a timer when systemd says so; one of a user, whom only his own
// service manager could tell of, when the journal knows a timer of the same name
// and user. Jobs with another name of the timer are named in units.
func init() {
	register("cron_failed", "Services that a timer of the system or of a user has started, and that failed. Classic cron jobs are told of by tocsin run.", cronOptions{
		Enabled: true, Ignore: backupUnits, Fold: config.Duration(time.Minute), Bus: systemBus,
	}, newCron)
}

type cronOptions struct {
	Enabled bool            `yaml:"enabled" doc:"Whether timers are watched."`
	Units   []string        `yaml:"units" doc:"Patterns of services that are jobs whatever starts them."`
	Ignore  []string        `yaml:"ignore" doc:"Patterns of services to leave out: those of backups, which have sources of their own."`
	Fold    config.Duration `yaml:"fold" doc:"How long further failures of one job are counted before they are told; at least 1s."`
	Bus     string          `yaml:"bus" doc:"Address of the D-Bus to which systemd is connected."`
	Journal string          `yaml:"journal" doc:"Folder of systemd's journal; empty for the system's."`
}

type cron struct {
	cronOptions
	journal journal
	lookup  *lookup
	flood   *flood
	others  recent // units that are no jobs
}

// mostJobs is how much is told within the time of folding; what goes beyond, of
// whatever job or service, is folded together.
const mostJobs = 100

func newCron(o cronOptions) (Source, error) {
	if err := errors.Join(checkGlobs("units", o.Units), checkGlobs("ignore", o.Ignore)); err != nil {
		return nil, err
	}
	if time.Duration(o.Fold) < time.Second {
		return nil, event.Invalidf("fold: %s is shorter than 1s", o.Fold)
	}
	return &cron{cronOptions: o, journal: &journalctl{dir: o.Journal}, lookup: newLookup(o.Bus)}, nil
}

// Run implements Source.
func (c *cron) Run(ctx context.Context, env *Env) error {
	c.flood, c.others = newFlood(time.Duration(c.Fold), mostJobs), recent{}
	w := journalWatch{journal: c.journal, match: []string{"MESSAGE_ID=" + messageFailed}, flood: c.flood, take: c.take}
	return w.run(ctx, env)
}

// take tells of a record if it is the failure of a job.
func (c *cron) take(ctx context.Context, env *Env, r *record) error {
	name, _, uid, ok := r.unit()
	if !ok || r.ID != messageFailed || !strings.HasSuffix(name, ".service") || matches(c.Ignore, name) {
		return nil
	}
	key := uid + " " + name
	if c.others.has(key) { // one that fails several times a second is asked about once
		return nil
	}
	known, err := c.known(ctx, name, uid)
	if err != nil {
		return err
	}
	if known == nil {
		c.others.note(key, time.Minute)
		return nil
	}
	e := ending{unit: name, uid: uid, last: r, result: string(r.Result)}
	key, free := c.flood.slot(key, slots)
	if free { // else it is counted, and its data are not looked at
		if e, err = readEnding(ctx, c.journal, r); err != nil {
			env.Problem(err) // it is told without what could not be read
		}
	}
	data := e.data()
	if data["user"] == nil {
		data["user"] = "root"
		if known.user != "" {
			data["user"] = known.user
		}
	}
	if known.description != "" && known.description != name {
		data["description"] = known.description
	}
	return c.flood.take(ctx, env, time.Now(), finding{
		producer: "systemd", t: "cron_failed", severity: event.Error, subject: unitSubject("cron", strings.TrimSuffix(name, ".service")),
		id: event.ID(e.id("cron")), at: r.time(), key: key, data: data,
	})
}

// known is what is known of a unit that is a job; nil for another.
func (c *cron) known(ctx context.Context, name, uid string) (*unit, error) {
	u := unit{name: name}
	if uid == "" {
		found, err := c.lookup.unit(ctx, name)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil && found.tellsItself():
			return nil, nil
		case err == nil && found.byTimer():
			return &found, nil
		case err == nil:
			u = found
		}
		if err == nil && !matches(c.Units, name) {
			return nil, nil
		}
	}
	if matches(c.Units, name) {
		return &u, nil
	}
	timer := strings.TrimSuffix(name, ".service") + ".timer"
	about := []string{"_PID=1", "UNIT=" + timer}
	if uid != "" {
		about = []string{"_UID=" + uid, "USER_UNIT=" + timer}
	}
	records, err := c.journal.records(ctx, 1, about...)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	return &u, nil
}
