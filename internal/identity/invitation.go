package identity

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Invitation lets somebody make an account of their own, once.
type Invitation struct {
	Email       string     `json:"email"`
	AccessLevel Level      `json:"access_level"`
	Groups      []string   `json:"groups"`
	ExpiresAt   time.Time  `json:"expires_at"`
	Mailed      bool       `json:"mailed"` // the link went to the address and was told to nobody else
	Hash        string     `json:"token"`  // SHA-256; the name makes every diff mask it
	Sealed      string     `json:"secret"` // the token, sealed, for those who may see it again
	UsedAt      *time.Time `json:"used_at"`
	UsedBy      string     `json:"used_by"` // id of the user that it made
}

var invitations = state.Collection[Invitation]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "identity", Model: "invitation",
	Name:  func(v *Invitation) string { return v.Email },
	Keys:  func(v *Invitation) map[string]string { return map[string]string{"hash": v.Hash} },
	Check: func(v *Invitation) error { return checkEmail(v.Email) }, Relations: inGroups,
}

const (
	invitationLife    = 7 * 24 * time.Hour
	maxInvitationLife = 90 * 24 * time.Hour
	invitePurpose     = "invitation"
)

// InviteLink is the page that an invitation's token opens.
func (i *Identity) InviteLink(token string) string { return i.source + "/invitation#token=" + token }

// Invite makes an invitation. Its token is told this once, and goes to the
// address by mail where a mail server is configured.
func (i *Identity) Invite(ctx context.Context, by state.Cause, who *Principal, v Invitation) (r state.Record[Invitation], token string, err error) {
	now := time.Now()
	if v.ExpiresAt.IsZero() {
		v.ExpiresAt = now.Add(invitationLife).UTC().Truncate(time.Second)
	}
	if v.ExpiresAt.Before(now) || v.ExpiresAt.After(now.Add(maxInvitationLife)) {
		return r, "", event.Invalidf("expires_at: %s is not within the next 90 days", v.ExpiresAt.Format(time.RFC3339))
	}
	token = randomSecret("")
	v.Hash, v.Sealed = hashToken(token), i.seal.Close(invitePurpose, token)
	v.Mailed, v.UsedAt, v.UsedBy = v.Email != "" && i.MailReady(), nil, ""
	err = i.state.Write(ctx, linked(by), func(tx *state.Tx) error {
		if err := mayGive(tx, who, v.AccessLevel); err != nil {
			return err
		}
		if v.Groups, err = checkGroups(ctx, tx, v.Groups); err != nil {
			return err
		}
		if r, err = invitations.Insert(tx, v); err != nil || !v.Mailed {
			return err
		}
		return i.mail(tx, v.Email, "You are invited", time.Until(v.ExpiresAt), token,
			who.Name+" invites you to "+i.source+".",
			"Choose a name and a password here, by "+v.ExpiresAt.UTC().Format("2 January 2006 15:04 MST")+". The link works once:",
			i.InviteLink(token),
			"If you do not know what this is about, do nothing.")
	})
	return r, token, err
}

// ListInvitations returns up to limit invitations behind an id.
func (i *Identity) ListInvitations(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[Invitation], error) {
	return invitations.List(ctx, i.state.Reader(), after, limit)
}

// GetInvitation returns one invitation.
func (i *Identity) GetInvitation(ctx context.Context, id state.ObjectID) (state.Record[Invitation], error) {
	return invitations.Get(ctx, i.state.Reader(), id)
}

// DeleteInvitation takes an invitation back.
func (i *Identity) DeleteInvitation(ctx context.Context, by state.Cause, id state.ObjectID, version int64) error {
	return i.state.Write(ctx, by, func(tx *state.Tx) error {
		_, err := invitations.Delete(tx, id, version)
		return err
	})
}

// RevealInvitation tells the token of an invitation again, to those who give
// their password again and could have made it.
func (i *Identity) RevealInvitation(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID, password string) (token string, err error) {
	r, err := invitations.Get(ctx, i.state.Reader(), id)
	if err != nil {
		return "", err
	}
	scopes, err := scopesOf(ctx, i.state.Reader(), r.Value.AccessLevel)
	if err != nil {
		return "", err
	}
	if err := who.covers("reveal", scopes); err != nil {
		return "", err
	}
	if r.Value.UsedAt != nil {
		return "", event.Conflictf("the invitation was used")
	}
	if err := i.Confirm(ctx, by, who, password); err != nil {
		return "", err
	}
	if token, err = i.seal.Open(invitePurpose, r.Value.Sealed); err != nil {
		return "", err
	}
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		return RaiseSecretView(tx, "invitation/"+id.String(), "tocsin_identity", "invitation", id.String(), r.Value.Email)
	})
	if err != nil {
		return "", err // what is shown must be on record
	}
	return token, nil
}

// RaiseSecretView records that a stored secret is shown again. Whoever shows one
// calls it first, after Confirm.
func RaiseSecretView(tx *state.Tx, subject, app, model, pk, name string) error {
	return tx.Raise("identity", "secret_view", subject, withRequest(map[string]any{
		"secret_of": map[string]any{"app": app, "model_name": model, "pk": pk, "name": name},
	}, tx.By()))
}

// errInvitation is what every wrong invitation says.
var errInvitation = event.Invalidf("token: this invitation was used, has expired, or never was")

// Acceptance is what somebody who is invited says of themselves.
type Acceptance struct {
	Token    string `json:"token"`
	Username string `json:"username"`
	Name     string `json:"name"`
	Password string `json:"password"`
}

// Accept makes the account of somebody who was invited.
func (i *Identity) Accept(ctx context.Context, by state.Cause, in Acceptance) (r state.Record[User], err error) {
	found, err := invitations.Find(ctx, i.state.Reader(), "hash", hashToken(in.Token))
	if errors.Is(err, event.ErrNotFound) || err == nil && (found.Value.UsedAt != nil || time.Now().After(found.Value.ExpiresAt)) {
		return r, errInvitation
	}
	if err != nil {
		return r, err
	}
	v := found.Value
	u := User{Username: in.Username, Name: in.Name, Email: v.Email, AccessLevel: v.AccessLevel, EmailVerified: v.Mailed}
	if err := checkUser(&u); err != nil {
		return r, err
	}
	if u.Hash, err = i.newHash(ctx, in.Password, u); err != nil {
		return r, err
	}
	err = i.state.Write(ctx, linked(by), func(tx *state.Tx) error {
		if u.Groups, err = liveGroups(ctx, tx, v.Groups); err != nil {
			return err
		}
		if r, err = users.Insert(tx, u); err != nil {
			return err
		}
		tx.ActAs(asUser(tx.By(), r))
		now := time.Now().UTC().Truncate(time.Second)
		used, err := invitations.Update(tx, found.ID, state.AnyVersion, func(v *Invitation) error {
			if v.UsedAt != nil {
				return errInvitation
			}
			v.UsedAt, v.UsedBy, v.Sealed = &now, r.ID.String(), ""
			return nil
		})
		if errors.Is(err, event.ErrNotFound) {
			return errInvitation
		}
		if err != nil {
			return err
		}
		return i.tellOfAcceptance(tx, r, used)
	})
	return r, err
}

func (i *Identity) tellOfAcceptance(tx *state.Tx, u state.Record[User], v state.Record[Invitation]) error {
	err := errors.Join(
		raiseUser(tx, "user.created", u, "New user account created"),
		raiseWrite(tx, u, true),
		raiseAudit(tx, "invitation_used", u.ID, map[string]any{"invitation": map[string]any{
			"app": "tocsin_identity", "model_name": "invitation", "pk": v.ID.String(), "name": v.Value.Email,
		}}),
	)
	if err != nil || u.Value.EmailVerified {
		return err
	}
	return i.askToVerify(tx, u)
}

// liveGroups are those of an invitation's groups that are still there.
func liveGroups(ctx context.Context, q state.Querier, ids []string) ([]string, error) {
	all, err := checkGroups(ctx, q, nil)
	for _, id := range ids {
		one, err := checkGroups(ctx, q, []string{id})
		if errors.Is(err, event.ErrInvalid) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	slices.Sort(all)
	return all, err
}
