package app

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// useProviders hands OpenID providers to identity, with the guarded way to them.
func (a *App) useProviders(list []identity.Provider) {
	a.identity.UseProviders(list, &http.Client{Transport: a.egress.RoundTripper()})
}

// providers reads the secrets of the OpenID providers.
func providers(c *config.Config) ([]identity.Provider, error) {
	list := make([]identity.Provider, 0, len(c.OIDC))
	for _, o := range c.OIDC {
		p := identity.Provider{Name: o.Name, Issuer: o.Issuer, ClientID: o.ClientID, Groups: map[string]identity.Level{}}
		for group, level := range o.Groups {
			p.Groups[group] = identity.Level(level)
		}
		if o.ClientSecretFile != "" {
			secret, err := os.ReadFile(o.ClientSecretFile)
			if err != nil {
				return nil, fmt.Errorf("oidc: %s: client_secret_file: %w", o.Name, err)
			}
			p.ClientSecret = strings.TrimSpace(string(secret))
		}
		list = append(list, p)
	}
	return list, identity.CheckProviders(list)
}

// CheckProviders finds mistakes in the OpenID providers, for tocsin check.
func CheckProviders(c *config.Config) error {
	_, err := providers(c)
	return err
}
