package config

import (
	"net/netip"
	"net/url"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Egress says where calls to others may go. Public addresses always may.
type Egress struct {
	Allow   []string          `yaml:"allow" doc:"Networks that may be called although they are not public."`
	Rewrite map[string]string `yaml:"rewrite" doc:"Base URL to which the HTTP calls for a host, or host:port, go instead."`
}

// Validate checks the networks and base URLs.
func (e *Egress) Validate() []error {
	var problems []error
	for _, text := range e.Allow {
		if _, err := netip.ParsePrefix(text); err != nil {
			problems = append(problems, event.Invalidf("egress.allow: %q is not a network such as 10.0.0.0/8", text))
		}
	}
	for host, text := range e.Rewrite {
		u, err := url.Parse(text)
		if host == "" || err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			problems = append(problems, event.Invalidf("egress.rewrite: %q: %q is not an http or https URL without user, query and fragment", host, redactURL(text)))
		}
	}
	return problems
}
