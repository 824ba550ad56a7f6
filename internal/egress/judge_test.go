package egress_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/egress"
	"github.com/tocsin-events/tocsin/internal/event"
)

func policy(t *testing.T, allow ...string) egress.Policy {
	t.Helper()
	p, err := egress.PolicyOf(config.Egress{Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct{ addr, says string }{ // says is empty where the address is public
		{"8.8.8.8", ""},
		{"192.0.1.255", ""},
		{"172.15.255.255", ""},
		{"172.32.0.0", ""},
		{"100.63.255.255", ""},
		{"100.128.0.0", ""},
		{"2606:4700::1111", ""},
		{"2001:4860:4860::8888", ""},
		{"64:ff9b::8.8.8.8", ""},
		{"2002:808:808::1", ""},
		{"::ffff:8.8.8.8", ""},

		{"127.0.0.1", "loopback"},
		{"127.255.255.254", "loopback"},
		{"0.0.0.0", "unspecified"},
		{"0.1.2.3", "this network"},
		{"10.255.0.1", "private"},
		{"172.16.0.1", "private"},
		{"172.31.255.255", "private"},
		{"192.168.1.1", "private"},
		{"100.64.0.1", "carrier"},
		{"169.254.169.254", "metadata"},
		{"169.254.1.1", "link-local"},
		{"192.0.0.192", "metadata"},
		{"100.100.100.200", "metadata"},
		{"192.0.2.1", "documentation"},
		{"198.19.0.1", "benchmarks"},
		{"224.0.0.1", "multicast"},
		{"239.255.255.250", "multicast"},
		{"240.0.0.1", "reserved"},
		{"255.255.255.255", "broadcast"},

		{"::", "unspecified"},
		{"::1", "loopback"},
		{"fd00:ec2::254", "metadata"},
		{"fd12::1", "private"},
		{"fc00::1", "private"},
		{"fe80::1%eth0", "link-local"},
		{"::1%lo", "loopback"},
		{"fec0::1", "site-local"},
		{"ff02::1", "multicast"},
		{"2001:db8::1", "documentation"},
		{"100::1", "not a public"},
		{"4000::1", "not a public"},
		{"64:ff9b:1::7f00:1", "local NAT64"},

		{"::ffff:127.0.0.1", "disguise"},
		{"::ffff:169.254.169.254", "disguise, which is a metadata"},
		{"::127.0.0.1", "disguise"},
		{"::ffff:0:10.0.0.1", "disguise"},
		{"64:ff9b::10.0.0.1", "disguise"},
		{"64:ff9b::a9fe:a9fe", "disguise, which is a metadata"},
		{"2002:7f00:1::", "disguise, which is a loopback"},
		{"2002:c0a8:101::1", "disguise, which is private"},
		{"2001:0:4136:e378:8000:63bf:80ff:fffe", "disguise, which is a loopback"}, // ^127.0.0.1
		{"2606:4700::5efe:10.0.0.1", "disguise"},
		{"2606:4700::200:5efe:10.0.0.1", "disguise"},
	} {
		p := policy(t)
		err := p.Judge(netip.MustParseAddr(tt.addr))
		switch {
		case tt.says == "" && err != nil:
			t.Errorf("%s is refused: %v", tt.addr, err)
		case tt.says != "" && (!errors.Is(err, event.ErrDenied) || !strings.Contains(err.Error(), tt.says)):
			t.Errorf("%s: got %v, want a refusal with %q", tt.addr, err, tt.says)
		}
	}
	p := policy(t)
	if err := p.Judge(netip.Addr{}); !errors.Is(err, event.ErrDenied) {
		t.Errorf("no address: %v", err)
	}
}

func TestAllow(t *testing.T) {
	p := policy(t, "10.1.0.0/16", "127.0.0.1/32", "fd00:1::/32")
	for addr, allowed := range map[string]bool{
		"10.1.2.3": true, "10.2.0.1": false, "127.0.0.1": true, "127.0.0.2": false, "::ffff:10.1.2.3": true, "::ffff:10.2.2.3": false,
		"64:ff9b::10.1.2.3": true, "fd00:1::9": true, "fd00:1::9%eth0": true, "fd00:2::9": false, "169.254.169.254": false,
	} {
		if err := p.Judge(netip.MustParseAddr(addr)); (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed %t", addr, err, allowed)
		}
	}
}

// Whatever way an IPv4 address is dressed up, it is judged as what it is.
func TestDisguises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v4 := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")))
		b := v4.As4()
		bare := v4.IsPrivate() || v4.IsLoopback() || v4.IsLinkLocalUnicast() || v4.IsMulticast() || v4.IsUnspecified()
		for name, dressed := range map[string][16]byte{
			"mapped": {10: 0xff, 11: 0xff, 12: b[0], b[1], b[2], b[3]},
			"nat64":  {0, 0x64, 0xff, 0x9b, 12: b[0], b[1], b[2], b[3]},
			"6to4":   {0x20, 0x02, b[0], b[1], b[2], b[3], 15: 1},
			"teredo": {0x20, 0x01, 12: ^b[0], ^b[1], ^b[2], ^b[3]},
		} {
			p := egress.Policy{}
			plain, disguised := p.Judge(v4), p.Judge(netip.AddrFrom16(dressed))
			if (plain == nil) != (disguised == nil) || bare && plain == nil {
				t.Fatalf("%s %s: %v, but plain: %v", v4, name, disguised, plain)
			}
		}
	})
}

func TestPolicyMistakes(t *testing.T) {
	for _, c := range []config.Egress{
		{Allow: []string{"10.0.0.1"}},
		{Allow: []string{"everything"}},
		{Rewrite: map[string]string{"a": "b"}},
		{Rewrite: map[string]string{"a": "file:///etc"}},
		{Rewrite: map[string]string{"": "http://b"}},
	} {
		if _, err := egress.PolicyOf(c); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
