package web

import (
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

type styleView struct {
	Severities []string
	Now        time.Time
	Badges     []badge
	Empty      emptyState
	Problem    *problem
	Mistake    *filterProblem
	Progress   progress
	Facet      facet
	Graph      *graph
	Spark      sparkline
	Rows       []eventRow
	Pairs      []pair
	Copy       pair
}

// getStyleguide shows every component that pages are made of.
func (s *Server) getStyleguide(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	now := time.Now()
	v := styleView{
		Now:      now,
		Badges:   []badge{{"good", "wired"}, {"wait", "waits"}, {"bad", "failed"}, {"plain", "disabled"}},
		Empty:    emptyState{"Nothing was recorded in this time.", "tocsin emit backup_failed name=nightly"},
		Problem:  newProblem(http.StatusConflict, "conflict", "somebody else has changed this in the meantime: load it again"),
		Mistake:  &filterProblem{"severity >= loud", "            ^", "undeclared reference to 'loud'"},
		Progress: progress{"Segments verified", 3, 8},
		Facet:    facet{Title: "Type", Values: []facetValue{{"backup_failed", "#", 12, true}, {"disk_full", "#", 3, false}}, More: 4},
		Spark:    drawSparkline([]int64{0, 2, 1, 5, 3, 0, 0, 9, 4}),
		Pairs:    []pair{{"Happened", "2026-11-21 10:00:00 UTC"}, {"About", "server/7"}},
		Copy:     pair{"Shell", "tocsin events 'severity >= warn'"},
	}
	counts := segment.Counts{}
	first := now.Add(-24 * time.Hour).Truncate(time.Hour)
	for i := range 24 {
		b := segment.Bucket{Start: first.Add(time.Duration(i) * time.Hour).UnixNano(), Counts: map[string]int64{}}
		for k, sev := range event.Severities() {
			b.Counts[sev.String()] = int64((i*7+k*3)%5 + 1)
		}
		if i == 17 {
			b.Counts["error"] = 120
		}
		counts.Buckets = append(counts.Buckets, b)
	}
	v.Graph = drawGraph(&counts, first, now, time.Hour, segment.BySeverity)
	for i, sev := range event.Severities() {
		v.Severities = append(v.Severities, sev.String())
		v.Rows = append(v.Rows, eventRow{Seq: seqText(event.Seq(i + 1)), Time: now.Add(-time.Duration(i*i) * time.Hour), Severity: sev.String(), Type: "backup_failed", Message: "backup nightly failed: exit status 3", Host: "web-17", Actor: "admin"})
	}
	return s.render(w, r, "styleguide", pageView{Title: "Style guide", Says: "Every component that pages are made of.", Active: "/settings", Body: v})
}
