package web

import (
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// silenceRow is a silence as the API shows it.
type silenceRow struct {
	ID string `json:"id"`
	notify.Silence
	State   string    `json:"state"` // pending, active or expired
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func newSilenceRow(r state.Record[notify.Silence]) silenceRow {
	row := silenceRow{r.ID.String(), r.Value, "active", r.Created, r.Updated}
	switch now := time.Now(); {
	case !now.Before(r.Value.ExpiresAt):
		row.State = "expired"
	case now.Before(r.Value.StartsAt):
		row.State = "pending"
	}
	return row
}

// silenceInput is what a caller may say of a silence.
type silenceInput struct {
	Filter    string    `json:"filter"`
	Rules     []string  `json:"rules"`
	StartsAt  time.Time `json:"starts_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Comment   string    `json:"comment"`
}

// onDuty refuses what operators may do and tokens of machines may not: to keep
// others from being told.
func onDuty(r *http.Request) error {
	p := callerOf(r).principal
	if p.Can(identity.Admin) || p.User != 0 {
		return nil
	}
	return event.Deniedf("a token with the scope emit can't do this: ask as a user, or with the scope admin")
}

func (s *Server) getSilences(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, s.Notify.ListSilences, newSilenceRow)
}

func (s *Server) getSilence(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, s.Notify.GetSilence, newSilenceRow)
}

func (s *Server) postSilences(w http.ResponseWriter, r *http.Request) error {
	var in silenceInput
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if err := onDuty(r); err != nil {
		return err
	}
	made, err := s.Notify.CreateSilence(r.Context(), cause(r), notify.Silence{Filter: in.Filter, Rules: in.Rules, StartsAt: in.StartsAt, ExpiresAt: in.ExpiresAt, Comment: in.Comment})
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newSilenceRow(made))
}

func (s *Server) putSilence(w http.ResponseWriter, r *http.Request) error {
	id, version, raw, err := changeOf(w, r)
	if err != nil {
		return err
	}
	if err := onDuty(r); err != nil {
		return err
	}
	changed, err := s.Notify.UpdateSilence(r.Context(), cause(r), id, version, func(v *notify.Silence) error {
		in, err := merge(r, raw, silenceInput{v.Filter, v.Rules, v.StartsAt, v.ExpiresAt, v.Comment})
		if err != nil {
			return err
		}
		if in.StartsAt.IsZero() {
			in.StartsAt = v.StartsAt
		}
		v.Filter, v.Rules, v.StartsAt, v.ExpiresAt, v.Comment = in.Filter, in.Rules, in.StartsAt, in.ExpiresAt, in.Comment
		return nil
	})
	return answerChanged(w, r, changed, newSilenceRow, err)
}

func (s *Server) deleteSilence(w http.ResponseWriter, r *http.Request) error {
	if err := onDuty(r); err != nil {
		return err
	}
	return answerDeleted(w, r, s.Notify.DeleteSilence)
}
