package web

import (
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// templateRow is the words for a type as the API shows them.
type templateRow struct {
	ID string `json:"id"`
	notify.Template
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func newTemplateRow(r state.Record[notify.Template]) templateRow {
	return templateRow{r.ID.String(), r.Value, r.Created, r.Updated}
}

func (s *Server) getTemplates(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, s.Notify.ListTemplates, newTemplateRow)
}

func (s *Server) getTemplate(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, s.Notify.GetTemplate, newTemplateRow)
}

func (s *Server) postTemplates(w http.ResponseWriter, r *http.Request) error {
	var in notify.Template
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.Notify.CreateTemplate(r.Context(), cause(r), in)
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newTemplateRow(made))
}

func (s *Server) putTemplate(w http.ResponseWriter, r *http.Request) error {
	id, version, raw, err := changeOf(w, r)
	if err != nil {
		return err
	}
	changed, err := s.Notify.UpdateTemplate(r.Context(), cause(r), id, version, func(t *notify.Template) (err error) {
		*t, err = merge(r, raw, *t)
		return err
	})
	return answerChanged(w, r, changed, newTemplateRow, err)
}

func (s *Server) deleteTemplate(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, s.Notify.DeleteTemplate)
}

// postPreview shows how an event would be told in the words of a template.
func (s *Server) postPreview(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		notify.Template
		Sequence anySequence `json:"sequence"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	hit, err := s.Journal.Get(event.Seq(in.Sequence))
	if err != nil {
		return err
	}
	e, err := event.Decode(hit.Body)
	if err != nil {
		return err
	}
	title, text, severity := s.Notify.Preview(in.Template, &e)
	return writeJSON(w, http.StatusOK, map[string]string{"title": title, "text": text, "severity": severity.String()})
}
