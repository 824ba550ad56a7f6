package web

import (
	"context"
	"net/http"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/source"
)

// sourceRow is one source as the API shows it.
type sourceRow struct {
	source.Row

	Types   []event.Type `json:"types"`    // of the catalog that it makes; more may come of what others send
	Last24h int64        `json:"last_24h"` // events of these types
}

// typesOf are the types of the catalog that a source makes: the one of its name,
// and those that begin with it.
func (s *Server) typesOf(name string) []event.Type {
	types := []event.Type{}
	for _, e := range s.Catalog.All() {
		if string(e.Type) == name || strings.HasPrefix(string(e.Type), name+".") || e.Producer == name {
			types = append(types, e.Type)
		}
	}
	return types
}

// sourceRows are all sources with the events of their last day.
func (s *Server) sourceRows(ctx context.Context) (rows []sourceRow, hours map[string][]int64, err error) {
	hours, sums, err := s.lastDay(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range s.Sources() {
		row := sourceRow{Row: r, Types: s.typesOf(r.Name)}
		for _, t := range row.Types {
			row.Last24h += sums[string(t)]
		}
		rows = append(rows, row)
	}
	return rows, hours, nil
}

// getSources tells how each source fares.
func (s *Server) getSources(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	rows, _, err := s.sourceRows(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, page[sourceRow]{Items: rows})
}
