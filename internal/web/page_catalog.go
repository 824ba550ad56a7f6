package web

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

type catalogView struct {
	Query   string
	Groups  []catalogGroup
	Empty   emptyState
	IsAdmin bool
}

type catalogGroup struct {
	Kind string
	Rows []catalogLine
}

// catalogLine is one type with its last day.
type catalogLine struct {
	catalogRow
	hours []int64
}

// Spark draws the last day.
func (l catalogLine) Spark() sparkline { return drawSparkline(l.hours) }

// lastDay counts the events of each type in each of the last 24 hours.
func (s *Server) lastDay(ctx context.Context) (hours map[string][]int64, sums map[string]int64, err error) {
	const n = 24
	first := time.Now().Truncate(time.Hour).Add(-(n - 1) * time.Hour)
	counted, err := s.Journal.Volume(ctx, &segment.VolumeQuery{
		Query: segment.Query{Since: first.UnixNano(), Until: math.MaxInt64, Transient: true}, Step: time.Hour, By: segment.ByType,
	})
	if err != nil {
		return nil, nil, err
	}
	hours, sums = map[string][]int64{}, map[string]int64{}
	for _, b := range counted.Buckets {
		hour := min(int((b.Start-first.UnixNano())/int64(time.Hour)), n-1)
		for name, count := range b.Counts {
			if hours[name] == nil {
				hours[name] = make([]int64, n)
			}
			hours[name][hour] += count
			sums[name] += count
		}
	}
	return hours, sums, nil
}

// getCatalogPage lists every type of event, by kind.
func (s *Server) getCatalogPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "q")
	if q.err != nil {
		return q.err
	}
	hours, counts, err := s.lastDay(r.Context())
	if err != nil {
		return err
	}
	v := catalogView{
		Query: q.text("q"), IsAdmin: callerOf(r).principal.Can(identity.Admin),
		Empty: emptyState{"No type has these words in its name, description or producer.", "tocsin catalog"},
	}
	for _, e := range s.Catalog.All() {
		if !mentions(&e, v.Query) {
			continue
		}
		if n := len(v.Groups); n == 0 || v.Groups[n-1].Kind != string(e.Kind) {
			v.Groups = append(v.Groups, catalogGroup{Kind: string(e.Kind)})
		}
		g := &v.Groups[len(v.Groups)-1]
		g.Rows = append(g.Rows, catalogLine{s.catalogRow(e, counts), hours[string(e.Type)]})
	}
	return s.render(w, r, "catalog", pageView{Title: "Catalog", Says: "Every type of event: what it means, and when it fires.", Active: "/catalog", Command: "tocsin catalog", Body: v})
}

// mentions reports whether every word is in what a type says of itself.
func mentions(e *catalog.Entry, words string) bool {
	text := strings.ToLower(string(e.Type) + " " + e.Description + " " + e.Producer + " " + string(e.Kind))
	for word := range strings.FieldsSeq(strings.ToLower(words)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

type typeView struct {
	Row                  catalogLine
	Wired                badge
	Schema, Events, Edit string
	Routes               []routingCell // that hold now
	Emit                 pair
	Example, ExampleSays string
	Words                wordsView
}

type badge struct{ Tone, Text string }

// getTypePage shows one type.
func (s *Server) getTypePage(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	e, ok := s.Catalog.Get(event.Type(r.PathValue("type")))
	if !ok {
		return event.NotFoundf("there is no type %q in the catalog", r.PathValue("type"))
	}
	hours, counts, err := s.lastDay(r.Context())
	if err != nil {
		return err
	}
	schema, err := json.MarshalIndent(e.Schema(), "", "  ")
	if err != nil {
		return err
	}
	v := typeView{
		Row: catalogLine{s.catalogRow(e, counts), hours[string(e.Type)]}, Wired: badge{"good", "wired"}, Schema: string(schema),
		Emit: pair{"Shell", emitCommand(&e)}, Events: eventsHref(equals("type", string(e.Type)), "30d"),
	}
	if v.Example, v.ExampleSays, err = s.example(r.Context(), &e); err != nil {
		return err
	}
	if v.Routes, err = s.routesOf(r.Context(), &e); err != nil {
		return err
	}
	words, own, err := s.Notify.TemplateOf(r.Context(), e.Type)
	if err != nil {
		return err
	}
	v.Words = wordsView{Own: own, Title: plain(words.Value.Title), Text: plain(words.Value.Text)}
	if e.Version > 0 && callerOf(r).principal.Can(identity.Admin) {
		v.Edit = "/catalog/" + string(e.Type) + "/edit"
	}
	return s.render(w, r, "type", pageView{Title: string(e.Type), Says: plain(e.Description + " " + e.Fires), Active: "/catalog", Command: "tocsin catalog " + string(e.Type), Body: v})
}

// newest is the newest event of a type; nil where there is none.
func (s *Server) newest(ctx context.Context, t event.Type) (*segment.Hit, error) {
	f, err := s.Filters.Compile(equals("type", string(t)))
	if err != nil {
		return nil, err
	}
	found, err := s.Journal.Search(ctx, &segment.Query{
		Since: math.MinInt64, Until: math.MaxInt64, Limit: 1, Transient: true, Plan: f.Plan(), Match: f.MatchEvent, Deadline: time.Now().Add(time.Second),
	})
	if err != nil || len(found.Hits) == 0 {
		return nil, err
	}
	return &found.Hits[0], nil
}

// example is the newest event of a type; where there is none, what its catalog
// entry says that one looks like.
func (s *Server) example(ctx context.Context, e *catalog.Entry) (text, says string, err error) {
	h, err := s.newest(ctx, e.Type)
	if err != nil {
		return "", "", err
	}
	if h != nil {
		return shownJSON(event.InsertRecorded(nil, h.Body, h.Seq, time.Unix(0, h.Recorded))), "The newest one that was recorded.", nil
	}
	made, err := s.madeUp(e)
	if err != nil {
		return "", "", err
	}
	return shownJSON(made.AppendJSON(nil)), "Made from the fields: none was recorded yet.", nil
}

// madeUp is an event as a catalog entry says that one looks like.
func (s *Server) madeUp(e *catalog.Entry) (event.Event, error) {
	data := map[string]any{}
	for _, f := range e.Fields {
		data[f.Name] = exampleValue(f.Type)
	}
	raw, err := json.Marshal(data)
	return event.Event{
		ID: "example", Source: s.Base + "/" + e.Producer, Type: e.Type, Kind: e.Kind, Severity: e.Severity, Time: time.Now().UTC().Truncate(time.Second),
		DataContentType: "application/json", Data: raw,
	}, err
}

func exampleValue(t catalog.FieldType) any {
	switch t {
	case catalog.Integer:
		return 1
	case catalog.Number:
		return 0.5
	case catalog.Boolean:
		return true
	case catalog.Timestamp:
		return "2026-01-01T00:00:00Z"
	case catalog.Object:
		return map[string]any{}
	case catalog.Strings:
		return []string{"…"}
	case catalog.Objects:
		return []map[string]any{}
	default:
		return "…"
	}
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

// typeForm is the form of a custom type.
type typeForm struct {
	Problem                           *problem
	Editing                           bool
	Type, Description, Fires, Message string
	Severities                        []link
	Fields                            []formField
	FieldTypes                        []catalog.FieldType
}

type formField struct {
	Name     string
	Type     catalog.FieldType
	Required bool
	Secret   string // true, false, or empty: by its name
	Doc      string
}

// spareFields are the empty rows of the form of a type.
const spareFields = 4

func newTypeForm(t *customType, editing bool, failed error) typeForm {
	v := typeForm{Editing: editing, Type: string(t.Type), Description: t.Description, Fires: t.Fires, Message: t.Message, FieldTypes: catalog.FieldTypes()}
	if failed != nil {
		v.Problem = problemOf(failed)
	}
	for _, sev := range event.Severities() {
		v.Severities = append(v.Severities, link{Text: sev.String(), On: sev.String() == t.Severity})
	}
	for _, f := range t.Fields {
		row := formField{Name: f.Name, Type: f.Type, Required: f.Required, Doc: f.Doc}
		if f.Secret != nil {
			row.Secret = strconv.FormatBool(*f.Secret)
		}
		v.Fields = append(v.Fields, row)
	}
	for range spareFields {
		v.Fields = append(v.Fields, formField{Type: catalog.String})
	}
	return v
}

func (s *Server) showTypeForm(w http.ResponseWriter, r *http.Request, status int, v typeForm) error {
	title, says := "Add a type", "A type of your own: ingest checks its events against the fields, and the catalog describes it."
	if v.Editing {
		title = "Edit " + v.Type
	}
	return s.renderStatus(w, r, status, "typeform", pageView{Title: title, Says: says, Active: "/catalog", Command: "curl -X POST " + s.Base + "/v1/catalog", Body: v})
}

// getNewType shows the form of a new type.
func (s *Server) getNewType(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	return s.showTypeForm(w, r, http.StatusOK, newTypeForm(&customType{Severity: event.Info.String()}, false, nil))
}

// getEditType shows the form of a type that a user has added.
func (s *Server) getEditType(w http.ResponseWriter, r *http.Request) error {
	e, ok := s.Catalog.Get(event.Type(r.PathValue("type")))
	if !ok || e.Version == 0 {
		return event.NotFoundf("there is no type %q that was added here; built-in ones can't be changed", r.PathValue("type"))
	}
	t := customType{Type: e.Type, Severity: e.Severity.String(), Description: e.Description, Fires: e.Fires, Message: e.Message, Fields: e.Fields}
	return s.showTypeForm(w, r, http.StatusOK, newTypeForm(&t, true, nil))
}

// postTypePage adds a type, or a new version of one.
func (s *Server) postTypePage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "type", "severity", "description", "fires", "message", "field.name", "field.type", "field.required", "field.secret", "field.doc")
	if err != nil {
		return err
	}
	t := customType{
		Type: event.Type(form.Get("type")), Severity: form.Get("severity"), Description: form.Get("description"), Fires: form.Get("fires"), Message: form.Get("message"),
		Fields: []catalog.Field{},
	}
	at := func(name string, i int) string {
		if list := form[name]; i < len(list) {
			return strings.TrimSpace(list[i])
		}
		return ""
	}
	for i := range form["field.name"] {
		if at("field.name", i) == "" {
			continue
		}
		f := catalog.Field{Name: at("field.name", i), Type: catalog.FieldType(at("field.type", i)), Required: at("field.required", i) == "true", Doc: at("field.doc", i)}
		if secret := at("field.secret", i); secret != "" {
			yes := secret == "true"
			f.Secret = &yes
		}
		t.Fields = append(t.Fields, f)
	}
	_, editing := s.Catalog.Get(t.Type)
	e, err := s.addType(r, &t)
	if err != nil {
		p := problemOf(err)
		return s.showTypeForm(w, r, p.Status, newTypeForm(&t, editing, err))
	}
	http.Redirect(w, r, "/catalog/"+string(e.Type), http.StatusSeeOther)
	return nil
}
