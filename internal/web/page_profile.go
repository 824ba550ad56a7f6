package web

import (
	"net/http"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// profileView is somebody's own account.
type profileView struct {
	Problem *problem
	Said    string
	Secret  *newSecret
	User    userRow
	Form    identity.UserInput
	Groups  []string
	HasKey  bool
	// HasPassword is false for those who sign in by a provider: they are not asked
	// for one, and may set one.
	HasPassword bool

	TOTP      identity.TOTP
	Keys      []sshKeyRow
	Delegates []delegateRow
	Sessions  sessionsView
	Events    string
	ActsAs    string
	Least     int
}

// getProfile shows the account of whoever asks.
func (s *Server) getProfile(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	said := told(q, map[string]string{
		"saved": "Your profile is saved.", "password": "The new password counts from now on. Your other sessions have ended.", "totp-off": "One-time passwords are off.",
		"key-added": "The key is added.", "key-removed": "The key is removed.", "delegate-added": "The delegate may act for you.", "delegate-removed": "The delegate may not act for you any more.",
		"session": "The session has ended.", "acted": "You act as yourself again.",
	})
	if q.err != nil {
		return q.err
	}
	return s.showProfile(w, r, profileView{Said: said}, nil)
}

// showProfile shows it, with what went wrong.
func (s *Server) showProfile(w http.ResponseWriter, r *http.Request, v profileView, failed error) error {
	ctx, who := r.Context(), callerOf(r).principal
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	u, err := s.Identity.Account(ctx, who, who.User)
	if err != nil {
		return err
	}
	names, err := s.groupNames(ctx)
	if err != nil {
		return err
	}
	v.User, v.Groups, v.HasKey = newUserRow(u), namesOf(u.Value.Groups, names), u.Value.APIKey != ""
	v.HasPassword = u.Value.Hash != ""
	if failed == nil || v.Form.Username == "" {
		v.Form = identity.UserInput{Name: u.Value.Name, Email: u.Value.Email}
	}
	if v.TOTP, err = s.Identity.TOTP(ctx, who, who.User); err != nil {
		return err
	}
	keys, err := s.Identity.SSHKeys(ctx, who, who.User)
	if err != nil {
		return err
	}
	for _, k := range keys {
		v.Keys = append(v.Keys, newSSHKeyRow(k))
	}
	delegates, err := s.Identity.Delegates(ctx, who, who.User)
	if err != nil {
		return err
	}
	for _, d := range delegates {
		v.Delegates = append(v.Delegates, newDelegateRow(d))
	}
	if v.Sessions, err = s.sessionsOf(r, who.User, "/profile"); err != nil {
		return err
	}
	v.ActsAs, v.Least, v.Events = who.ActsAs, identity.MinPassword, personEvents(who.User)
	return s.renderStatus(w, r, status, "profile", pageView{Title: "Profile", Says: "Your account, and everything that opens it.", Active: "/profile", Command: "tocsin users show " + u.Value.Username, Body: v})
}

// profileDone goes back to the profile after an act, or shows why it failed.
func (s *Server) profileDone(w http.ResponseWriter, r *http.Request, said string, err error) error {
	if err != nil {
		return s.showProfile(w, r, profileView{}, err)
	}
	http.Redirect(w, r, "/profile?said="+said, http.StatusSeeOther)
	return nil
}

// postProfile saves name and address.
func (s *Server) postProfile(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "name", "email", "current_password")
	if err != nil {
		return err
	}
	who := callerOf(r).principal
	_, err = s.Identity.UpdateUser(r.Context(), cause(r), who, who.User, state.AnyVersion, func(in *identity.UserInput) error {
		in.Name, in.Email, in.CurrentPassword = strings.TrimSpace(form.Get("name")), strings.TrimSpace(form.Get("email")), form.Get("current_password")
		return nil
	})
	if err != nil {
		return s.showProfile(w, r, profileView{Form: identity.UserInput{Username: who.Name, Name: form.Get("name"), Email: form.Get("email")}}, err)
	}
	return s.profileDone(w, r, "saved", nil)
}

// postProfilePassword sets another password; the old one is asked for.
func (s *Server) postProfilePassword(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "current_password", "password")
	if err != nil {
		return err
	}
	who := callerOf(r).principal
	_, err = s.Identity.UpdateUser(r.Context(), cause(r), who, who.User, state.AnyVersion, func(in *identity.UserInput) error {
		if form.Get("password") == "" {
			return event.Invalidf("password: the new one is missing")
		}
		in.Password, in.CurrentPassword = form.Get("password"), form.Get("current_password")
		return nil
	})
	return s.profileDone(w, r, "password", err)
}

// postProfileKey makes a new API key and shows it, this once.
func (s *Server) postProfileKey(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	key, err := s.Identity.RegenerateAPIKey(r.Context(), cause(r), callerOf(r).principal, callerOf(r).principal.User)
	if err != nil {
		return s.profileDone(w, r, "", err)
	}
	return s.showProfile(w, r, profileView{Secret: &newSecret{"Your API key", pair{"Key", key}}}, nil)
}

// postProfileSSHKey adds a key with which requests are signed.
func (s *Server) postProfileSSHKey(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "name", "public_key")
	if err != nil {
		return err
	}
	who := callerOf(r).principal
	_, err = s.Identity.AddSSHKey(r.Context(), cause(r), who, who.User, strings.TrimSpace(form.Get("name")), strings.TrimSpace(form.Get("public_key")))
	return s.profileDone(w, r, "key-added", err)
}

// postProfileDropKey removes one.
func (s *Server) postProfileDropKey(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	who := callerOf(r).principal
	return s.profileDone(w, r, "key-removed", s.Identity.DeleteSSHKey(r.Context(), cause(r), who, who.User, id, state.AnyVersion))
}

// postProfileDelegate lets another user act for this one.
func (s *Server) postProfileDelegate(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "username")
	if err != nil {
		return err
	}
	who := callerOf(r).principal
	other, err := s.Identity.ActiveUser(r.Context(), strings.TrimSpace(form.Get("username")))
	if err == nil {
		_, err = s.Identity.AddDelegate(r.Context(), cause(r), who, who.User, other)
	}
	return s.profileDone(w, r, "delegate-added", err)
}

// postProfileDropDelegate ends that.
func (s *Server) postProfileDropDelegate(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	who := callerOf(r).principal
	return s.profileDone(w, r, "delegate-removed", s.Identity.RemoveDelegate(r.Context(), cause(r), who, who.User, id))
}

// postProfileEndSession ends a session; where it is this one, the browser is
// asked to sign in again.
func (s *Server) postProfileEndSession(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	who := callerOf(r).principal
	err := s.Identity.EndSession(r.Context(), cause(r), who, who.User, r.PathValue("session"))
	if err == nil && r.PathValue("session") == who.Session {
		s.leave(w, r)
		return nil
	}
	return s.profileDone(w, r, "session", err)
}
