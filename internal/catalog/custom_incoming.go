package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// What others send, where it has names of its own: alerts, and the commonest
// events of GitHub and authentik. No seed has these; all other names of GitHub,
// Stalwart and authentik are accepted without an entry.
func init() {
	register(Family{Kind: event.KindCustom, Producer: "alertmanager", Entries: []Entry{{
		Type: "alert", Severity: event.Error, Wired: true, Description: "An alert began to fire.",
		Fires:   "When Prometheus, Alertmanager or Grafana sends one that did not fire before; the severity is that of its label.",
		Message: "{data.name}: {data.summary|it fires}", Routes: []string{"inbox"},
		Fields: alertFields(),
	}, {
		Type: "alert_resolved", Severity: event.Notice, Wired: true, Description: "An alert is over.",
		Fires:   "When it is sent as resolved, or was not sent again in time; it has the correlationid of its alert.",
		Message: "{data.name} is over: {data.summary|}",
		Fields:  fields(alertFields(), []Field{opt("ends_at", Timestamp, "When it was over.")}),
	}}})

	repository := []Field{
		opt("action", String, "What was done."), opt("repository", Object, "The repository."), opt("organization", Object, "Its organisation."), opt("sender", Object, "Who did it."),
	}
	register(Family{Kind: event.KindCustom, Producer: "github", Entries: []Entry{{
		Type: "github.ping", Wired: true, Description: "A webhook of GitHub was set up.", Fires: "When it is made, or tested.",
		Message: "GitHub: the webhook of {subject} works", Fields: fields(repository, []Field{opt("zen", String, "A saying."), opt("hook", Object, "The webhook.")}),
	}, {
		Type: "github.push", Wired: true, Description: "Commits, a branch or a tag were pushed.", Fires: "At each push.",
		Message: "{actor} pushed to {subject}: {data.head_commit.message|}", Fields: fields(repository, []Field{
			opt("ref", String, "The full name of the branch or tag."), opt("before", String, "Commit before."), opt("after", String, "Commit after."),
			opt("commits", Objects, "The commits."), opt("forced", Boolean, "Whether history was rewritten."),
		}),
	}, {
		Type: "github.pull_request.opened", Wired: true, Description: "A pull request was opened.", Fires: "When somebody opens it.",
		Message: "{actor} opened {subject}: {data.pull_request.title|}", Fields: fields(repository, []Field{opt("pull_request", Object, "The pull request.")}),
	}, {
		Type: "github.pull_request.closed", Wired: true, Description: "A pull request was closed, merged or not.", Fires: "When somebody closes or merges it.",
		Message: "{actor} closed {subject}: {data.pull_request.title|}", Fields: fields(repository, []Field{opt("pull_request", Object, "The pull request; merged says whether it was.")}),
	}, {
		Type: "github.issues.opened", Wired: true, Description: "An issue was opened.", Fires: "When somebody opens it.",
		Message: "{actor} opened {subject}: {data.issue.title|}", Fields: fields(repository, []Field{opt("issue", Object, "The issue.")}),
	}, {
		Type: "github.release.published", Wired: true, Description: "A release was published.", Fires: "When it becomes public.",
		Message: "{actor} published {subject}", Fields: fields(repository, []Field{opt("release", Object, "The release.")}),
	}, {
		Type: "github.workflow_run.completed", Wired: true, Description: "A workflow ended.", Fires: "When its last job has ended; an error where it failed.",
		Message: "{data.workflow_run.name|a workflow} of {data.repository.full_name} on {data.workflow_run.head_branch|}: {data.workflow_run.conclusion|}",
		Fields:  fields(repository, []Field{opt("workflow_run", Object, "The run."), opt("workflow", Object, "The workflow.")}),
	}}})

	register(Family{Kind: event.KindCustom, Producer: "authentik", Entries: []Entry{{
		Type: "authentik.notification", Severity: event.Notice, Wired: true, Description: "authentik has notified somebody.",
		Fires: "When a notification rule of authentik with the webhook transport fires.", Message: "authentik: {data.body}", Fields: []Field{
			req("body", String, "The text."), opt("severity", String, "authentik's: notice, warning or alert."),
			opt("user_email", Nullable, "Address of who is notified."), opt("user_username", Nullable, "Their name."),
			opt("event_user_email", Nullable, "Address of who did it."), opt("event_user_username", Nullable, "Their name."),
		},
	}}})
}

func alertFields() []Field {
	return []Field{
		req("name", String, "The label alertname."), req("status", String, "firing or resolved."), req("fingerprint", String, "Of the labels; 16 hexadecimal digits."),
		req("labels", Object, "What the alert is known by."), req("annotations", Object, "What it means."), req("starts_at", Timestamp, "Since when it fires."),
		opt("summary", String, "The annotation summary, description or message."), opt("generator_url", String, "Where it comes from."),
		opt("receiver", String, "Receiver in Alertmanager or contact point in Grafana."), opt("external_url", String, "Address of the sender."),
		opt("group_key", String, "Its group there."), opt("values", Any, "Grafana's values."), opt("truncated_alerts", Integer, "Alerts that the sender left out of the request."),
	}
}
