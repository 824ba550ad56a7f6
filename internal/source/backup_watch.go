package source

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/backup"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

type backupOptions struct {
	Enabled bool            `yaml:"enabled" doc:"Whether units that make backups are watched."`
	Units   []string        `yaml:"units" doc:"Patterns of the services, of the system and of users, that make backups. Change ignore of service_down and cron_failed alike."`
	Fold    config.Duration `yaml:"fold" doc:"How long further runs of one job are counted before they are told; at least 1s."`
	Bus     string          `yaml:"bus" doc:"Address of the D-Bus to which systemd is connected."`
	Journal string          `yaml:"journal" doc:"Folder of systemd's journal; empty for the system's."`
}

func defaultBackup() backupOptions {
	return backupOptions{Enabled: true, Units: backupUnits, Fold: config.Duration(time.Minute), Bus: systemBus}
}

// backupWatch tells how services that make backups end: of the two outcomes the
// one that it is for.
type backupWatch struct {
	backupOptions
	outcome event.Type
	match   []string // ids of the records that may end such a run
	journal journal
	lookup  *lookup
	flood   *flood
	others  recent // units that ended in the other way
}

// otherTime is for how long the runs of a unit are not looked into after one that
// ended in the other way: it may fail several times a second.
const otherTime = 3 * time.Second

func newBackupWatch(o backupOptions, outcome event.Type, ids ...string) (Source, error) {
	if err := checkGlobs("units", o.Units); err != nil {
		return nil, err
	}
	if len(o.Units) == 0 {
		return nil, event.Invalidf("units: there is none; enabled: false turns the source off")
	}
	if time.Duration(o.Fold) < time.Second {
		return nil, event.Invalidf("fold: %s is shorter than 1s", o.Fold)
	}
	b := &backupWatch{backupOptions: o, outcome: outcome, journal: &journalctl{dir: o.Journal}, lookup: newLookup(o.Bus)}
	for _, id := range ids {
		b.match = append(b.match, "MESSAGE_ID="+id)
	}
	return b, nil
}

// Run implements Source.
func (b *backupWatch) Run(ctx context.Context, env *Env) error {
	b.flood, b.others = newFlood(time.Duration(b.Fold), mostJobs), recent{}
	w := journalWatch{journal: b.journal, match: b.match, flood: b.flood, take: b.take}
	return w.run(ctx, env)
}

func (b *backupWatch) take(ctx context.Context, env *Env, r *record) error {
	name, _, uid, ok := r.unit()
	if !ok || !slices.Contains(b.match, "MESSAGE_ID="+string(r.ID)) || !strings.HasSuffix(name, ".service") || !matches(b.Units, name) {
		return nil
	}
	key := uid + " " + name
	if b.others.has(key) && r.ID != messageSucceeded {
		return nil
	}
	e := ending{unit: name, uid: uid, last: r, result: cmp.Or(string(r.Result), "success")}
	if _, free := b.flood.slot(key, slots); !free { // it is counted, and its data are not looked at
		return b.judge(ctx, env, &e, "")
	}
	e, err := readEnding(ctx, b.journal, r)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		env.Problem(err) // it is told without what could not be read
	}
	var programs []string
	if uid == "" {
		if u, err := b.lookup.unit(ctx, name); err == nil {
			programs = u.programs
		} else if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	tool := toolOf(&e, programs)
	if tool == "tocsin" || e.result == "success" && e.stopped {
		return nil // tocsin run tells itself; a service that was stopped was no job
	}
	return b.judge(ctx, env, &e, tool)
}

func (b *backupWatch) judge(ctx context.Context, env *Env, e *ending, tool string) error {
	status := -1
	switch {
	case e.status != nil:
		status = *e.status
	case e.result == "success":
		status = 0
	}
	all := allOf(e.output)
	report := backup.Read(tool, all, all)
	outcome, severity := event.Type("backup_failed"), event.Error
	if report.Succeeded(tool, status) {
		outcome, severity = "backup_succeeded", event.Info
	}
	key := e.uid + " " + e.unit
	if outcome != b.outcome {
		b.others.note(key, otherTime)
		return nil
	}
	data := e.data()
	report.Into(data)
	if tool != "" {
		data["tool"] = tool
	}
	if status >= 0 {
		data["exit_status"] = status
	}
	key, _ = b.flood.slot(key, slots)
	switch {
	case severity == event.Error:
		data["error"] = cmp.Or(report.Fault, e.result)
	case status != 0:
		severity = event.Warn
	}
	return b.flood.take(ctx, env, time.Now(), finding{
		producer: "systemd", t: outcome, severity: severity, subject: unitSubject("backup", strings.TrimSuffix(e.unit, ".service")),
		id: event.ID(e.id("backup")), at: e.last.time(), key: key, data: data,
	})
}

// allOf is all that records say, as the program printed it.
func allOf(records []record) string {
	var text strings.Builder
	for i := range records {
		text.WriteString(string(records[i].Message))
		text.WriteByte('\n')
	}
	return text.String()
}

// toolOf is the program that made a backup: one that is known, else the one that
// printed or is executed and is no shell, else what the unit is named after.
func toolOf(e *ending, programs []string) string {
	candidates := slices.Clone(programs)
	for i := range e.output {
		if name := path.Base(string(e.output[i].Comm)); !slices.Contains(candidates, name) {
			candidates = append(candidates, name)
		}
	}
	for _, known := range []string{"tocsin", "restic", "borg", "borgmatic", "rustic", "kopia", "duplicity", "rsnapshot", "rsync", "pg_dump", "mysqldump", "mariadb-dump"} {
		if slices.Contains(candidates, known) {
			return known
		}
	}
	for _, name := range candidates {
		if !slices.Contains([]string{"sh", "bash", "dash", "zsh", "env", "systemd", "systemctl", "(sd-executor)", ".", ""}, name) {
			return name
		}
	}
	for _, known := range []string{"restic", "borgmatic", "borg"} {
		if strings.Contains(e.unit, known) {
			return known
		}
	}
	return ""
}
