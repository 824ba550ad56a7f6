package web

import (
	"net/http"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// getHealth says that the process answers.
func (s *Server) getHealth(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// getReady says whether events can be taken.
func (s *Server) getReady(w http.ResponseWriter, _ *http.Request) error {
	if err := s.Ready(); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// getMetrics serves the metrics to callers on this machine, and to those with a
// token. A request that a proxy has passed on is none of this machine's.
func (s *Server) getMetrics(w http.ResponseWriter, r *http.Request) error {
	if !direct(r) {
		if err := s.authenticate(r, callerOf(r), identity.Read); err != nil {
			return err
		}
	}
	s.Metrics.Handler().ServeHTTP(w, r)
	return nil
}

// direct reports whether a request comes straight from this machine.
func direct(r *http.Request) bool {
	for _, h := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	if r.Context().Value(peerKey) != nil {
		return true
	}
	peer, ok := peerOf(r)
	return ok && peer.IsLoopback()
}

// getOpenAPI describes the API.
func (s *Server) getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(s.openapi)
	return err
}

// postReload reads the configuration anew. A wrong one changes nothing, and is
// recorded.
func (s *Server) postReload(w http.ResponseWriter, r *http.Request) error {
	if err := s.Reload(r.Context(), cause(r)); err != nil {
		return event.Invalidf("the configuration is not reloaded, the old one stays: %w", err)
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "reloaded"})
}
