// Package identity knows who is calling: users and their passwords, the tokens
// they sign in with, and what each may do.
//
// It promises: passwords are kept as argon2id hashes and tokens as SHA-256, so
// that the database opens no door; seeds and links that must be shown again are
// sealed; every comparison of secrets takes constant time; a wrong name costs
// what a wrong password costs; each act is one transaction with its whole set of
// events (docs/acts.md); guessing is slowed for each address and account; nobody
// gives rights that they do not have, and one administrator always remains.
package identity

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

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

// The built-in access levels: a viewer reads, an operator also emits, an admin
// does all. Any other level is the name of a Role.
const (
	Viewer   Level = "viewer"
	Operator Level = "operator"
	Administ Level = "admin"
)

// Principal is an authenticated caller.
type Principal struct {
	AuthType string // user, api_key or system
	ID       string // of who really acts
	Name     string
	Email    string
	Scopes   []Scope
	Token    string // name of the token that was shown; empty for a user's session

	// User is the account whose rights these are; 0 where there is none. It is
	// another than ID's where somebody acts for somebody else.
	User state.ObjectID
	// OnBehalfOf is the id of the user for whom the caller acts, by delegation
	// or impersonation, and ActsAs that user's name; empty otherwise.
	OnBehalfOf, ActsAs string
	// again reads anew who this is and what they may; nil where that can't change.
	again func(context.Context) (*Principal, error)
	// Session is the id of the session, SignedIn when it was opened, and Expires
	// when its token does.
	Session           string
	SignedIn, Expires time.Time
}

// Can reports whether the caller has a scope.
func (p *Principal) Can(s Scope) bool {
	if p == nil {
		return false
	}
	return slices.Contains(p.Scopes, s) || s != Forward && slices.Contains(p.Scopes, Admin)
}

// Again reads anew who a caller is and what they may, for what goes on after its
// request was let in. The error is of class event.ErrDenied where what they showed
// opens nothing any more. Looking is no use of a session or token.
func (p *Principal) Again(ctx context.Context) (*Principal, error) {
	if p.again == nil {
		return p, nil
	}
	return p.again(ctx)
}

// Options configure Open.
type Options struct {
	State  *state.State
	Folder *state.Folder
	Key    state.Key
	Source string // prefix of the source of events; links in mails begin with it
	Logger *slog.Logger

	Mailer  Mailer         // nil: no mail can be sent
	Locator Locator        // nil: nothing is known about addresses
	Binding func() Binding // what new sessions are bound to; nil: nothing
}

// Mailer takes mails that are sent once the transaction is committed.
type Mailer interface {
	// Ready reports whether a mail server is configured.
	Ready() bool
	// Queue stores a mail in the transaction. record is the text as it is
	// recorded when the mail was sent: with everything masked that opens a door.
	// After life it is of no use to anybody, and is not tried again.
	Queue(tx *state.Tx, to, subject, text, record string, life time.Duration) error
}

// Identity authenticates callers.
type Identity struct {
	state  *state.State
	folder *state.Folder
	source string
	log    *slog.Logger
	key    []byte
	seal   *state.Sealer
	dummy  string // a hash of nothing, for names that do not exist
	slow   *brake
	asked  *brake        // slows requests for mails
	gate   chan struct{} // limits how many passwords are hashed at once
	known  memory
	later  chan func(context.Context) error // work for Run

	providers atomic.Pointer[[]*provider]

	mailer  Mailer
	locator Locator
	binding func() Binding
}

// TokenLife is how long a sign-in token is valid.
const TokenLife = 24 * time.Hour

// hashers is how many passwords are hashed at once: each takes 19 MiB.
const hashers = 4

// New returns an Identity.
func New(o Options) *Identity {
	return &Identity{
		state: o.State, folder: o.Folder, source: o.Source, log: o.Logger,
		key: o.Key.Derive("sign-in tokens"), seal: o.Key.Sealer("sealed secrets"),
		dummy: hashPassword(string(event.NewID())), slow: newBrake(), asked: newBrake(), gate: make(chan struct{}, hashers),
		mailer: o.Mailer, locator: o.Locator, binding: o.Binding, later: make(chan func(context.Context) error, 64),
	}
}

// MailReady reports whether mails can be sent.
func (i *Identity) MailReady() bool { return i.mailer != nil && i.mailer.Ready() }
