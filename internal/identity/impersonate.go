package identity

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// impersonationLife is how long an administrator may act as a user at a stretch.
const impersonationLife = time.Hour

// Impersonate opens a session in which the caller acts as a user, with that
// user's rights. Every event in it names both. It is refused for somebody with
// more rights, and for those who act for another already.
func (i *Identity) Impersonate(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID) (Session, error) {
	if !who.Can(Admin) {
		return Session{}, event.Deniedf("impersonation needs the scope %q, which you do not have", Admin)
	}
	if err := who.own("impersonation"); err != nil {
		return Session{}, err
	}
	u, err := users.Get(ctx, i.state.Reader(), id)
	switch {
	case err != nil:
		return Session{}, err
	case who.User == id:
		return Session{}, event.Conflictf("you are user %s", u.Value.Username)
	case !u.Value.active():
		return Session{}, event.Conflictf("user %s is %s", u.Value.Username, u.Value.State())
	}
	scopes, err := scopesOf(ctx, i.state.Reader(), u.Value.AccessLevel)
	if err != nil {
		return Session{}, err
	}
	if err := who.hasAll(scopes); err != nil {
		return Session{}, err
	}
	row := i.newSession(by, id, "impersonation", impersonationLife)
	row.actor = &actor{AuthType: who.AuthType, ID: who.ID, Name: who.Name, Email: who.Email}
	by.OnBehalfOf = id.String()
	var out Session
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		if err := putSession(tx, row); err != nil {
			return err
		}
		if out, err = i.issue(u, row); err != nil {
			return err
		}
		return raiseAudit(tx, "impersonation_started", id, map[string]any{"to": impersonated(u)})
	})
	return out, err
}

// hasAll is stricter than covers: an administrator may give the scope forward,
// but does not have it.
func (p *Principal) hasAll(scopes []Scope) error {
	for _, s := range scopes {
		if !p.Can(s) {
			return event.Deniedf("impersonation: this user has the scope %q, which you do not have", s)
		}
	}
	return nil
}

func impersonated(u state.Record[User]) map[string]any {
	return map[string]any{"pk": u.ID.String(), "username": u.Value.Username, "email": u.Value.Email}
}

// stillMay refuses an impersonation whose author has lost their rights since.
func (i *Identity) stillMay(ctx context.Context, a *actor, scopes []Scope) error {
	over := event.Deniedf("the impersonation has ended: %s may not act as this user any more", a.Name)
	if a.AuthType == "system" {
		return nil // of this host, where the kernel vouched for root
	}
	p := &Principal{}
	if id, err := state.ParseID(a.ID); err == nil {
		u, err := users.Get(ctx, i.state.Reader(), id)
		if err != nil || !u.Value.active() {
			return errors.Join(over, notMissing(err))
		}
		if p, err = i.userPrincipal(ctx, u); err != nil {
			return err
		}
	} else {
		id, err := state.ParseID(strings.TrimPrefix(a.ID, "token/"))
		if err != nil {
			return over
		}
		t, err := tokens.Get(ctx, i.state.Reader(), id)
		if err != nil || t.Value.ExpiresAt != nil && time.Now().After(*t.Value.ExpiresAt) {
			return errors.Join(over, notMissing(err))
		}
		p.Scopes = t.Value.Scopes
	}
	if !p.Can(Admin) || p.hasAll(scopes) != nil {
		return over
	}
	return nil
}

func notMissing(err error) error {
	if errors.Is(err, event.ErrNotFound) {
		return nil
	}
	return err
}

// EndImpersonation ends the impersonation of a user: the one in which the caller
// is, or else all that the caller has begun.
func (i *Identity) EndImpersonation(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID) error {
	u, err := users.Get(ctx, i.state.Reader(), id)
	if err != nil {
		return err
	}
	return i.state.Write(ctx, by, func(tx *state.Tx) error {
		rows, err := sessionsOf(ctx, tx, id)
		if err != nil {
			return err
		}
		ended := false
		for _, row := range rows {
			inIt := who.OnBehalfOf != "" && row.id == who.Session
			begun := who.OnBehalfOf == "" && row.actor != nil && row.actor.ID == who.ID && row.actor.AuthType == who.AuthType
			if row.actor == nil || !inIt && !begun {
				continue
			}
			if err := i.endSession(tx, row, u, map[string]any{}); err != nil {
				return err
			}
			ended = true
		}
		if !ended {
			return event.NotFoundf("you do not act as user %s", u.Value.Username)
		}
		return nil
	})
}

// raiseEnded records the end of an impersonation, with both identities, whoever
// ended it.
func (i *Identity) raiseEnded(tx *state.Tx, row sessionRow, u state.Record[User], reason any) error {
	by := tx.By()
	by.AuthType, by.AuthID, by.AuthName, by.AuthEmail = row.actor.AuthType, row.actor.ID, row.actor.Name, row.actor.Email
	by.OnBehalfOf = u.ID.String()
	data := map[string]any{"to": impersonated(u)}
	if reason != nil {
		data["reason"] = reason
	}
	e, err := by.Event(i.source+"/identity", "impersonation_ended", "user/"+u.ID.String(), withRequest(data, by))
	if err == nil {
		tx.Emit(e)
	}
	return err
}
