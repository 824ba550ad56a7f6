// Package identity knows who is calling: users and their passwords, the tokens
// they sign in with, and what each may do.
//
// It promises: passwords are kept as argon2id hashes and tokens as SHA-256, so
// that the database opens no door; every comparison of secrets takes constant
// time; a wrong name costs what a wrong password costs; each sign-in, refusal
// and renewal is an event; guessing is slowed for each address and account.
package identity

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Scope is what a caller may do.
type Scope string

// The scopes of tokens. Admin includes read and emit; forward, which lets one
// Tocsin hand events to another with all attributes, must be given by name.
const (
	Read    Scope = "read"
	Emit    Scope = "emit"
	Forward Scope = "forward"
	Admin   Scope = "admin"
)

// Scopes lists every scope.
func Scopes() []Scope { return []Scope{Read, Emit, Forward, Admin} }

// Level is a user's access level.
type Level string

// The access levels: a viewer reads, an operator also emits, an admin does all.
const (
	Viewer   Level = "viewer"
	Operator Level = "operator"
	Administ Level = "admin"
)

func (l Level) scopes() []Scope {
	switch l {
	case Administ:
		return []Scope{Admin}
	case Operator:
		return []Scope{Read, Emit}
	default:
		return []Scope{Read}
	}
}

// Principal is an authenticated caller.
type Principal struct {
	AuthType string // user, api_key or system
	ID       string
	Name     string
	Email    string
	Scopes   []Scope
	Token    string // name of the token that was shown; empty for a user's session
}

// Can reports whether the caller has a scope.
func (p *Principal) Can(s Scope) bool {
	if p == nil {
		return false
	}
	return slices.Contains(p.Scopes, s) || s != Forward && slices.Contains(p.Scopes, Admin)
}

// Options configure Open.
type Options struct {
	State  *state.State
	Folder *state.Folder
	Key    state.Key
	Source string // prefix of the source of events
	Logger *slog.Logger
}

// Identity authenticates callers.
type Identity struct {
	state  *state.State
	folder *state.Folder
	source string
	log    *slog.Logger
	key    []byte
	dummy  string // a hash of nothing, for names that do not exist
	slow   *brake
	gate   chan struct{} // limits how many passwords are hashed at once
	known  memory
}

// TokenLife is how long a sign-in token is valid.
const TokenLife = 24 * time.Hour

// hashers is how many passwords are hashed at once: each takes 19 MiB.
const hashers = 4

// New returns an Identity.
func New(o Options) *Identity {
	return &Identity{
		state: o.State, folder: o.Folder, source: o.Source, log: o.Logger, key: o.Key.Derive("sign-in tokens"),
		dummy: hashPassword(string(event.NewID())), slow: newBrake(), gate: make(chan struct{}, hashers),
	}
}

// Session is what a sign-in gives.
type Session struct {
	Token   string
	Expires time.Time
}

// errWrong is what every refused sign-in says, whatever the reason.
var errWrong = errors.New("user name or password is wrong")

// SignIn exchanges a name and password for a token. A refusal is an error of
// class event.ErrDenied that does not say which of the two is wrong, or a
// *SlowDown where there were too many of them.
func (i *Identity) SignIn(ctx context.Context, by state.Cause, username, password string) (Session, error) {
	if wait := i.slow.wait(by.ClientIP, username); wait > 0 {
		return Session{}, i.refuse(ctx, by, username, "too many attempts", &SlowDown{wait})
	}
	user, err := users.Find(ctx, i.state.Reader(), "username", username)
	if err != nil && !errors.Is(err, event.ErrNotFound) {
		return Session{}, err
	}
	hash, reason := user.Value.Hash, "wrong password"
	if err != nil || hash == "" {
		hash, reason = i.dummy, "unknown user"
	}
	right, checkErr := i.checkPassword(ctx, hash, password)
	if checkErr != nil {
		return Session{}, checkErr
	}
	switch {
	case err != nil:
		right = false
	case right && user.Value.Suspended:
		right, reason = false, "the user is suspended"
	}
	if !right {
		i.slow.failed(by.ClientIP, username)
		return Session{}, i.refuse(ctx, by, username, reason, event.Deniedf("%w", errWrong))
	}
	i.slow.succeeded(by.ClientIP, username)
	return i.open(ctx, by, user, "auth.ok")
}

func (i *Identity) checkPassword(ctx context.Context, hash, password string) (bool, error) {
	select {
	case i.gate <- struct{}{}:
		defer func() { <-i.gate }()
		return verifyPassword(hash, password), nil
	case <-ctx.Done():
		return false, event.Unavailablef("sign-in: %w", ctx.Err())
	}
}

// open issues a token and records it: auth.ok with login, or auth.renew.
func (i *Identity) open(ctx context.Context, by state.Cause, user state.Record[User], t event.Type) (Session, error) {
	expires := time.Now().Add(TokenLife).Truncate(time.Second)
	token, err := i.issue(user, expires)
	if err != nil {
		return Session{}, err
	}
	by.AuthType, by.AuthID, by.AuthName, by.AuthEmail = "user", user.ID.String(), user.Value.Username, user.Value.Email
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		subject := "user/" + user.ID.String()
		err := tx.Raise("identity", t, subject, map[string]any{"username": user.Value.Username, "ip": by.ClientIP, "exp": expires.Unix()})
		if err != nil || t != "auth.ok" {
			return err
		}
		data := map[string]any{"auth_method": "password", "auth_method_args": map[string]any{}}
		return tx.Raise("identity", "login", subject, withRequest(data, by))
	})
	return Session{Token: token, Expires: expires.UTC()}, err
}

func withRequest(data map[string]any, by state.Cause) map[string]any {
	if by.Request != nil {
		data["http_request"] = by.Request
	}
	return data
}

// refuse records a refused sign-in and returns what the caller is told.
func (i *Identity) refuse(ctx context.Context, by state.Cause, username, reason string, answer error) error {
	by.AuthType = "unauthenticated"
	failed, err := by.Event(i.source+"/identity", "auth.error", "", map[string]any{"username": username, "ip": by.ClientIP, "reason": reason})
	if err != nil {
		return err
	}
	stage := map[string]any{"app": "tocsin_identity", "model_name": "passwordstage", "name": "password"}
	login, err := by.Event(i.source+"/identity", "login_failed", "", withRequest(map[string]any{
		"username": username, "password": "", "stage": stage, "reason": reason,
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
	Epoch int64 `json:"epoch"` // the user's, so that all tokens can be ended at once
}

const (
	issuer   = "tocsin"
	audience = "tocsin-api"
)

func (i *Identity) issue(user state.Record[User], expires time.Time) (string, error) {
	c := claims{Epoch: user.Value.Epoch, RegisteredClaims: jwt.RegisteredClaims{
		Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: user.ID.String(), ID: string(event.NewID()),
		IssuedAt: jwt.NewNumericDate(time.Now()), ExpiresAt: jwt.NewNumericDate(expires),
	}}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(i.key)
}

// Renew exchanges a valid sign-in token for a fresh one.
func (i *Identity) Renew(ctx context.Context, by state.Cause, token string) (Session, error) {
	user, err := i.session(ctx, token)
	if err != nil {
		return Session{}, err
	}
	return i.open(ctx, by, user, "auth.renew")
}

// session is the user whose sign-in token this is.
func (i *Identity) session(ctx context.Context, token string) (state.Record[User], error) {
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return i.key, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	if err != nil {
		return state.Record[User]{}, event.Deniedf("the token is not valid or has expired")
	}
	id, err := state.ParseID(c.Subject)
	if err != nil {
		return state.Record[User]{}, event.Deniedf("the token is not valid")
	}
	user, err := users.Get(ctx, i.state.Reader(), id)
	switch {
	case errors.Is(err, event.ErrNotFound) || err == nil && (user.Value.Epoch != c.Epoch || user.Value.Suspended):
		return user, event.Deniedf("the token was revoked")
	default:
		return user, err
	}
}

// Authenticate finds the caller behind a bearer token: an API token or a
// sign-in token. The error is of class event.ErrDenied where it opens nothing.
func (i *Identity) Authenticate(ctx context.Context, bearer string) (*Principal, error) {
	if IsToken(bearer) {
		return i.byToken(ctx, bearer)
	}
	user, err := i.session(ctx, bearer)
	if err != nil {
		return nil, err
	}
	return &Principal{
		AuthType: "user", ID: user.ID.String(), Name: user.Value.Username, Email: user.Value.Email,
		Scopes: user.Value.AccessLevel.scopes(),
	}, nil
}
