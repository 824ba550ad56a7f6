package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// What telling people leaves on record. No seed has these.
func init() {
	transport := public(req("transport", Object, "The transport: app, model_name, pk and name."))
	register(Family{Kind: event.KindCustom, Producer: "notify", Entries: []Entry{{
		Type: "notification.delivery.failed", Severity: event.Error, Wired: true, Description: "A message could not be delivered and was given up.",
		Fires:   "After the last attempt, or the first one that no other can mend.",
		Message: "{data.transport.name} does not take messages: {data.reason}", Routes: []string{"inbox"},
		Fields: []Field{
			transport, req("reason", String, "Why, in one line."), opt("attempts", Integer, "How often it was tried."), opt("rule", String, "Id of the rule."),
			opt("delivery", String, "Id in the ledger."), opt("recipient", String, "Id of the user; empty for a destination of the transport's own."),
			opt("sequence", String, "The event that was to be told."),
		},
	}, {
		Type: "notification.acknowledged", Severity: event.Info, Wired: true, Description: "Somebody looks after what was told.",
		Fires: "When it is acknowledged; its escalation ends.", Message: "{actor} has acknowledged delivery {data.delivery}",
		Fields: []Field{req("delivery", String, "Id in the ledger."), req("rule", String, "Id of the rule."), req("group", String, "What of it, where the rule tells groups apart.")},
	}, {
		Type: "notification.replayed", Severity: event.Notice, Wired: true, Description: "Messages are sent again.",
		Fires: "When somebody asks for it.", Message: "{actor} sends {data.count} messages again",
		Fields: []Field{
			req("count", Integer, "How many."), opt("rule", String, "Of this rule only."), opt("transport", String, "By this transport only."), opt("state", String, "Those in this state only."),
		},
	}, {
		Type: "notification.test", Severity: event.Info, Wired: true, Description: "A transport is tested.",
		Fires: "Never: it is only in the message that a test sends.", Message: "{actor} tests the transport {data.transport}",
		Fields: []Field{opt("transport", String, "Its name.")},
	}}})
}
