package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// catalogRow is one type as the API shows it.
type catalogRow struct {
	catalog.Entry
	Severity string          `json:"severity"`
	Schema   json.RawMessage `json:"schema"`
	Last24h  int64           `json:"last_24h"`
}

func (s *Server) catalogRow(e catalog.Entry, counts map[string]int64) catalogRow {
	if e.Fields == nil {
		e.Fields = []catalog.Field{}
	}
	if e.Routes == nil {
		e.Routes = []string{}
	}
	return catalogRow{Entry: e, Severity: e.Severity.String(), Schema: e.Schema(), Last24h: counts[string(e.Type)]}
}

// getCatalog lists every type of event.
func (s *Server) getCatalog(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	counts, err := s.countByType(r.Context(), time.Now().Add(-24*time.Hour))
	if err != nil {
		return err
	}
	all := s.Catalog.All()
	rows := make([]catalogRow, len(all))
	for i := range all {
		rows[i] = s.catalogRow(all[i], counts)
	}
	return writeJSON(w, http.StatusOK, page[catalogRow]{Items: rows})
}

// getCatalogEntry shows one type.
func (s *Server) getCatalogEntry(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	e, ok := s.Catalog.Get(event.Type(r.PathValue("type")))
	if !ok {
		return event.NotFoundf("there is no type %q in the catalog", r.PathValue("type"))
	}
	counts, err := s.countByType(r.Context(), time.Now().Add(-24*time.Hour))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, s.catalogRow(e, counts))
}

// customType is what a user says of a type that they add.
type customType struct {
	Type        event.Type      `json:"type"`
	Severity    string          `json:"severity"`
	Description string          `json:"description"`
	Fires       string          `json:"fires"`
	Message     string          `json:"message"`
	Fields      []catalog.Field `json:"fields"`
}

// storedType is a custom type in the state database.
type storedType struct {
	catalog.Entry
	Severity string `json:"severity"`
}

var customTypes = state.Collection[storedType]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "catalog", Model: "type",
	Name: func(t *storedType) string { return string(t.Type) },
	Keys: func(t *storedType) map[string]string { return map[string]string{"type": string(t.Type)} },
}

// postCatalog adds a custom type, or a new version of one.
func (s *Server) postCatalog(w http.ResponseWriter, r *http.Request) error {
	var in customType
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	e, err := s.addType(r, &in)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/catalog/"+string(e.Type))
	return writeJSON(w, http.StatusCreated, s.catalogRow(e, nil))
}

// addType keeps a custom type, or a new version of one. The catalog decides and
// the database keeps: one change at a time.
func (s *Server) addType(r *http.Request, in *customType) (catalog.Entry, error) {
	e := catalog.Entry{Type: in.Type, Description: in.Description, Fires: in.Fires, Message: in.Message, Fields: in.Fields}
	if in.Severity != "" {
		severity, err := event.ParseSeverity(in.Severity)
		if err != nil {
			return e, err
		}
		e.Severity = severity
	}
	err := s.State.Write(r.Context(), cause(r), func(tx *state.Tx) (err error) {
		if e, err = s.Catalog.Custom(e); err != nil {
			return err
		}
		row := storedType{Entry: e, Severity: e.Severity.String()}
		old, err := customTypes.Find(r.Context(), tx, "type", string(e.Type))
		if isNotFound(err) {
			_, err = customTypes.Insert(tx, row)
		} else if err == nil {
			_, err = customTypes.Update(tx, old.ID, state.AnyVersion, func(t *storedType) error { *t = row; return nil })
		}
		return err
	})
	if err == nil {
		s.Catalog.Put(e)
	}
	return e, err
}

// LoadTypes puts the stored custom types into the catalog.
func LoadTypes(ctx context.Context, st *state.State, c *catalog.Catalog) error {
	after := state.ObjectID(0)
	for {
		rows, err := customTypes.List(ctx, st.Reader(), after, maxPage)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, r := range rows {
			e := r.Value.Entry
			if e.Severity, err = event.ParseSeverity(r.Value.Severity); err != nil {
				return fmt.Errorf("stored type %s: %w", e.Type, err)
			}
			if known, ok := c.Get(e.Type); !ok || known.Version > 0 { // it may have become a built-in one
				c.Put(e)
			}
			after = r.ID
		}
	}
}
