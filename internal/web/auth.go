package web

import (
	"errors"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
)

type signIn struct {
	Username string `json:"username"`
	Password string `json:"password"`
	OTP      string `json:"otp"`
}

type session struct {
	Token     string    `json:"token"`
	TokenType string    `json:"token_type"`
	ExpiresAt time.Time `json:"expires_at"`
}

// postToken exchanges a name and password for a token.
func (s *Server) postToken(w http.ResponseWriter, r *http.Request) error {
	var in signIn
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if in.Username == "" || in.Password == "" {
		return event.Invalidf("username and password are both needed")
	}
	got, err := s.Identity.SignIn(r.Context(), cause(r), in.Username, in.Password, in.OTP)
	if errors.Is(err, identity.ErrOneTimePassword) {
		p := newProblem(http.StatusUnauthorized, "otp-required", err.Error()+": send it as otp")
		p.header.Set("WWW-Authenticate", `Bearer realm="tocsin"`)
		return p
	}
	if errors.Is(err, event.ErrDenied) {
		return unauthorized(err.Error())
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, session{got.Token, "Bearer", got.Expires})
}

// postRenew exchanges a sign-in token for a fresh one.
func (s *Server) postRenew(w http.ResponseWriter, r *http.Request) error {
	bearer := bearerOf(r)
	if bearer == "" || identity.IsToken(bearer) {
		return event.Invalidf("only a token from signing in can be renewed; make a new API token instead")
	}
	got, err := s.Identity.Renew(r.Context(), cause(r), bearer)
	if errors.Is(err, event.ErrDenied) {
		return unauthorized(err.Error())
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, session{got.Token, "Bearer", got.Expires})
}

// postLogout ends the caller's session.
func (s *Server) postLogout(w http.ResponseWriter, r *http.Request) error {
	if err := s.Identity.Logout(r.Context(), cause(r), callerOf(r).principal); err != nil {
		return err
	}
	return noContent(w)
}

// signOut ends the session of a browser, where it has one: while somebody acts
// as a user, that and their own.
func (s *Server) signOut(r *http.Request) {
	for _, name := range []string{sessionCookie, ownCookie} {
		who := callerOf(r)
		if who.principal = s.behind(r, name); who.principal == nil {
			continue
		}
		if err := s.Identity.Logout(r.Context(), cause(r), who.principal); err != nil {
			s.Log.WarnContext(r.Context(), "session is not ended", "err", err)
		}
	}
}

// renewCookie exchanges a browser's token for a fresh one when half its life is
// over, so that nobody who works is signed out. What a page does to change
// something goes on with the old one.
func (s *Server) renewCookie(w http.ResponseWriter, r *http.Request) {
	p := callerOf(r).principal
	c, err := r.Cookie(sessionCookie)
	if err != nil || r.Method != http.MethodGet || p.OnBehalfOf != "" || p.Expires.IsZero() || time.Until(p.Expires) > identity.TokenLife/2 {
		return
	}
	got, err := s.Identity.Renew(r.Context(), cause(r), c.Value)
	if errors.Is(err, event.ErrConflict) {
		return // another tab was quicker
	}
	if err != nil {
		s.Log.WarnContext(r.Context(), "session is not renewed", "err", err)
		return
	}
	s.setSession(w, r, got.Token, got.Expires)
}
