package web

import (
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

type invitationRow struct {
	ID          string         `json:"id"`
	Email       string         `json:"email"`
	AccessLevel identity.Level `json:"access_level"`
	Groups      []string       `json:"groups"`
	ExpiresAt   time.Time      `json:"expires_at"`
	Mailed      bool           `json:"mailed"`
	UsedAt      *time.Time     `json:"used_at"`
	UsedBy      string         `json:"used_by"`
	Created     time.Time      `json:"created"`
	Token       string         `json:"token,omitempty"` // once, when it is made
	Link        string         `json:"link,omitempty"`  // likewise
}

func newInvitationRow(r state.Record[identity.Invitation]) invitationRow {
	v := &r.Value
	return invitationRow{
		ID: r.ID.String(), Email: v.Email, AccessLevel: v.AccessLevel, Groups: v.Groups, ExpiresAt: v.ExpiresAt.UTC(),
		Mailed: v.Mailed, UsedAt: v.UsedAt, UsedBy: v.UsedBy, Created: r.Created,
	}
}

func (s *Server) getInvitations(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, s.Identity.ListInvitations, newInvitationRow)
}

func (s *Server) getInvitation(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, s.Identity.GetInvitation, newInvitationRow)
}

// postInvitations makes an invitation; its link is told this once.
func (s *Server) postInvitations(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Email       string         `json:"email"`
		AccessLevel identity.Level `json:"access_level"`
		Groups      []string       `json:"groups"`
		ExpiresAt   *time.Time     `json:"expires_at"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	v := identity.Invitation{Email: in.Email, AccessLevel: in.AccessLevel, Groups: in.Groups}
	if in.ExpiresAt != nil {
		v.ExpiresAt = *in.ExpiresAt
	}
	made, token, err := s.Identity.Invite(r.Context(), cause(r), callerOf(r).principal, v)
	if err != nil {
		return err
	}
	row := newInvitationRow(made)
	row.Token, row.Link = token, s.Identity.InviteLink(token)
	return answerCreated(w, r, made.ID, made.Version, row)
}

func (s *Server) deleteInvitation(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, s.Identity.DeleteInvitation)
}

// revealInvitation tells the link again, to those who give their password again.
func (s *Server) revealInvitation(w http.ResponseWriter, r *http.Request) error {
	id, password, err := revealOf(w, r)
	if err != nil {
		return err
	}
	token, err := s.Identity.RevealInvitation(r.Context(), cause(r), callerOf(r).principal, id, password)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]string{"token": token, "link": s.Identity.InviteLink(token)})
}

// acceptInvitation makes the account of somebody who was invited.
func (s *Server) acceptInvitation(w http.ResponseWriter, r *http.Request) error {
	var in identity.Acceptance
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.Identity.Accept(r.Context(), cause(r), in)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/users/"+made.ID.String())
	return writeJSON(w, http.StatusCreated, newUserRow(made))
}
