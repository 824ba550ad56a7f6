package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Token is an API token: a secret that a program shows instead of signing in.
type Token struct {
	Name      string     `json:"name"`
	Scopes    []Scope    `json:"scopes"`
	ExpiresAt *time.Time `json:"expires_at"`
	Owner     string     `json:"owner"` // id of the user who made it, or by whose token it was made; uid/ of the system's own
	Hash      string     `json:"token"` // SHA-256; the name makes every diff mask it
}

// tokens are the stored API tokens.
var tokens = state.Collection[Token]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "identity", Model: "token",
	Name:  func(t *Token) string { return t.Name },
	Keys:  func(t *Token) map[string]string { return map[string]string{"hash": t.Hash, "name": t.Name} },
	Check: checkToken,
}

func checkToken(t *Token) error {
	if t.Name == "" || len(t.Name) > 128 {
		return event.Invalidf("name: a token needs a name of 1 to 128 bytes")
	}
	return checkScopes(t.Scopes)
}

// tokenPrefix lets people and scanners of leaked secrets recognise a token.
const tokenPrefix = "tcsn_"

// IsToken reports whether a bearer looks like an API token.
func IsToken(bearer string) bool { return strings.HasPrefix(bearer, tokenPrefix) }

func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// CreateToken makes a token and returns its secret, which is never shown again.
// A caller can give no scope that they do not have; forward is given by admins. It
// belongs to the user who makes it, also by another token of theirs.
func (i *Identity) CreateToken(ctx context.Context, by state.Cause, who *Principal, t Token) (state.Record[Token], string, error) {
	if err := who.own("API tokens"); err != nil {
		return state.Record[Token]{}, "", err
	}
	if err := who.covers("scopes", t.Scopes); err != nil {
		return state.Record[Token]{}, "", err
	}
	if t.ExpiresAt != nil && t.ExpiresAt.Before(time.Now()) {
		return state.Record[Token]{}, "", event.Invalidf("expires_at: %s is in the past", t.ExpiresAt.Format(time.RFC3339))
	}
	secret := randomSecret(tokenPrefix)
	owner, err := i.ownerOf(ctx, who)
	if err != nil {
		return state.Record[Token]{}, "", err
	}
	t.Hash, t.Owner = hashToken(secret), owner
	var r state.Record[Token]
	err = i.state.Write(ctx, by, func(tx *state.Tx) (err error) {
		r, err = tokens.Insert(tx, t)
		return err
	})
	return r, secret, err
}

// tokenActor is what the id of an actor begins with that is a token.
const tokenActor = "token/"

// ownerOf is to whom belongs what a caller makes.
func (i *Identity) ownerOf(ctx context.Context, who *Principal) (string, error) {
	number, isToken := strings.CutPrefix(who.ID, tokenActor)
	if !isToken {
		return who.ID, nil
	}
	id, err := state.ParseID(number)
	if err != nil {
		return "", err
	}
	r, err := tokens.Get(ctx, i.state.Reader(), id)
	return r.Value.Owner, err
}

// ListTokens returns up to limit tokens behind an id.
func (i *Identity) ListTokens(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[Token], error) {
	return tokens.List(ctx, i.state.Reader(), after, limit)
}

// GetToken returns one token.
func (i *Identity) GetToken(ctx context.Context, id state.ObjectID) (state.Record[Token], error) {
	return tokens.Get(ctx, i.state.Reader(), id)
}

// UpdateToken changes a token's name, scopes or expiry; not for who acts for
// another, as with CreateToken.
func (i *Identity) UpdateToken(ctx context.Context, by state.Cause, who *Principal, id state.ObjectID, version int64, change func(*Token) error) (r state.Record[Token], err error) {
	if err := who.own("API tokens"); err != nil {
		return r, err
	}
	err = i.state.Write(ctx, by, func(tx *state.Tx) error {
		r, err = tokens.Update(tx, id, version, func(t *Token) error {
			hash, owner := t.Hash, t.Owner
			err := change(t)
			t.Hash, t.Owner = hash, owner
			return err
		})
		return err
	})
	i.known.forget()
	return r, err
}

// DeleteToken revokes a token at once.
func (i *Identity) DeleteToken(ctx context.Context, by state.Cause, id state.ObjectID, version int64) error {
	err := i.state.Write(ctx, by, func(tx *state.Tx) error {
		r, err := tokens.Delete(tx, id, version)
		if err != nil {
			return err
		}
		return revoke(tx, r.Value.Hash, "API token "+r.Value.Name)
	})
	i.known.forget()
	return err
}

// byToken finds an API token. What it found is remembered for tokenMemory, and
// forgotten at once when a token is changed here.
func (i *Identity) byToken(ctx context.Context, by state.Cause, bearer string) (*Principal, error) {
	hash := sha256.Sum256([]byte(bearer))
	if p := i.known.get(hash, time.Now()); p != nil {
		return p, nil
	}
	text := hex.EncodeToString(hash[:])
	p, until, err := i.lookUpToken(ctx, text)
	if errors.Is(err, event.ErrDenied) {
		return nil, errors.Join(err, i.noteRevoked(ctx, by, text))
	}
	if err != nil {
		return nil, err
	}
	p.again = func(ctx context.Context) (*Principal, error) {
		p, _, err := i.lookUpToken(ctx, text)
		return p, err
	}
	i.known.put(hash, p, until)
	return p, nil
}

func (i *Identity) lookUpToken(ctx context.Context, hash string) (p *Principal, until time.Time, err error) {
	r, err := tokens.Find(ctx, i.state.Reader(), "hash", hash)
	until = time.Now().Add(tokenMemory)
	switch {
	case errors.Is(err, event.ErrNotFound):
		p, err := i.byAPIKey(ctx, hash)
		return p, until, err
	case err != nil:
		return nil, until, err
	case r.Value.ExpiresAt == nil:
	case time.Now().After(*r.Value.ExpiresAt):
		return nil, until, event.Deniedf("the token has expired")
	case r.Value.ExpiresAt.Before(until):
		until = *r.Value.ExpiresAt
	}
	scopes, err := i.withinOwner(ctx, r.Value)
	if err != nil {
		return nil, until, err
	}
	return &Principal{
		AuthType: "api_key", ID: tokenActor + r.ID.String(), Name: r.Value.Name, Token: r.Value.Name, Scopes: scopes,
	}, until, nil
}

// withinOwner is what a token may of what its owner may give at this moment. A
// token of somebody who is suspended, archived or gone opens nothing; one that was
// made on the server's own machine belongs to nobody.
func (i *Identity) withinOwner(ctx context.Context, t Token) ([]Scope, error) {
	id, err := state.ParseID(t.Owner)
	if err != nil {
		return t.Scopes, nil //nolint:nilerr // no id: no user
	}
	u, err := users.Get(ctx, i.state.Reader(), id)
	switch {
	case errors.Is(err, event.ErrNotFound):
		return nil, event.Deniedf("the user to whom the token belongs is gone")
	case err != nil:
		return nil, err
	case !u.Value.active():
		return nil, event.Deniedf("the user to whom the token belongs is %s", u.Value.State())
	}
	owner, err := i.userPrincipal(ctx, u)
	if err != nil {
		return nil, err
	}
	own := &Principal{Scopes: t.Scopes}
	var scopes []Scope
	for _, s := range Scopes() {
		if own.Can(s) && owner.covers("", []Scope{s}) == nil {
			scopes = append(scopes, s)
		}
	}
	return scopes, nil
}

// tokenMemory is how long another node may still honour a revoked token.
const tokenMemory = 5 * time.Second

// memory remembers callers, so that a request costs no query.
type memory struct {
	mu    sync.Mutex // guards known
	known map[[sha256.Size]byte]remembered
}

type remembered struct {
	principal *Principal
	until     time.Time
}

// memorySize bounds the memory; tokens in use are far fewer.
const memorySize = 10_000

func (m *memory) get(hash [sha256.Size]byte, now time.Time) *Principal {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.known[hash]; ok && now.Before(r.until) {
		return r.principal
	}
	return nil
}

func (m *memory) put(hash [sha256.Size]byte, p *Principal, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= memorySize {
		m.known = make(map[[sha256.Size]byte]remembered)
	}
	m.known[hash] = remembered{p, until}
}

func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = nil
}
