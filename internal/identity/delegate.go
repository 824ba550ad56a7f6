package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Delegate lets one user act with the rights of another.
type Delegate struct {
	Of       string `json:"of"`   // id of the user who lets
	User     string `json:"user"` // id of the one who may
	Username string `json:"username"`
}

var delegates = state.Collection[Delegate]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "identity", Model: "delegate",
	Name: func(d *Delegate) string { return d.Username },
	Keys: func(d *Delegate) map[string]string {
		return map[string]string{"of " + d.Of: d.User, "user " + d.User: d.Of}
	},
}

// Delegates lists those who may act for a user.
func (i *Identity) Delegates(ctx context.Context, who *Principal, user state.ObjectID) ([]state.Record[Delegate], error) {
	if _, err := i.account(ctx, who, user); err != nil {
		return nil, err
	}
	return listOf(ctx, i.state.Reader(), &delegates, "of "+user.String())
}

// listOf returns the objects that have a key of a name, such as all that belong
// to one user.
func listOf[T any](ctx context.Context, q state.Querier, c *state.Collection[T], key string) ([]state.Record[T], error) {
	rows, err := q.QueryContext(ctx, `SELECT id FROM object_keys WHERE model = $1 AND name = $2 ORDER BY id`, c.Model, key)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", c.Model, err)
	}
	defer rows.Close()
	var ids []state.ObjectID
	for rows.Next() {
		var id state.ObjectID
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("list %s: %w", c.Model, err)
		}
		ids = append(ids, id)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("list %s: %w", c.Model, err)
	}
	all := make([]state.Record[T], 0, len(ids))
	for _, id := range ids {
		r, err := c.Get(ctx, q, id)
		if errors.Is(err, event.ErrNotFound) {
			continue // it was removed in between
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// AddDelegate lets another user act for a user.
func (i *Identity) AddDelegate(ctx context.Context, by state.Cause, who *Principal, user, other state.ObjectID) (r state.Record[Delegate], err error) {
	u, err := i.account(ctx, who, user)
	if err != nil {
		return r, err
	}
	if err := errors.Join(who.own("delegates"), who.fresh(user)); err != nil {
		return r, err
	}
	if user == other {
		return r, event.Invalidf("user: nobody needs a delegation from themselves")
	}
	d, err := users.Get(ctx, i.state.Reader(), other)
	if err != nil || !d.Value.active() {
		return r, event.Invalidf("user: there is no active user with the id %q", other)
	}
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		r, err = delegates.Insert(tx, Delegate{Of: user.String(), User: other.String(), Username: d.Value.Username})
		if errors.Is(err, event.ErrConflict) {
			return event.Conflictf("user %s is a delegate already", d.Value.Username)
		}
		if err != nil {
			return err
		}
		return raiseUser(tx, "user.delegate.added", u, fmt.Sprintf("Parent user ID: %s with email %s added delegate with ID %s with email %s",
			u.ID, u.Value.Email, d.ID, d.Value.Email))
	})
	return r, err
}

// RemoveDelegate ends a delegation at once. A delegate can also give it back.
func (i *Identity) RemoveDelegate(ctx context.Context, by state.Cause, who *Principal, user, other state.ObjectID) error {
	if who.User != other {
		if _, err := i.account(ctx, who, user); err != nil {
			return err
		}
	}
	if err := who.own("delegates"); err != nil {
		return err
	}
	return i.state.Write(ctx, by, func(tx *state.Tx) error {
		r, err := delegates.Find(ctx, tx, "of "+user.String(), other.String())
		if errors.Is(err, event.ErrNotFound) {
			return event.NotFoundf("user %d is no delegate of user %d", other, user)
		}
		if err != nil {
			return err
		}
		return dropDelegate(tx, r)
	})
}

func dropDelegate(tx *state.Tx, r state.Record[Delegate]) error {
	if _, err := delegates.Delete(tx, r.ID, state.AnyVersion); err != nil {
		return err
	}
	id, err := state.ParseID(r.Value.Of)
	if err != nil {
		return err
	}
	u, err := users.Get(tx.Context(), tx, id)
	if errors.Is(err, event.ErrNotFound) {
		return nil // the user is being deleted
	}
	if err != nil {
		return err
	}
	return raiseUser(tx, "user.delegate.removed", u, "Delegate access revoked from user")
}

// dropDelegates ends all delegations from and to a user.
func dropDelegates(tx *state.Tx, user state.ObjectID) error {
	for _, key := range []string{"of ", "user "} {
		list, err := listOf(tx.Context(), tx, &delegates, key+user.String())
		if err != nil {
			return err
		}
		for _, r := range list {
			if err := dropDelegate(tx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// OnBehalfOf is the caller with the rights of a user, named by id or name, who
// has made them a delegate. Both are in every event of the request.
func (i *Identity) OnBehalfOf(ctx context.Context, who *Principal, name string) (*Principal, error) {
	denied := event.Deniedf("on behalf of %q: you are no delegate of such a user", name)
	if who.User == 0 || who.OnBehalfOf != "" {
		return nil, event.Deniedf("on behalf of %q: only a user who acts for nobody else can do that", name)
	}
	u, err := i.byName(ctx, name)
	if errors.Is(err, event.ErrNotFound) {
		return nil, denied
	}
	if err != nil {
		return nil, err
	}
	_, err = delegates.Find(ctx, i.state.Reader(), "of "+u.ID.String(), who.User.String())
	if errors.Is(err, event.ErrNotFound) || err == nil && !u.Value.active() {
		return nil, denied
	}
	if err != nil {
		return nil, err
	}
	p, err := i.userPrincipal(ctx, u)
	if err != nil {
		return nil, err
	}
	p.AuthType, p.ID, p.Name, p.Email, p.Token = who.AuthType, who.ID, who.Name, who.Email, who.Token
	p.OnBehalfOf, p.ActsAs = u.ID.String(), u.Value.Username
	p.again = func(ctx context.Context) (*Principal, error) {
		now, err := who.Again(ctx)
		if err != nil {
			return nil, err
		}
		return i.OnBehalfOf(ctx, now, name)
	}
	return p, nil
}

// byName finds a user by id or name.
func (i *Identity) byName(ctx context.Context, name string) (state.Record[User], error) {
	if id, err := state.ParseID(name); err == nil {
		return users.Get(ctx, i.state.Reader(), id)
	}
	return users.Find(ctx, i.state.Reader(), "username", name)
}

// ActiveUser is the id of the active user with a name, such as a user whom
// another one wants to make a delegate.
func (i *Identity) ActiveUser(ctx context.Context, name string) (state.ObjectID, error) {
	u, err := users.Find(ctx, i.state.Reader(), "username", name)
	if errors.Is(err, event.ErrNotFound) || err == nil && !u.Value.active() {
		return 0, event.Invalidf("user: there is no active user %q", name)
	}
	return u.ID, err
}
