package web

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// search is what a page of events was asked for. Its URL restores it.
type search struct {
	Filter, Since, Until, By string

	now, from, to time.Time
	compiled      *filter.Filter
}

// defaultSince is how far back a search goes that does not say.
const defaultSince = "24h"

// readSearch reads a search from a request. A wrong filter is a *filter.Error.
func (s *Server) readSearch(q *query) (search, error) {
	v := search{Filter: q.text("q"), Since: q.text("since"), Until: q.text("until"), By: q.text("by"), now: time.Now()}
	if v.Since == "" {
		v.Since = defaultSince
	}
	if v.By != "" && v.By != "type" {
		q.fail("query: by must be type, or left out for severity")
	}
	v.from = q.instant("since", v.now, v.now.Add(-24*time.Hour)) // defaultSince
	v.to = q.instant("until", v.now, v.now)
	if q.err == nil && v.from.After(v.to) {
		q.fail("query: since lies behind until")
	}
	if q.err != nil {
		return v, q.err
	}
	var err error
	v.compiled, err = s.Filters.Compile(filter.FromSearchBox(v.Filter))
	return v, err
}

// query is the search for the journal. Without an end it has none, so that an
// event whose clock runs ahead is found, too.
func (v *search) query() segment.Query {
	q := segment.Query{Since: v.from.UnixNano(), Until: math.MaxInt64, MaxBytes: maxPageBytes, Deadline: v.now.Add(searchDeadline)}
	if v.Until != "" {
		q.Until = v.to.UnixNano()
	}
	if !v.compiled.All() {
		q.Plan, q.Match = v.compiled.Plan(), v.compiled.MatchEvent
	}
	return q
}

// href is the URL of a search at a path; more are further parameters.
func (v search) href(path string, more ...string) string {
	q := url.Values{}
	for name, value := range map[string]string{"q": v.Filter, "since": v.Since, "until": v.Until, "by": v.By} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return path + "?" + q.Encode()
}

// toggled is the search with a condition more, or without it where it has it.
func (v search) toggled(term string) (href string, on bool) {
	terms := conjuncts(filter.FromSearchBox(v.Filter))
	kept := terms[:0:0]
	for _, t := range terms {
		if t == term {
			on = true
			continue
		}
		kept = append(kept, t)
	}
	if !on {
		for i, t := range kept {
			if strings.Contains(t, "||") || strings.Contains(t, "?") {
				kept[i] = "(" + t + ")"
			}
		}
		kept = append(kept, term)
	}
	v.Filter = strings.Join(kept, " && ")
	return v.href("/events"), on
}

// conjuncts splits a filter at each && that stands outside of quotes and
// brackets; one with an || beside them is a single one.
func conjuncts(source string) []string {
	var terms []string
	depth, quote, from := 0, byte(0), 0
	for i := 0; i < len(source); i++ {
		c := source[i]
		switch {
		case quote != 0:
			switch c {
			case '\\':
				i++
			case quote:
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == ')' || c == ']' || c == '}':
			depth--
		case depth == 0 && (c == '?' || strings.HasPrefix(source[i:], "||")):
			return []string{strings.TrimSpace(source)}
		case depth == 0 && strings.HasPrefix(source[i:], "&&"):
			terms = append(terms, strings.TrimSpace(source[from:i]))
			from = i + 2
			i++
		}
	}
	if rest := strings.TrimSpace(source[from:]); rest != "" {
		terms = append(terms, rest)
	}
	return terms
}

// equals is the condition that an attribute has a value.
func equals(name, value string) string {
	quoted, err := json.Marshal(value)
	if err != nil {
		return "false" // a string always marshals
	}
	return name + " == " + unescapeHTML.Replace(string(quoted))
}

// encoding/json escapes these for HTML, which only makes a filter hard to read.
var unescapeHTML = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&") //nolint:gochecknoglobals // a constant table

// eventsHref is the page of events that match a condition.
func eventsHref(filterText, since string) string {
	return search{Filter: filterText, Since: since}.href("/events")
}

func (v *search) command() string {
	command := "tocsin events"
	if v.Filter != "" {
		command += " " + shellQuote(v.Filter)
	}
	command += " --since " + v.Since
	if v.Until != "" {
		command += " --until " + v.Until
	}
	return command
}

// shellQuote makes one word of a shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// filterProblem shows a mistake under the character that caused it.
type filterProblem struct{ Line, Pointer, Msg string }

func pointAt(source string, bad *filter.Error) *filterProblem {
	lines := strings.Split(source, "\n")
	line := lines[min(max(bad.Line, 1), len(lines))-1]
	column := min(max(bad.Column-1, 0), len(line))
	return &filterProblem{Line: line, Pointer: strings.Repeat(" ", column) + "^", Msg: bad.Msg}
}

// facet is how often the values of an attribute occur, each a link that narrows
// the search down to it, or widens it again.
type facet struct {
	Title    string
	Severity bool
	Values   []facetValue
	More     int64 // values that are not shown
}

type facetValue struct {
	Text, Href string
	Count      int64
	On         bool
}

// facetMost is how many values a facet shows.
const facetMost = 8

type facetColumn struct {
	column      filter.Column
	title, name string
}

// facetColumns are the attributes whose values are counted event by event.
func facetColumns() []facetColumn {
	return []facetColumn{
		{filter.ColumnSource, "Source", "source"},
		{filter.ColumnActor, "Who", "authid"},
		{filter.ColumnClientIP, "Address", "clientip"},
	}
}

// columnFacets counts the most frequent sources, actors and addresses.
func (s *Server) columnFacets(ctx context.Context, v *search, most int) ([]facet, bool, error) {
	columns := facetColumns()
	q := &segment.TopQuery{Query: v.query(), Most: most}
	q.Deadline = v.now.Add(time.Second)
	for _, c := range columns {
		q.Columns = append(q.Columns, c.column)
	}
	top, err := s.Journal.Top(ctx, q)
	if err != nil {
		return nil, false, err
	}
	var all []facet
	for i, c := range columns {
		f := facet{Title: c.title}
		for _, value := range top.Values[i] {
			href, on := v.toggled(equals(c.name, value.Value))
			text := value.Value
			if c.column == filter.ColumnActor {
				text = s.actorName(ctx, value.Value)
			}
			f.Values = append(f.Values, facetValue{Text: line(text), Href: href, Count: value.Count, On: on})
		}
		all = append(all, f)
	}
	return all, top.Partial, nil
}

// actorName is what an actor with an id was called last.
func (s *Server) actorName(ctx context.Context, id string) string {
	f, err := s.Filters.Compile(equals("authid", id))
	if err != nil {
		return id
	}
	found, err := s.Journal.Search(ctx, &segment.Query{
		Since: math.MinInt64, Until: math.MaxInt64, Limit: 1, Plan: f.Plan(), Match: f.MatchEvent, Deadline: time.Now().Add(50 * time.Millisecond),
	})
	if err != nil || len(found.Hits) == 0 {
		return id
	}
	e, err := event.Decode(found.Hits[0].Body)
	if err != nil || e.Actor() == "" {
		return id
	}
	return e.Actor()
}

// getFacets counts the values of attributes among the events that match.
func (s *Server) getFacets(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "filter", "since", "until", "limit", "transient")
	query := s.compile(q)
	now := time.Now()
	q.bounds(&query, now, now.Add(-24*time.Hour))
	most := q.number("limit", 10, 1, maxEvents)
	if q.err != nil {
		return q.err
	}
	query.Deadline = now.Add(searchDeadline)
	columns := []filter.Column{filter.ColumnType, filter.ColumnKind, filter.ColumnSource, filter.ColumnActor, filter.ColumnClientIP}
	top, err := s.Journal.Top(r.Context(), &segment.TopQuery{Query: query, Columns: columns, Most: most})
	if err != nil {
		return err
	}
	type count struct {
		Value string `json:"value"`
		Count int64  `json:"count"`
	}
	out := struct {
		Facets  map[string][]count `json:"facets"`
		Partial bool               `json:"partial"`
	}{Facets: map[string][]count{}, Partial: top.Partial}
	for i, name := range []string{"type", "kind", "source", "authid", "clientip"} {
		out.Facets[name] = make([]count, 0, len(top.Values[i]))
		for _, v := range top.Values[i] {
			out.Facets[name] = append(out.Facets[name], count{v.Value, v.Count})
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

// getFacetsPage is the part of the facets that is counted event by event, which
// the page of events loads when it is there.
func (s *Server) getFacetsPage(w http.ResponseWriter, r *http.Request) error {
	v, err := s.readSearch(readQuery(r, "q", "since", "until", "by"))
	if err != nil {
		return err
	}
	facets, partial, err := s.columnFacets(r.Context(), &v, facetMost)
	if err != nil {
		return err
	}
	return s.render(w, r, "facets", pageView{Title: "Facets", Says: "Who and where the events are from.", Active: "/events", Command: v.command(), Body: struct {
		Facets  []facet
		Partial bool
		Back    string
	}{facets, partial, v.href("/events")}})
}

// asFilterError tells a wrong filter from any other error.
func asFilterError(err error) (*filter.Error, bool) { return errors.AsType[*filter.Error](err) }
