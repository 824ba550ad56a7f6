package web

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/state"
)

// transportRow is a transport as the API shows it: without its secrets.
type transportRow struct {
	ID string `json:"id"`
	notify.TransportInput
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func newTransportRow(r state.Record[notify.Transport]) transportRow {
	t := r.Value
	return transportRow{r.ID.String(), notify.TransportInput{Name: t.Name, Mode: t.Mode, Settings: t.Settings, Rate: t.Rate, Retry: t.Retry}, r.Created, r.Updated}
}

func (s *Server) getTransports(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, s.Notify.ListTransports, newTransportRow)
}

func (s *Server) getTransport(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, s.Notify.GetTransport, newTransportRow)
}

func (s *Server) postTransports(w http.ResponseWriter, r *http.Request) error {
	var in notify.TransportInput
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.Notify.CreateTransport(r.Context(), cause(r), in)
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newTransportRow(made))
}

func (s *Server) putTransport(w http.ResponseWriter, r *http.Request) error {
	id, version, raw, err := changeOf(w, r)
	if err != nil {
		return err
	}
	changed, err := s.Notify.UpdateTransport(r.Context(), cause(r), id, version, func(in notify.TransportInput) (notify.TransportInput, error) {
		return merge(r, raw, in)
	})
	return answerChanged(w, r, changed, newTransportRow, err)
}

func (s *Server) deleteTransport(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, s.Notify.DeleteTransport)
}

// testAnswer is what a test of a transport found.
type testAnswer struct {
	Delivered bool   `json:"delivered"`
	Status    int    `json:"status"`
	LatencyMS int64  `json:"latency_ms"`
	Answer    string `json:"answer"`
	Error     string `json:"error"`
	Temporary bool   `json:"temporary"` // a later attempt may succeed
}

// postTestTransport sends a real message and shows the answer.
func (s *Server) postTestTransport(w http.ResponseWriter, r *http.Request) error {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	out, err := s.testTransport(r, id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) testTransport(r *http.Request, id state.ObjectID) (testAnswer, error) {
	t, err := s.Notify.GetTransport(r.Context(), id)
	if err != nil {
		return testAnswer{}, err
	}
	to, err := s.callersPerson(r)
	if err != nil {
		return testAnswer{}, err
	}
	if to.ID == 0 && t.Value.Mode == notify.Inbox {
		return testAnswer{}, event.Invalidf("a test of the inbox needs an inbox: ask as a user")
	}
	answer, err := s.Notify.TestTransport(r.Context(), id, cause(r), to)
	out := testAnswer{Delivered: err == nil, Status: answer.Status, LatencyMS: answer.Latency.Milliseconds(), Answer: redact.Text(answer.Body)}
	if err != nil {
		out.Error, out.Temporary = redact.Text(err.Error()), isTemporary(err)
	}
	return out, nil
}

// callersPerson is who asks, as somebody who can be told; empty for a token.
func (s *Server) callersPerson(r *http.Request) (notify.Person, error) {
	p := callerOf(r).principal
	if p == nil || p.User == 0 {
		return notify.Person{}, nil
	}
	u, err := s.Identity.GetUser(r.Context(), p.User)
	return notify.Person{ID: u.ID, Username: u.Value.Username, Name: u.Value.Name, Email: u.Value.Email}, err
}

// revealTransport shows the settings with their secrets, to those who give their
// password again.
func (s *Server) revealTransport(w http.ResponseWriter, r *http.Request) error {
	id, password, err := revealOf(w, r)
	if err != nil {
		return err
	}
	settings, err := s.revealSettings(r, id, password)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"settings": settings})
}

func (s *Server) revealSettings(r *http.Request, id state.ObjectID, password string) (json.RawMessage, error) {
	if err := s.Identity.Confirm(r.Context(), cause(r), callerOf(r).principal, password); err != nil {
		return nil, err
	}
	return s.Notify.RevealTransport(r.Context(), cause(r), id, func(tx *state.Tx, app, model, pk, name string) error {
		return identity.RaiseSecretView(tx, "transport/"+pk, app, model, pk, name)
	})
}

// getModes lists the ways of telling, with their settings.
func (s *Server) getModes(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r, "limit", "cursor"); q.err != nil {
		return q.err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"items": notify.Modes(), "next": nil})
}
