package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 000: certificates and domains.
func init() {
	register(Family{Kind: event.KindHost, Producer: "acme", Entries: []Entry{{
		Type: "cert_renew", Severity: event.Info, Wired: true,
		Description: "A certificate was issued or renewed, or that failed.",
		Fires:       "When certbot, lego or Caddy has finished, for better or for worse.",
		Message:     "certificate renewal of {data.domain}: ok={data.ok}",
		Routes:      []string{"inbox"},
		Fields: []Field{
			req("domain", String, "First name in the certificate."),
			opt("domains", Strings, "Every name in it."),
			opt("ok", Boolean, "Whether it worked."),
			opt("renewed", Boolean, "Whether there was a certificate before."),
			opt("issuer", String, "Who signed it."),
			opt("not_before", Timestamp, "Beginning of its validity."),
			opt("not_after", Timestamp, "End of its validity; of the old one after a failure."),
			opt("serial", String, "Its serial number, in hexadecimal."),
			opt("path", String, "File of the certificate."),
			opt("client", String, "ACME client that did it: certbot, lego or caddy."),
			opt("error", String, "Why it failed, as the client and the authority say."),
			opt("folded", Integer, "How many further failures of the same kind this event stands for."),
		},
	}}})
	register(Family{Kind: event.KindHost, Producer: "certificate", Entries: []Entry{{
		Type: "domain_expiry", Severity: event.Warn, Wired: true,
		Description: "A certificate expires soon, or has expired.",
		Fires:       "When 14, 7, 3 and 1 days are left, and when it has expired.",
		Message:     "the certificate of {data.domain} expires in {data.days_left} days",
		Routes:      []string{"inbox", "email"},
		Fields: []Field{
			req("domain", String, "First name in the certificate."),
			opt("not_after", Timestamp, "End of its validity."),
			opt("days_left", Integer, "Whole days until then; negative once it has expired."),
			opt("expired", Boolean, "Whether it has expired."),
			opt("path", String, "File of the certificate."),
			opt("endpoint", String, "Address at which it was served."),
			opt("trusted", Boolean, "Whether a client that trusts this host's authorities would accept it; of an endpoint."),
			opt("problem", String, "Why it would not."),
			opt("issuer", String, "Who signed it."),
		},
	}, {
		Type: "domain_registrar_expiry", Severity: event.Warn, Producer: "registrar", Wired: true,
		Description: "A domain's registration expires soon, or has expired.",
		Fires:       "When 30, 14, 7, 3 and 1 days are left, and when it has expired, as its registry tells by RDAP.",
		Message:     "the registration of {data.domain} expires in {data.days_left} days",
		Routes:      []string{"inbox", "email"},
		Fields: []Field{
			req("domain", String, "The registered name."),
			opt("expires", Timestamp, "End of the registration."),
			opt("days_left", Integer, "Whole days until then; negative once it has expired."),
			opt("expired", Boolean, "Whether it has expired."),
			opt("registrar", String, "Who holds the registration."),
			opt("rdap_server", String, "Server that was asked."),
		},
	}}})
}
