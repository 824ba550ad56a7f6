package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// clientAddress is the address of the client. Behind trusted proxies it is the
// rightmost address that is none of theirs in X-Forwarded-For, or, where that is
// missing, in Forwarded (RFC 7239, 5.2); an unreadable one falls back to the
// peer.
func clientAddress(r *http.Request, trusted []netip.Prefix) string {
	peer, ok := peerOf(r)
	if !ok {
		return ""
	}
	hops := hopsOf(r.Header)
	at := peer
	for i := len(hops) - 1; i >= 0 && contains(trusted, at); i-- {
		next, ok := parseHop(hops[i])
		if !ok {
			return peer.String()
		}
		at = next
	}
	return at.String()
}

// fromTrusted reports whether a request comes from a trusted proxy.
func fromTrusted(r *http.Request, trusted []netip.Prefix) bool {
	peer, ok := peerOf(r)
	return ok && contains(trusted, peer)
}

// peerOf is the address at the other end of the connection; a Unix socket has
// none.
func peerOf(r *http.Request) (netip.Addr, bool) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(host)
	return ip.Unmap().WithZone(""), err == nil
}

// hopsOf are the addresses that proxies have noted, the last one's at the end.
func hopsOf(h http.Header) []string {
	if list := h.Values("X-Forwarded-For"); len(list) > 0 {
		return strings.Split(strings.Join(list, ","), ",")
	}
	var hops []string
	for _, element := range splitQuoted(strings.Join(h.Values("Forwarded"), ","), ',') {
		hop := "" // an element without for= says nothing about the address before it
		for _, pair := range splitQuoted(element, ';') {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if strings.EqualFold(name, "for") {
				hop = strings.Trim(value, `"`)
			}
		}
		hops = append(hops, hop)
	}
	return hops
}

// splitQuoted splits at a separator outside of quoted strings (RFC 9110, 5.6.4).
func splitQuoted(text string, at byte) []string {
	if text == "" {
		return nil
	}
	var parts []string
	quoted, from := false, 0
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case text[i] == at && !quoted:
			parts = append(parts, text[from:i])
			from = i + 1
		}
	}
	return append(parts, text[from:])
}

func contains(networks []netip.Prefix, ip netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

// parseHop reads one element of X-Forwarded-For: an address, with or without a
// port, brackets and a zone.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return ip.Unmap().WithZone(""), err == nil
}
