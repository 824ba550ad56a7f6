package identity

import (
	"slices"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Place is where an address is, and whose network it belongs to. What is not
// known is empty.
type Place struct {
	ASN       string `json:"asn,omitempty"`
	Network   string `json:"network,omitempty"` // the announced one, such as 5.4.0.0/14
	Continent string `json:"continent,omitempty"`
	Country   string `json:"country,omitempty"`
	City      string `json:"city,omitempty"`
}

// Locator knows places. It must be safe for concurrent use, and quick.
type Locator interface{ Locate(address string) Place }

// Binding says what a session is bound to; empty and "none" for nothing. Each
// value includes those before it: who is bound to the city is bound to the
// country.
type Binding struct {
	Network string `json:"network,omitempty"` // asn, network or address
	Place   string `json:"place,omitempty"`   // continent, country or city
}

// Validate refuses unknown values, with an error of class event.ErrInvalid.
func (b Binding) Validate() error {
	if !slices.Contains([]string{"", "none", "asn", "network", "address"}, b.Network) {
		return event.Invalidf("sessions.bind_network: %q is unknown: use none, asn, network or address", b.Network)
	}
	if !slices.Contains([]string{"", "none", "continent", "country", "city"}, b.Place) {
		return event.Invalidf("sessions.bind_place: %q is unknown: use none, continent, country or city", b.Place)
	}
	return nil
}

func (b Binding) none() bool {
	return (b.Network == "" || b.Network == "none") && (b.Place == "" || b.Place == "none")
}

// bound is what a session is bound to, and the values it had at sign-in.
type bound struct {
	Binding
	Address string `json:"address,omitempty"`
	At      Place  `json:"at,omitzero"`
}

// broken is the part of a binding that does not hold any more.
type broken struct{ Reason, Was, Is string }

// check compares where a session was opened with where it is used.
func (b *bound) check(address string, now Place) *broken {
	type part struct{ name, was, is string }
	var parts []part
	add := func(level string, from []part) {
		for _, p := range from {
			parts = append(parts, p)
			if p.name == level {
				return
			}
		}
	}
	if b.Network != "" && b.Network != "none" {
		add(b.Network, []part{{"asn", b.At.ASN, now.ASN}, {"network", b.At.Network, now.Network}, {"address", b.Address, address}})
	}
	networks := len(parts)
	if b.Place != "" && b.Place != "none" {
		add(b.Place, []part{{"continent", b.At.Continent, now.Continent}, {"country", b.At.Country, now.Country}, {"city", b.At.City, now.City}})
	}
	for n, p := range parts {
		if p.was == p.is {
			continue
		}
		kind := "network."
		if n >= networks {
			kind = "geoip."
		}
		return &broken{kind + p.name, p.was, p.is}
	}
	return nil
}
