package identity

import (
	"context"
	"errors"
	"slices"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// UserInput is what a caller may say of a user.
type UserInput struct {
	Username        string   `json:"username"`
	Name            string   `json:"name"`
	Email           string   `json:"email"`
	Password        string   `json:"password"`         // a new one; empty for none, or the one there is
	CurrentPassword string   `json:"current_password"` // asked for where users change their own password or address
	AccessLevel     Level    `json:"access_level"`
	Groups          []string `json:"groups"`
}

// CreateUser makes a user whose rights the caller has. Without a password they
// can sign in once they have followed the link of a password reset.
func (i *Identity) CreateUser(ctx context.Context, by state.Cause, who *Principal, in UserInput) (r state.Record[User], err error) {
	u := User{Username: in.Username, Name: in.Name, Email: in.Email, AccessLevel: in.AccessLevel}
	if in.CurrentPassword != "" {
		return r, event.Invalidf("current_password: a new user has none")
	}
	if err := checkUser(&u); err != nil {
		return r, err
	}
	if in.Password != "" {
		if u.Hash, err = i.newHash(ctx, in.Password, u); err != nil {
			return r, err
		}
	}
	err = i.state.Write(ctx, linked(by), func(tx *state.Tx) error {
		if err := mayGive(tx, who, u.AccessLevel); err != nil {
			return err
		}
		if u.Groups, err = checkGroups(ctx, tx, in.Groups); err != nil {
			return err
		}
		if r, err = users.Insert(tx, u); err != nil {
			return err
		}
		if err := raiseUser(tx, "user.created", r, "New user account created"); err != nil {
			return err
		}
		return i.askToVerify(tx, r)
	})
	return r, err
}

// mayGive refuses an access level that is none, or is more than the caller has.
func mayGive(tx *state.Tx, who *Principal, level Level) error {
	scopes, err := scopesOf(tx.Context(), tx, level)
	if err != nil {
		return err
	}
	return who.covers("access_level", scopes)
}

// tries is how often a change that has seen no version is made again, because
// another one came between.
const tries = 5

// UpdateUser changes a user. Users change their own name, address and password,
// administrators all of it. Sessions end where the password changes, but for
// the caller's own.
func (i *Identity) UpdateUser(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID, version int64, change func(*UserInput) error) (state.Record[User], error) {
	for n := 1; ; n++ {
		r, err := i.updateUser(ctx, by, who, id, version, change)
		if n == tries || version != state.AnyVersion || !errors.Is(err, errStale) {
			return r, err
		}
	}
}

// errStale says that a user was changed while another change was prepared.
var errStale = event.Conflictf("the user was changed in the meantime: read it again, then repeat the change")

func (i *Identity) updateUser(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID, version int64, change func(*UserInput) error) (r state.Record[User], err error) {
	old, err := i.account(ctx, who, id)
	if err != nil {
		return r, err
	}
	if version != state.AnyVersion && version != old.Version {
		return r, errStale
	}
	was := UserInput{Username: old.Value.Username, Name: old.Value.Name, Email: old.Value.Email, AccessLevel: old.Value.AccessLevel, Groups: old.Value.Groups}
	in := was
	in.Groups = slices.Clone(was.Groups)
	if err := change(&in); err != nil {
		return r, err
	}
	if in.Groups == nil {
		in.Groups = []string{}
	}
	if err := i.mayChange(ctx, by, who, old, was, in); err != nil {
		return r, err
	}
	now := old.Value
	now.Username, now.Name, now.Email, now.AccessLevel = in.Username, in.Name, in.Email, in.AccessLevel
	now.EmailVerified = now.EmailVerified && in.Email == was.Email
	if err := checkUser(&now); err != nil {
		return r, err
	}
	if in.Password != "" {
		if now.Hash, err = i.newHash(ctx, in.Password, now); err != nil {
			return r, err
		}
	}
	err = i.state.Write(ctx, linked(by), func(tx *state.Tx) error {
		if now.Groups, err = checkGroups(ctx, tx, in.Groups); err != nil {
			return err
		}
		if in.AccessLevel != was.AccessLevel {
			if err := mayGive(tx, who, in.AccessLevel); err != nil {
				return err
			}
		}
		if r, err = users.Update(tx, id, old.Version, func(u *User) error { *u = now; return nil }); err != nil {
			return err
		}
		return i.tellOfUpdate(tx, who, old, r, in.Password != "")
	})
	i.known.forget()
	if errors.Is(err, event.ErrConflict) && version == state.AnyVersion {
		if latest, getErr := users.Get(ctx, i.state.Reader(), id); getErr == nil && latest.Version != old.Version {
			return r, errStale
		}
	}
	return r, err
}

// mayChange refuses what the caller may not change of this user.
func (i *Identity) mayChange(ctx context.Context, by state.Cause, who *Principal, old state.Record[User], was, in UserInput) error {
	if !who.Can(Admin) {
		switch {
		case in.Username != was.Username:
			return event.Deniedf("username: only an administrator changes it")
		case in.AccessLevel != was.AccessLevel:
			return event.Deniedf("access_level: only an administrator changes it")
		case !slices.Equal(in.Groups, was.Groups):
			return event.Deniedf("groups: only an administrator changes them")
		}
	}
	if in.Email == was.Email && in.Password == "" {
		return nil
	}
	if err := who.own("email and password"); err != nil {
		return err
	}
	if who.User != old.ID || old.Value.Hash == "" {
		return nil
	}
	if in.CurrentPassword == "" {
		return event.Invalidf("current_password: give it to change your own password or address")
	}
	return i.confirm(ctx, by, old, in.CurrentPassword)
}

// tellOfUpdate raises what an update means, beside the model_updated that the
// collection raises.
func (i *Identity) tellOfUpdate(tx *state.Tx, who *Principal, old, now state.Record[User], password bool) error {
	was, is := old.Value, now.Value
	if was.Username != is.Username || was.Name != is.Name || was.Email != is.Email {
		if err := raiseWrite(tx, now, false); err != nil {
			return err
		}
	}
	if was.Email != is.Email {
		if err := i.emailChanged(tx, was.Email, now); err != nil {
			return err
		}
	}
	if was.AccessLevel != is.AccessLevel {
		if err := raiseUser(tx, "user.access.level.set", now, "User access level changed to "+levelName(is.AccessLevel)); err != nil {
			return err
		}
		if err := adminRemains(tx); err != nil {
			return err
		}
	}
	if !password {
		return nil
	}
	return i.passwordChanged(tx, now, who.Session)
}

// levelName is an access level in the seed's words.
func levelName(l Level) string {
	switch l {
	case Administ:
		return "Administrator"
	case Operator:
		return "Operator"
	case Viewer:
		return "Viewer"
	}
	return string(l)
}

// raiseWrite raises user_write: a profile was saved.
func raiseWrite(tx *state.Tx, u state.Record[User], created bool) error {
	return raiseAudit(tx, "user_write", u.ID, map[string]any{
		"username": u.Value.Username, "name": u.Value.Name, "email": u.Value.Email, "created": created, "attributes": map[string]any{},
	})
}

// DeleteUser removes a user and all that is theirs. What they did stays on
// record; archiving keeps the account, too.
func (i *Identity) DeleteUser(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID, version int64) error {
	if _, err := i.account(ctx, who, id); err != nil {
		return err
	}
	if who.User == id {
		return event.Conflictf("you can't delete yourself: another administrator can")
	}
	err := i.state.Write(ctx, by, func(tx *state.Tx) error {
		r, err := users.Delete(tx, id, version)
		if err != nil {
			return err
		}
		if err := errors.Join(i.endSessions(tx, r, "", "the user was deleted"), dropSSHKeys(tx, id), dropDelegates(tx, id), revoke(tx, r.Value.APIKey, "API key of "+r.Value.Username)); err != nil {
			return err
		}
		for _, table := range []string{"second_factors", "recovery_codes", "links"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE user_id = $1`, int64(id)); err != nil {
				return err
			}
		}
		return adminRemains(tx)
	})
	i.known.forget()
	return err
}
