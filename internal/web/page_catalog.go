package web

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
)

type catalogView struct{ Groups []catalogGroup }

type catalogGroup struct {
	Kind string
	Rows []catalogRow
}

// getCatalogPage lists every type of event, by kind.
func (s *Server) getCatalogPage(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	counts, err := s.countByType(r.Context(), time.Now().Add(-24*time.Hour))
	if err != nil {
		return err
	}
	var v catalogView
	for _, e := range s.Catalog.All() {
		if n := len(v.Groups); n == 0 || v.Groups[n-1].Kind != string(e.Kind) {
			v.Groups = append(v.Groups, catalogGroup{Kind: string(e.Kind)})
		}
		g := &v.Groups[len(v.Groups)-1]
		g.Rows = append(g.Rows, s.catalogRow(e, counts))
	}
	return s.render(w, r, "catalog", pageView{Title: "Catalog", Says: "Every type of event: what it means, and when it fires.", Active: "catalog", Command: "tocsin catalog", Body: v})
}

type typeView struct {
	Row          catalogRow
	Schema, Emit string
	Events       string
}

// getTypePage shows one type.
func (s *Server) getTypePage(w http.ResponseWriter, r *http.Request) error {
	e, ok := s.Catalog.Get(event.Type(r.PathValue("type")))
	if !ok {
		return event.NotFoundf("there is no type %q in the catalog", r.PathValue("type"))
	}
	counts, err := s.countByType(r.Context(), time.Now().Add(-24*time.Hour))
	if err != nil {
		return err
	}
	schema, err := json.MarshalIndent(e.Schema(), "", "  ")
	if err != nil {
		return err
	}
	v := typeView{
		Row: s.catalogRow(e, counts), Schema: string(schema), Emit: emitCommand(&e), Events: eventsHref(`type == "`+string(e.Type)+`"`, "30d"),
	}
	return s.render(w, r, "type", pageView{Title: string(e.Type), Says: e.Description + " " + e.Fires, Active: "catalog", Command: "tocsin catalog " + string(e.Type), Body: v})
}

// emitCommand is how to send an event of a type by hand.
func emitCommand(e *catalog.Entry) string {
	parts := []string{"tocsin emit", string(e.Type)}
	for _, f := range e.Fields {
		if !f.Required {
			continue
		}
		switch f.Type {
		case catalog.Integer, catalog.Number:
			parts = append(parts, f.Name+":=1")
		case catalog.Boolean:
			parts = append(parts, f.Name+":=true")
		case catalog.Object:
			parts = append(parts, f.Name+":='{}'")
		case catalog.Strings, catalog.Objects:
			parts = append(parts, f.Name+":='[]'")
		case catalog.Timestamp:
			parts = append(parts, f.Name+"=2026-01-01T00:00:00Z")
		default:
			parts = append(parts, f.Name+"=…")
		}
	}
	return strings.Join(parts, " ")
}
