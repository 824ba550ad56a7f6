package web

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// What the pages about people have in common.

// formTarget reads a form without fields, and the object that the path names.
func formTarget(w http.ResponseWriter, r *http.Request) (state.ObjectID, error) {
	if _, err := readForm(w, r); err != nil {
		return 0, err
	}
	return state.ParseID(r.PathValue("id"))
}

// peopleTabs are the pages about people; at is the one that is open.
func peopleTabs(at string) []link {
	tabs := []link{{Text: "Users", Href: "/users"}, {Text: "Groups", Href: "/groups"}, {Text: "Roles", Href: "/roles"}, {Text: "Invitations", Href: "/invitations"}}
	for i := range tabs {
		tabs[i].On = tabs[i].Href == at
	}
	return tabs
}

// choice is one value that a form offers.
type choice struct {
	Value, Text string
	On          bool
}

// levelChoices are the access levels, the roles among them.
func (s *Server) levelChoices(ctx context.Context, now identity.Level) ([]choice, error) {
	all := []choice{
		{Value: string(identity.Viewer), Text: "viewer: reads"}, {Value: string(identity.Operator), Text: "operator: also emits"}, {Value: string(identity.Administ), Text: "admin: everything"},
	}
	roles, err := s.Identity.ListRoles(ctx, 0, maxPage)
	for _, r := range roles {
		all = append(all, choice{Value: r.Value.Name, Text: line(r.Value.Name) + ": " + scopesText(r.Value.Scopes)})
	}
	for i := range all {
		all[i].On = strings.EqualFold(all[i].Value, string(now))
	}
	return all, err
}

func scopesText(list []identity.Scope) string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}

// groupChoices are the groups; those with an id of in are chosen.
func (s *Server) groupChoices(ctx context.Context, in []string) ([]choice, error) {
	found, err := s.Identity.ListGroups(ctx, 0, maxPage)
	all := make([]choice, len(found))
	for i, g := range found {
		all[i] = choice{g.ID.String(), line(g.Value.Name), slices.Contains(in, g.ID.String())}
	}
	return all, err
}

// groupNames are the names of groups by their ids.
func (s *Server) groupNames(ctx context.Context) (map[string]string, error) {
	found, err := s.groupChoices(ctx, nil)
	names := map[string]string{}
	for _, g := range found {
		names[g.Value] = g.Text
	}
	return names, err
}

func namesOf(ids []string, names map[string]string) []string {
	var all []string
	for _, id := range ids {
		if name := names[id]; name != "" {
			all = append(all, name)
		}
	}
	return all
}

// stateBadges say how an account stands.
func stateBadges(u *identity.User) []badge {
	all := []badge{map[string]badge{"active": {"good", "active"}, "suspended": {"bad", "suspended"}, "archived": {"plain", "archived"}}[u.State()]}
	if u.Archived && u.Suspended {
		all = append(all, badge{"bad", "suspended"})
	}
	if u.TwoFactor {
		all = append(all, badge{"good", "one-time passwords"})
	}
	return all
}

// eachUser walks over users behind an id until do wants no more, and returns the
// id of the last one it has seen, or 0 at the end.
func (s *Server) eachUser(ctx context.Context, after state.ObjectID, do func(state.Record[identity.User]) bool) (state.ObjectID, error) {
	for {
		found, err := s.Identity.ListUsers(ctx, after, maxPage)
		if err != nil {
			return 0, err
		}
		for _, u := range found {
			after = u.ID
			if !do(u) {
				return after, nil
			}
		}
		if len(found) < maxPage {
			return 0, nil
		}
	}
}

// sessionsView lists sessions, with a button to end each.
type sessionsView struct {
	Rows []sessionInfoRow
	Path string // of the page; its sessions are below
}

func (s *Server) sessionsOf(r *http.Request, id state.ObjectID, path string) (sessionsView, error) {
	who := callerOf(r).principal
	found, err := s.Identity.Sessions(r.Context(), who, id)
	v := sessionsView{Path: path}
	for _, i := range found {
		v.Rows = append(v.Rows, sessionInfoRow{
			ID: i.ID, Method: i.Method, Actor: line(i.Actor), Created: i.Created, Seen: i.Seen, ExpiresAt: i.Expires,
			ClientIP: i.ClientIP, UserAgent: line(i.UserAgent), Current: i.ID == who.Session,
		})
	}
	return v, err
}

// told is what a page says after an act, by the name that its redirect gives.
func told(q *query, texts map[string]string) string {
	name := q.text("said")
	if name != "" && texts[name] == "" {
		q.fail("query: said is no %q", name)
	}
	return texts[name]
}

// refusal is a problem with an act, shown on the page where it was tried. What
// is the server's own fault stays an error.
func refusal(err error) (*problem, int, error) {
	if err == nil {
		return nil, http.StatusOK, nil
	}
	p := complaint(err)
	if p == nil {
		return nil, 0, err
	}
	return p, p.Status, nil
}

// formVersion is the version of an object that a form was made from.
func formVersion(text string) (int64, error) {
	n, err := state.ParseID(text)
	if err != nil {
		return 0, event.Invalidf("form: version %q was not given by this server", text)
	}
	return int64(n), nil
}

// personEvents is the list of what a user did, what was done in their name, and
// what happened to them.
func personEvents(id state.ObjectID) string { return eventsHref(personFilter(id), "30d") }

func personFilter(id state.ObjectID) string {
	n := id.String()
	return equals("subject", "user/"+n) + " || " + equals("authid", n) + " || " + equals("onbehalfof", n)
}
