package web

import (
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// behalfHeader names a user for whom the caller acts as a delegate, by id or
// name.
const behalfHeader = "Tocsin-On-Behalf-Of"

// postImpersonate answers with the token of a session in which the caller acts
// as a user.
func (s *Server) postImpersonate(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	got, err := s.Identity.Impersonate(r.Context(), cause(r), callerOf(r).principal, id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, session{got.Token, "Bearer", got.Expires})
}

// deleteImpersonate ends it, asked from within it or by who began it.
func (s *Server) deleteImpersonate(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	if err := s.Identity.EndImpersonation(r.Context(), cause(r), callerOf(r).principal, id); err != nil {
		return err
	}
	return noContent(w)
}

type delegateRow struct {
	ID       string    `json:"id"` // of the delegate, as a user: that is what the path names
	User     string    `json:"user"`
	Username string    `json:"username"`
	Created  time.Time `json:"created"`
}

func newDelegateRow(r state.Record[identity.Delegate]) delegateRow {
	return delegateRow{ID: r.Value.User, User: r.Value.User, Username: r.Value.Username, Created: r.Created}
}

func (s *Server) getDelegates(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	all, err := s.Identity.Delegates(r.Context(), callerOf(r).principal, id)
	if err != nil {
		return err
	}
	return answerAll(w, r, all, newDelegateRow)
}

func (s *Server) postDelegates(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	var in struct {
		User string `json:"user"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	other, err := state.ParseID(in.User)
	if err != nil {
		return event.Invalidf("user: give the id of the user who may act for this one")
	}
	made, err := s.Identity.AddDelegate(r.Context(), cause(r), callerOf(r).principal, id, other)
	if err != nil {
		return err
	}
	return answerCreated(w, r, other, made.Version, newDelegateRow(made))
}

func (s *Server) getDelegate(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	all, err := s.Identity.Delegates(r.Context(), callerOf(r).principal, id)
	if err != nil {
		return err
	}
	for _, d := range all {
		if d.Value.User == r.PathValue("delegate") {
			w.Header().Set("ETag", etag(d.Version))
			return writeJSON(w, http.StatusOK, newDelegateRow(d))
		}
	}
	return event.NotFoundf("user %q is no delegate of user %d", r.PathValue("delegate"), id)
}

func (s *Server) deleteDelegate(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	other, err := state.ParseID(r.PathValue("delegate"))
	if err != nil {
		return err
	}
	if err := s.Identity.RemoveDelegate(r.Context(), cause(r), callerOf(r).principal, id, other); err != nil {
		return err
	}
	return noContent(w)
}

type sessionInfoRow struct {
	ID        string           `json:"id"`
	Method    string           `json:"method"`
	Actor     string           `json:"actor,omitempty"` // who acts as the user, where that is somebody else
	Created   time.Time        `json:"created"`
	Seen      time.Time        `json:"seen"`
	ExpiresAt time.Time        `json:"expires_at"`
	ClientIP  string           `json:"client_ip"`
	UserAgent string           `json:"user_agent"`
	Bound     identity.Binding `json:"bound"`
	Current   bool             `json:"current"` // whether it is the one that asks
}

func (s *Server) getSessions(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	who := callerOf(r).principal
	all, err := s.Identity.Sessions(r.Context(), who, id)
	if err != nil {
		return err
	}
	return answerAll(w, r, all, func(i identity.SessionInfo) sessionInfoRow {
		return sessionInfoRow{
			ID: i.ID, Method: i.Method, Actor: i.Actor, Created: i.Created, Seen: i.Seen, ExpiresAt: i.Expires,
			ClientIP: i.ClientIP, UserAgent: i.UserAgent, Bound: i.Bound, Current: i.ID == who.Session,
		}
	})
}

func (s *Server) deleteSession(w http.ResponseWriter, r *http.Request) error {
	id, err := userOf(r)
	if err != nil {
		return err
	}
	if err := s.Identity.EndSession(r.Context(), cause(r), callerOf(r).principal, id, r.PathValue("session")); err != nil {
		return err
	}
	return noContent(w)
}
