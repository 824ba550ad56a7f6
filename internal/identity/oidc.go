package identity

import (
	"cmp"
	"context"
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Provider is an OpenID provider (OpenID Connect Core 1.0) whose users may sign
// in.
type Provider struct {
	Name, Issuer, ClientID, ClientSecret string
	// Groups gives the access level of who is in a group (the claim groups).
	// Where it is set, others are refused; else everybody is a viewer.
	Groups map[string]Level
}

// provider is one at work. What it says of itself is asked for at the first
// sign-in, so that the server starts while the provider is down.
type provider struct {
	Provider
	client *http.Client

	mu   sync.Mutex // guards oidc
	oidc *oidc.Provider
}

const (
	oidcPurpose = "sign-in by a provider"
	oidcLife    = 10 * time.Minute // from leaving for the provider to coming back
	oidcTimeout = 20 * time.Second // of each exchange with it
)

// UseProviders replaces the providers. client is the way to them.
func (i *Identity) UseProviders(list []Provider, client *http.Client) {
	all := make([]*provider, len(list))
	for n := range list {
		all[n] = &provider{Provider: list[n], client: client}
	}
	i.providers.Store(&all)
}

// Providers lists the names of the providers.
func (i *Identity) Providers() []string {
	var names []string
	if all := i.providers.Load(); all != nil {
		for _, p := range *all {
			names = append(names, p.Name)
		}
	}
	return names
}

func (i *Identity) provider(name string) (*provider, error) {
	if all := i.providers.Load(); all != nil {
		for _, p := range *all {
			if p.Name == name {
				return p, nil
			}
		}
	}
	return nil, event.NotFoundf("there is no provider %q", name)
}

// discover asks the provider what it can do (OpenID Connect Discovery 1.0).
func (p *provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.oidc != nil {
		return p.oidc, nil
	}
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.Issuer)
	if err != nil {
		return nil, event.Unavailablef("the provider %s does not answer as one: %w", p.Name, err)
	}
	p.oidc = found
	return found, nil
}

func (p *provider) config(found *oidc.Provider, redirect string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: found.Endpoint(), RedirectURL: redirect,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", "groups"},
	}
}

// journey is what must be the same when somebody comes back from a provider. The
// browser carries it, sealed.
type journey struct {
	Provider string    `json:"p"`
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"` // PKCE (RFC 7636)
	Redirect string    `json:"r"`
	Next     string    `json:"t"`
	Expires  time.Time `json:"e"`
}

// BeginOIDC sends somebody to a provider: location is where, and carried is what
// the browser must bring back. redirect is the page that the provider leads back
// to, next where it should end.
func (i *Identity) BeginOIDC(ctx context.Context, name, redirect, next string) (location, carried string, err error) {
	p, err := i.provider(name)
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, oidcTimeout)
	defer cancel()
	found, err := p.discover(ctx)
	if err != nil {
		return "", "", err
	}
	j := journey{
		Provider: name, State: randomSecret(""), Nonce: randomSecret(""), Verifier: oauth2.GenerateVerifier(),
		Redirect: redirect, Next: next, Expires: time.Now().Add(oidcLife),
	}
	doc, err := json.Marshal(j)
	if err != nil {
		return "", "", fmt.Errorf("sign-in by %s: %w", name, err)
	}
	location = p.config(found, redirect).AuthCodeURL(j.State, oidc.Nonce(j.Nonce), oauth2.S256ChallengeOption(j.Verifier))
	return location, i.seal.Close(oidcPurpose, string(doc)), nil
}

// claimsOf are what a provider says of somebody.
type claimsOf struct {
	Subject  string   `json:"sub"`
	Username string   `json:"preferred_username"`
	Name     string   `json:"name"`
	Email    string   `json:"email"`
	Verified bool     `json:"email_verified"`
	Groups   []string `json:"groups"`
}

// FinishOIDC signs somebody in who comes back from a provider with a code. The
// error is of class event.ErrDenied where they may not, event.ErrInvalid where
// they did not set out from here.
func (i *Identity) FinishOIDC(ctx context.Context, by state.Cause, name, carried, returned, code string) (s Session, next string, err error) {
	var j journey
	doc, err := i.seal.Open(oidcPurpose, carried)
	if err == nil {
		err = json.Unmarshal([]byte(doc), &j)
	}
	if err != nil || j.Provider != name || time.Now().After(j.Expires) || subtle.ConstantTimeCompare([]byte(j.State), []byte(returned)) != 1 {
		return s, "", event.Invalidf("this sign-in did not begin here, or took longer than %s: begin anew", oidcLife)
	}
	p, err := i.provider(name)
	if err != nil {
		return s, "", err
	}
	c, err := p.ask(ctx, &j, code)
	if err != nil {
		return s, "", i.refuse(ctx, by, "", "source", err.Error(), event.Deniedf("the provider %s did not confirm who you are: begin anew", name))
	}
	level, ok := p.level(c.Groups)
	if !ok {
		return s, "", i.refuse(ctx, by, c.Username, "source", "none of the groups may sign in", event.Deniedf("none of your groups at %s may sign in here", name))
	}
	user, err := i.linkedUser(ctx, by, p, &c, level)
	if err != nil {
		return s, "", err
	}
	if !user.Value.active() {
		return s, "", i.refuse(ctx, by, user.Value.Username, "source", "the user is "+user.Value.State(), event.Deniedf("this account may not sign in"))
	}
	s, err = i.enterBy(ctx, by, user, p)
	return s, j.Next, err
}

// ask exchanges the code for an identity token and reads it.
func (p *provider) ask(ctx context.Context, j *journey, code string) (c claimsOf, err error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), oidcTimeout)
	defer cancel()
	found, err := p.discover(ctx)
	if err != nil {
		return c, err
	}
	got, err := p.config(found, j.Redirect).Exchange(ctx, code, oauth2.VerifierOption(j.Verifier))
	if err != nil {
		return c, errors.New("the code is not taken") // the answer may hold secrets
	}
	raw, _ := got.Extra("id_token").(string)
	token, err := found.Verifier(&oidc.Config{ClientID: p.ClientID}).Verify(ctx, raw)
	if err != nil {
		return c, fmt.Errorf("the identity token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(j.Nonce)) != 1 {
		return c, errors.New("the identity token is for another sign-in")
	}
	if err := token.Claims(&c); err != nil {
		return c, fmt.Errorf("the identity token: %w", err)
	}
	if c.Subject == "" {
		return c, errors.New("the identity token names nobody")
	}
	return c, nil
}

// level is the highest access level that somebody's groups give.
func (p *provider) level(groups []string) (Level, bool) {
	if len(p.Groups) == 0 {
		return Viewer, true
	}
	var levels []Level
	for _, g := range groups {
		if l, ok := p.Groups[g]; ok {
			levels = append(levels, l)
		}
	}
	if len(levels) == 0 {
		return "", false
	}
	slices.Sort(levels)
	for _, best := range []Level{Administ, Operator} {
		if slices.Contains(levels, best) {
			return best, true
		}
	}
	for _, l := range levels {
		if l != Viewer {
			return l, true // a custom role
		}
	}
	return Viewer, true
}

// linkedUser is the account of an identity: the one that is linked to it; else
// the one with the same address, where both sides have verified it; else a new
// one. Its access level follows the provider's groups.
func (i *Identity) linkedUser(ctx context.Context, by state.Cause, p *provider, c *claimsOf, level Level) (user state.Record[User], err error) {
	var id state.ObjectID
	err = i.state.Reader().QueryRowContext(ctx, `SELECT user_id FROM oidc_links WHERE provider = $1 AND subject = $2`, p.Name, c.Subject).Scan(&id)
	if err == nil {
		user, err = users.Get(ctx, i.state.Reader(), id)
		if err == nil && len(p.Groups) > 0 && user.Value.AccessLevel != level {
			user, err = i.follow(ctx, by, user, level)
		}
		if !errors.Is(err, event.ErrNotFound) {
			return user, err
		}
	} else if !errors.Is(err, sql.ErrNoRows) {
		return user, fmt.Errorf("sign-in by %s: %w", p.Name, err)
	}
	if c.Email != "" && c.Verified {
		user, err = users.Find(ctx, i.state.Reader(), "email", strings.ToLower(c.Email))
		if err == nil && user.Value.EmailVerified {
			return user, i.link(ctx, by, user, p, c)
		}
		if err != nil && !errors.Is(err, event.ErrNotFound) {
			return user, err
		}
	}
	return i.adopt(ctx, by, p, c, level)
}

// follow gives a user the access level that the provider's groups say. The last
// administrator stays one.
func (i *Identity) follow(ctx context.Context, by state.Cause, user state.Record[User], level Level) (changed state.Record[User], err error) {
	err = i.state.Write(ctx, linked(asUser(by, user)), func(tx *state.Tx) error {
		changed, err = users.Update(tx, user.ID, state.AnyVersion, func(u *User) error {
			u.AccessLevel = level
			return nil
		})
		return errors.Join(err, adminRemains(tx))
	})
	return changed, err
}

// link ties an identity to an account.
func (i *Identity) link(ctx context.Context, by state.Cause, user state.Record[User], p *provider, c *claimsOf) error {
	return i.state.Write(ctx, linked(asUser(by, user)), func(tx *state.Tx) error { return putLink(tx, user.ID, p, c) })
}

func putLink(tx *state.Tx, user state.ObjectID, p *provider, c *claimsOf) error {
	_, err := tx.ExecContext(tx.Context(), `INSERT INTO oidc_links (provider, subject, user_id, linked) VALUES ($1, $2, $3, $4)
		ON CONFLICT (provider, subject) DO UPDATE SET user_id = excluded.user_id, linked = excluded.linked`, p.Name, c.Subject, int64(user), time.Now().UnixNano())
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return raiseAudit(tx, "source_linked", user, map[string]any{"source": p.model()})
}

// model names a provider as audit events name objects.
func (p *provider) model() map[string]any {
	return map[string]any{"app": "tocsin_identity", "model_name": "oidcsource", "pk": p.Name, "name": p.Name}
}

// adopt makes an account for an identity.
func (i *Identity) adopt(ctx context.Context, by state.Cause, p *provider, c *claimsOf, level Level) (user state.Record[User], err error) {
	u := User{Username: usernameOf(c), Name: clean(c.Name, 256), AccessLevel: level, Groups: []string{}}
	if checkEmail(c.Email) == nil && c.Verified {
		u.Email, u.EmailVerified = c.Email, true
	}
	err = i.state.Write(ctx, linked(by), func(tx *state.Tx) error {
		if _, err := scopesOf(ctx, tx, level); err != nil {
			return err
		}
		if u.Username, err = freeName(ctx, tx, u.Username); err != nil {
			return err
		}
		if _, err := users.Find(ctx, tx, "email", strings.ToLower(u.Email)); err == nil {
			u.Email, u.EmailVerified = "", false // somebody else's, who has not verified it
		}
		if user, err = users.Insert(tx, u); err != nil {
			return err
		}
		tx.ActAs(asUser(tx.By(), user))
		return errors.Join(raiseUser(tx, "user.created", user, "New user account created at the first sign-in by "+p.Name), putLink(tx, user.ID, p, c))
	})
	return user, err
}

var notUsername = regexp.MustCompile(`[^a-z0-9._@-]+`)

// usernameOf is the name that an identity would have here.
func usernameOf(c *claimsOf) string {
	local, _, _ := strings.Cut(c.Email, "@")
	name := notUsername.ReplaceAllString(strings.ToLower(cmp.Or(c.Username, local, c.Subject)), "-")
	name = strings.TrimLeft(name, "._@-")
	if name == "" || name == "me" {
		name = "user"
	}
	return name[:min(len(name), 56)]
}

// freeName adds a number to a name that is taken.
func freeName(ctx context.Context, tx *state.Tx, name string) (string, error) {
	for n := 1; n < 1000; n++ {
		candidate := name
		if n > 1 {
			candidate += "-" + strconv.Itoa(n)
		}
		_, err := users.Find(ctx, tx, "username", candidate)
		if errors.Is(err, event.ErrNotFound) {
			return candidate, nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", event.Conflictf("too many users are called %s", name)
}

// clean takes control characters out of a text and cuts it.
func clean(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if isControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// enterBy opens a session for somebody whom a provider has confirmed.
func (i *Identity) enterBy(ctx context.Context, by state.Cause, user state.Record[User], p *provider) (s Session, err error) {
	err = i.state.Write(ctx, asUser(by, user), func(tx *state.Tx) error {
		s, err = i.enter(tx, user, "oidc: "+p.Name, "oidc", map[string]any{"source": p.model()})
		return err
	})
	return s, err
}

// CheckProviders refuses what can't work, before anybody signs in.
func CheckProviders(list []Provider) error {
	seen := map[string]bool{}
	for _, p := range list {
		if seen[p.Name] {
			return event.Invalidf("oidc: the name %s is there twice", p.Name)
		}
		seen[p.Name] = true
		for _, group := range slices.Sorted(maps.Keys(p.Groups)) {
			if p.Groups[group] == "" {
				return event.Invalidf("oidc: %s: the group %q has no access level", p.Name, group)
			}
		}
	}
	return nil
}
