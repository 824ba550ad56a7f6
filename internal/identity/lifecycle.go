package identity

import (
	"context"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Suspend keeps a user out until Unsuspend, and ends their sessions. reason is
// told in the event; it may be empty.
func (i *Identity) Suspend(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID, version int64, reason string) (state.Record[User], error) {
	if len(reason) > 500 || strings.ContainsFunc(reason, isControl) {
		return state.Record[User]{}, event.Invalidf("reason: at most 500 bytes, without control characters")
	}
	message := "User account suspended"
	if reason != "" {
		message = "User suspended due to " + reason
	}
	return i.turn(ctx, by, who, id, version, turn{
		event: "user.suspended", message: message, ends: "the user was suspended",
		change: func(u *User) error {
			if u.Suspended {
				return event.Conflictf("user %s is suspended already", u.Username)
			}
			u.Suspended = true
			return nil
		},
	})
}

// Unsuspend lets a suspended user in again.
func (i *Identity) Unsuspend(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID, version int64) (state.Record[User], error) {
	return i.turn(ctx, by, who, id, version, turn{
		event: "user.unsuspended", message: "User account reactivated",
		change: func(u *User) error {
			if !u.Suspended {
				return event.Conflictf("user %s is not suspended", u.Username)
			}
			u.Suspended = false
			return nil
		},
	})
}

// Archive puts an account away: it opens nothing, and keeps its history.
func (i *Identity) Archive(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID, version int64) (state.Record[User], error) {
	return i.turn(ctx, by, who, id, version, turn{
		event: "user.archived", message: "User account archived", ends: "the user was archived",
		change: func(u *User) error {
			if u.Archived {
				return event.Conflictf("user %s is archived already", u.Username)
			}
			u.Archived = true
			return nil
		},
	})
}

// Unarchive brings an account back as it was put away: a suspended one stays
// suspended.
func (i *Identity) Unarchive(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID, version int64) (state.Record[User], error) {
	return i.turn(ctx, by, who, id, version, turn{
		event: "user.unarchived", message: "User account restored from archive",
		change: func(u *User) error {
			if !u.Archived {
				return event.Conflictf("user %s is not archived", u.Username)
			}
			u.Archived = false
			return nil
		},
	})
}

// turn is one change of a user's state.
type turn struct {
	event   event.Type
	message string
	ends    string // why sessions end with it; empty where they go on
	change  func(*User) error
}

func (i *Identity) turn(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID, version int64, t turn) (r state.Record[User], err error) {
	if _, err := i.account(ctx, who, id); err != nil {
		return r, err
	}
	if who.User == id {
		return r, event.Conflictf("you can't do that to your own account: another administrator can")
	}
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		if r, err = users.Update(tx, id, version, t.change); err != nil {
			return err
		}
		if err := raiseUser(tx, t.event, r, t.message); err != nil || t.ends == "" {
			return err
		}
		if err := i.endSessions(tx, r, "", t.ends); err != nil {
			return err
		}
		return adminRemains(tx)
	})
	i.known.forget()
	return r, err
}
