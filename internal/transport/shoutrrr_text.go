package transport

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// titled are the services that show a title of its own; for the others it is the
// first line.
var titled = []string{"bark", "discord", "gotify", "join", "lark", "ntfy", "opsgenie", "pushbullet", "pushover", "slack", "teams"} //nolint:gochecknoglobals // a constant table

// maxShoutrrr is how long a text gets, in UTF-16 units. The least that a service
// takes is Pushover's.
func maxShoutrrr(scheme string) int {
	switch scheme {
	case "pushover", "pagerduty":
		return 1000
	case "discord", "notifiarr", "wecom", "signal", "ifttt", "join":
		return 1900
	default:
		return 3800 // Telegram has 4096, ntfy 4096 bytes
	}
}

// shoutrrrText is a message as a service takes it, and its parameters.
func shoutrrrText(scheme string, m *Message) (text string, params map[string]string) {
	params = map[string]string{}
	text = defang(clean(m.Text))
	if slices.Contains(titled, scheme) {
		params["title"] = fit(defang(m.headline()), 120, plain)
	} else {
		text = defang(m.headline()) + "\n" + text
	}
	most := maxShoutrrr(scheme)
	if link := m.Link; link != "" && units(link) < most/2 {
		text = fit(text, most-units(link)-1, plain) + "\n" + link
	}
	text = fit(text, most, plain)
	rank := slices.Index(event.Severities(), m.Severity) // 0 info … 4 critical
	rank = max(rank, 0)
	if m.Resolved {
		rank = 0
	}
	switch scheme {
	case "ntfy":
		params["priority"] = []string{"2", "3", "3", "4", "5"}[rank]
		if m.Link != "" {
			params["click"] = m.Link
		}
	case "gotify":
		params["priority"] = []string{"2", "4", "5", "8", "10"}[rank]
	case "pushover":
		params["priority"] = []string{"-1", "0", "0", "1", "1"}[rank]
	case "opsgenie":
		params["priority"] = []string{"P5", "P4", "P3", "P2", "P1"}[rank]
		params["alias"] = m.Key
	case "pagerduty":
		params["severity"] = []string{"info", "info", "warning", "error", "critical"}[rank]
		params["dedup_key"] = m.Key
		if m.Event.Host != "" {
			params["source"] = oneLine(m.Event.Host)
		}
	case "teams", "slack":
		params["color"] = fmt.Sprintf("#%06X", m.colour())
	case "discord":
		params["color"] = fmt.Sprintf("0x%06x", m.colour())
		params["splitLines"] = "no"
	}
	return text, params
}

// defang takes mentions and links of the services' various markups apart with a
// space that has no width.
func defang(text string) string {
	return strings.NewReplacer("@", "@\u200b", "<", "<\u200b", "](", "]\u200b(").Replace(text)
}

// scrub takes what is secret in a URL of the settings out of a text, and every
// other URL's path: services put tokens there.
func scrub(text, secret string) string {
	text = redact.Text(clean(text))
	var parts []string
	if u, err := url.Parse(secret); err == nil {
		if u.User != nil {
			password, _ := u.User.Password()
			parts = append(parts, u.User.Username(), password)
		}
		parts = append(parts, strings.Split(u.Path, "/")...)
		for _, values := range u.Query() {
			parts = append(parts, values...)
		}
		if !strings.Contains(u.Host, ".") { // a token in the place of a host
			parts = append(parts, u.Host)
		}
	}
	parts = append(parts, secret)
	slices.SortFunc(parts, func(a, b string) int { return len(b) - len(a) })
	for _, p := range parts {
		if len(p) >= 4 {
			text = strings.ReplaceAll(text, p, redact.Mask)
			text = strings.ReplaceAll(text, url.QueryEscape(p), redact.Mask)
		}
	}
	return oneLine(text)
}

// services are the names of those that can be used.
func services(r *router.ServiceRouter) []string {
	names := slices.DeleteFunc(r.ListServices(), func(name string) bool { return ways[name] != "" || name == "hangouts" })
	slices.Sort(names)
	return names
}
