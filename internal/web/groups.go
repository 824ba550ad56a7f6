package web

import (
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

type groupRow struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func newGroupRow(r state.Record[identity.Group]) groupRow {
	return groupRow{ID: r.ID.String(), Name: r.Value.Name, Created: r.Created, Updated: r.Updated}
}

func (s *Server) getGroups(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, s.Identity.ListGroups, newGroupRow)
}

func (s *Server) getGroup(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, s.Identity.GetGroup, newGroupRow)
}

func (s *Server) postGroups(w http.ResponseWriter, r *http.Request) error {
	var in identity.Group
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.Identity.CreateGroup(r.Context(), cause(r), in)
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newGroupRow(made))
}

func (s *Server) putGroup(w http.ResponseWriter, r *http.Request) error {
	id, version, raw, err := changeOf(w, r)
	if err != nil {
		return err
	}
	changed, err := s.Identity.UpdateGroup(r.Context(), cause(r), id, version, func(g *identity.Group) (err error) {
		*g, err = merge(r, raw, *g)
		return err
	})
	return answerChanged(w, r, changed, newGroupRow, err)
}

func (s *Server) deleteGroup(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, s.Identity.DeleteGroup)
}
