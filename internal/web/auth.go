package web

import (
	"errors"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

type signIn struct {
	Username string `json:"username"`
	Password string `json:"password"`
	OTP      string `json:"otp"`
}

type session struct {
	Token     string    `json:"token"`
	TokenType string    `json:"token_type"`
	ExpiresAt time.Time `json:"expires_at"`
}

// postToken exchanges a name and password for a token.
func (s *Server) postToken(w http.ResponseWriter, r *http.Request) error {
	var in signIn
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if in.Username == "" || in.Password == "" {
		return event.Invalidf("username and password are both needed")
	}
	got, err := s.Identity.SignIn(r.Context(), cause(r), in.Username, in.Password)
	if errors.Is(err, event.ErrDenied) {
		return unauthorized(err.Error())
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, session{got.Token, "Bearer", got.Expires})
}

// postRenew exchanges a sign-in token for a fresh one.
func (s *Server) postRenew(w http.ResponseWriter, r *http.Request) error {
	bearer := bearerOf(r)
	if bearer == "" || identity.IsToken(bearer) {
		return event.Invalidf("only a token from signing in can be renewed; make a new API token instead")
	}
	got, err := s.Identity.Renew(r.Context(), cause(r), bearer)
	if errors.Is(err, event.ErrDenied) {
		return unauthorized(err.Error())
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, session{got.Token, "Bearer", got.Expires})
}

// tokenRow is an API token as the API shows it.
type tokenRow struct {
	ID        string           `json:"id"`
	Name      string           `json:"name"`
	Scopes    []identity.Scope `json:"scopes"`
	ExpiresAt *time.Time       `json:"expires_at"`
	Owner     string           `json:"owner"`
	Created   time.Time        `json:"created"`
	Token     string           `json:"token,omitempty"` // once, when it is made
}

func newTokenRow(r state.Record[identity.Token]) tokenRow {
	return tokenRow{
		ID: r.ID.String(), Name: r.Value.Name, Scopes: r.Value.Scopes, ExpiresAt: r.Value.ExpiresAt,
		Owner: r.Value.Owner, Created: r.Created,
	}
}

// tokenInput is what a caller may say of a token.
type tokenInput struct {
	Name      string           `json:"name"`
	Scopes    []identity.Scope `json:"scopes"`
	ExpiresAt *time.Time       `json:"expires_at"`
}

func (s *Server) postTokens(w http.ResponseWriter, r *http.Request) error {
	var in tokenInput
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, secret, err := s.Identity.CreateToken(r.Context(), cause(r), callerOf(r).principal,
		identity.Token{Name: in.Name, Scopes: in.Scopes, ExpiresAt: in.ExpiresAt})
	if err != nil {
		return err
	}
	row := newTokenRow(made)
	row.Token = secret
	w.Header().Set("Location", "/v1/tokens/"+row.ID)
	w.Header().Set("ETag", etag(made.Version))
	return writeJSON(w, http.StatusCreated, row)
}

func (s *Server) getTokens(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "limit", "cursor")
	after, limit := listPage(q)
	if q.err != nil {
		return q.err
	}
	found, err := s.Identity.ListTokens(r.Context(), after, limit+1)
	if err != nil {
		return err
	}
	out := page[tokenRow]{Items: []tokenRow{}}
	for i, t := range found {
		if i == limit {
			next := found[i-1].ID.String()
			out.Next = &next
			break
		}
		out.Items = append(out.Items, newTokenRow(t))
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) getToken(w http.ResponseWriter, r *http.Request) error {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	found, err := s.Identity.GetToken(r.Context(), id)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(found.Version))
	return writeJSON(w, http.StatusOK, newTokenRow(found))
}

// putToken replaces (PUT) or patches (PATCH) a token's name, scopes and expiry.
func (s *Server) putToken(w http.ResponseWriter, r *http.Request) error {
	id, version, err := target(r)
	if err != nil {
		return err
	}
	raw, err := readRaw(w, r)
	if err != nil {
		return err
	}
	changed, err := s.Identity.UpdateToken(r.Context(), cause(r), id, version, func(t *identity.Token) error {
		var in tokenInput
		if r.Method == http.MethodPatch {
			// Nothing may be decoded into the old list: an element that is null
			// would keep what stood there.
			in = tokenInput{Name: t.Name, ExpiresAt: t.ExpiresAt}
		}
		if err := decodeStrict(raw, &in); err != nil {
			return err
		}
		if r.Method == http.MethodPatch && in.Scopes == nil {
			in.Scopes = t.Scopes
		}
		t.Name, t.Scopes, t.ExpiresAt = in.Name, in.Scopes, in.ExpiresAt
		return nil
	})
	if err != nil {
		return preconditionOf(r, err)
	}
	w.Header().Set("ETag", etag(changed.Version))
	return writeJSON(w, http.StatusOK, newTokenRow(changed))
}

func (s *Server) deleteToken(w http.ResponseWriter, r *http.Request) error {
	id, version, err := target(r)
	if err != nil {
		return err
	}
	if err := s.Identity.DeleteToken(r.Context(), cause(r), id, version); err != nil {
		return preconditionOf(r, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// preconditionOf tells a lost update apart from other conflicts: a conflict
// under If-Match is 412 (RFC 9110, 13.1.1).
func preconditionOf(r *http.Request, err error) error {
	if errors.Is(err, event.ErrConflict) && r.Header.Get("If-Match") != "" {
		return newProblem(http.StatusPreconditionFailed, "precondition", err.Error())
	}
	return err
}
