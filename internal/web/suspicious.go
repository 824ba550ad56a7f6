package web

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// suspicious records a request that looks like an attack; floods are folded.
func (s *Server) suspicious(r *http.Request, subject, message string) error {
	by := cause(r)
	e, err := by.Event(s.Base+"/server", "suspicious_request", subject, map[string]any{
		"message": message, "method": r.Method, "path": r.URL.Path, "http_request": by.Request,
	})
	if err != nil {
		return err
	}
	return s.Folder.Raise(r.Context(), by, e)
}

// suspicion is why a request is not looked at any further, before any route is.
type suspicion struct {
	status       int
	slug, detail string
}

// refuses finds requests that only an attack makes: a path that climbs out, and a
// host name that is nobody's here, as in DNS rebinding.
func (s *Server) refuses(r *http.Request) *suspicion {
	if climbs(r.URL) {
		return &suspicion{http.StatusBadRequest, "path", "the path climbs out of where it begins"}
	}
	if r.Context().Value(peerKey) == nil && !s.ownHost(s.hostOf(r)) {
		return &suspicion{http.StatusMisdirectedRequest, "host", "this server is not called that: use public_url, or give the name to a brand"}
	}
	return nil
}

// climbs reports a path with a segment of two dots, however it is written, a
// backslash or a NUL byte. No path of this server has one.
func climbs(u *url.URL) bool {
	if strings.ContainsAny(u.Path, "\\\x00") {
		return true
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == ".." || segment == "." {
			return true
		}
	}
	return false
}

// hostNames are what this server is called besides its brands.
type hostNames struct {
	public  string // of public_url; empty where that has none
	machine string
}

func newHostNames(base string) (n hostNames) {
	if u, err := url.Parse(base); err == nil && named(u.Hostname()) {
		n.public = strings.ToLower(u.Hostname())
	}
	if machine, err := os.Hostname(); err == nil {
		n.machine = strings.ToLower(machine)
	}
	return n
}

// ownHost reports whether a host name is one of this server's. It is asked for
// only where public_url has a name: else nobody knows what it is called.
func (s *Server) ownHost(host string) bool {
	if s.names.public == "" {
		return true
	}
	name := strings.ToLower(host)
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.Trim(name, "[]"), ".")
	short, _, _ := strings.Cut(name, ".")
	return !named(name) || name == s.names.public || short != "" && (name == s.names.machine || short == s.names.machine) || s.brands.of(name) != nil
}

// named reports whether a host is a name in the DNS: neither an address nor this
// machine.
func named(host string) bool {
	_, err := netip.ParseAddr(host)
	return err != nil && host != "" && host != "localhost" && !strings.HasSuffix(host, ".localhost")
}
