package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// eventRow is one event in a list.
type eventRow struct {
	Seq                            string
	Time                           time.Time
	Severity, Type, Message, Actor string
	Host                           string
}

func (s *Server) eventRow(h *segment.Hit) (eventRow, *event.Event, error) {
	e, err := event.Decode(event.InsertRecorded(nil, h.Body, h.Seq, time.Unix(0, h.Recorded)))
	if err != nil {
		return eventRow{}, nil, fmt.Errorf("event %d: %w", h.Seq, err)
	}
	return eventRow{
		Seq: seqText(h.Seq), Time: e.Time, Severity: e.Severity.String(), Type: string(e.Type),
		Message: s.Catalog.Message(&e), Actor: e.Actor(), Host: e.Host,
	}, &e, nil
}

// eventsView is the page of events.
type eventsView struct {
	Filter, Since string
	Ranges        []link
	Severities    []link
	Problem       *filterProblem
	Rows          []eventRow
	Older         string
	Partial       bool
	Bars          *bars
	Total         int64
	Empty         emptyState
	Tail          string
}

type link struct {
	Text, Href string
	On         bool
}

type emptyState struct{ Says, Do string }

// filterProblem shows a mistake under the character that caused it.
type filterProblem struct{ Line, Pointer, Msg string }

const eventsPerPage = 50

// getEventsPage searches, for people.
func (s *Server) getEventsPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "q", "since", "cursor")
	v := eventsView{Filter: q.text("q"), Since: q.text("since")}
	if v.Since == "" {
		v.Since = "24h"
	}
	now := time.Now()
	since := q.instant("since", now, now.Add(-24*time.Hour))
	if q.err != nil {
		return q.err
	}
	for _, t := range []string{"1h", "24h", "7d", "30d", "365d"} {
		v.Ranges = append(v.Ranges, link{t, eventsHref(v.Filter, t), t == v.Since})
	}
	for _, sev := range []string{"notice", "warn", "error"} {
		v.Severities = append(v.Severities, link{sev + " and worse", eventsHref("severity >= "+sev, v.Since), v.Filter == "severity >= "+sev})
	}
	page := pageView{Title: "Events", Says: "Everything that was recorded, newest first.", Active: "events", Command: eventsCommand(v.Filter, v.Since)}
	f, err := s.Filters.Compile(filter.FromSearchBox(v.Filter))
	if bad, ok := errors.AsType[*filter.Error](err); ok {
		v.Problem = pointAt(v.Filter, bad)
		page.Body = v
		return s.renderStatus(w, r, http.StatusBadRequest, "events", page)
	}
	if err != nil {
		return err
	}
	if err := s.fillEvents(r, &v, f, since, now, q.text("cursor")); err != nil {
		return err
	}
	page.Body = v
	return s.render(w, r, "events", page)
}

// fillEvents searches and counts.
func (s *Server) fillEvents(r *http.Request, v *eventsView, f *filter.Filter, since, now time.Time, cursor string) error {
	query := segment.Query{Since: since.UnixNano(), Until: math.MaxInt64, Limit: eventsPerPage, MaxBytes: maxPageBytes, Deadline: now.Add(searchDeadline)}
	if !f.All() {
		query.Plan, query.Match = f.Plan(), f.MatchEvent
	}
	step := stepFor(now.Sub(since))
	count := query
	count.Limit, count.MaxBytes, count.Deadline = 0, 0, now.Add(time.Second)
	count.Until = now.UnixNano() + 1
	counted, err := s.Journal.Volume(r.Context(), &segment.VolumeQuery{Query: count, Step: step, By: segment.BySeverity})
	if err != nil {
		return err
	}
	v.Bars, v.Total = drawBars(&counted, floorTo(since.UnixNano(), int64(step)), now.UnixNano(), step)
	if cursor != "" {
		if query.Below, err = event.ParseSeq(cursor); err != nil {
			return err
		}
	}
	found, err := s.Journal.Search(r.Context(), &query)
	if err != nil {
		return err
	}
	for i := range found.Hits {
		row, _, err := s.eventRow(&found.Hits[i])
		if err != nil {
			return err
		}
		v.Rows = append(v.Rows, row)
	}
	v.Partial = found.Partial
	if found.Next != 0 {
		v.Older = eventsHref(v.Filter, v.Since) + "&cursor=" + seqText(found.Next)
	}
	v.Empty = emptyState{"No event matches in this time.", "tocsin events " + shellQuote(v.Filter) + " --since 365d"}
	if v.Filter == "" {
		v.Empty = emptyState{"Nothing was recorded in this time.", "tocsin emit backup_failed name=nightly"}
	}
	if cursor == "" {
		v.Tail = "/events/live?q=" + url.QueryEscape(v.Filter)
	}
	return nil
}

func eventsHref(filterText, since string) string {
	return "/events?q=" + url.QueryEscape(filterText) + "&since=" + url.QueryEscape(since)
}

func eventsCommand(filterText, since string) string {
	command := "tocsin events"
	if filterText != "" {
		command += " " + shellQuote(filterText)
	}
	return command + " --since " + since
}

// shellQuote makes one word of a shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func pointAt(source string, bad *filter.Error) *filterProblem {
	lines := strings.Split(source, "\n")
	line := lines[min(bad.Line, len(lines))-1]
	column := min(max(bad.Column-1, 0), len(line))
	return &filterProblem{Line: line, Pointer: strings.Repeat(" ", column) + "^", Msg: bad.Msg}
}

// stepFor gives a graph some sixty bars.
func stepFor(d time.Duration) time.Duration {
	for _, step := range []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 12 * time.Hour, 24 * time.Hour} {
		if d/step <= 62 {
			return step
		}
	}
	return 7 * 24 * time.Hour
}

// getEventPage shows one event with everything that is known of it.
func (s *Server) getEventPage(w http.ResponseWriter, r *http.Request) error {
	seq, err := event.ParseSeq(r.PathValue("sequence"))
	if err != nil {
		return event.NotFoundf("there is no event %q", r.PathValue("sequence"))
	}
	hit, err := s.Journal.Get(seq)
	if err != nil {
		return err
	}
	row, e, err := s.eventRow(&hit)
	if err != nil {
		return err
	}
	v := eventView{Row: row, Attributes: attributes(e), Links: related(e)}
	if entry, ok := s.Catalog.Get(e.Type); ok {
		v.Description = entry.Description
	}
	v.Data = dataRows("", e.Data)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, event.InsertRecorded(nil, hit.Body, hit.Seq, time.Unix(0, hit.Recorded)), "", "  "); err != nil {
		return err
	}
	v.JSON = pretty.String()
	return s.render(w, r, "event", pageView{
		Title: string(e.Type), Says: row.Message, Active: "events", Command: "tocsin events 'sequence == " + row.Seq + "' --since 3650d -o json", Body: v,
	})
}

type eventView struct {
	Row         eventRow
	Description string
	Attributes  []pair
	Data        []pair
	Links       []link
	JSON        string
}

type pair struct{ Name, Value string }

// attributes are those that are there, in words.
func attributes(e *event.Event) []pair {
	var all []pair
	add := func(name, words string) {
		if value := e.Text(name); value != "" {
			all = append(all, pair{words, value})
		}
	}
	for _, a := range [][2]string{
		{"sequence", "Sequence"},
		{"time", "Happened"},
		{"recordedtime", "Recorded"},
		{"severitytext", "Severity"},
		{"kind", "Kind"},
		{"subject", "About"},
		{"source", "Source"},
		{"host", "Host"},
		{"actor", "Actor"},
		{"authtype", "Actor's kind"},
		{"authid", "Actor's id"},
		{"authemail", "Actor's address"},
		{"onbehalfof", "On behalf of"},
		{"clientip", "Client address"},
		{"geocountry", "Country"},
		{"geocity", "City"},
		{"asn", "Network number"},
		{"asorg", "Network"},
		{"id", "Id"},
		{"correlationid", "Correlation"},
		{"causationid", "Caused by"},
		{"causationdepth", "Depth of causes"},
		{"recordedby", "Brought by"},
		{"brand", "Brand"},
		{"expirytime", "Expires"},
		{"dataschema", "Schema"},
		{"datacontenttype", "Media type"},
	} {
		add(a[0], a[1])
	}
	for _, x := range e.Extensions {
		all = append(all, pair{x.Name, fmt.Sprint(x.Value)})
	}
	return all
}

// related leads to other events of the same thing.
func related(e *event.Event) []link {
	var all []link
	add := func(text, name, value string) {
		if value != "" {
			quoted, err := json.Marshal(value)
			if err == nil {
				all = append(all, link{Text: text, Href: eventsHref(name+" == "+string(quoted), "30d")})
			}
		}
	}
	add("of this type", "type", string(e.Type))
	add("about this", "subject", e.Subject)
	add("by this actor", "authid", e.AuthID)
	add("from this address", "clientip", e.ClientIP)
	add("of this host", "host", e.Host)
	add("of this chain", "correlationid", e.CorrelationID)
	return all
}

// maxDataRows bounds the table of one event's data.
const maxDataRows = 500

// dataRows flattens data into paths and values.
func dataRows(path string, raw []byte) []pair {
	if raw == nil {
		return nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) == nil && object != nil {
		var rows []pair
		for _, name := range slices.Sorted(maps.Keys(object)) {
			child := name
			if path != "" {
				child = path + "." + name
			}
			if rows = append(rows, dataRows(child, object[name])...); len(rows) > maxDataRows {
				return rows[:maxDataRows]
			}
		}
		if len(rows) == 0 {
			return []pair{{path, "{}"}}
		}
		return rows
	}
	var text string
	if json.Unmarshal(raw, &text) == nil && len(raw) > 0 && raw[0] == '"' {
		return []pair{{path, text}}
	}
	return []pair{{path, string(raw)}}
}

// getLive streams new events for the open page: the API's tail, for a browser's
// session.
func (s *Server) getLive(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "q")
	if q.err != nil {
		return q.err
	}
	values := url.Values{"filter": {filter.FromSearchBox(q.text("q"))}}
	inner := r.Clone(r.Context())
	inner.URL.RawQuery = values.Encode()
	return s.getTail(w, inner)
}
