package web

import (
	"net/http"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// usersPerPage is how many users one page lists.
const usersPerPage = 100

// userLine is one user in a list.
type userLine struct {
	ID, Username, Name, Email, AccessLevel string
	Groups                                 []string
	Badges                                 []badge
}

type usersView struct {
	Tabs           []link
	Query          string
	Problem        *problem
	Rows           []userLine
	More           string
	Empty          emptyState
	Said           string
	Form           identity.UserInput
	Levels, Groups []choice
	Least          int
	Opened         bool // the form, because it has something to say
}

// getUsersPage lists users, those with some words alone where they are given.
func (s *Server) getUsersPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "q", "after", "said")
	v := usersView{Query: q.text("q"), Said: told(q, map[string]string{"deleted": "The user is deleted. What they did stays on record."})}
	after, err := state.ObjectID(0), q.err
	if text := q.text("after"); text != "" && err == nil {
		after, err = state.ParseID(text)
	}
	if err != nil {
		return err
	}
	return s.showUsers(w, r, v, after, nil)
}

func (s *Server) showUsers(w http.ResponseWriter, r *http.Request, v usersView, after state.ObjectID, failed error) error {
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
	last, err := s.eachUser(ctx, after, func(u state.Record[identity.User]) bool {
		if knownBy(&u.Value, v.Query, namesOf(u.Value.Groups, names)) {
			v.Rows = append(v.Rows, userLine{u.ID.String(), u.Value.Username, line(u.Value.Name), line(u.Value.Email), line(string(u.Value.AccessLevel)), namesOf(u.Value.Groups, names), stateBadges(&u.Value)})
		}
		return len(v.Rows) < usersPerPage
	})
	if err != nil {
		return err
	}
	if last != 0 {
		v.More = search{}.href("/users", "q", v.Query, "after", last.String())
	}
	if v.Levels, err = s.levelChoices(ctx, v.Form.AccessLevel); err != nil {
		return err
	}
	if v.Groups, err = s.groupChoices(ctx, v.Form.Groups); err != nil {
		return err
	}
	v.Tabs, v.Least, v.Opened = peopleTabs("/users"), identity.MinPassword, failed != nil
	v.Empty = emptyState{"Nobody has these words in their name, address, groups, access level or state.", "tocsin users list"}
	return s.renderStatus(w, r, status, "users", pageView{Title: "People", Says: "Who can sign in, and what they may do.", Active: "/users", Command: "tocsin users list", Body: v})
}

// knownBy reports whether every word is in what a user is known by.
func knownBy(u *identity.User, words string, groups []string) bool {
	text := strings.ToLower(u.Username + " " + u.Name + " " + u.Email + " " + u.State() + " " + string(u.AccessLevel) + " " + strings.Join(groups, " "))
	for word := range strings.FieldsSeq(strings.ToLower(words)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// postUsersPage makes a user.
func (s *Server) postUsersPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "username", "name", "email", "password", "access_level", "group")
	if err != nil {
		return err
	}
	in := identity.UserInput{
		Username: strings.TrimSpace(form.Get("username")), Name: strings.TrimSpace(form.Get("name")), Email: strings.TrimSpace(form.Get("email")),
		Password: form.Get("password"), AccessLevel: identity.Level(form.Get("access_level")), Groups: form["group"],
	}
	made, err := s.Identity.CreateUser(r.Context(), cause(r), callerOf(r).principal, in)
	if err != nil {
		return s.showUsers(w, r, usersView{Form: in}, 0, err)
	}
	http.Redirect(w, r, "/users/"+made.ID.String()+"?said=created", http.StatusSeeOther)
	return nil
}

// userView is one user, for administrators.
type userView struct {
	Tabs           []link
	Problem        *problem
	Said           string
	Secret         *newSecret
	User           userRow
	Version        int64
	Self           bool // it is who asks
	HasPassword    bool
	MayActAs       bool
	Badges         []badge
	Form           identity.UserInput
	Levels, Groups []choice
	Sessions       sessionsView
	Rows           []eventRow
	Events         string
}

// getUserPage shows one user.
func (s *Server) getUserPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	said := told(q, map[string]string{
		"created": "The user is made.", "saved": "The user is saved.", "suspended": "The user is suspended: all sessions have ended.", "unsuspended": "The user may sign in again.",
		"archived": "The account is archived: all sessions have ended.", "unarchived": "The account is back as it was.", "mailed": "A link to set a new password is on its way to the user.",
		"totp-off": "One-time passwords are off for this user.", "session": "The session has ended.",
	})
	if q.err != nil {
		return q.err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.showUser(w, r, id, userView{Said: said}, nil)
}

const userRows = 10

func (s *Server) showUser(w http.ResponseWriter, r *http.Request, id state.ObjectID, v userView, failed error) error {
	ctx, who := r.Context(), callerOf(r).principal
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	if v.Problem != nil && v.Problem.SignIn != "" {
		v.Problem.SignIn = signInAgain("/users/" + id.String())
	}
	u, err := s.Identity.Account(ctx, who, id)
	if err != nil {
		return err
	}
	v.User, v.Version, v.Badges, v.Self, v.HasPassword = newUserRow(u), u.Version, stateBadges(&u.Value), who.User == id, u.Value.Hash != ""
	v.MayActAs = !v.Self && who.OnBehalfOf == "" && u.Value.State() == "active"
	if v.Form.Username == "" {
		v.Form = identity.UserInput{Username: u.Value.Username, Name: u.Value.Name, Email: u.Value.Email, AccessLevel: u.Value.AccessLevel, Groups: u.Value.Groups}
	}
	if v.Levels, err = s.levelChoices(ctx, v.Form.AccessLevel); err != nil {
		return err
	}
	if v.Groups, err = s.groupChoices(ctx, v.Form.Groups); err != nil {
		return err
	}
	if v.Sessions, err = s.sessionsOf(r, id, "/users/"+id.String()); err != nil {
		return err
	}
	if v.Rows, err = s.newestOf(r, personFilter(id)); err != nil {
		return err
	}
	v.Tabs, v.Events = peopleTabs(""), personEvents(id)
	return s.renderStatus(w, r, status, "user", pageView{Title: u.Value.Username, Says: "What they may do, where they are signed in, and what they did.", Active: "/users", Command: "tocsin events " + shellQuote(personFilter(id)), Body: v})
}

// newestOf are the newest events that match a filter, of the last 30 days.
func (s *Server) newestOf(r *http.Request, filterText string) ([]eventRow, error) {
	compiled, err := s.Filters.Compile(filterText)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	v := search{now: now, from: now.Add(-30 * 24 * time.Hour), compiled: compiled}
	q := v.query()
	q.Limit, q.Deadline = userRows, now.Add(time.Second)
	found, err := s.Journal.Search(r.Context(), &q)
	if err != nil {
		return nil, err
	}
	var rows []eventRow
	for i := range found.Hits {
		row, _, err := s.eventRow(&found.Hits[i])
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// userDone goes back to a user after an act, or shows why it failed.
func (s *Server) userDone(w http.ResponseWriter, r *http.Request, id state.ObjectID, said string, err error) error {
	if err != nil {
		return s.showUser(w, r, id, userView{}, err)
	}
	http.Redirect(w, r, "/users/"+id.String()+"?said="+said, http.StatusSeeOther)
	return nil
}

// postUserPage saves what the form says of a user.
func (s *Server) postUserPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "version", "username", "name", "email", "access_level", "group", "current_password")
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	version, err := formVersion(form.Get("version"))
	if err != nil {
		return err
	}
	wanted := identity.UserInput{
		Username: strings.TrimSpace(form.Get("username")), Name: strings.TrimSpace(form.Get("name")), Email: strings.TrimSpace(form.Get("email")),
		AccessLevel: identity.Level(form.Get("access_level")), Groups: form["group"], CurrentPassword: form.Get("current_password"),
	}
	_, err = s.Identity.UpdateUser(r.Context(), cause(r), callerOf(r).principal, id, version, func(in *identity.UserInput) error { *in = wanted; return nil })
	if err != nil {
		return s.showUser(w, r, id, userView{Form: wanted}, err)
	}
	return s.userDone(w, r, id, "saved", nil)
}

// postUserState suspends or archives a user, or takes that back.
func (s *Server) postUserState(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "reason")
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	ctx, by, who := r.Context(), cause(r), callerOf(r).principal
	act := r.PathValue("state")
	switch act {
	case "suspended":
		_, err = s.Identity.Suspend(ctx, by, who, id, state.AnyVersion, strings.TrimSpace(form.Get("reason")))
	case "unsuspended":
		_, err = s.Identity.Unsuspend(ctx, by, who, id, state.AnyVersion)
	case "archived":
		_, err = s.Identity.Archive(ctx, by, who, id, state.AnyVersion)
	case "unarchived":
		_, err = s.Identity.Unarchive(ctx, by, who, id, state.AnyVersion)
	default:
		return event.NotFoundf("there is no state %q", act)
	}
	return s.userDone(w, r, id, act, err)
}

// postUserReset lets a user set a new password by a link: by mail, or else shown
// to the administrator, this once.
func (s *Server) postUserReset(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	address, err := s.Identity.RequestReset(r.Context(), cause(r), callerOf(r).principal, id)
	if err != nil || address == "" {
		return s.userDone(w, r, id, "mailed", err)
	}
	return s.showUser(w, r, id, userView{Secret: &newSecret{"The link to set a password, good for an hour,", pair{"Link", address}}}, nil)
}

// postUserEndTOTP helps somebody who has lost phone and recovery codes.
func (s *Server) postUserEndTOTP(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	return s.userDone(w, r, id, "totp-off", s.Identity.DisableTOTP(r.Context(), cause(r), callerOf(r).principal, id))
}

// postUserEndSession ends a session of a user.
func (s *Server) postUserEndSession(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	return s.userDone(w, r, id, "session", s.Identity.EndSession(r.Context(), cause(r), callerOf(r).principal, id, r.PathValue("session")))
}

// postDeleteUser removes a user for good.
func (s *Server) postDeleteUser(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	if err := s.Identity.DeleteUser(r.Context(), cause(r), callerOf(r).principal, id, state.AnyVersion); err != nil {
		return s.userDone(w, r, id, "", err)
	}
	http.Redirect(w, r, "/users?said=deleted", http.StatusSeeOther)
	return nil
}
