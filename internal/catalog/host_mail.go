package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 000: mail.
func init() {
	register(Family{Kind: event.KindHost, Producer: "mail", Entries: []Entry{{
		Type: "mail_quarantined", Severity: event.Notice, Wired: true,
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
			opt("client_ip", String, "Address that the message came from."),
			opt("size", Integer, "Size of the message in bytes."),
			opt("action", String, "What the filter calls what it did."),
			opt("user", String, "Account that had signed in to send it."),
			opt("server", String, "Host of the filter."),
			opt("symbols", Strings, "Rules of the filter that matched."),
			opt("folded", Integer, "How many more messages the event stands for."),
			opt("folded_more", Boolean, "Whether these are other messages."),
		},
	}, {
		Type: "mail_throttle_suspended", Severity: event.Warn, Wired: true,
		Description: "A sender hit the rate limit again and again and was suspended.",
		Fires:       "When a sender's throttle hits reach the limit within the window.",
		Message:     "{data.sender} counts as suspended after {data.hits} throttle hits",
		Routes:      []string{"inbox", "email"},
		Fields: []Field{
			req("sender", String, "The sender."),
			opt("hits", Integer, "Throttle hits in the window, up to the one at which the limit was reached."),
			opt("window", String, "Length of the window, such as 1h."),
			opt("limit", Integer, "Hits at which a sender counts as suspended."),
			opt("suspended_until", Timestamp, "Until when the sender counts as suspended: nothing more is told of him before, and he is counted anew after it."),
			opt("mta", String, "Mail server or filter that held the mail back."),
			opt("limit_name", String, "What it calls the rate limit that was hit last."),
		},
	}}})
}
