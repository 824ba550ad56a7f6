package web

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
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
		Seq: seqText(h.Seq), Time: e.Time, Severity: e.Severity.String(), Type: line(string(e.Type)),
		Message: line(s.Catalog.Message(&e)), Actor: line(e.Actor()), Host: line(e.Host),
	}, &e, nil
}

func (s *Server) eventRows(hits []segment.Hit) ([]eventRow, error) {
	var rows []eventRow
	for i := range hits {
		row, _, err := s.eventRow(&hits[i])
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// eventsView is the page of events.
type eventsView struct {
	Search     search
	Ranges, By []link
	Span       string
	Problem    *filterProblem
	Graph      *graph
	Facets     []facet
	// CountsPartial says that only the newest events are counted in graph and
	// facets, CountsSaid that the page has done its best.
	CountsPartial, CountsSaid bool

	CountsHref  string
	FacetsHref  string
	MapHref     string
	Saved       []savedRow
	Rows        []eventRow
	Older       string
	Partial     bool
	Warnings    []string
	Empty       emptyState
	Live        string
	NDJSON, CSV string
}

type link struct {
	Text, Href string
	On         bool
}

type emptyState struct{ Says, Do string }

const eventsPerPage = 50

// getEventsPage searches, for people.
func (s *Server) getEventsPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "q", "since", "until", "by", "cursor")
	found, err := s.readSearch(q)
	v := eventsView{Search: found}
	page := pageView{Title: "Events", Says: "Everything that was recorded, newest first.", Active: "/events", Command: found.command()}
	if bad, ok := asFilterError(err); ok {
		v.Problem = pointAt(found.Filter, bad)
		page.Body = v
		return s.renderStatus(w, r, http.StatusBadRequest, "events", page)
	}
	if err != nil {
		return err
	}
	v.links()
	if v.Saved, err = s.savedRows(r.Context(), callerOf(r).principal, &found); err != nil {
		return err
	}
	if err := s.countEvents(r.Context(), &v, countSoon); err != nil {
		return err
	}
	if err := s.listEvents(r.Context(), &v, q.text("cursor")); err != nil {
		return err
	}
	page.Body = v
	return s.render(w, r, "events", page)
}

// links are the ways from a search to a similar one.
func (v *eventsView) links() {
	q := v.Search
	for _, t := range []string{"1h", "24h", "7d", "30d", "365d"} {
		other := q
		other.Since, other.Until = t, ""
		v.Ranges = append(v.Ranges, link{t, other.href("/events"), t == q.Since && q.Until == ""})
	}
	for _, by := range []string{"", "type"} {
		other := q
		other.By = by
		v.By = append(v.By, link{"by " + cmp.Or(by, "severity"), other.href("/events"), by == q.By})
	}
	if q.Until != "" {
		v.Span = q.from.UTC().Format("2006-01-02 15:04:05") + " to " + q.to.UTC().Format("2006-01-02 15:04:05 MST")
	}
	v.CountsHref, v.FacetsHref, v.MapHref = q.href("/events/counts"), q.href("/events/facets"), q.href("/events/map")
	v.NDJSON, v.CSV = q.href("/events/export", "format", "ndjson"), q.href("/events/export", "format", "csv")
}

// Time for counting: at first so little that the page is there at once; where
// that was not enough, it asks again for all.
const (
	countSoon = 8 * time.Millisecond
	countAll  = searchDeadline
)

// countEvents draws the graph, and the facets of type, kind and severity.
func (s *Server) countEvents(ctx context.Context, v *eventsView, patience time.Duration) error {
	q := v.Search.query()
	q.MaxBytes, q.Deadline = 0, v.Search.now.Add(patience)
	q.Until = v.Search.to.UnixNano()
	if v.Search.Until == "" {
		q.Until++ // now itself
	}
	step := graphStep(v.Search.to.Sub(v.Search.from))
	counts, err := s.tally(ctx, q, step)
	if err != nil {
		return err
	}
	drawn, by := &counts.bySeverity, segment.BySeverity
	if v.Search.By == "type" {
		drawn, by = &counts.byType, segment.ByType
	}
	v.Graph = drawGraph(drawn, v.Search.from, time.Unix(0, q.Until), step, by)
	for i := range v.Graph.Spikes {
		other := v.Search
		other.Since, other.Until = "", ""
		v.Graph.Spikes[i].Href = other.href("/events") + "&" + v.Graph.Spikes[i].Href
	}
	v.CountsPartial = counts.partial
	v.Facets = []facet{
		v.Search.facetOf(counts.severities, segment.BySeverity, "Severity", "severitytext"),
		v.Search.facetOf(counts.kinds, segment.ByKind, "Kind", "kind"),
		v.Search.facetOf(counts.types, segment.ByType, "Type", "type"),
	}
	return nil
}

// getCountsPage counts everything that matches, however long that takes: the page
// of events loads it where it had no time for it.
func (s *Server) getCountsPage(w http.ResponseWriter, r *http.Request) error {
	found, err := s.readSearch(readQuery(r, "q", "since", "until", "by"))
	if err != nil {
		return err
	}
	v := eventsView{Search: found, CountsSaid: true}
	v.links()
	if err := s.countEvents(r.Context(), &v, countAll); err != nil {
		return err
	}
	return s.render(w, r, "counts", pageView{Title: "Counts", Says: "How many events match, over time.", Active: "/events", Command: "tocsin events volume", Body: v})
}

// facetOf is a facet from counts.
func (v search) facetOf(sums map[string]int64, by segment.By, title, name string) facet {
	f := facet{Title: title, Severity: by == segment.BySeverity}
	order := slices.SortedFunc(maps.Keys(sums), func(a, b string) int { return cmp.Or(cmp.Compare(sums[b], sums[a]), cmp.Compare(a, b)) })
	if by == segment.BySeverity {
		order = order[:0]
		for _, sev := range slices.Backward(event.Severities()) {
			if sums[sev.String()] > 0 {
				order = append(order, sev.String())
			}
		}
	}
	for _, value := range order {
		if len(f.Values) == 2*facetMost {
			f.More = int64(len(order) - len(f.Values))
			break
		}
		term := equals(name, value)
		if by == segment.BySeverity {
			term = "severity == " + value
		}
		href, on := v.toggled(term)
		f.Values = append(f.Values, facetValue{Text: line(value), Href: href, Count: sums[value], On: on})
	}
	return f
}

// listEvents searches for one page of rows.
func (s *Server) listEvents(ctx context.Context, v *eventsView, cursor string) error {
	q := v.Search.query()
	q.Limit = eventsPerPage
	if cursor != "" {
		var err error
		if q.Below, err = event.ParseSeq(cursor); err != nil {
			return err
		}
	}
	last := s.Journal.Last() // before the search: the stream goes on from here without a gap
	found, err := s.Journal.Search(ctx, &q)
	if err != nil {
		return err
	}
	if v.Rows, err = s.eventRows(found.Hits); err != nil {
		return err
	}
	v.Partial = v.Partial || found.Partial
	for _, p := range found.Problems {
		v.Warnings = append(v.Warnings, p.Error())
	}
	if found.Next != 0 {
		v.Older = v.Search.href("/events", "cursor", seqText(found.Next))
	}
	v.Empty = emptyState{"No event matches in this time.", "tocsin events " + shellQuote(v.Search.Filter) + " --since 365d"}
	if v.Search.Filter == "" {
		v.Empty = emptyState{"Nothing was recorded in this time.", "tocsin emit backup_failed name=nightly"}
	}
	if cursor == "" && v.Search.Until == "" {
		v.Live = search{Filter: v.Search.Filter}.href("/events/live", "after", seqText(last))
	}
	return nil
}

// getLive streams new events as rows for the open page.
func (s *Server) getLive(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "q", "after")
	query := s.compileText(q, filter.FromSearchBox(q.text("q")))
	return s.stream(w, r, q, query, func(h *segment.Hit) ([]byte, error) {
		row, _, err := s.eventRow(h)
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		if err := s.pages.byName["events"]().ExecuteTemplate(&out, "eventrow", row); err != nil {
			return nil, err
		}
		return bytes.ReplaceAll(out.Bytes(), []byte("\n"), []byte(" ")), nil
	})
}
