package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 000: attacks, integrity, malware and the database's root password.
func init() {
	register(Family{Kind: event.KindHost, Producer: "crowdsec", Entries: []Entry{{
		Type: "crowdsec_spike", Severity: event.Warn, Wired: true,
		Description: "CrowdSec decided against unusually many addresses in a short time.",
		Fires:       "When more decisions than the threshold fall into the window (50 in 5 minutes unless configured).",
		Message:     "{data.decisions} CrowdSec decisions within {data.window}",
		Routes:      []string{"inbox", "email"},
		Fields: []Field{
			req("decisions", Integer, "Decisions in the window."),
			opt("threshold", Integer, "How many are tolerated."),
			opt("window", String, "Length of the window, such as 5m."),
			opt("top_scenarios", Objects, "The commonest scenarios, each with name and count."),
			opt("top_addresses", Objects, "The commonest addresses, each with address and count."),
		},
	}}})
	register(Family{Kind: event.KindHost, Producer: "aide", Entries: []Entry{{
		Type: "aide_diff", Severity: event.Warn, Wired: true,
		Description: "The integrity scan found changed files.",
		Fires:       "When an AIDE report shows a difference outside the excluded paths.",
		Message:     "AIDE: {data.added|0} added, {data.removed|0} removed, {data.changed|0} changed",
		Routes:      []string{"inbox", "email"},
		Fields: []Field{
			opt("added", Integer, "Number of new files."),
			opt("removed", Integer, "Number of missing files."),
			opt("changed", Integer, "Number of changed files."),
			opt("excluded", Integer, "Number of differences in excluded paths, which are not in the other counts."),
			opt("entries", Integer, "Number of entries that were compared."),
			opt("paths", Objects, "The files, 200 at most, each with path, change (added, removed or changed) and attributes."),
			opt("more", Integer, "Number of files beyond those."),
			opt("report", String, "File of the report, or the command that printed it."),
			opt("exit_status", Integer, "Exit status of the scan, where Tocsin ran it."),
		},
	}}})
	register(Family{Kind: event.KindHost, Producer: "malware", Entries: []Entry{{
		Type: "malware_file_hit", Severity: event.Critical, Wired: true,
		Description: "A scanner found malware in a file.",
		Fires:       "When ClamAV, LMD, YARA or Tetragon hits on a file.",
		Message:     "{data.signature|malware} in {data.path}",
		Routes:      []string{"inbox", "email"},
		Fields: []Field{
			req("path", String, "The file."),
			public(opt("signature", String, "Name of what was recognised.")),
			opt("detector", String, "Scanner that hit: clamd, yara, lmd or tetragon."),
			opt("sha256", String, "SHA-256 of the file, in hexadecimal."),
			opt("size", Integer, "Size of the file in bytes."),
			opt("owner", String, "Owner of the file."),
			opt("action", String, "What the scanner did about it: reported, moved, copied, removed, quarantined, killed, signalled, denied or enforced."),
			opt("path_quoted", String, "The file's name in quotes and escapes, where it is not plain text."),
			opt("uid", Integer, "Number of the owner."),
			opt("gid", Integer, "Number of the group."),
			opt("mode", String, "Permissions in octal, such as 0644."),
			opt("modified", Timestamp, "When the file was last written."),
			opt("moved_to", String, "Where the scanner has put it."),
			opt("process", Object, "The process that touched it: pid, uid and binary."),
			opt("function", String, "The function of the kernel at which it was seen."),
			opt("message", String, "What the policy says."),
			opt("folded", Integer, "How many more hits the event stands for."),
			opt("folded_more", Boolean, "Whether these hits are of other files, too."),
		},
	}}})
	register(Family{Kind: event.KindHost, Producer: "database", Entries: []Entry{{
		Type: "db_root_rotated", Severity: event.Notice, Wired: true,
		Description: "A database's root password was changed.",
		Fires:       "When the credentials of a MariaDB or PostgreSQL superuser change; the password is never read.",
		Message:     "{data.engine|database} account {data.account} has a new password",
		Routes:      []string{"inbox"},
		Fields: []Field{
			req("engine", String, "mariadb or postgresql."),
			opt("account", String, "The account."),
			opt("host", String, "Host part of the account, or the server."),
			opt("changed_at", Timestamp, "When it was changed, where the server knows it; else when it was noticed."),
			opt("method", String, "How the account proves itself now, such as mysql_native_password or scram-sha-256."),
			opt("server", String, "Which server: its socket or address, or the file that names it."),
		},
	}}})
}
