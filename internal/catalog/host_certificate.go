package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 000: certificates and domains.
func init() {
	register(Family{Kind: event.KindHost, Producer: "acme", Entries: []Entry{{
		Type: "cert_renew", Severity: event.Info, Waits: "the ACME client source",
		Description: "A certificate was issued or renewed, or that failed.",
		Fires:       "When certbot, lego or Caddy has finished, for better or for worse.",
		Message:     "certificate renewal of {data.domain}: ok={data.ok}",
		Routes:      []string{"inbox"},
		Fields: []Field{
			req("domain", String, "First name in the certificate."),
			opt("domains", Strings, "Every name in it."),
			opt("ok", Boolean, "Whether it worked."),
			opt("issuer", String, "Who signed it."),
			opt("not_after", Timestamp, "End of its validity."),
			opt("path", String, "File of the certificate."),
			opt("client", String, "ACME client that did it."),
			opt("error", String, "Why it failed."),
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
