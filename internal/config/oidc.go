package config

import (
	"net/url"
	"regexp"

	"github.com/tocsin-events/tocsin/internal/event"
)

// OIDC is an OpenID provider whose users may sign in. It must lead back to
// public_url + /sign-in/oidc/NAME/callback.
type OIDC struct {
	Name             string            `yaml:"name" doc:"What it is called, in addresses and events: small letters, digits, dashes."`
	Issuer           string            `yaml:"issuer" doc:"Its address; /.well-known/openid-configuration is asked below it."`
	ClientID         string            `yaml:"client_id" doc:"What this server is called there."`
	ClientSecretFile string            `yaml:"client_secret_file" doc:"File that holds the client's secret; empty for a public client."`
	Groups           map[string]string `yaml:"groups" doc:"Access level of each of its groups; others may not sign in. Empty: everybody is a viewer."`
}

var providerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

func (o *OIDC) validate(at int) error {
	u, err := url.Parse(o.Issuer)
	switch {
	case !providerName.MatchString(o.Name):
		return event.Invalidf("oidc, entry %d: name %q must be small letters, digits and dashes", at+1, o.Name)
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return event.Invalidf("oidc, entry %d: issuer %q is not an http or https URL", at+1, o.Issuer)
	case o.ClientID == "":
		return event.Invalidf("oidc, entry %d: client_id is missing", at+1)
	}
	return nil
}
