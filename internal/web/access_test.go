package web

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/tocsin-events/tocsin/internal/identity"
)

// A table of forged and honest headers: only what a trusted proxy has added is
// believed, from the right.
func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	tests := []struct {
		peer, forwarded, want string
	}{
		{"192.0.2.1:5", "", "192.0.2.1"},
		{"192.0.2.1:5", "198.51.100.7", "192.0.2.1"},
		{"10.0.0.1:5", "198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:5", "6.6.6.6, 198.51.100.7", "198.51.100.7"},
		{"10.0.0.1:5", "6.6.6.6, 198.51.100.7, 10.0.0.2", "198.51.100.7"},
		{"10.0.0.1:5", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
		{"10.0.0.1:5", "198.51.100.7, garbage", "10.0.0.1"},
		{"10.0.0.1:5", "198.51.100.7:443", "198.51.100.7"},
		{"10.0.0.1:5", "[2001:db8::7]:443", "2001:db8::7"},
		{"10.0.0.1:5", "2001:db8::7%eth0", "2001:db8::7"},
		{"10.0.0.1:5", "::ffff:198.51.100.7", "198.51.100.7"},
		{"[::1]:5", "198.51.100.7", "198.51.100.7"},
		{"[::ffff:10.0.0.1]:5", "198.51.100.7", "198.51.100.7"},
		{"@", "198.51.100.7", ""},
		{"10.0.0.1:5", "", "10.0.0.1"},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = tt.peer
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		if got := clientAddress(r, trusted); got != tt.want {
			t.Errorf("peer %s, forwarded %q: %q, want %q", tt.peer, tt.forwarded, got, tt.want)
		}
	}
}

// TestForwarded reads RFC 7239 in the same way, and only without the other.
func TestForwarded(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, tt := range []struct{ forwarded, xff, want string }{
		{"for=198.51.100.7", "", "198.51.100.7"},
		{`For="[2001:db8::7]:443";proto=https;by=10.0.0.1`, "", "2001:db8::7"},
		{`for=6.6.6.6, for=198.51.100.7;host="a,b;c", for=10.0.0.2`, "", "198.51.100.7"},
		{`for=198.51.100.7, proto=https`, "", "10.0.0.1"},
		{`for=unknown`, "", "10.0.0.1"},
		{`for=_hidden, for=198.51.100.7`, "", "198.51.100.7"},
		{`for="`, "", "10.0.0.1"},
		{`for="198.51.100.7\"`, "", "10.0.0.1"},
		{"for=6.6.6.6", "198.51.100.7", "198.51.100.7"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "10.0.0.1:5"
		r.Header.Set("Forwarded", tt.forwarded)
		if tt.xff != "" {
			r.Header.Set("X-Forwarded-For", tt.xff)
		}
		if got := clientAddress(r, trusted); got != tt.want {
			t.Errorf("Forwarded %q, X-Forwarded-For %q: %q, want %q", tt.forwarded, tt.xff, got, tt.want)
		}
	}
}

func FuzzClientAddress(f *testing.F) {
	f.Add(`for="[::1]:1";by=x, for=_y`, "1.2.3.4, [::]:5")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, forwarded, xff string) {
		r := &http.Request{RemoteAddr: "10.0.0.1:5", Header: http.Header{"Forwarded": {forwarded}}}
		if xff != "" {
			r.Header["X-Forwarded-For"] = []string{xff}
		}
		if ip, err := netip.ParseAddr(clientAddress(r, trusted)); err != nil || ip.Zone() != "" || ip.Is4In6() {
			t.Errorf("no plain address: %v %v", ip, err)
		}
	})
}

func TestDirect(t *testing.T) {
	for peer, want := range map[string]bool{"127.0.0.1:5": true, "[::1]:5": true, "192.0.2.1:5": false, "@": false} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.RemoteAddr = peer
		if got := direct(r); got != want {
			t.Errorf("direct(%s) = %v", peer, got)
		}
		r.Header.Set("X-Forwarded-For", "127.0.0.1")
		if direct(r) {
			t.Errorf("%s through a proxy counts as direct", peer)
		}
	}
}

// The kernel says who is at the other end of the socket: here the server's own
// user, who is an administrator.
func TestSocketPeer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := ListenSocket(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *identity.Principal, 1)
	s := &http.Server{ConnContext: withPeer, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		p, _ := r.Context().Value(peerKey).(*identity.Principal)
		got <- p
	})}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: dialSocket(path)}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://tocsin/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if p := <-got; p == nil || !p.Can(identity.Admin) || p.AuthType != "system" {
		t.Errorf("the peer is %+v", p)
	}
	if second, err := ListenSocket(context.Background(), path, ""); err == nil {
		second.Close()
		t.Error("two servers share a socket")
	}
}

func dialSocket(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}

// Room that is given back is there again.
func TestGate(t *testing.T) {
	g := newGate()
	leave, err := g.enter(gateBytes + 1) // one body larger than the room still gets in alone
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.enter(1); err == nil {
		t.Error("the gate is full and lets one in")
	} else if p := problemOf(err); p.Status != http.StatusTooManyRequests || p.header.Get("Retry-After") == "" {
		t.Errorf("the refusal is %+v", p)
	}
	leave()
	var leaves []func()
	for range gateRequests {
		leave, err := g.enter(-1)
		if err != nil {
			break // bytes ran out first
		}
		leaves = append(leaves, leave)
	}
	if want := gateBytes / unknownBody; len(leaves) != want {
		t.Errorf("%d bodies of unknown length, want %d", len(leaves), want)
	}
	for _, leave := range leaves {
		leave()
	}
	if g.requests != 0 || g.bytes != 0 {
		t.Errorf("left over: %d requests, %d bytes", g.requests, g.bytes)
	}
}
