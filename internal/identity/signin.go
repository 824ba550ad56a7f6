package identity

import (
	"context"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Session is what a sign-in gives.
type Session struct {
	Token   string
	Expires time.Time
}

// errWrong is what every refused sign-in says, whatever the reason.
var errWrong = errors.New("user name or password is wrong")

// ErrOneTimePassword says that name and password are right, and that a one-time
// password or a recovery code is needed, too. It is of class event.ErrDenied.
var ErrOneTimePassword = event.Deniedf("a one-time password is needed")

// SignIn exchanges a name and password, and a one-time password where the user
// has turned that on, for a token. A refusal is an error of class
// event.ErrDenied that does not say which of the two is wrong, or a *SlowDown
// where there were too many of them. Whether a one-time password is needed is
// told to those alone who know the password.
func (i *Identity) SignIn(ctx context.Context, by state.Cause, username, password, otp string) (Session, error) {
	if len(username) > maxUsername {
		return Session{}, event.Invalidf("username: no name is longer than %d bytes", maxUsername)
	}
	if wait := i.slow.wait(by.ClientIP, username); wait > 0 {
		return Session{}, i.refuse(ctx, by, username, "password", "too many attempts", &SlowDown{wait})
	}
	user, err := users.Find(ctx, i.state.Reader(), "username", username)
	if err != nil && !errors.Is(err, event.ErrNotFound) {
		return Session{}, err
	}
	hash, reason := user.Value.Hash, "wrong password"
	switch {
	case err != nil:
		hash, reason = i.dummy, "unknown user"
	case hash == "":
		hash, reason = i.dummy, "the user has no password"
	}
	right, checkErr := i.checkPassword(ctx, hash, password)
	if checkErr != nil {
		return Session{}, checkErr
	}
	if right && !user.Value.active() {
		right, reason = false, "the user is "+user.Value.State()
	}
	if !right || err != nil || user.Value.Hash == "" {
		i.slow.failed(by.ClientIP, username)
		return Session{}, i.refuse(ctx, by, username, "password", reason, event.Deniedf("%w", errWrong))
	}
	if user.Value.TwoFactor && otp == "" {
		return Session{}, ErrOneTimePassword
	}
	session, err := i.open(ctx, by, user, otp)
	if errors.Is(err, errOTP) {
		i.slow.failed(by.ClientIP, username)
		return Session{}, i.refuse(ctx, by, username, "totp", "wrong one-time password", event.Deniedf("%w", errWrong))
	}
	if err == nil {
		i.slow.succeeded(by.ClientIP, username)
	}
	return session, err
}

func (i *Identity) checkPassword(ctx context.Context, hash, password string) (right bool, err error) {
	err = i.hashing(ctx, func() { right = verifyPassword(hash, password) })
	return right, err
}

// open opens a session and records it: auth.ok and login, of one act.
func (i *Identity) open(ctx context.Context, by state.Cause, user state.Record[User], otp string) (Session, error) {
	by = asUser(by, user)
	args := map[string]any{}
	var out Session
	err := i.state.Write(ctx, by, func(tx *state.Tx) error {
		method := "password"
		if user.Value.TwoFactor {
			device, err := i.useOTP(tx, user.ID, otp)
			if err != nil {
				return err
			}
			args["mfa_devices"] = []any{map[string]any{"app": "tocsin_identity", "model_name": device, "name": device}}
			method = "password and " + device
		}
		var err error
		out, err = i.enter(tx, user, method, "password", args)
		return err
	})
	return out, err
}

// enter opens a session in the transaction of a sign-in: auth.ok and login. The
// cause of the transaction is the user.
func (i *Identity) enter(tx *state.Tx, user state.Record[User], method, authMethod string, args map[string]any) (out Session, err error) {
	by := tx.By()
	row := i.newSession(by, user.ID, method, TokenLife)
	if err := errors.Join(i.makeRoom(tx, user), putSession(tx, row)); err != nil {
		return out, err
	}
	if out, err = i.issue(user, row); err != nil {
		return out, err
	}
	subject := "user/" + user.ID.String()
	if err := tx.Raise("identity", "auth.ok", subject, map[string]any{"username": user.Value.Username, "ip": by.ClientIP, "exp": out.Expires.Unix()}); err != nil {
		return out, err
	}
	return out, raiseAudit(tx, "login", user.ID, map[string]any{"auth_method": authMethod, "auth_method_args": args})
}

// asUser is a cause whose actor is a user.
func asUser(by state.Cause, user state.Record[User]) state.Cause {
	by.AuthType, by.AuthID, by.AuthName, by.AuthEmail = "user", user.ID.String(), user.Value.Username, user.Value.Email
	return by
}

func withRequest(data map[string]any, by state.Cause) map[string]any {
	if by.Request != nil {
		data["http_request"] = by.Request
	}
	return data
}

// refuse records a refused sign-in and returns what the caller is told. stage is
// password or totp.
func (i *Identity) refuse(ctx context.Context, by state.Cause, username, stage, reason string, answer error) error {
	by.AuthType, by.AuthID, by.AuthName, by.AuthEmail = "unauthenticated", "", "", ""
	failed, err := by.Event(i.source+"/identity", "auth.error", "", map[string]any{"username": username, "ip": by.ClientIP, "reason": reason})
	if err != nil {
		return err
	}
	login, err := by.Event(i.source+"/identity", "login_failed", "", withRequest(map[string]any{
		"username": username, "password": "", "reason": reason,
		"stage": map[string]any{"pk": stage, "app": "tocsin_identity", "model_name": stage + "stage", "name": stage},
	}, by))
	if err != nil {
		return err
	}
	failed.CorrelationID, login.CorrelationID = string(failed.ID), string(failed.ID)
	if err := i.folder.Raise(ctx, by, failed, login); err != nil {
		i.log.WarnContext(ctx, "refused sign-in is not recorded", "err", err)
	}
	return answer
}

// claims are those of a sign-in token (RFC 7519).
type claims struct {
	jwt.RegisteredClaims
	Epoch   int64  `json:"epoch"` // the user's, so that all tokens can be ended at once
	Session string `json:"sid"`   // the row without which the token opens nothing
}

const (
	issuer   = "tocsin"
	audience = "tocsin-api"
)

// issue signs the token of a session.
func (i *Identity) issue(user state.Record[User], row sessionRow) (Session, error) {
	expires := row.expires.Truncate(time.Second)
	c := claims{Epoch: user.Value.Epoch, Session: row.id, RegisteredClaims: jwt.RegisteredClaims{
		Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: user.ID.String(), ID: row.current,
		IssuedAt: jwt.NewNumericDate(time.Now()), ExpiresAt: jwt.NewNumericDate(expires),
	}}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(i.key)
	return Session{Token: token, Expires: expires.UTC()}, err
}

func (i *Identity) parse(token string) (claims, error) {
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return i.key, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	if err != nil {
		return c, event.Deniedf("the token is not valid or has expired")
	}
	return c, nil
}

// errRenewed says that somebody else was quicker.
var errRenewed = event.Conflictf("the token was renewed already: use the newer one")

// Renew exchanges a valid sign-in token for a fresh one of the same session.
// The old one is good for a minute more, for requests that are under way; who
// shows it later has stolen it, or was robbed.
func (i *Identity) Renew(ctx context.Context, by state.Cause, token string) (Session, error) {
	row, user, err := i.session(ctx, by, token)
	if err != nil {
		return Session{}, err
	}
	if row.actor != nil {
		return Session{}, event.Deniedf("an impersonation is not renewed: end it, and begin anew")
	}
	if row.superseded {
		return Session{}, errRenewed
	}
	now := time.Now()
	row.previous, row.previousUntil, row.current = row.current, now.Add(graceOfRenewed), string(event.NewID())
	row.expires, row.seen = now.Add(TokenLife), now
	out, err := i.issue(user, row)
	if err != nil {
		return out, err
	}
	err = i.state.Write(ctx, asUser(by, user), func(tx *state.Tx) error {
		if err := renewSession(tx, row); err != nil {
			return err
		}
		subject := "user/" + user.ID.String()
		if err := tx.Raise("identity", "auth.renew", subject, map[string]any{"username": user.Value.Username, "ip": by.ClientIP, "exp": out.Expires.Unix()}); err != nil {
			return err
		}
		return raiseAudit(tx, "secret_rotate", user.ID, map[string]any{"token_of": modelOf(user)})
	})
	return out, err
}

// Authenticate finds the caller behind a bearer: an API token, a user's API key
// or a sign-in token. The error is of class event.ErrDenied where it opens
// nothing; by says who asks from where, for what is recorded of that.
func (i *Identity) Authenticate(ctx context.Context, by state.Cause, bearer string) (*Principal, error) {
	if IsToken(bearer) {
		return i.byToken(ctx, by, bearer)
	}
	row, user, err := i.session(ctx, by, bearer)
	if err != nil {
		return nil, err
	}
	return i.principal(ctx, row, user)
}

// principal is who calls by a session: its user, or who impersonates them.
func (i *Identity) principal(ctx context.Context, row sessionRow, user state.Record[User]) (*Principal, error) {
	p, err := i.userPrincipal(ctx, user)
	if err != nil {
		return nil, err
	}
	p.Session, p.SignedIn, p.Expires = row.id, row.created, row.expires
	p.again = func(ctx context.Context) (*Principal, error) { return i.bySession(ctx, row.id) }
	if row.actor == nil {
		return p, nil
	}
	if err := i.stillMay(ctx, row.actor, p.Scopes); err != nil {
		return nil, err
	}
	p.OnBehalfOf, p.ActsAs = user.ID.String(), user.Value.Username
	p.AuthType, p.ID, p.Name, p.Email = row.actor.AuthType, row.actor.ID, row.actor.Name, row.actor.Email
	return p, nil
}

func (i *Identity) userPrincipal(ctx context.Context, user state.Record[User]) (*Principal, error) {
	scopes, err := scopesOf(ctx, i.state.Reader(), user.Value.AccessLevel)
	if err != nil {
		return nil, err
	}
	return &Principal{
		AuthType: "user", ID: user.ID.String(), Name: user.Value.Username, Email: user.Value.Email,
		Scopes: scopes, User: user.ID,
	}, nil
}
