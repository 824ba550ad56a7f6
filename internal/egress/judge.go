package egress

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/tocsin-events/tocsin/internal/event"
)

// refusal is why an address is not called.
type refusal struct {
	addr netip.Addr
	what string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("egress: %s is %s; egress.allow in the configuration can permit it", r.addr, r.what)
}

// Unwrap makes the refusal one of class event.ErrDenied.
func (r *refusal) Unwrap() error { return event.ErrDenied }

// special are the networks that are not public (IANA's special-purpose address
// registries). Of IPv6, only 2000::/3 is public at all.
var special = []struct { //nolint:gochecknoglobals // a constant table
	net  netip.Prefix
	what string
}{
	{netip.MustParsePrefix("169.254.169.254/32"), "a metadata service"},
	{netip.MustParsePrefix("100.100.100.200/32"), "a metadata service"},
	{netip.MustParsePrefix("192.0.0.192/32"), "a metadata service"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "a metadata service"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "a metadata service"},
	{netip.MustParsePrefix("0.0.0.0/32"), "unspecified"},
	{netip.MustParsePrefix("0.0.0.0/8"), "of this network"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "behind a carrier's NAT"},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved for protocols"},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "a loopback address"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "a local NAT64 address"},
	{netip.MustParsePrefix("fc00::/7"), "private"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "site-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("2001::/23"), "reserved for protocols"},
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation"},
	{netip.MustParsePrefix("3fff::/20"), "for documentation"},
}

// publicIPv6 is all of IPv6 that is given out (RFC 4291, 2.4).
var publicIPv6 = netip.MustParsePrefix("2000::/3") //nolint:gochecknoglobals // a constant

// Judge refuses an address that is not public, unless Allow has it. An IPv4
// address inside an IPv6 one is judged, too: whoever translates would reach it.
// The error is of class event.ErrDenied.
func (p *Policy) Judge(a netip.Addr) error {
	a = a.WithZone("")
	if p.allows(a) {
		return nil
	}
	inner, disguised := embedded(a)
	if disguised {
		if p.allows(inner) {
			return nil
		}
		if what := notPublic(inner); what != "" {
			return &refusal{a, inner.String() + " in disguise, which is " + what}
		}
		return nil
	}
	if what := notPublic(a); what != "" {
		return &refusal{a, what}
	}
	return nil
}

func (p *Policy) allows(a netip.Addr) bool {
	for _, n := range p.Allow {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

func notPublic(a netip.Addr) string {
	for _, s := range special {
		if s.net.Contains(a) {
			return s.what
		}
	}
	if a.Is6() && !publicIPv6.Contains(a) || !a.IsValid() {
		return "not a public address"
	}
	return ""
}

// embedded takes an IPv4 address out of the IPv6 addresses that stand for one:
// IPv4-mapped (RFC 4291), IPv4-compatible, IPv4-translated (RFC 2765), NAT64 (RFC
// 6052), 6to4 (RFC 3056), Teredo (RFC 4380) and ISATAP (RFC 5214).
func embedded(a netip.Addr) (netip.Addr, bool) {
	if a.Is4() {
		return a, false
	}
	if a.Is4In6() {
		return a.Unmap(), true
	}
	b := a.As16()
	head, low := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint32(b[12:])
	at := func(n int) (netip.Addr, bool) { return netip.AddrFrom4([4]byte(b[n : n+4])), true }
	switch mid := binary.BigEndian.Uint32(b[8:12]); {
	case head == 0 && mid == 0 && low > 1, // ::a.b.c.d, but neither :: nor ::1
		head == 0 && mid == 0xffff0000,         // ::ffff:0:a.b.c.d
		head == 0x0064ff9b<<32 && mid == 0,     // 64:ff9b::a.b.c.d
		mid == 0x00005efe || mid == 0x02005efe: // …:0:5efe:a.b.c.d
		return at(12)
	case b[0] == 0x20 && b[1] == 0x02: // 2002:a.b.c.d::
		return at(2)
	case head>>32 == 0x20010000: // the client's, each bit turned over
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	}
	return a, false
}
