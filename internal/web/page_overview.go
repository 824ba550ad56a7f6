package web

import (
	"context"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/source"
)

// overviewView is the first page: what happened in a day, and what is wrong.
type overviewView struct {
	Severities []severityCount
	Graph      *graph
	Rows       []eventRow
	Types      facet
	FacetsHref string
	Live       string
	Journal    JournalStats
	Retention  string
	Wrong      []string
	Empty      emptyState
}

type severityCount struct {
	Name         string
	Now          int64
	Change, Href string
}

const overviewRows = 12

// getOverview shows the first page.
func (s *Server) getOverview(w http.ResponseWriter, r *http.Request) error {
	day, err := s.readSearch(readQuery(r))
	if err != nil {
		return err
	}
	v := overviewView{Empty: emptyState{"Nothing was recorded yet.", "tocsin emit backup_failed name=nightly"}}
	if err := s.dayBySeverity(r.Context(), &v, &day); err != nil {
		return err
	}
	v.Live = search{}.href("/events/live", "after", seqText(s.Journal.Last()))
	found, err := s.Journal.Search(r.Context(), &segment.Query{Since: math.MinInt64, Until: math.MaxInt64, Limit: overviewRows, Deadline: day.now.Add(time.Second)})
	if err != nil {
		return err
	}
	if v.Rows, err = s.eventRows(found.Hits); err != nil {
		return err
	}
	stats := s.Journal.Stats()
	v.Journal = NewJournalStats(&stats)
	keep, err := s.Settings.Retention(r.Context())
	if err != nil {
		return err
	}
	v.Retention = keep.Default.String()
	v.Wrong = s.whatIsWrong(v.Journal.Refuses)
	return s.render(w, r, "overview", pageView{Title: "Overview", Says: "The last 24 hours, against the 24 before.", Active: "/", Command: "tocsin events --follow", Body: v})
}

// dayBySeverity counts two days by severity and type, and draws the last one.
func (s *Server) dayBySeverity(ctx context.Context, v *overviewView, day *search) error {
	q := day.query()
	q.Until, q.Deadline = day.now.UnixNano()+1, day.now.Add(time.Second)
	step := graphStep(24 * time.Hour)
	last, err := s.tally(ctx, q, step)
	if err != nil {
		return err
	}
	q.Since, q.Until = day.from.Add(-24*time.Hour).UnixNano(), q.Since
	before, err := s.tally(ctx, q, 0)
	if err != nil {
		return err
	}
	for _, sev := range slices.Backward(event.Severities()) {
		name := sev.String()
		v.Severities = append(v.Severities, severityCount{name, last.severities[name], changeText(last.severities[name], before.severities[name]), eventsHref("severity == "+name, defaultSince)})
	}
	v.Graph = drawGraph(&last.bySeverity, day.from, day.now, step, segment.BySeverity)
	v.Types = day.facetOf(last.types, segment.ByType, "Most frequent types", "type")
	v.Types.Values = v.Types.Values[:min(len(v.Types.Values), facetMost)]
	v.FacetsHref = day.href("/events/facets")
	return nil
}

// changeText compares a day with the day before.
func changeText(now, before int64) string {
	switch {
	case now == before:
		return "as the day before"
	case before == 0:
		return "none the day before"
	case now > before:
		return countText(now-before) + " more than the day before"
	default:
		return countText(before-now) + " fewer than the day before"
	}
}

// whatIsWrong lists what an administrator should know about Tocsin itself.
func (s *Server) whatIsWrong(refuses string) []string {
	var wrong []string
	if refuses != "" {
		wrong = append(wrong, "No events are accepted: "+refuses)
	}
	for _, row := range s.Sources() {
		switch row.Status {
		case source.Failed:
			wrong = append(wrong, "The source "+row.Name+" has failed: "+row.LastError)
		case source.Unavailable:
			wrong = append(wrong, "The source "+row.Name+" can't watch: "+row.Lacks)
		}
	}
	return wrong
}
