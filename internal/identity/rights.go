package identity

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Role is an access level of one's own: scopes under a name.
type Role struct {
	Name   string  `json:"name"`
	Scopes []Scope `json:"scopes"`
}

var roles = state.Collection[Role]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "identity", Model: "role",
	Name: func(r *Role) string { return r.Name },
	Keys: func(r *Role) map[string]string { return map[string]string{"name": strings.ToLower(r.Name)} },
	Check: func(r *Role) error {
		if err := checkName("a role", r.Name); err != nil {
			return err
		}
		if isBuiltIn(Level(strings.ToLower(r.Name))) {
			return event.Invalidf("name: %q is a built-in access level", r.Name)
		}
		return checkScopes(r.Scopes)
	},
}

// checkName refuses names of objects that are empty or no use to people.
func checkName(what, name string) error {
	if name == "" || len(name) > 128 || strings.TrimSpace(name) != name || strings.ContainsFunc(name, isControl) {
		return event.Invalidf("name: %s needs a name of 1 to 128 bytes, without control characters or space around it", what)
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

func checkScopes(list []Scope) error {
	if len(list) == 0 {
		return event.Invalidf("scopes: name at least one of read, emit, forward, admin")
	}
	for _, s := range list {
		if !slices.Contains(Scopes(), s) {
			return event.Invalidf("scopes: %q is unknown: use read, emit, forward or admin", s)
		}
	}
	return nil
}

func isBuiltIn(l Level) bool { return l == Viewer || l == Operator || l == Administ }

// scopesOf are the scopes of an access level: a built-in one, or a role's.
func scopesOf(ctx context.Context, q state.Querier, l Level) ([]Scope, error) {
	switch l {
	case Administ:
		return []Scope{Admin}, nil
	case Operator:
		return []Scope{Read, Emit}, nil
	case Viewer:
		return []Scope{Read}, nil
	}
	r, err := roles.Find(ctx, q, "name", strings.ToLower(string(l)))
	if errors.Is(err, event.ErrNotFound) {
		return nil, event.Invalidf("access_level %q is unknown: use viewer, operator, admin or the name of a role", l)
	}
	return r.Value.Scopes, err
}

// covers refuses with event.ErrDenied to give scopes, or to act upon somebody
// who has them, to those who lack one. Forward is given by admins.
func (p *Principal) covers(what string, scopes []Scope) error {
	for _, s := range scopes {
		if !p.Can(s) && !p.Can(Admin) {
			return event.Deniedf("%s: that needs the scope %q, which you do not have", what, s)
		}
	}
	return nil
}

// own refuses those who act for another what would outlast their acting: that
// user's credentials and delegations.
func (p *Principal) own(what string) error {
	if p.OnBehalfOf != "" {
		return event.Deniedf("%s: not while you act for %s", what, p.ActsAs)
	}
	return nil
}

// freshFor is how long after signing in a user may change their own credentials
// without signing in again.
const freshFor = time.Hour

// ErrSignInAgain refuses what a recent sign-in would allow. It is of class
// event.ErrDenied.
var ErrSignInAgain = event.Deniedf("sign in again first: you did so more than an hour ago")

// fresh asks for a recent sign-in before a user changes their own credentials,
// so that an unattended session opens less.
func (p *Principal) fresh(target state.ObjectID) error {
	if p.Session != "" && p.User == target && time.Since(p.SignedIn) > freshFor {
		return ErrSignInAgain
	}
	return nil
}

// account finds a user upon whom the caller may act: themselves, or for
// administrators anybody who has no more rights than they.
func (i *Identity) account(ctx context.Context, who *Principal, id state.ObjectID) (state.Record[User], error) {
	u, err := users.Get(ctx, i.state.Reader(), id)
	if who.User == id {
		return u, err
	}
	if !who.Can(Admin) {
		return u, event.Deniedf("this is another user's account: it needs the scope %q, which you do not have", Admin)
	}
	if err != nil {
		return u, err
	}
	scopes, err := scopesOf(ctx, i.state.Reader(), u.Value.AccessLevel)
	if err != nil {
		return u, err
	}
	return u, who.covers("user "+u.Value.Username, scopes)
}

// adminRemains refuses a change after which nobody could administer the server.
// It is called within the transaction, when the change is made.
func adminRemains(tx *state.Tx) error {
	found := errors.New("found") //nolint:err113 // ends the walk, and is seen by nobody
	err := eachUser(tx, func(r state.Record[User]) error {
		if !r.Value.active() {
			return nil
		}
		scopes, err := scopesOf(tx.Context(), tx, r.Value.AccessLevel)
		if err == nil && slices.Contains(scopes, Admin) {
			return found
		}
		return err
	})
	if errors.Is(err, found) {
		return nil
	}
	return errors.Join(event.Conflictf("this is the last administrator: make another one first"), err)
}

// eachUser walks over all users.
func eachUser(tx *state.Tx, do func(state.Record[User]) error) error {
	const page = 500
	for after := state.ObjectID(0); ; {
		list, err := users.List(tx.Context(), tx, after, page)
		if err != nil {
			return err
		}
		for _, r := range list {
			if err := do(r); err != nil {
				return err
			}
			after = r.ID
		}
		if len(list) < page {
			return nil
		}
	}
}

// ListRoles returns up to limit roles behind an id.
func (i *Identity) ListRoles(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[Role], error) {
	return roles.List(ctx, i.state.Reader(), after, limit)
}

// GetRole returns one role.
func (i *Identity) GetRole(ctx context.Context, id state.ObjectID) (state.Record[Role], error) {
	return roles.Get(ctx, i.state.Reader(), id)
}

// CreateRole makes a role of scopes that the caller has.
func (i *Identity) CreateRole(ctx context.Context, by state.Cause, who *Principal, role Role) (r state.Record[Role], err error) {
	if err := who.covers("scopes", role.Scopes); err != nil {
		return r, err
	}
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		r, err = roles.Insert(tx, role)
		return err
	})
	return r, err
}

// UpdateRole changes a role; everybody who has it has the new scopes at once.
// The name of one that somebody has stays.
func (i *Identity) UpdateRole(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID, version int64, change func(*Role) error) (r state.Record[Role], err error) {
	was := false // whether it made administrators
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		r, err = roles.Update(tx, id, version, func(role *Role) error {
			old := *role
			if err := who.covers("scopes", old.Scopes); err != nil {
				return err
			}
			if err := change(role); err != nil {
				return err
			}
			was = slices.Contains(old.Scopes, Admin)
			if role.Name != old.Name {
				if err := roleUnused(tx, old.Name); err != nil {
					return err
				}
			}
			return who.covers("scopes", role.Scopes)
		})
		if err != nil || !was {
			return err
		}
		return adminRemains(tx)
	})
	i.known.forget()
	return r, err
}

// DeleteRole removes a role that nobody has.
func (i *Identity) DeleteRole(ctx context.Context, by state.Cause, id state.ObjectID, version int64) error {
	return i.state.Write(ctx, by, func(tx *state.Tx) error {
		r, err := roles.Delete(tx, id, version)
		if err != nil {
			return err
		}
		return roleUnused(tx, r.Value.Name)
	})
}

func roleUnused(tx *state.Tx, name string) error {
	return eachUser(tx, func(r state.Record[User]) error {
		if strings.EqualFold(string(r.Value.AccessLevel), name) {
			return event.Conflictf("user %s has the role %s: give them another access level first", r.Value.Username, name)
		}
		return nil
	})
}
