package web

import (
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

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
	return answerCreated(w, r, made.ID, made.Version, row)
}

func (s *Server) getTokens(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, s.Identity.ListTokens, newTokenRow)
}

func (s *Server) getToken(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, s.Identity.GetToken, newTokenRow)
}

// putToken replaces (PUT) or patches (PATCH) a token's name, scopes and expiry.
func (s *Server) putToken(w http.ResponseWriter, r *http.Request) error {
	id, version, raw, err := changeOf(w, r)
	if err != nil {
		return err
	}
	changed, err := s.Identity.UpdateToken(r.Context(), cause(r), callerOf(r).principal, id, version, func(t *identity.Token) error {
		was := tokenInput{Name: t.Name, Scopes: t.Scopes, ExpiresAt: t.ExpiresAt}
		in, err := merge(r, raw, was)
		t.Name, t.Scopes, t.ExpiresAt = in.Name, in.Scopes, in.ExpiresAt
		return err
	})
	return answerChanged(w, r, changed, newTokenRow, err)
}

func (s *Server) deleteToken(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, s.Identity.DeleteToken)
}
