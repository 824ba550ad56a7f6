package web

import (
	"context"
	"math"
	"net/http"
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
	Tops       []facet
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
	if err := s.tops(r.Context(), &v, &day); err != nil {
		return err
	}
	found, err := s.Journal.Search(r.Context(), &segment.Query{Since: math.MinInt64, Until: math.MaxInt64, Limit: overviewRows, Deadline: day.now.Add(time.Second)})
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

// dayBySeverity counts two days by severity and draws the last one.
func (s *Server) dayBySeverity(ctx context.Context, v *overviewView, day *search) error {
	const step = 30 * time.Minute
	q := day.query()
	q.Since, q.Until, q.Deadline = day.from.Add(-24*time.Hour).UnixNano(), day.now.UnixNano()+1, day.now.Add(time.Second)
	counted, err := s.Journal.Volume(ctx, &segment.VolumeQuery{Query: q, Step: step, By: segment.BySeverity})
	if err != nil {
		return err
	}
	border := floorTo(day.from.UnixNano(), int64(step))
	last := segment.Counts{}
	now, before := map[string]int64{}, map[string]int64{}
	for _, b := range counted.Buckets {
		sums := before
		if b.Start >= border {
			sums = now
			last.Buckets = append(last.Buckets, b)
		}
		for name, n := range b.Counts {
			sums[name] += n
		}
	}
	for i := len(event.Severities()) - 1; i >= 0; i-- {
		name := event.Severities()[i].String()
		v.Severities = append(v.Severities, severityCount{name, now[name], changeText(now[name], before[name]), eventsHref("severity == "+name, defaultSince)})
	}
	v.Graph = drawGraph(&last, day.from, day.now, step, segment.BySeverity)
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

// tops are the most frequent types, sources and actors of the day.
func (s *Server) tops(ctx context.Context, v *overviewView, day *search) error {
	q := day.query()
	q.Deadline = day.now.Add(time.Second)
	counted, err := s.Journal.Volume(ctx, &segment.VolumeQuery{Query: q, By: segment.ByType})
	if err != nil {
		return err
	}
	types := day.facetOf(&counted, segment.ByType, "Most frequent types", "type")
	types.Values = types.Values[:min(len(types.Values), facetMost)]
	others, _, err := s.columnFacets(ctx, day, facetMost)
	if err != nil {
		return err
	}
	others[0].Title, others[1].Title = "Busiest sources", "Who did most"
	v.Tops = append([]facet{types}, others[:2]...)
	return nil
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
