package app

import "github.com/tocsin-events/tocsin/internal/identity"

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
