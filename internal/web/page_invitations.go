package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// invitationLine is one invitation in the list.
type invitationLine struct {
	ID, Email, AccessLevel string
	Groups                 []string
	Badge                  badge
	Pending                bool
	Created, ExpiresAt     time.Time
	UsedBy                 string // id of the user
}

type invitationsView struct {
	Tabs           []link
	Problem        *problem
	Said           string
	Secret         *newSecret
	Rows           []invitationLine
	Mail           bool
	Email, Expires string // what was typed
	Levels, Groups []choice
}

// getInvitationsPage lists invitations.
func (s *Server) getInvitationsPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	said := told(q, map[string]string{"revoked": "The invitation is taken back: its link opens nothing."})
	if q.err != nil {
		return q.err
	}
	return s.showInvitations(w, r, invitationsView{Said: said}, identity.Invitation{AccessLevel: identity.Viewer}, nil)
}

// showInvitations shows the list and the form; typed is what the form holds.
func (s *Server) showInvitations(w http.ResponseWriter, r *http.Request, v invitationsView, typed identity.Invitation, failed error) error {
	ctx := r.Context()
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	names, err := s.groupNames(ctx)
	if err != nil {
		return err
	}
	found, err := s.Identity.ListInvitations(ctx, 0, maxPage)
	if err != nil {
		return err
	}
	for _, r := range slices.Backward(found) {
		v.Rows = append(v.Rows, newInvitationLine(r, names))
	}
	slices.SortStableFunc(v.Rows, func(a, b invitationLine) int { return order(b.Pending) - order(a.Pending) })
	if v.Levels, err = s.levelChoices(ctx, typed.AccessLevel); err != nil {
		return err
	}
	if v.Groups, err = s.groupChoices(ctx, typed.Groups); err != nil {
		return err
	}
	v.Tabs, v.Email, v.Mail = peopleTabs("/invitations"), typed.Email, s.Identity.MailReady()
	return s.renderStatus(w, r, status, "invitations", pageView{Title: "Invitations", Says: "A link with which somebody makes an account of their own, once.", Active: "/users", Command: "tocsin invitations create", Body: v})
}

func order(b bool) int {
	if b {
		return 1
	}
	return 0
}

func newInvitationLine(r state.Record[identity.Invitation], names map[string]string) invitationLine {
	v := &r.Value
	l := invitationLine{
		ID: r.ID.String(), Email: line(v.Email), AccessLevel: line(string(v.AccessLevel)), Groups: namesOf(v.Groups, names),
		Created: r.Created, ExpiresAt: v.ExpiresAt, UsedBy: v.UsedBy,
	}
	switch {
	case v.UsedAt != nil:
		l.Badge = badge{"plain", "used"}
	case time.Now().After(v.ExpiresAt):
		l.Badge = badge{"plain", "expired"}
	default:
		l.Badge, l.Pending = badge{"wait", "pending"}, true
	}
	return l
}

// postInvitePage makes an invitation and shows its link, this once.
func (s *Server) postInvitePage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "email", "access_level", "group", "expires")
	if err != nil {
		return err
	}
	v := identity.Invitation{Email: strings.TrimSpace(form.Get("email")), AccessLevel: identity.Level(form.Get("access_level")), Groups: form["group"]}
	back := invitationsView{Expires: form.Get("expires")}
	if text := strings.TrimSpace(form.Get("expires")); text != "" {
		d, err := event.ParseDuration(text)
		if err != nil {
			return s.showInvitations(w, r, back, v, event.Invalidf("expires: %w", err))
		}
		v.ExpiresAt = time.Now().Add(d).UTC().Truncate(time.Second)
	}
	made, token, err := s.Identity.Invite(r.Context(), cause(r), callerOf(r).principal, v)
	if err != nil {
		return s.showInvitations(w, r, back, v, err)
	}
	shown := invitationsView{Secret: &newSecret{"The link of the invitation", pair{"Link", s.Identity.InviteLink(token)}}}
	if made.Value.Mailed {
		shown.Said = "The link is on its way to " + line(made.Value.Email) + "."
	}
	return s.showInvitations(w, r, shown, identity.Invitation{AccessLevel: identity.Viewer}, nil)
}

// postRevealPage shows a link again, to those who give their password again.
func (s *Server) postRevealPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "password")
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	token, err := s.Identity.RevealInvitation(r.Context(), cause(r), callerOf(r).principal, id, form.Get("password"))
	v := invitationsView{}
	if err == nil {
		v.Secret = &newSecret{"The link of the invitation", pair{"Link", s.Identity.InviteLink(token)}}
	}
	return s.showInvitations(w, r, v, identity.Invitation{AccessLevel: identity.Viewer}, err)
}

// postRevokeInvitation takes one back.
func (s *Server) postRevokeInvitation(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	if err := s.Identity.DeleteInvitation(r.Context(), cause(r), id, state.AnyVersion); err != nil {
		return s.showInvitations(w, r, invitationsView{}, identity.Invitation{AccessLevel: identity.Viewer}, err)
	}
	http.Redirect(w, r, "/invitations?said=revoked", http.StatusSeeOther)
	return nil
}
