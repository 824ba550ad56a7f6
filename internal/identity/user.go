package identity

import (
	"context"
	"errors"
	"net/mail"
	"regexp"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// User is somebody who can sign in.
type User struct {
	Username      string   `json:"username"`
	Name          string   `json:"name"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"email_verified"`
	AccessLevel   Level    `json:"access_level"`
	Groups        []string `json:"groups"` // ids, in order
	Suspended     bool     `json:"suspended"`
	Archived      bool     `json:"archived"`
	TwoFactor     bool     `json:"two_factor"`  // whether a one-time password is asked for
	Hash          string   `json:"password"`    // PHC string; the name makes every diff mask it
	APIKey        string   `json:"api_key"`     // SHA-256, likewise
	Epoch         int64    `json:"token_epoch"` // sign-in tokens of another epoch are revoked
}

// active reports whether the user may do anything at all.
func (u *User) active() bool { return !u.Suspended && !u.Archived }

// State is active, suspended or archived.
func (u *User) State() string {
	switch {
	case u.Archived:
		return "archived"
	case u.Suspended:
		return "suspended"
	default:
		return "active"
	}
}

// users are the stored users.
var users = state.Collection[User]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "identity", Model: "user",
	Name: func(u *User) string { return u.Username },
	Keys: func(u *User) map[string]string {
		return map[string]string{"username": u.Username, "email": strings.ToLower(u.Email), "api_key": u.APIKey}
	},
	Check: checkUser, Relations: inGroups,
}

// maxUsername is the longest user name, in bytes.
const maxUsername = 64

var username = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,63}$`)

func checkUser(u *User) error {
	if !username.MatchString(u.Username) || u.Username == "me" {
		return event.Invalidf("username %q: use 1 to 64 lower-case letters, digits, and . _ @ -, beginning with a letter or digit, and not just me", u.Username)
	}
	if len(u.Name) > 256 || strings.ContainsFunc(u.Name, isControl) {
		return event.Invalidf("name: at most 256 bytes, without control characters")
	}
	if u.AccessLevel == "" {
		return event.Invalidf("access_level: use viewer, operator, admin or the name of a role")
	}
	return checkEmail(u.Email)
}

// checkEmail wants an address as mail servers take it (RFC 5321), or none.
func checkEmail(address string) error {
	if address == "" {
		return nil
	}
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Address != address || len(address) > 254 {
		return event.Invalidf("email %q is not an address such as ann@example.com", address)
	}
	return nil
}

// GetUser returns one user.
func (i *Identity) GetUser(ctx context.Context, id state.ObjectID) (state.Record[User], error) {
	return users.Get(ctx, i.state.Reader(), id)
}

// FindUser returns the user with a name, or an id.
func (i *Identity) FindUser(ctx context.Context, name string) (state.Record[User], error) {
	u, err := users.Find(ctx, i.state.Reader(), "username", name)
	if !errors.Is(err, event.ErrNotFound) {
		return u, err
	}
	if id, notID := state.ParseID(name); notID == nil {
		return users.Get(ctx, i.state.Reader(), id)
	}
	return u, event.NotFoundf("there is no user %q", name)
}

// ListUsers returns up to limit users behind an id.
func (i *Identity) ListUsers(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[User], error) {
	return users.List(ctx, i.state.Reader(), after, limit)
}

// Account returns a user upon whom the caller may act: themselves, or for
// administrators anybody who has no more rights; others are event.ErrDenied.
func (i *Identity) Account(ctx context.Context, who *Principal, id state.ObjectID) (state.Record[User], error) {
	return i.account(ctx, who, id)
}

// FirstAdmin creates the user "admin" where there is no user yet, and returns
// its password: the given one, or a new one where that is empty. created is
// false where there are users already.
func (i *Identity) FirstAdmin(ctx context.Context, password string) (shown string, created bool, err error) {
	existing, err := users.List(ctx, i.state.Reader(), 0, 1)
	if err != nil || len(existing) > 0 {
		return "", false, err
	}
	if password == "" {
		password = NewPassword()
	}
	if len(password) < MinPassword || len(password) > maxPassword {
		return "", false, event.Invalidf("the admin's password must have %d to %d characters", MinPassword, maxPassword)
	}
	admin := User{Username: "admin", Name: "Administrator", AccessLevel: Administ, Groups: []string{}, Hash: hashPassword(password)}
	err = i.state.Write(ctx, state.System(), func(tx *state.Tx) error {
		r, err := users.Insert(tx, admin)
		if err != nil {
			return err
		}
		return raiseUser(tx, "user.created", r, "The first administrator was created")
	})
	return password, err == nil, err
}

// raiseUser raises one of the user.* events: all have the same five fields
// (seed 002, Security Events).
func raiseUser(tx *state.Tx, t event.Type, u state.Record[User], message string) error {
	by := tx.By()
	return tx.RaiseSignificant("auth-microservice", t, "user/"+u.ID.String(), map[string]any{
		"userId": u.ID.String(), "userEmail": u.Value.Email,
		"loggedInUserId": by.AuthID, "loggedInUserEmail": by.AuthEmail, "message": message,
	})
}

// raiseAudit raises an audit event about a user, with the request that caused it.
func raiseAudit(tx *state.Tx, t event.Type, user state.ObjectID, data map[string]any) error {
	return tx.Raise("identity", t, "user/"+user.String(), withRequest(data, tx.By()))
}

// modelOf names a user as audit events name objects.
func modelOf(u state.Record[User]) map[string]any {
	return map[string]any{"app": "tocsin_identity", "model_name": "user", "pk": u.ID.String(), "name": u.Value.Username}
}
