package identity

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// newHash checks a new password against the rules and hashes it.
func (i *Identity) newHash(ctx context.Context, password string, u User) (string, error) {
	if err := checkPassword(password, u); err != nil {
		return "", err
	}
	var hash string
	err := i.hashing(ctx, func() { hash = hashPassword(password) })
	return hash, err
}

// hashing waits for its turn: each password that is hashed takes memory.
func (i *Identity) hashing(ctx context.Context, do func()) error {
	select {
	case i.gate <- struct{}{}:
		defer func() { <-i.gate }()
		do()
		return nil
	case <-ctx.Done():
		return event.Unavailablef("password: %w", ctx.Err())
	}
}

// checkPassword refuses passwords that are too short, too long, or among the
// first that are guessed (OWASP ASVS 2.1.1, 2.1.2, 2.1.7). There are no rules
// about kinds of characters (2.1.9).
func checkPassword(password string, u User) error {
	if len(password) < MinPassword || len(password) > maxPassword {
		return event.Invalidf("password: it needs %d to %d bytes", MinPassword, maxPassword)
	}
	small := strings.ToLower(password)
	if isCommon(small) {
		return event.Invalidf("password: this one is among the first that are guessed")
	}
	local, _, _ := strings.Cut(strings.ToLower(u.Email), "@")
	for _, part := range []string{u.Username, strings.ToLower(u.Email), local, "tocsin"} {
		if rest := strings.ReplaceAll(small, part, ""); len(part) > 3 && len(rest) < len(small) && len(rest) < 4 {
			return event.Invalidf("password: it is little more than a name that everybody knows")
		}
	}
	return nil
}

// confirm asks a user for their password again. It is slowed as a sign-in is.
func (i *Identity) confirm(ctx context.Context, by state.Cause, u state.Record[User], password string) error {
	if wait := i.slow.wait(by.ClientIP, u.Value.Username); wait > 0 {
		return &SlowDown{wait}
	}
	right, err := i.checkPassword(ctx, u.Value.Hash, password)
	if err != nil {
		return err
	}
	if !right {
		i.slow.failed(by.ClientIP, u.Value.Username)
		return i.refuse(ctx, by, u.Value.Username, "password", "wrong password, asked for again", event.Deniedf("the password is wrong"))
	}
	i.slow.succeeded(by.ClientIP, u.Value.Username)
	return nil
}

// Confirm asks the caller for their password again, before something that a
// stolen session must not do. Callers without a password are refused.
func (i *Identity) Confirm(ctx context.Context, by state.Cause, who *Principal, password string) error {
	if who.User == 0 || who.OnBehalfOf != "" {
		return event.Deniedf("this asks for your password again: sign in as yourself")
	}
	u, err := users.Get(ctx, i.state.Reader(), who.User)
	if err != nil {
		return err
	}
	if u.Value.Hash == "" {
		return event.Deniedf("this asks for your password again, and you have none")
	}
	return i.confirm(ctx, by, u, password)
}

// passwordChanged raises what a new password means, and ends the user's
// sessions but for the one to keep.
func (i *Identity) passwordChanged(tx *state.Tx, u state.Record[User], keep string) error {
	return errors.Join(
		raiseUser(tx, "user.credentials.changed", u, "User password updated successfully"),
		raiseAudit(tx, "password_set", u.ID, map[string]any{"user": modelOf(u)}),
		dropLinks(tx, u.ID, resetLink),
		i.endSessions(tx, u, keep, "the password was changed"),
	)
}

// Lives of links in mails.
const (
	resetLife  = time.Hour
	verifyLife = 3 * 24 * time.Hour
)

// RequestReset lets a user set a new password by a link. It goes out by mail;
// where no mail can be sent, it is returned to be handed on, to administrators
// alone.
func (i *Identity) RequestReset(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID) (link string, err error) {
	u, err := i.account(ctx, who, id)
	if err != nil {
		return "", err
	}
	if err := who.own("password reset"); err != nil {
		return "", err
	}
	if !u.Value.active() {
		return "", event.Conflictf("user %s is %s", u.Value.Username, u.Value.State())
	}
	byMail := i.MailReady() && u.Value.Email != ""
	if !byMail && !who.Can(Admin) {
		return "", event.Conflictf("no mail can be sent to you: ask an administrator")
	}
	err = i.state.Write(ctx, linked(by), func(tx *state.Tx) error {
		link, err = i.requestReset(tx, u, byMail)
		return err
	})
	if byMail {
		link = ""
	}
	return link, err
}

// AskReset is for those who can't sign in. It never says whether there is such
// a user: nothing is awaited that only happens where there is one.
func (i *Identity) AskReset(ctx context.Context, by state.Cause, username string) error {
	if len(username) > maxUsername {
		return event.Invalidf("username: no name is longer than %d bytes", maxUsername)
	}
	if wait := i.asked.wait(by.ClientIP, username); wait > 0 {
		return &SlowDown{wait}
	}
	i.asked.failed(by.ClientIP, username)
	u, err := users.Find(ctx, i.state.Reader(), "username", username)
	if errors.Is(err, event.ErrNotFound) {
		return nil
	}
	if err != nil || !u.Value.active() || u.Value.Email == "" || !i.MailReady() {
		return err
	}
	by.AuthType = "unauthenticated"
	job := func(ctx context.Context) error { // a transaction takes time, which would tell that there is such a user
		return i.state.Write(ctx, linked(by), func(tx *state.Tx) error {
			_, err := i.requestReset(tx, u, true)
			return err
		})
	}
	select {
	case i.later <- job:
	default:
		i.log.WarnContext(ctx, "too many password resets wait: one is dropped")
	}
	return nil
}

func (i *Identity) requestReset(tx *state.Tx, u state.Record[User], byMail bool) (string, error) {
	if err := dropLinks(tx, u.ID, resetLink); err != nil {
		return "", err
	}
	secret, err := newLink(tx, resetLink, u.ID, "", resetLife)
	if err != nil {
		return "", err
	}
	link := i.source + "/reset#token=" + secret
	if err := raiseUser(tx, "user.password.reset.requested", u, "Password reset initiated for user"); err != nil || !byMail {
		return link, err
	}
	return link, i.mail(tx, u.Value.Email, "Set a new password", resetLife, secret,
		"Somebody, probably you, asked for a new password for "+u.Value.Username+" at "+i.source+".",
		"Set it here within an hour. The link works once:",
		link,
		"If it was not you, do nothing: the old password stays.")
}

// ConfirmReset sets a new password by the link of a reset. Whoever follows the
// link has shown that the address is theirs, where it came by mail.
func (i *Identity) ConfirmReset(ctx context.Context, by state.Cause, token, password string) error {
	found, err := findLink(ctx, i.state.Reader(), resetLink, token)
	if err != nil {
		return err
	}
	u, err := users.Get(ctx, i.state.Reader(), found.user)
	if err != nil || !u.Value.active() {
		return errLink
	}
	hash, err := i.newHash(ctx, password, u.Value)
	if err != nil {
		return err
	}
	by = asUser(by, u)
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		if err := useLink(tx, resetLink, token); err != nil {
			return err
		}
		r, err := users.Update(tx, u.ID, state.AnyVersion, func(u *User) error { u.Hash = hash; return nil })
		if err != nil {
			return err
		}
		return i.passwordChanged(tx, r, "")
	})
	i.known.forget()
	return err
}

// emailChanged records a new address, asks its owner to verify it, and tells
// the old one.
func (i *Identity) emailChanged(tx *state.Tx, old string, u state.Record[User]) error {
	message := "User email address changed from " + old
	if old == "" {
		message = "User email address set"
	}
	if err := raiseUser(tx, "user.email.updated", u, message); err != nil {
		return err
	}
	// A reset that went to the old address must not outlive it.
	if err := errors.Join(dropLinks(tx, u.ID, verifyLink), dropLinks(tx, u.ID, resetLink)); err != nil {
		return err
	}
	if old != "" && i.MailReady() {
		err := i.mail(tx, old, "Your address was changed", verifyLife, "",
			"The address of "+u.Value.Username+" at "+i.source+" is now another one.",
			"If you did not want that, tell an administrator.")
		if err != nil {
			return err
		}
	}
	return i.askToVerify(tx, u)
}

// askToVerify mails a link that shows whose address it is.
func (i *Identity) askToVerify(tx *state.Tx, u state.Record[User]) error {
	if u.Value.Email == "" || !i.MailReady() {
		return nil
	}
	secret, err := newLink(tx, verifyLink, u.ID, u.Value.Email, verifyLife)
	if err != nil {
		return err
	}
	return i.mail(tx, u.Value.Email, "Is this your address?", verifyLife, secret,
		"This address was given for "+u.Value.Username+" at "+i.source+".",
		"If it is yours, say so within three days. The link works once:",
		i.source+"/verify-email#token="+secret,
		"If it is not, do nothing.")
}

// VerifyEmail takes the token of a verification link.
func (i *Identity) VerifyEmail(ctx context.Context, by state.Cause, token string) (r state.Record[User], err error) {
	found, err := findLink(ctx, i.state.Reader(), verifyLink, token)
	if err != nil {
		return r, err
	}
	u, err := users.Get(ctx, i.state.Reader(), found.user)
	if err != nil || !u.Value.active() || u.Value.Email != found.value {
		return r, errLink
	}
	by = asUser(by, u)
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		if err := useLink(tx, verifyLink, token); err != nil {
			return err
		}
		r, err = users.Update(tx, u.ID, state.AnyVersion, func(u *User) error {
			if u.Email != found.value {
				return errLink
			}
			u.EmailVerified = true
			return nil
		})
		if err != nil {
			return err
		}
		return raiseUser(tx, "user.email.verified", r, "Email address verified successfully")
	})
	return r, err
}

// linked gives a cause a correlation id, where its act may send a mail: what is
// recorded when the mail has gone belongs to the act.
func linked(by state.Cause) state.Cause {
	if by.CorrelationID == "" {
		by.CorrelationID = string(event.NewID())
	}
	return by
}

// mail queues a mail of paragraphs. secret is masked in what is recorded.
func (i *Identity) mail(tx *state.Tx, to, subject string, life time.Duration, secret string, paragraphs ...string) error {
	text := strings.Join(paragraphs, "\n\n") + "\n"
	record := text
	if secret != "" {
		record = strings.ReplaceAll(text, secret, masked)
	}
	return i.mailer.Queue(tx, to, subject, text, record, life)
}
