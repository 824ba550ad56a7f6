package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 003: changes of what is configured, secrets, failures of the system.
func init() {
	change := []Field{
		req("model", Object, "What was changed: app, model_name, pk and name."),
		opt("diff", Object, "For each field, previous_value and new_value; add and remove for relations."), httpRequest(),
	}
	register(Family{Kind: event.KindAudit, Producer: "state", Entries: []Entry{{
		Type: "model_created", Wired: true, Description: "Something was created.",
		Fires: "When a new object is written, whoever or whatever wrote it.", Message: "{actor} created {data.model.model_name} {data.model.name|}", Fields: change,
	}, {
		Type: "model_updated", Wired: true, Description: "Something was changed.",
		Fires: "When a changed object is written, with the changed fields.", Message: "{actor} changed {data.model.model_name} {data.model.name|}", Fields: change,
	}, {
		Type: "model_deleted", Severity: event.Notice, Wired: true, Description: "Something was deleted.",
		Fires: "When an object is removed.", Message: "{actor} deleted {data.model.model_name} {data.model.name|}", Fields: change,
	}}})
	exception := []Field{
		req("message", String, "The failure in one line."),
		opt("exception", Object, "type, message, frames and cause."), httpRequest(),
	}
	const identity = "identity"
	register(Family{Kind: event.KindAudit, Producer: "server", Entries: []Entry{{
		Type: "suspicious_request", Severity: event.Warn, Wired: true, Description: "A request looked like an attack.",
		Fires:   "When a recorded event is to be changed, a revoked token is used, a form is forged, and the like.",
		Message: "suspicious request from {clientip|unknown}: {data.message}", Routes: []string{"inbox"},
		Fields: []Field{
			req("message", String, "What was suspicious."), opt("method", String, "HTTP method."), opt("path", String, "HTTP path."),
			opt("exception", Object, "type, message, frames and cause."), httpRequest(),
		},
	}, {
		Type: "secret_view", Severity: event.Notice, Producer: identity, Wired: true, Description: "A stored secret was shown.",
		Fires: "When somebody reveals it, after giving their password again.", Message: "{actor} looked at the secret of {data.secret_of.name|something}",
		Fields: []Field{public(opt("secret_of", Object, "What the secret belongs to.")), httpRequest()},
	}, {
		Type: "secret_rotate", Severity: event.Info, Producer: identity, Wired: true, Description: "A token was renewed automatically.",
		Fires: "When the server replaces a token.", Message: "the token {data.token_of.name|} was renewed",
		Fields: []Field{public(opt("token_of", Object, "The token, without its value.")), httpRequest()},
	}, {
		Type: "policy_execution", Severity: event.Info, Producer: "notify", Wired: true, Description: "A policy was executed.",
		Fires: "When execution logging is on for it.", Message: "policy {data.policy.name|} ran",
		Fields: []Field{
			opt("policy", Object, "The policy: app, model_name, pk and name."), opt("result", Object, "What it decided: passing, and messages."),
			opt("request", Object, "The event that it was asked about."), opt("rule", Object, "The rule that asked."),
		},
	}, {
		Type: "policy_exception", Severity: event.Error, Producer: "notify", Wired: true, Description: "A policy failed.",
		Fires: "When its expression ends with an error.", Message: "policy {data.policy.name|} failed: {data.message}", Routes: []string{"inbox"},
		Fields: fields([]Field{
			opt("policy", Object, "The policy: app, model_name, pk and name."), opt("expression", String, "What was evaluated."),
			opt("request", Object, "The event that it was asked about."), opt("rule", Object, "The rule that asked."),
		}, exception),
	}, {
		Type: "property_mapping_exception", Severity: event.Error, Producer: "notify", Wired: true, Description: "A mapping failed.",
		Fires: "When the mapping of a webhook ends with an error.", Message: "mapping failed: {data.message}", Routes: []string{"inbox"},
		Fields: fields([]Field{opt("expression", String, "The mapping's source."), opt("mapping", Object, "Where it stands: app, model_name, pk and name of the transport.")}, exception),
	}, {
		Type: "system_task_exception", Severity: event.Error, Wired: true, Description: "A background task failed.",
		Fires: "When a task ends with an error.", Message: "{data.message}", Routes: []string{"inbox"}, Fields: exception,
	}, {
		Type: "system_exception", Severity: event.Error, Wired: true, Description: "Something failed that should not have.",
		Fires: "When a request or a part of the server breaks.", Message: "{data.message}", Routes: []string{"inbox"}, Fields: exception,
	}, {
		Type: "configuration_error", Severity: event.Error, Wired: true, Description: "The configuration has an error.",
		Fires: "When a reload is refused, or a part can't work as configured.", Message: "configuration error: {data.message}", Routes: []string{"inbox"}, Fields: exception,
	}, {
		Type: "email_sent", Severity: event.Info, Producer: "mail", Wired: true, Description: "A mail was sent.",
		Fires: "When the mail server took it; links that work once are masked.", Message: "mail to {data.to}: {data.subject}",
		Fields: []Field{
			opt("subject", String, "Its subject."), opt("body", String, "Its text, or HTML."),
			opt("from_email", String, "Sender."), opt("to_email", Any, "Recipients."), opt("to", Any, "Recipients."),
		},
	}, {
		Type: "update_available", Severity: event.Notice, Producer: "updates", Wired: true, Description: "A newer version can be had.",
		Fires: "When the release feed names one.", Message: "Tocsin {data.new_version} is available", Routes: []string{"inbox"},
		Fields: []Field{req("new_version", String, "The version."), opt("changelog", String, "Where its changes are described.")},
	}}})
}
