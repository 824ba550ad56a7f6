package web

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
)

type signInView struct {
	Problem, Said, Next, Username string
	NeedsOTP                      bool // the password was right, and does not do alone
}

func (s *Server) signInPage(v signInView) pageView {
	return pageView{Title: "Sign in", Says: "Records system events durably, and lets you find them.", Body: v}
}

// getSignIn shows the sign-in form.
func (s *Server) getSignIn(w http.ResponseWriter, r *http.Request) error {
	if again := r.URL.Query().Get("again") != ""; !again && s.signedIn(r, callerOf(r)) {
		http.Redirect(w, r, localPath(r.URL.Query().Get("next")), http.StatusSeeOther) //nolint:gosec // localPath lets no other host through, which a test shows
		return nil
	}
	said := map[string]string{"welcome": "Your account is there: sign in with the name and the password that you chose.", "password": "The new password counts from now on, and all sessions have ended: sign in."}
	return s.render(w, r, "signin", s.signInPage(signInView{Next: localPath(r.URL.Query().Get("next")), Said: said[r.URL.Query().Get("said")]}))
}

// postSignIn opens a session. The cookie is a new one each time. For a second
// factor the form asks for the password again: it is never put into a page, nor
// kept between two requests.
func (s *Server) postSignIn(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return event.Invalidf("form: %w", err)
	}
	v := signInView{Next: localPath(r.PostForm.Get("next")), Username: r.PostForm.Get("username")}
	got, err := s.Identity.SignIn(r.Context(), cause(r), v.Username, r.PostForm.Get("password"), r.PostForm.Get("otp"))
	slow, isSlow := errors.AsType[*identity.SlowDown](err)
	switch {
	case isSlow:
		v.Problem = slow.Error()
		return s.renderStatus(w, r, http.StatusTooManyRequests, "signin", s.signInPage(v))
	case errors.Is(err, identity.ErrOneTimePassword):
		v.NeedsOTP = true
		return s.renderStatus(w, r, http.StatusUnauthorized, "signin", s.signInPage(v))
	case errors.Is(err, event.ErrDenied):
		v.Problem, v.NeedsOTP = "User name or password is wrong.", r.PostForm.Has("otp")
		if v.NeedsOTP {
			v.Problem = "User name, password or one-time password is wrong. A one-time password is good once: wait for the next one."
		}
		return s.renderStatus(w, r, http.StatusUnauthorized, "signin", s.signInPage(v))
	case err != nil:
		return err
	}
	s.signOut(r) // of the session before, where there is one
	s.setSession(w, r, got.Token, got.Expires)
	http.Redirect(w, r, v.Next, http.StatusSeeOther)
	return nil
}

// postSignOut ends the session of this browser.
func (s *Server) postSignOut(w http.ResponseWriter, r *http.Request) error {
	s.signOut(r)
	s.setSession(w, r, "", time.Unix(1, 0))
	http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
	return nil
}

// setSession gives this browser a session, or takes it with an empty token. One
// that was kept while somebody acted as a user is forgotten.
func (s *Server) setSession(w http.ResponseWriter, r *http.Request, token string, expires time.Time) {
	if _, err := r.Cookie(ownCookie); err == nil {
		s.setCookie(w, r, ownCookie, "", time.Unix(1, 0))
	}
	s.setCookie(w, r, sessionCookie, token, expires)
}

func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, name, token string, expires time.Time) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where the server is reached by TLS; on loopback without it, browsers would drop the cookie
		Name: name, Value: token, Path: "/", Expires: expires, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: s.secure(r),
	})
}

// localPath lets a sign-in lead only to a page of this server.
func localPath(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}
