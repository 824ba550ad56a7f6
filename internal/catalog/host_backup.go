package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 000: backups.
func init() {
	outcome := []Field{
		req("name", String, "Name of the job."),
		opt("tool", String, "Program that made it, such as restic or borg."),
		opt("exit_status", Integer, "Exit status of the program."),
		opt("duration_ms", Integer, "How long it ran, in milliseconds."),
		opt("bytes", Integer, "Bytes that were added."),
		opt("files", Integer, "Files that were looked at."),
		opt("snapshot", String, "Id or name of the snapshot."),
		opt("error", String, "Why it failed."),
		opt("output", String, "The last part of what it printed."),
		opt("warnings", Strings, "What could not be saved; the first ten."),
		opt("unit", String, "systemd unit of the job."),
		opt("user", String, "Account whose unit it is."),
		opt("result", String, "systemd's result, such as success, exit-code or timeout."),
		opt("folded", Integer, "How many more runs of the same job this one stands for."),
	}
	register(Family{Kind: event.KindHost, Producer: "run", Entries: []Entry{{
		Type: "backup_succeeded", Severity: event.Info, Wired: true,
		Description: "A backup was completed.",
		Fires:       "When a backup under tocsin run --kind backup, or a watched backup unit, ends well.",
		Message:     "backup {data.name} succeeded", Fields: outcome,
	}, {
		Type: "backup_failed", Severity: event.Error, Wired: true,
		Description: "A backup failed.",
		Fires:       "When a backup under tocsin run --kind backup, or a watched backup unit, ends with an error.",
		Message:     "backup {data.name} failed with status {data.exit_status|unknown}: {data.error|no reason given}", Fields: outcome,
		Routes: []string{"inbox", "email"},
	}, {
		Type: "backup_future_warnings", Severity: event.Warn, Producer: "forecast", Wired: true,
		Description: "A coming backup is likely to fail.",
		Fires:       "When the history of a job, its sizes and the free space foretell a failure.",
		Message:     "backup {data.name} will probably fail: {data.reason}",
		Routes:      []string{"inbox"},
		Fields: []Field{
			req("name", String, "Name of the job."),
			opt("forecast", String, "Kind of forecast: no_space, too_long, overdue, failing or shrunk."),
			opt("prediction", String, "What will happen."),
			opt("reason", String, "Why it is expected."),
			opt("probability", Number, "How sure the forecast is, 0 to 1."),
			opt("by", Timestamp, "When it is expected at the latest."),
			opt("evidence", Any, "The figures behind the forecast."),
		},
	}}})
}
