package identity

import (
	"context"
	"slices"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Group is a set of users, such as those whom a rule tells. Who is in it stands
// in the users.
type Group struct {
	Name string `json:"name"`
}

// inGroups says for diffs that the member groups holds ids of groups.
var inGroups = map[string]func(*state.Tx, string) string{"groups": groupName} //nolint:gochecknoglobals // a constant

// groupName is what a group is called; empty for one that is gone.
func groupName(tx *state.Tx, text string) string {
	id, err := state.ParseID(text)
	if err != nil {
		return ""
	}
	g, err := groups.Get(tx.Context(), tx, id)
	if err != nil {
		return "" // only the name is missing from the diff
	}
	return g.Value.Name
}

var groups = state.Collection[Group]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "identity", Model: "group",
	Name:  func(g *Group) string { return g.Name },
	Keys:  func(g *Group) map[string]string { return map[string]string{"name": strings.ToLower(g.Name)} },
	Check: func(g *Group) error { return checkName("a group", g.Name) },
}

// ListGroups returns up to limit groups behind an id.
func (i *Identity) ListGroups(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[Group], error) {
	return groups.List(ctx, i.state.Reader(), after, limit)
}

// GetGroup returns one group.
func (i *Identity) GetGroup(ctx context.Context, id state.ObjectID) (state.Record[Group], error) {
	return groups.Get(ctx, i.state.Reader(), id)
}

// CreateGroup makes a group.
func (i *Identity) CreateGroup(ctx context.Context, by state.Cause, g Group) (r state.Record[Group], err error) {
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		r, err = groups.Insert(tx, g)
		return err
	})
	return r, err
}

// UpdateGroup changes a group.
func (i *Identity) UpdateGroup(ctx context.Context, by state.Cause, id state.ObjectID, version int64, change func(*Group) error) (r state.Record[Group], err error) {
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		r, err = groups.Update(tx, id, version, change)
		return err
	})
	return r, err
}

// DeleteGroup removes a group, and its members from it.
func (i *Identity) DeleteGroup(ctx context.Context, by state.Cause, id state.ObjectID, version int64) error {
	return i.state.Write(ctx, by, func(tx *state.Tx) error {
		// First its members, so that their diffs know its name.
		err := eachUser(tx, func(r state.Record[User]) error {
			if !slices.Contains(r.Value.Groups, id.String()) {
				return nil
			}
			_, err := users.Update(tx, r.ID, r.Version, func(u *User) error {
				u.Groups = slices.DeleteFunc(slices.Clone(u.Groups), func(g string) bool { return g == id.String() })
				return nil
			})
			return err
		})
		if err == nil {
			_, err = groups.Delete(tx, id, version)
		}
		return err
	})
}

// checkGroups wants ids of groups that exist, and puts them into order, each
// once, so that the diff of a change says only what changed.
func checkGroups(ctx context.Context, q state.Querier, ids []string) ([]string, error) {
	sorted := slices.Compact(slices.Sorted(slices.Values(ids)))
	for _, text := range sorted {
		id, err := state.ParseID(text)
		if err == nil {
			_, err = groups.Get(ctx, q, id)
		}
		if err != nil {
			return nil, event.Invalidf("groups: there is no group with the id %q", text)
		}
	}
	if sorted == nil {
		sorted = []string{}
	}
	return sorted, nil
}
