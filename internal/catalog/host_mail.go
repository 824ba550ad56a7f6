package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 000: mail.
func init() {
	register(Family{Kind: event.KindHost, Producer: "mail", Entries: []Entry{{
		Type: "mail_quarantined", Severity: event.Notice, Waits: "the mail sources",
		Description: "A message was put into quarantine.",
		Fires:       "When the mail server, its filter or a later scan takes a message away.",
		Message:     "mail from {data.sender|unknown} was quarantined: {data.reason|}",
		Routes:      []string{"inbox"},
		Fields: []Field{
			opt("message_id", String, "Message-ID header."),
			opt("queue_id", String, "Id in the mail server's queue."),
			opt("sender", String, "Envelope sender."),
			opt("recipients", Strings, "Envelope recipients."),
			opt("subject", String, "Subject header."),
			opt("reason", String, "Why."),
			public(opt("signature", String, "What a scanner recognised.")),
			opt("score", Number, "Spam score."),
			opt("mta", String, "Mail server or filter that did it."),
		},
	}, {
		Type: "mail_throttle_suspended", Severity: event.Warn, Waits: "the mail sources",
		Description: "A sender hit the rate limit again and again and was suspended.",
		Fires:       "When a sender's throttle hits reach the limit within the window.",
		Message:     "{data.sender} was suspended after {data.hits} throttle hits",
		Routes:      []string{"inbox", "email"},
		Fields: []Field{
			req("sender", String, "The sender."),
			opt("hits", Integer, "Throttle hits in the window."),
			opt("window", String, "Length of the window, such as 1h."),
			opt("limit", Integer, "Hits that are tolerated."),
			opt("suspended_until", Timestamp, "End of the suspension."),
			opt("mta", String, "Mail server or filter that counted."),
		},
	}}})
}
