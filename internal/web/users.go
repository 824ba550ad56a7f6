package web

import (
	"context"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// userRow is a user as the API shows it.
type userRow struct {
	ID            string         `json:"id"`
	Username      string         `json:"username"`
	Name          string         `json:"name"`
	Email         string         `json:"email"`
	EmailVerified bool           `json:"email_verified"`
	AccessLevel   identity.Level `json:"access_level"`
	Groups        []string       `json:"groups"`
	State         string         `json:"state"` // active, suspended or archived
	Suspended     bool           `json:"suspended"`
	Archived      bool           `json:"archived"`
	TwoFactor     bool           `json:"two_factor"`
	Created       time.Time      `json:"created"`
	Updated       time.Time      `json:"updated"`
}

func newUserRow(r state.Record[identity.User]) userRow {
	u := &r.Value
	groups := u.Groups
	if groups == nil {
		groups = []string{}
	}
	return userRow{
		ID: r.ID.String(), Username: u.Username, Name: u.Name, Email: u.Email, EmailVerified: u.EmailVerified,
		AccessLevel: u.AccessLevel, Groups: groups, State: u.State(), Suspended: u.Suspended, Archived: u.Archived,
		TwoFactor: u.TwoFactor, Created: r.Created, Updated: r.Updated,
	}
}

// userOf is the user that the path names; me is the caller.
func userOf(r *http.Request) (state.ObjectID, error) {
	if text := r.PathValue("id"); text != "me" {
		return state.ParseID(text)
	}
	if id := callerOf(r).principal.User; id != 0 {
		return id, nil
	}
	return 0, event.NotFoundf("you are no user, so there is no me")
}

// changeUser is the user whom a request wants to change, and the version that
// its sender has seen.
func changeUser(r *http.Request) (id state.ObjectID, version int64, err error) {
	if id, err = userOf(r); err != nil {
		return 0, 0, err
	}
	version, err = ifMatch(r)
	return id, version, err
}

func (s *Server) getUsers(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, s.Identity.ListUsers, newUserRow)
}

func (s *Server) postUsers(w http.ResponseWriter, r *http.Request) error {
	var in identity.UserInput
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.Identity.CreateUser(r.Context(), cause(r), callerOf(r).principal, in)
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newUserRow(made))
}

func (s *Server) getUser(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	found, err := s.Identity.Account(r.Context(), callerOf(r).principal, id)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(found.Version))
	return writeJSON(w, http.StatusOK, newUserRow(found))
}

// putUser replaces (PUT) or patches (PATCH) what may be said of a user.
func (s *Server) putUser(w http.ResponseWriter, r *http.Request) error {
	id, version, err := changeUser(r)
	if err != nil {
		return err
	}
	raw, err := readRaw(w, r)
	if err != nil {
		return err
	}
	changed, err := s.Identity.UpdateUser(r.Context(), cause(r), callerOf(r).principal, id, version, func(in *identity.UserInput) (err error) {
		*in, err = merge(r, raw, *in)
		return err
	})
	return answerChanged(w, r, changed, newUserRow, err)
}

func (s *Server) deleteUser(w http.ResponseWriter, r *http.Request) error {
	id, version, err := changeUser(r)
	if err != nil {
		return err
	}
	if err := s.Identity.DeleteUser(r.Context(), cause(r), callerOf(r).principal, id, version); err != nil {
		return preconditionOf(r, err)
	}
	return noContent(w)
}

// postSuspend suspends a user; the body may give the reason.
func (s *Server) postSuspend(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Reason string `json:"reason"`
	}
	if err := readOptional(w, r, &in); err != nil {
		return err
	}
	return s.turnUser(w, r, func(ctx context.Context, by state.Cause, who *identity.Principal, id state.ObjectID, version int64) (state.Record[identity.User], error) {
		return s.Identity.Suspend(ctx, by, who, id, version, in.Reason)
	})
}

func (s *Server) postUnsuspend(w http.ResponseWriter, r *http.Request) error {
	return s.turnUser(w, r, s.Identity.Unsuspend)
}

func (s *Server) postArchive(w http.ResponseWriter, r *http.Request) error {
	return s.turnUser(w, r, s.Identity.Archive)
}

func (s *Server) postUnarchive(w http.ResponseWriter, r *http.Request) error {
	return s.turnUser(w, r, s.Identity.Unarchive)
}

// turnUser changes a user's state and answers with the user.
func (s *Server) turnUser(w http.ResponseWriter, r *http.Request, turn func(context.Context, state.Cause, *identity.Principal, state.ObjectID, int64) (state.Record[identity.User], error)) error {
	id, version, err := changeUser(r)
	if err != nil {
		return err
	}
	changed, err := turn(r.Context(), cause(r), callerOf(r).principal, id, version)
	return answerChanged(w, r, changed, newUserRow, err)
}

// readOptional is readJSON for a body that may be left out.
func readOptional(w http.ResponseWriter, r *http.Request, into any) error {
	if r.ContentLength == 0 {
		return nil
	}
	return readJSON(w, r, into)
}
