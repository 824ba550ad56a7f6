package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 002: users and their credentials. All share the same five fields.
func init() {
	five := []Field{
		req("userId", String, "The user that it happened to."),
		req("userEmail", String, "Their address."),
		req("loggedInUserId", String, "Who did it."),
		req("loggedInUserEmail", String, "Their address."),
		req("message", String, "What happened, in a sentence."),
	}
	user := func(t event.Type, severity event.Severity, description, fires string) Entry {
		return Entry{
			Type: t, Severity: severity, Description: description, Fires: fires,
			Message: "{data.message}", Fields: five, Wired: true,
		}
	}
	register(Family{Kind: event.KindSignificant, Producer: "auth-microservice", Entries: []Entry{
		user("user.created", event.Info, "A user account was created.", "When an administrator creates it or an invitation is used."),
		user("user.credentials.changed", event.Notice, "A user's password or credentials changed.", "When new ones are stored; they are never told."),
		user("user.password.reset.requested", event.Notice, "Somebody asked for a new password.", "When a reset is requested for a user."),
		user("user.suspended", event.Warn, "A user was suspended.", "When an administrator or a flow suspends the account."),
		user("user.unsuspended", event.Notice, "A user is no longer suspended.", "When the suspension is lifted."),
		user("user.email.updated", event.Notice, "A user's address changed.", "When a new address is stored."),
		user("user.email.verified", event.Info, "A user's address was verified.", "When the link in the mail is followed."),
		user("user.api.key.regenerated", event.Notice, "A user's API key was made anew.", "When the old key is replaced."),
		user("user.ssh.key.created", event.Notice, "An SSH key was added to a user.", "When the key is stored."),
		user("user.ssh.key.deleted", event.Notice, "An SSH key was taken from a user.", "When the key is removed."),
		user("user.delegate.added", event.Notice, "A user lets another act for them.", "When the delegation is stored."),
		user("user.delegate.removed", event.Notice, "A user no longer lets another act for them.", "When the delegation is removed."),
		user("user.2fa.enabled", event.Info, "A user turned two-factor authentication on.", "When the first code is confirmed."),
		user("user.2fa.disabled", event.Warn, "A user's two-factor authentication was turned off.", "When it is removed."),
		user("user.access.level.set", event.Notice, "A user's access level changed.", "When a new level is stored."),
		user("user.archived", event.Notice, "A user was archived.", "When the account is put away."),
		user("user.unarchived", event.Notice, "A user was restored from the archive.", "When the account is brought back."),
	}})
}
