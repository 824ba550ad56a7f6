package identity

import (
	"context"
	"regexp"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// User is somebody who can sign in.
type User struct {
	Username    string `json:"username"`
	Name        string `json:"name"`
	Email       string `json:"email"`
	AccessLevel Level  `json:"access_level"`
	Suspended   bool   `json:"suspended"`
	Hash        string `json:"password"`    // PHC string; the name makes every diff mask it
	Epoch       int64  `json:"token_epoch"` // tokens of another epoch are revoked
}

// users are the stored users.
var users = state.Collection[User]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "identity", Model: "user",
	Name: func(u *User) string { return u.Username },
	Keys: func(u *User) map[string]string {
		return map[string]string{"username": u.Username, "email": strings.ToLower(u.Email)}
	},
	Check: checkUser,
}

var username = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,63}$`)

func checkUser(u *User) error {
	if !username.MatchString(u.Username) {
		return event.Invalidf("username %q: use 1 to 64 lower-case letters, digits, and . _ @ -, beginning with a letter or digit", u.Username)
	}
	switch u.AccessLevel {
	case Viewer, Operator, Administ:
	default:
		return event.Invalidf("access_level %q is unknown: use viewer, operator or admin", u.AccessLevel)
	}
	return nil
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
	admin := User{Username: "admin", Name: "Administrator", AccessLevel: Administ, Hash: hashPassword(password)}
	err = i.state.Write(ctx, state.System(), func(tx *state.Tx) error {
		r, err := users.Insert(tx, admin)
		if err != nil {
			return err
		}
		return tx.RaiseSignificant("auth-microservice", "user.created", "user/"+r.ID.String(), map[string]any{
			"userId": r.ID.String(), "userEmail": "", "loggedInUserId": "", "loggedInUserEmail": "",
			"message": "The first administrator was created",
		})
	})
	return password, err == nil, err
}
