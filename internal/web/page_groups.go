package web

import (
	"net/http"
	"slices"
	"strings"

	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// memberLine is a group or a role, and how many users have it.
type memberLine struct {
	ID, Name, Shown string
	Users           int
	Href            string
	Scopes          []choice
	ScopesText      string
}

type membersView struct {
	Tabs    []link
	Problem *problem
	Said    string
	Rows    []memberLine
	Name    string   // what was typed
	Scopes  []choice // of a new role
}

// countUsers counts users by what they have, such as the ids of their groups.
func (s *Server) countUsers(r *http.Request, of func(*identity.User) []string) (map[string]int, error) {
	counts := map[string]int{}
	_, err := s.eachUser(r.Context(), 0, func(u state.Record[identity.User]) bool {
		for _, key := range of(&u.Value) {
			counts[key]++
		}
		return true
	})
	return counts, err
}

// getGroupsPage lists groups.
func (s *Server) getGroupsPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	said := told(q, map[string]string{"made": "The group is made.", "saved": "The group has its new name.", "deleted": "The group is deleted; its users stay."})
	if q.err != nil {
		return q.err
	}
	return s.showGroups(w, r, membersView{Said: said}, nil)
}

func (s *Server) showGroups(w http.ResponseWriter, r *http.Request, v membersView, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	found, err := s.Identity.ListGroups(r.Context(), 0, maxPage)
	if err != nil {
		return err
	}
	counts, err := s.countUsers(r, func(u *identity.User) []string { return u.Groups })
	if err != nil {
		return err
	}
	for _, g := range found {
		id := g.ID.String()
		v.Rows = append(v.Rows, memberLine{ID: id, Name: g.Value.Name, Shown: line(g.Value.Name), Users: counts[id], Href: search{}.href("/users", "q", g.Value.Name)})
	}
	v.Tabs = peopleTabs("/groups")
	return s.renderStatus(w, r, status, "groups", pageView{Title: "Groups", Says: "Sets of users, such as those whom a rule tells.", Active: "/users", Command: "tocsin groups list", Body: v})
}

func (s *Server) groupsDone(w http.ResponseWriter, r *http.Request, said, name string, err error) error {
	if err != nil {
		return s.showGroups(w, r, membersView{Name: name}, err)
	}
	http.Redirect(w, r, "/groups?said="+said, http.StatusSeeOther)
	return nil
}

// postGroupPage makes a group.
func (s *Server) postGroupPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "name")
	if err != nil {
		return err
	}
	name := strings.TrimSpace(form.Get("name"))
	_, err = s.Identity.CreateGroup(r.Context(), cause(r), identity.Group{Name: name})
	return s.groupsDone(w, r, "made", name, err)
}

// postRenameGroup renames one.
func (s *Server) postRenameGroup(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "name")
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	_, err = s.Identity.UpdateGroup(r.Context(), cause(r), id, state.AnyVersion, func(g *identity.Group) error { g.Name = strings.TrimSpace(form.Get("name")); return nil })
	return s.groupsDone(w, r, "saved", "", err)
}

// postDeleteGroup removes one, and its users from it.
func (s *Server) postDeleteGroup(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	return s.groupsDone(w, r, "deleted", "", s.Identity.DeleteGroup(r.Context(), cause(r), id, state.AnyVersion))
}

// getRolesPage lists the access levels of one's own.
func (s *Server) getRolesPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	said := told(q, map[string]string{"made": "The role is made.", "saved": "The role is saved, and counts at once.", "deleted": "The role is deleted."})
	if q.err != nil {
		return q.err
	}
	return s.showRoles(w, r, membersView{Said: said}, nil, []identity.Scope{identity.Read})
}

func (s *Server) showRoles(w http.ResponseWriter, r *http.Request, v membersView, failed error, chosen []identity.Scope) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	found, err := s.Identity.ListRoles(r.Context(), 0, maxPage)
	if err != nil {
		return err
	}
	counts, err := s.countUsers(r, func(u *identity.User) []string { return []string{strings.ToLower(string(u.AccessLevel))} })
	if err != nil {
		return err
	}
	for _, role := range found {
		name := role.Value.Name
		v.Rows = append(v.Rows, memberLine{
			ID: role.ID.String(), Name: name, Shown: line(name), Users: counts[strings.ToLower(name)], Href: search{}.href("/users", "q", name),
			Scopes: scopeChoices(role.Value.Scopes), ScopesText: scopesText(role.Value.Scopes),
		})
	}
	v.Tabs, v.Scopes = peopleTabs("/roles"), scopeChoices(chosen)
	return s.renderStatus(w, r, status, "roles", pageView{Title: "Roles", Says: "Access levels of your own, beside viewer, operator and admin.", Active: "/users", Command: "curl " + s.Base + "/v1/roles", Body: v})
}

// scopeChoices are all scopes, with what they let one do.
func scopeChoices(on []identity.Scope) []choice {
	does := map[identity.Scope]string{
		identity.Read: "search and look at everything", identity.Emit: "send events", identity.Forward: "send events of another Tocsin, as they are", identity.Admin: "everything but forward",
	}
	var all []choice
	for _, scope := range identity.Scopes() {
		all = append(all, choice{string(scope), does[scope], slices.Contains(on, scope)})
	}
	return all
}

func (s *Server) rolesDone(w http.ResponseWriter, r *http.Request, said string, typed identity.Role, err error) error {
	if err != nil {
		return s.showRoles(w, r, membersView{Name: typed.Name}, err, typed.Scopes)
	}
	http.Redirect(w, r, "/roles?said="+said, http.StatusSeeOther)
	return nil
}

// roleForm reads a role.
func roleForm(w http.ResponseWriter, r *http.Request) (identity.Role, error) {
	form, err := readForm(w, r, "name", "scope")
	role := identity.Role{Name: strings.TrimSpace(form.Get("name"))}
	for _, scope := range form["scope"] {
		role.Scopes = append(role.Scopes, identity.Scope(scope))
	}
	return role, err
}

// postRolePage makes a role.
func (s *Server) postRolePage(w http.ResponseWriter, r *http.Request) error {
	role, err := roleForm(w, r)
	if err != nil {
		return err
	}
	_, err = s.Identity.CreateRole(r.Context(), cause(r), callerOf(r).principal, role)
	return s.rolesDone(w, r, "made", role, err)
}

// postEditRole changes one.
func (s *Server) postEditRole(w http.ResponseWriter, r *http.Request) error {
	wanted, err := roleForm(w, r)
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	_, err = s.Identity.UpdateRole(r.Context(), cause(r), callerOf(r).principal, id, state.AnyVersion, func(role *identity.Role) error { *role = wanted; return nil })
	return s.rolesDone(w, r, "saved", identity.Role{}, err)
}

// postDeleteRole removes one that nobody has.
func (s *Server) postDeleteRole(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	return s.rolesDone(w, r, "deleted", identity.Role{}, s.Identity.DeleteRole(r.Context(), cause(r), id, state.AnyVersion))
}
