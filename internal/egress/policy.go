package egress

import "github.com/tocsin-events/tocsin/internal/config"

// Config is the policy of this moment as the configuration writes it, for a
// process of ours that is to call for us.
func (g *Guard) Config() config.Egress {
	p := g.policy.Load()
	c := config.Egress{Rewrite: make(map[string]string, len(p.Rewrite))}
	for _, n := range p.Allow {
		c.Allow = append(c.Allow, n.String())
	}
	for host, base := range p.Rewrite {
		c.Rewrite[host] = base.String()
	}
	return c
}
