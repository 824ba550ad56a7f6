package config

import (
	"net/netip"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Network is a network of one's own and what it is called. Its addresses are in
// no public database.
type Network struct {
	CIDR  string `yaml:"cidr" doc:"The network."`
	Label string `yaml:"label" doc:"What it is called: asorg of events from there."`
}

// validate checks a network; at is its place in the list.
func (n *Network) validate(at int) error {
	p, err := netip.ParsePrefix(n.CIDR)
	switch {
	case err != nil:
		return event.Invalidf("networks, entry %d: cidr %q is not a network such as 10.0.0.0/8", at+1, n.CIDR)
	case p != p.Masked():
		return event.Invalidf("networks, entry %d: cidr %q has bits behind its length: it should be %s", at+1, n.CIDR, p.Masked())
	case strings.TrimSpace(n.Label) == "":
		return event.Invalidf("networks, entry %d: label is missing: say what %s is called", at+1, n.CIDR)
	}
	return nil
}
