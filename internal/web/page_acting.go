package web

import (
	"errors"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// ownCookie keeps the session of an administrator while the browser acts as
// somebody else. It opens nothing by itself: it is only put back.
const ownCookie = "tocsin_own_session"

// behind is who stands behind a cookie; nil where it opens nothing.
func (s *Server) behind(r *http.Request, cookie string) *identity.Principal {
	c, err := r.Cookie(cookie)
	if err != nil || c.Value == "" || identity.IsToken(c.Value) {
		return nil
	}
	p, err := s.Identity.Authenticate(r.Context(), cause(r), c.Value)
	if err != nil {
		return nil
	}
	return p
}

// postActAs lets this browser act as a user.
func (s *Server) postActAs(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	own, err := r.Cookie(sessionCookie)
	if err != nil {
		return event.Invalidf("cookie: %w", err)
	}
	me := callerOf(r).principal
	got, err := s.Identity.Impersonate(r.Context(), cause(r), me, id)
	if err != nil {
		return err
	}
	s.setCookie(w, r, ownCookie, own.Value, me.Expires)
	s.setCookie(w, r, sessionCookie, got.Token, got.Expires)
	http.Redirect(w, r, "/profile", http.StatusSeeOther)
	return nil
}

// postStopActing ends it, and goes on as oneself.
func (s *Server) postStopActing(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	who := callerOf(r).principal
	if who.OnBehalfOf == "" {
		return event.Conflictf("you act as nobody else")
	}
	if err := s.Identity.EndImpersonation(r.Context(), cause(r), who, who.User); err != nil && !errors.Is(err, event.ErrNotFound) {
		return err
	}
	s.leave(w, r)
	return nil
}

// leave is where a browser goes whose session has ended: to its own one, or to
// signing in.
func (s *Server) leave(w http.ResponseWriter, r *http.Request) {
	if !s.backToOwn(w, r) {
		s.setSession(w, r, "", time.Unix(1, 0))
		http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
	}
}

// backToOwn puts the session back that was kept while a browser acted as
// somebody, and shows a page of one's own: what was asked for was meant to
// happen in another's name.
func (s *Server) backToOwn(w http.ResponseWriter, r *http.Request) bool {
	c, err := r.Cookie(ownCookie)
	if err != nil {
		return false
	}
	p := s.behind(r, ownCookie)
	if p == nil {
		s.setSession(w, r, "", time.Unix(1, 0))
		return false
	}
	s.setSession(w, r, c.Value, p.Expires)
	http.Redirect(w, r, "/profile?said=acted", http.StatusSeeOther)
	return true
}
