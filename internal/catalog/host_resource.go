package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 000: what runs out on a host, and what stops running.
func init() {
	register(Family{Kind: event.KindHost, Producer: "disk", Entries: []Entry{{
		Type: "disk_full", Severity: event.Warn, Wired: true,
		Description: "A file system or a user's quota is almost full.",
		Fires:       "When use crosses the high-watermark; once, until it has fallen below the low-watermark.",
		Message:     "{data.path} is {data.used_percent} % full (threshold {data.threshold_percent} %)",
		Routes:      []string{"inbox", "email"},
		Fields: []Field{
			req("path", String, "Mount point, or the path that the quota covers."),
			opt("filesystem", String, "Device or file system type."),
			opt("scope", String, "What was measured: statfs, user_quota, project_quota or qgroup."),
			opt("user", String, "Owner of the quota."),
			opt("uid", String, "The owner's number."),
			opt("project", String, "Project of the quota."),
			opt("project_id", String, "The project's number."),
			opt("qgroup", String, "Group of btrfs, such as 0/256."),
			opt("used_bytes", Integer, "Bytes in use."),
			opt("limit_bytes", Integer, "Bytes that may be used: the hard limit of a quota, or the soft one where there is no other."),
			opt("soft_bytes", Integer, "Soft limit of a quota, which may be exceeded for a while."),
			opt("grace_until", Timestamp, "When that while ends."),
			opt("used_percent", Number, "Share in use, 0 to 100."),
			opt("threshold_percent", Number, "High-watermark that was crossed."),
		},
	}}})
	register(Family{Kind: event.KindHost, Producer: "systemd", Entries: []Entry{{
		Type: "service_down", Severity: event.Error, Wired: true,
		Description: "A watched systemd unit does not run as it should.",
		Fires:       "When a unit fails, restarts unexpectedly, or stays degraded beyond its grace period.",
		Message:     "{data.unit} is down: {data.reason}",
		Routes:      []string{"inbox", "email"},
		Fields: []Field{
			req("unit", String, "Name of the unit."),
			opt("reason", String, "failed, restarted or degraded."),
			opt("result", String, "systemd's Result, such as exit-code or signal."),
			opt("exit_status", Integer, "Exit status of the main process."),
			opt("restarts", Integer, "Restarts since the unit was started by hand."),
			opt("since", Timestamp, "When this state began."),
			opt("invocation_id", String, "systemd's id of this run of the unit."),
			opt("description", String, "What the unit is, in its own words."),
			opt("active_state", String, "systemd's ActiveState, such as failed or activating."),
			opt("sub_state", String, "systemd's SubState, such as auto-restart."),
			opt("output", String, "The last lines that this run printed, where the journal may be read."),
			opt("folded", Integer, "How many more events of the same kind this one stands for."),
		},
	}, {
		Type: "cron_failed", Severity: event.Error, Wired: true, Producer: "run",
		Description: "A scheduled job ended with an error.",
		Fires:       "When a timer's service, or a command under tocsin run --kind cron, exits non-zero.",
		Message:     "cron job {data.name} failed with status {data.exit_status|unknown}",
		Routes:      []string{"inbox", "email"},
		Fields: []Field{
			req("name", String, "Name of the job."),
			opt("unit", String, "systemd unit of the job."),
			opt("user", String, "Account that ran it."),
			opt("exit_status", Integer, "Exit status; 128 plus the signal's number where one ended it."),
			opt("result", String, "How it ended, such as exit-code, signal or timeout."),
			opt("duration_ms", Integer, "How long it ran, in milliseconds."),
			opt("output", String, "The last part of what it printed."),
			opt("description", String, "What the unit is, in its own words."),
			opt("folded", Integer, "How many more failures of the same job this one stands for."),
		},
	}}})
}
