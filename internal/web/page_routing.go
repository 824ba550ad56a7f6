package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// routingView is the matrix of types and transports.
type routingView struct {
	Tabs    []link
	Query   string
	Said    string
	Problem *problem
	Ways    []notify.RoutingTransport
	Groups  []routingGroup
	Empty   emptyState
	IsAdmin bool
}

// routingGroup are the rows of one kind.
type routingGroup struct {
	Name, ID string
	Open     bool
	Rows     []routingLine
	Ways     []notify.RoutingTransport
	IsAdmin  bool
	Query    string // that the page is asked for again with
}

// routingLine is one type or pattern.
type routingLine struct {
	Type, Producer, Href string
	Pattern              bool
	Severity             string // of the type
	Cells                []routingCell
	IsAdmin              bool
	Query                string
}

// routingCell is one cell in words.
type routingCell struct {
	Field, Label, Way      string
	Own, Rule              string
	Choices                []choice
	Inherited, InheritedBy string // a milder threshold of another rule, and where it is
	Some                   int
	SomeHref               string
}

// getRoutingPage shows the matrix, types with some words alone where they are
// given.
func (s *Server) getRoutingPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "q", "said")
	v := routingView{Query: q.text("q"), Said: told(q, map[string]string{"set": "It is set, and counts from now on."})}
	if q.err != nil {
		return q.err
	}
	return s.showRouting(w, r, v, nil)
}

func (s *Server) showRouting(w http.ResponseWriter, r *http.Request, v routingView, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	m, err := s.Notify.Routing(r.Context())
	if err != nil {
		return err
	}
	v.Tabs, v.Ways, v.IsAdmin = ruleTabs("/routing"), m.Transports, callerOf(r).principal.Can(identity.Admin)
	at := map[string]int{}
	for i := range m.Rows {
		row := &m.Rows[i]
		entry, known := s.Catalog.Get(event.Type(row.Type))
		if known && !mentions(&entry, v.Query) || !known && !strings.Contains(row.Type+" "+row.Kind, strings.ToLower(v.Query)) {
			continue
		}
		name := cmp.Or(row.Kind, "other types")
		if row.Type == notify.Everything {
			name = "all types"
		}
		k, seen := at[name]
		if !seen {
			k = len(v.Groups)
			at[name] = k
			v.Groups = append(v.Groups, routingGroup{Name: name, ID: "routing-" + strconv.Itoa(k), Ways: m.Transports, IsAdmin: v.IsAdmin, Query: v.Query})
		}
		l := routingLineOf(row, m.Transports)
		l.IsAdmin, l.Query = v.IsAdmin, v.Query
		if known {
			l.Severity, l.Href = entry.Severity.String(), "/catalog/"+row.Type
		}
		g := &v.Groups[k]
		g.Rows = append(g.Rows, l)
		g.Open = g.Open || v.Query != "" || row.Type == notify.Everything || l.isSet()
	}
	v.Empty = emptyState{"No type has these words in its name, description or producer.", "tocsin catalog"}
	return s.renderStatus(w, r, status, "routing", pageView{
		Title: "Routing", Says: "From which severity on each type of event is told, by each transport. Every cell is a rule.", Docs: "notifications", Active: "/rules",
		Command: `curl -X PUT -H "Authorization: Bearer $TOCSIN_TOKEN" -H "Content-Type: application/json" -d '{"type":"disk_full","transport":"1","severity":"warn"}' ` + s.Base + "/v1/routing", Body: v,
	})
}

func routingLineOf(row *notify.RoutingRow, ways []notify.RoutingTransport) routingLine {
	l := routingLine{Type: row.Type, Producer: row.Producer, Pattern: strings.ContainsAny(row.Type, "*?")}
	for i := range row.Cells {
		c := &row.Cells[i]
		cell := routingCell{
			Field: "way." + c.Transport, Way: line(ways[i].Name), Label: line(row.Type + " by " + ways[i].Name), Own: c.Severity, Rule: c.Rule,
			Choices: severityChoices(c.Severity, "–"), Some: len(c.Conditional), SomeHref: "/rules?" + url.Values{"type": {row.Type}, "transport": {c.Transport}}.Encode(),
		}
		if c.By != c.Rule {
			cell.Inherited, cell.InheritedBy = c.Effective, "/rules/"+c.By
		}
		if len(c.Conditional) == 1 {
			cell.SomeHref = "/rules/" + c.Conditional[0]
		}
		l.Cells = append(l.Cells, cell)
	}
	return l
}

// routesOf are the cells of a type in which it is told.
func (s *Server) routesOf(ctx context.Context, e *catalog.Entry) ([]routingCell, error) {
	m, err := s.Notify.Routing(ctx)
	if err != nil {
		return nil, err
	}
	var all []routingCell
	for i := range m.Rows {
		if m.Rows[i].Type != string(e.Type) {
			continue
		}
		for _, c := range routingLineOf(&m.Rows[i], m.Transports).Cells {
			if c.Own != "" || c.Inherited != "" || c.Some > 0 {
				all = append(all, c)
			}
		}
	}
	return all, nil
}

// isSet reports whether a row has something of its own.
func (l *routingLine) isSet() bool {
	for i := range l.Cells {
		if l.Cells[i].Own != "" {
			return true
		}
	}
	return false
}

// postRoutingPage sets the cells of one row that are not as they were: one, where
// a script sends each as it is chosen. The answer to that is the row.
func (s *Server) postRoutingPage(w http.ResponseWriter, r *http.Request) error {
	row, ways, err := s.routingForm(w, r)
	if err != nil {
		return err
	}
	v := routingView{Query: r.PostForm.Get("q")}
	for i := range row.Cells {
		c := &row.Cells[i]
		field := "way." + c.Transport
		if !r.PostForm.Has(field) || r.PostForm.Get(field) == c.Severity {
			continue
		}
		id, err := state.ParseID(c.Transport)
		if err != nil {
			return err
		}
		if err := s.Notify.SetRoute(r.Context(), cause(r), row.Type, id, r.PostForm.Get(field)); err != nil {
			return s.showRouting(w, r, v, err)
		}
	}
	if r.Header.Get("HX-Request") == "" {
		http.Redirect(w, r, search{}.href("/routing", "q", v.Query, "said", "set")+"#"+url.PathEscape("route-"+row.Type), http.StatusSeeOther)
		return nil
	}
	if row, err = s.Notify.RoutingRow(r.Context(), row.Type); err != nil {
		return err
	}
	l := routingLineOf(&row, ways)
	l.IsAdmin, l.Query = true, v.Query
	if entry, known := s.Catalog.Get(event.Type(row.Type)); known {
		l.Severity, l.Href = entry.Severity.String(), "/catalog/"+row.Type
	}
	var out strings.Builder
	if err := s.pages.byName["routing"]().ExecuteTemplate(&out, "routingrow", l); err != nil {
		return fmt.Errorf("page routing: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(out.String())) // fails only where the client has gone
	return nil
}

// routingForm reads the form of a row, and what the row is now.
func (s *Server) routingForm(w http.ResponseWriter, r *http.Request) (row notify.RoutingRow, ways []notify.RoutingTransport, err error) {
	m, err := s.Notify.Routing(r.Context())
	if err != nil {
		return row, nil, err
	}
	known := []string{"type", "q"}
	for _, t := range m.Transports {
		known = append(known, "way."+t.ID)
	}
	form, err := readForm(w, r, known...)
	if err != nil {
		return row, nil, err
	}
	for i := range m.Rows {
		if m.Rows[i].Type == form.Get("type") {
			return m.Rows[i], m.Transports, nil
		}
	}
	row, err = s.Notify.RoutingRow(r.Context(), form.Get("type")) // a pattern of one's own
	return row, m.Transports, err
}
