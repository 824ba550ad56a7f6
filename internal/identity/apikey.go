package identity

import (
	"context"
	"errors"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// RegenerateAPIKey gives a user a new API key, which is told this once, and ends
// the old one. A key acts as its user; a Token acts as itself.
func (i *Identity) RegenerateAPIKey(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID) (key string, err error) {
	u, err := i.account(ctx, who, id)
	if err != nil {
		return "", err
	}
	if err := errors.Join(who.own("API key"), who.fresh(id)); err != nil {
		return "", err
	}
	if !u.Value.active() {
		return "", event.Conflictf("user %s is %s", u.Value.Username, u.Value.State())
	}
	key = randomSecret(tokenPrefix + "u_")
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		old := ""
		r, err := users.Update(tx, id, state.AnyVersion, func(u *User) error {
			old, u.APIKey = u.APIKey, hashToken(key)
			return nil
		})
		if err != nil {
			return err
		}
		if err := revoke(tx, old, "API key of "+r.Value.Username); err != nil {
			return err
		}
		return raiseUser(tx, "user.api.key.regenerated", r, "API key regenerated for security purposes")
	})
	i.known.forget()
	return key, err
}

// byAPIKey is the user whose API key has a hash.
func (i *Identity) byAPIKey(ctx context.Context, hash string) (*Principal, error) {
	u, err := users.Find(ctx, i.state.Reader(), "api_key", hash)
	if errors.Is(err, event.ErrNotFound) || err == nil && !u.Value.active() {
		return nil, event.Deniedf("the token is unknown or was revoked")
	}
	if err != nil {
		return nil, err
	}
	p, err := i.userPrincipal(ctx, u)
	if err != nil {
		return nil, err
	}
	p.AuthType, p.Token = "api_key", "API key of "+u.Value.Username
	return p, nil
}
