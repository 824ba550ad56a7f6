package web

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// secretRow is a secret as the API shows it: without its value.
type secretRow struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func newSecretRow(r state.Record[flow.Secret]) secretRow {
	return secretRow{r.ID.String(), r.Value.Name, r.Created, r.Updated}
}

// secretInput is what is said of a secret.
type secretInput struct {
	Name  *string         `json:"name"`
	Value json.RawMessage `json:"value"` // a text, or an object of texts
}

func (in *secretInput) name() string {
	if in.Name == nil {
		return ""
	}
	return *in.Name
}

func (s *Server) getSecrets(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, s.Flow.ListSecrets, newSecretRow)
}

func (s *Server) getSecret(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, s.Flow.GetSecret, newSecretRow)
}

func (s *Server) postSecrets(w http.ResponseWriter, r *http.Request) error {
	var in secretInput
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.Flow.CreateSecret(r.Context(), cause(r), in.name(), in.Value)
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newSecretRow(made))
}

// putSecret changes a secret. With PATCH, what is left out stays.
func (s *Server) putSecret(w http.ResponseWriter, r *http.Request) error {
	id, version, raw, err := changeOf(w, r)
	if err != nil {
		return err
	}
	var in secretInput
	if err := decodeStrict(raw, &in); err != nil {
		return err
	}
	if r.Method == http.MethodPatch && string(in.Value) == "null" {
		in.Value = nil
	}
	if in.Name != nil && *in.Name == "" {
		return event.Invalidf("name: a secret needs a name")
	}
	if r.Method == http.MethodPut && (in.Name == nil || in.Value == nil) {
		return event.Invalidf("body: PUT replaces the secret: give name and value, or change one of them with PATCH")
	}
	changed, err := s.Flow.UpdateSecret(r.Context(), cause(r), id, version, in.name(), in.Value)
	return answerChanged(w, r, changed, newSecretRow, err)
}

func (s *Server) deleteSecret(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, s.Flow.DeleteSecret)
}

// revealSecret shows the value, to those who give their password again.
func (s *Server) revealSecret(w http.ResponseWriter, r *http.Request) error {
	id, password, err := revealOf(w, r)
	if err != nil {
		return err
	}
	value, err := s.openSecret(r, id, password)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]json.RawMessage{"value": value})
}

func (s *Server) openSecret(r *http.Request, id state.ObjectID, password string) (json.RawMessage, error) {
	if err := s.Identity.Confirm(r.Context(), cause(r), callerOf(r).principal, password); err != nil {
		return nil, err
	}
	return s.Flow.RevealSecret(r.Context(), cause(r), id, func(tx *state.Tx, app, model, pk, name string) error {
		return identity.RaiseSecretView(tx, "secret/"+pk, app, model, pk, name)
	})
}
