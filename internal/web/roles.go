package web

import (
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

type roleRow struct {
	ID      string           `json:"id"`
	Name    string           `json:"name"`
	Scopes  []identity.Scope `json:"scopes"`
	Created time.Time        `json:"created"`
	Updated time.Time        `json:"updated"`
}

func newRoleRow(r state.Record[identity.Role]) roleRow {
	return roleRow{ID: r.ID.String(), Name: r.Value.Name, Scopes: r.Value.Scopes, Created: r.Created, Updated: r.Updated}
}

func (s *Server) getRoles(w http.ResponseWriter, r *http.Request) error {
	return answerList(w, r, s.Identity.ListRoles, newRoleRow)
}

func (s *Server) getRole(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, s.Identity.GetRole, newRoleRow)
}

func (s *Server) postRoles(w http.ResponseWriter, r *http.Request) error {
	var in identity.Role
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.Identity.CreateRole(r.Context(), cause(r), callerOf(r).principal, in)
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newRoleRow(made))
}

func (s *Server) putRole(w http.ResponseWriter, r *http.Request) error {
	id, version, raw, err := changeOf(w, r)
	if err != nil {
		return err
	}
	changed, err := s.Identity.UpdateRole(r.Context(), cause(r), callerOf(r).principal, id, version, func(role *identity.Role) (err error) {
		*role, err = merge(r, raw, *role)
		return err
	})
	return answerChanged(w, r, changed, newRoleRow, err)
}

func (s *Server) deleteRole(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, s.Identity.DeleteRole)
}
