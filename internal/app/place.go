package app

import (
	"net/netip"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/geo"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// ownNetworks are the networks of a configuration that was validated.
func ownNetworks(c *config.Config) []geo.Network {
	var all []geo.Network
	for _, n := range c.Networks {
		if p, err := netip.ParsePrefix(n.CIDR); err == nil {
			all = append(all, geo.Network{Prefix: p, Label: n.Label})
		}
	}
	return all
}

// locator lets identity ask geo where an address is.
type locator struct{ app *App }

// Locate implements identity.Locator.
func (l locator) Locate(address string) identity.Place {
	p := l.app.geo.Load().Lookup(address)
	return identity.Place{ASN: p.ASN, Network: p.ASNetwork, Continent: p.Continent, Country: p.Country, City: p.City}
}

// binding is what new sessions are bound to.
func (a *App) binding() identity.Binding {
	s := a.current.Load().Sessions
	return identity.Binding{Network: s.BindNetwork, Place: s.BindPlace}
}
