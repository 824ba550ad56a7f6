package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 001: the server itself, its licence, and authentication at the API.
func init() {
	msg := []Field{req("msg", String, "Why the status is what it is.")}
	register(Family{Kind: event.KindSys, Producer: "server", Entries: []Entry{{
		Type: "server.ready", Severity: event.Info, Wired: true,
		Description: "The server has started and answers.",
		Fires:       "When start-up is complete.",
		Message:     "Tocsin is ready",
		Fields: []Field{
			opt("version", String, "Version of the program."),
			opt("listen", String, "Address at which it answers."),
			opt("recovered", Boolean, "Whether the run before ended without a shutdown."),
		},
	}, {
		Type: "server.shutdown", Severity: event.Notice, Wired: true,
		Description: "The server has begun its graceful shutdown.",
		Fires:       "When it was asked to stop, as by SIGINT or SIGTERM.",
		Message:     "Tocsin is shutting down: {data.reason}",
		Fields:      []Field{req("reason", String, "What asked for it.")},
	}}})
	register(Family{Kind: event.KindSys, Producer: "license", Entries: []Entry{{
		Type: "license.invalid", Severity: event.Error, Wired: true,
		Description: "The configured licence is no longer valid.",
		Fires:       "When its status changes from valid to invalid.",
		Message:     "licence invalid: {data.msg}", Fields: msg, Routes: []string{"inbox", "email"},
	}, {
		Type: "license.valid", Severity: event.Notice, Wired: true,
		Description: "The configured licence is valid again.",
		Fires:       "When its status changes from invalid to valid.",
		Message:     "licence valid: {data.msg}", Fields: msg, Routes: []string{"inbox"},
	}}})
	name := req("username", String, "Name that was used to sign in.")
	ip := req("ip", String, "Address of the client.")
	exp := req("exp", Integer, "Expiry of the issued JWT, in seconds since 1970 (its exp claim, RFC 7519).")
	register(Family{Kind: event.KindSys, Producer: "identity", Entries: []Entry{{
		Type: "auth.ok", Severity: event.Info, Wired: true,
		Description: "A client has authenticated at the API.",
		Fires:       "When a name and password are exchanged for a token.",
		Message:     "{data.username} signed in from {data.ip}", Fields: []Field{name, ip, exp},
	}, {
		Type: "auth.error", Severity: event.Warn, Wired: true,
		Description: "A client failed to authenticate at the API.",
		Fires:       "When a name and password are refused.",
		Message:     "{data.username|someone} failed to sign in from {data.ip}: {data.reason}",
		Fields:      []Field{name, ip, req("reason", String, "Why it was refused.")},
	}, {
		Type: "auth.renew", Severity: event.Info, Wired: true,
		Description: "A client has renewed its token.",
		Fires:       "When a valid token is exchanged for a fresh one.",
		Message:     "{data.username} renewed a token from {data.ip}", Fields: []Field{name, ip, exp},
	}}})
}
