package transport

import (
	"fmt"
	"strings"
)

// Markdown is the documentation page of all modes.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Transports\n\nGenerated from the code by `make gen`; do not edit. A transport has a mode and settings, a JSON object; an unknown key is an error.\n" +
		"Secrets are sealed in the database and never shown. Every call goes out through `egress`, see [configuration](configuration.md).\n")
	for _, d := range definitions {
		fmt.Fprintf(&b, "\n## %s\n\n%s", d.Name, d.Doc)
		if d.Personal {
			b.WriteString(" Its rules need recipients.")
		}
		if d.Resolves {
			b.WriteString(" Says when an alert is over.")
		}
		b.WriteString("\n\n| setting | type | default | | meaning |\n|---|---|---|---|---|\n")
		for _, o := range d.Options {
			var notes []string
			if o.Required {
				notes = append(notes, "required")
			}
			if o.Secret != "" {
				notes = append(notes, "secret")
			}
			fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s | %s |\n", o.Name, o.Type, o.Default, strings.Join(notes, ", "), o.Doc)
		}
	}
	b.WriteString(templates)
	return b.String()
}

const templates = `
## Templates and mappings

Text with ` + "`{{ }}`" + ` is a template: between the braces stands a CEL expression, as in filters ([filters](filters.md)), and its value is filled in so that it can't
end what it stands in: escaped inside JSON, percent-encoded inside a URL. A body without ` + "`{{`" + ` is one CEL expression, whose value is the body: a map or a list
becomes JSON, a string is sent as it is.

    {"text": "{{ notification.title }}: {{ data.path }}", "percent": {{ data.used_percent }}}      a template
    {"text": notification.title + ": " + data.path, "percent": data.used_percent}                  the same as a mapping

An expression sees the attributes and the data of the event, and ` + "`notification`" + ` with key, rule, rule_id, severity, title, text, link, brand, resolved,
user and recipients (each name, email, username). One that fails, as for an absent member of data, sends nothing and raises ` + "`property_mapping_exception`" + `;
` + "`has(data.x) ? data.x : \"\"`" + ` asks first.

## Failures

408, 421, 425, 429 and 5xx but 501 and 505 are temporary, as is everything without an answer; Retry-After is honoured up to a day. All other statuses are final,
as is an address that ` + "`egress`" + ` refuses. A webhook is done with any 2xx, also where the body behind it breaks off. Redirects are followed five times at most, never
from https to http, and never where they would turn POST into GET; another host gets no header of the settings.
`
