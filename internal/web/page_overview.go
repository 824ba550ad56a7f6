package web

import (
	"cmp"
	"context"
	"maps"
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
	Bars       *bars
	Rows       []eventRow
	Types      []typeCount
	Journal    JournalStats
	Retention  string
	Wrong      []string
	Tail       string
}

type severityCount struct {
	Name        string
	Now, Before int64
	Href        string
}

type typeCount struct {
	Name  string
	Count int64
	Href  string
}

// getOverview shows the first page.
func (s *Server) getOverview(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	now := time.Now()
	v := overviewView{Tail: "/events/live?q="}
	if err := s.dayBySeverity(r.Context(), &v, now); err != nil {
		return err
	}
	counts, err := s.countByType(r.Context(), now.Add(-24*time.Hour))
	if err != nil {
		return err
	}
	for _, name := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) }) {
		if len(v.Types) == 8 {
			break
		}
		v.Types = append(v.Types, typeCount{name, counts[name], eventsHref(`type == "`+name+`"`, "24h")})
	}
	found, err := s.Journal.Search(r.Context(), &segment.Query{Since: math.MinInt64, Until: math.MaxInt64, Limit: 12, Deadline: now.Add(time.Second)})
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
	return s.render(w, r, "overview", pageView{Title: "Overview", Says: "The last 24 hours, against the 24 before.", Active: "overview", Command: "tocsin events --follow", Body: v})
}

// dayBySeverity counts two days by severity and draws the last one.
func (s *Server) dayBySeverity(ctx context.Context, v *overviewView, now time.Time) error {
	const day = 24 * time.Hour
	from := now.Add(-2 * day)
	q := segment.VolumeQuery{Query: segment.Query{Since: from.UnixNano(), Until: now.UnixNano() + 1, Deadline: now.Add(time.Second)}, Step: 30 * time.Minute, By: segment.BySeverity}
	counted, err := s.Journal.Volume(ctx, &q)
	if err != nil {
		return err
	}
	border := now.Add(-day).UnixNano()
	last := segment.Counts{}
	sums := map[string]*severityCount{}
	for _, sev := range event.Severities() {
		sums[sev.String()] = &severityCount{Name: sev.String(), Href: eventsHref("severity == "+sev.String(), "24h")}
	}
	for _, b := range counted.Buckets {
		for name, n := range b.Counts {
			switch c := sums[name]; {
			case c == nil:
			case b.Start >= border:
				c.Now += n
			default:
				c.Before += n
			}
		}
		if b.Start >= border {
			last.Buckets = append(last.Buckets, b)
		}
	}
	for _, sev := range slices.Backward(event.Severities()) {
		v.Severities = append(v.Severities, *sums[sev.String()])
	}
	v.Bars, _ = drawBars(&last, floorTo(border, int64(q.Step)), now.UnixNano(), q.Step)
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
