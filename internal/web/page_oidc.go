package web

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// journeyCookie carries what must come back from a provider unchanged. It is Lax,
// because the provider's page leads back here.
const journeyCookie = "tocsin_journey"

// getOIDC sends somebody to an OpenID provider.
func (s *Server) getOIDC(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "next")
	if q.err != nil {
		return q.err
	}
	name := r.PathValue("provider")
	location, carried, err := s.Identity.BeginOIDC(r.Context(), name, s.Base+"/sign-in/oidc/"+name+"/callback", localPath(q.text("next")))
	if err != nil {
		return err
	}
	s.setJourney(w, r, carried, time.Now().Add(10*time.Minute))
	http.Redirect(w, r, location, http.StatusSeeOther)
	return nil
}

func (s *Server) setJourney(w http.ResponseWriter, r *http.Request, value string, expires time.Time) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure like the session's
		Name: journeyCookie, Value: value, Path: "/sign-in/oidc/", Expires: expires, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.secure(r),
	})
}

// secure reports whether the browser reaches this server by TLS.
func (s *Server) secure(r *http.Request) bool {
	return r.TLS != nil || strings.HasPrefix(s.Base, "https://")
}

// getOIDCBack signs somebody in who comes back from a provider. The browser came
// from another site, so it would not show a strict cookie at a redirect: a page
// that goes on by itself is in between.
func (s *Server) getOIDCBack(w http.ResponseWriter, r *http.Request) error {
	name, q := r.PathValue("provider"), r.URL.Query() // providers add parameters of their own
	s.setJourney(w, r, "", time.Unix(1, 0))
	if q.Get("error") != "" {
		return event.Deniedf("the provider %s did not sign you in: %s", name, line(q.Get("error")+" "+q.Get("error_description")))
	}
	carried, err := r.Cookie(journeyCookie)
	if errors.Is(err, http.ErrNoCookie) {
		return event.Invalidf("this sign-in did not begin in this browser: begin anew")
	}
	if err != nil {
		return err
	}
	session, next, err := s.Identity.FinishOIDC(r.Context(), cause(r), name, carried.Value, q.Get("state"), q.Get("code"))
	if err != nil {
		return err
	}
	s.setSession(w, r, session.Token, session.Expires)
	next = localPath(next)
	w.Header().Set("Refresh", "0; url="+next)
	return s.render(w, r, "onward", pageView{Title: "Signed in", Says: "You are signed in by " + name + ".", Body: next})
}
