package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// httpRequest is on every audit event that comes from a request.
func httpRequest() Field {
	return opt("http_request", Object, "method, path, args, user_agent and request_id of the request, redacted.")
}

// Seed 003: signing in and out, and what users do to themselves.
func init() {
	register(Family{Kind: event.KindAudit, Producer: "identity", Entries: []Entry{{
		Type: "login", Wired: true, Description: "A user signed in.",
		Fires: "When a sign-in succeeds, with its method and source.", Message: "{actor} signed in with {data.auth_method}",
		Fields: []Field{
			opt("auth_method", String, "How, such as password or token."),
			opt("auth_method_args", Object, "Details of the method."), httpRequest(),
		},
	}, {
		Type: "login_failed", Severity: event.Warn, Wired: true, Description: "A sign-in was refused.",
		Fires: "When it fails, with the stage and the reason; the password is never kept.", Message: "{data.username} could not sign in: {data.reason|}",
		Fields: []Field{
			opt("username", String, "Name that was tried."), secret(opt("password", String, "Always masked.")),
			opt("stage", Object, "Where it failed."), opt("reason", String, "Why."), httpRequest(),
		},
	}, {
		Type: "logout", Wired: true, Description: "A user signed out, or a session ended.",
		Fires: "When a session ends; a broken binding is named with old and new value.", Message: "{actor} signed out",
		Fields: []Field{opt("reason", String, "Why it ended."), opt("binding", Object, "What broke of what the session was bound to: reason, previous_value and new_value."), opt("ip", Object, "The address at sign-in (previous) and now (new), where a binding broke."), httpRequest()},
	}, {
		Type: "user_write", Severity: event.Notice, Wired: true, Description: "A user's own data was written.",
		Fires: "When a profile is saved.", Message: "{actor} wrote the user {data.username}",
		Fields: []Field{
			opt("name", String, "Full name."), opt("email", String, "Address."), opt("username", String, "Name to sign in with."),
			opt("created", Boolean, "Whether the user is new."), opt("attributes", Object, "Further properties."), httpRequest(),
		},
	}, {
		Type: "password_set", Severity: event.Notice, Wired: true, Description: "A user set a password.",
		Fires: "When a new password is stored.", Message: "{actor} set a password", Fields: []Field{opt("user", Object, "Whose password it is."), httpRequest()},
	}, {
		Type: "invitation_used", Severity: event.Notice, Wired: true, Description: "An invitation was used.",
		Fires: "When its link is accepted.", Message: "an invitation was used by {actor}", Fields: []Field{opt("invitation", Object, "The invitation."), httpRequest()},
	}, {
		Type: "authorize_application", Severity: event.Notice, Wired: true, Description: "A user let an application act for them.",
		Fires: "When consent is given, as for the command line.", Message: "{actor} authorised {data.authorized_application.name|an application}",
		Fields: []Field{
			opt("authorized_application", Object, "The application."), opt("scopes", String, "What it may do, separated by spaces."),
			opt("flow", String, "The sign-in that asked."), httpRequest(),
		},
	}, {
		Type: "source_linked", Severity: event.Notice, Wired: true, Description: "A user linked an identity provider to their account.",
		Fires: "When the first sign-in by it is linked.", Message: "{actor} linked {data.source.name|a source}", Fields: []Field{opt("source", Object, "The provider."), httpRequest()},
	}, {
		Type: "impersonation_started", Severity: event.Warn, Wired: true, Description: "An administrator began to act as another user.",
		Fires: "When impersonation begins.", Message: "{actor} began to act as {data.to.username|another user}", Fields: []Field{opt("to", Object, "The impersonated user."), httpRequest()},
	}, {
		Type: "impersonation_ended", Severity: event.Notice, Wired: true, Description: "An administrator stopped acting as another user.",
		Fires: "When impersonation ends.", Message: "{actor} stopped acting as {data.to.username|another user}", Fields: []Field{opt("to", Object, "The impersonated user."), opt("reason", String, "Why it ended, where nobody asked for it."), httpRequest()},
	}}})
}
