package web

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// Bounds of one search. A search that reaches its deadline answers with what it
// has and a cursor, from which the same request goes on.
const (
	searchDeadline = 10 * time.Second
	maxEvents      = 1000
	maxPageBytes   = 32 << 20
	maxBuckets     = 10_000
)

// eventPage is one page of events.
type eventPage struct {
	Events  []rawJSON `json:"events"`
	Next    *string   `json:"next"`
	Partial bool      `json:"partial,omitempty"`
	// Warnings tell of blocks that could not be read and were passed over.
	Warnings []string `json:"warnings,omitempty"`
}

type rawJSON []byte

func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

// compile turns the filter of a request into a query.
func (s *Server) compile(q *query) segment.Query { return s.compileText(q, q.text("filter")) }

func (s *Server) compileText(q *query, source string) segment.Query {
	out := segment.Query{Since: math.MinInt64, Until: math.MaxInt64, Transient: q.flag("transient")}
	f, err := s.Filters.Compile(source)
	if err != nil {
		if q.err == nil {
			q.err = err
		}
		return out
	}
	out.Plan, out.Match = f.Plan(), f.MatchEvent
	if f.All() {
		out.Plan, out.Match = nil, nil
	}
	return out
}

func (q *query) bounds(out *segment.Query, now, since time.Time) {
	if t := q.instant("since", now, since); !t.IsZero() {
		out.Since = t.UnixNano()
	}
	if t := q.instant("until", now, time.Time{}); !t.IsZero() {
		out.Until = t.UnixNano()
	}
	if out.Since > out.Until {
		q.fail("query: since lies behind until")
	}
}

// getEvents searches.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "filter", "since", "until", "limit", "cursor", "order", "view", "transient")
	query := s.compile(q)
	now := time.Now()
	q.bounds(&query, now, time.Time{})
	query.Limit, query.MaxBytes = q.number("limit", 50, 1, maxEvents), maxPageBytes
	query.Deadline = now.Add(searchDeadline)
	view := catalog.View(q.text("view"))
	switch q.text("order") {
	case "", "desc":
	case "asc":
		query.Ascending = true
	default:
		q.fail("query: order must be asc or desc")
	}
	if text := q.text("cursor"); text != "" {
		at, err := event.ParseSeq(text)
		if err != nil || at == 0 {
			q.fail("query: cursor %q was not given by this server", text)
		}
		if query.Ascending {
			query.Above = at
		} else {
			query.Below = at
		}
	}
	if _, err := catalog.AppendView(nil, &event.Event{}, view); err != nil {
		q.fail("query: %v", err)
	}
	if q.err != nil {
		return q.err
	}
	found, err := s.Journal.Search(r.Context(), &query)
	if err != nil {
		return err
	}
	out := eventPage{Events: make([]rawJSON, 0, len(found.Hits)), Partial: found.Partial}
	for i := range found.Hits {
		body, err := renderHit(&found.Hits[i], view)
		if err != nil {
			return err
		}
		out.Events = append(out.Events, body)
	}
	if found.Next != 0 {
		next := found.Next.String()
		out.Next = &next
	}
	for _, p := range found.Problems {
		out.Warnings = append(out.Warnings, p.Error())
	}
	return writeJSON(w, http.StatusOK, out)
}

// renderHit is an event's JSON in a view.
func renderHit(h *segment.Hit, view catalog.View) ([]byte, error) {
	full := event.InsertRecorded(make([]byte, 0, len(h.Body)+96), h.Body, h.Seq, time.Unix(0, h.Recorded))
	if view == "" || view == catalog.CloudEvents {
		return full, nil
	}
	e, err := event.Decode(full)
	if err != nil {
		return nil, err
	}
	return catalog.AppendView(nil, &e, view)
}

// getEvent returns one event by its sequence.
func (s *Server) getEvent(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "view")
	if q.err != nil {
		return q.err
	}
	seq, err := event.ParseSeq(r.PathValue("sequence"))
	if err != nil {
		return event.NotFoundf("there is no event %q: events are named by their sequence, a number", r.PathValue("sequence"))
	}
	hit, err := s.Journal.Get(seq)
	if err != nil {
		return err
	}
	body, err := renderHit(&hit, catalog.View(q.text("view")))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", event.JSONMedia)
	if v := q.text("view"); v != "" && v != string(catalog.CloudEvents) {
		w.Header().Set("Content-Type", "application/json")
	}
	_, err = w.Write(body)
	return err
}

// volume is the answer about how many events there were.
type volume struct {
	Buckets []volumeBucket `json:"buckets"`
	Partial bool           `json:"partial"`
}

type volumeBucket struct {
	Time   string           `json:"time"`
	Counts map[string]int64 `json:"counts"`
}

// getVolume counts events over time, with a bucket also where there are none.
func (s *Server) getVolume(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "filter", "since", "until", "step", "by", "transient")
	query := s.compile(q)
	now := time.Now()
	q.bounds(&query, now, now.Add(-24*time.Hour))
	if query.Until == math.MaxInt64 {
		query.Until = now.UnixNano()
	}
	query.Deadline = now.Add(searchDeadline)
	step := time.Hour
	if text := q.text("step"); text != "" {
		d, err := event.ParseDuration(text)
		if err != nil || d < time.Second {
			q.fail("query: step must be a duration of at least 1s, such as 1h")
		} else {
			step = d
		}
	}
	by, ok := map[string]segment.By{"": segment.ByNone, "type": segment.ByType, "severity": segment.BySeverity, "kind": segment.ByKind}[q.text("by")]
	if !ok {
		q.fail("query: by must be type, severity or kind")
	}
	first := floorTo(query.Since, int64(step))
	if q.err == nil && (query.Until-first)/int64(step) >= maxBuckets {
		q.fail("query: more than %d buckets: choose a longer step or a shorter time", maxBuckets)
	}
	if q.err != nil {
		return q.err
	}
	counted, err := s.Journal.Volume(r.Context(), &segment.VolumeQuery{Query: query, Step: step, By: by})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, zeroFill(&counted, first, query.Until, int64(step)))
}

// zeroFill writes a bucket for every step; keys that occur at all are in each.
func zeroFill(c *segment.Counts, first, until, step int64) volume {
	keys := map[string]bool{}
	at := map[int64]map[string]int64{}
	for _, b := range c.Buckets {
		at[b.Start] = b.Counts
		for key := range b.Counts {
			keys[key] = true
		}
	}
	if len(keys) == 0 {
		keys[""] = true
	}
	out := volume{Buckets: []volumeBucket{}, Partial: c.Partial}
	for start := first; start < until; start += step {
		counts := make(map[string]int64, len(keys))
		for key := range keys {
			counts[key] = at[start][key]
		}
		out.Buckets = append(out.Buckets, volumeBucket{time.Unix(0, start).UTC().Format(time.RFC3339), counts})
	}
	return out
}

func floorTo(n, step int64) int64 {
	r := n % step
	if r < 0 {
		r += step
	}
	return n - r
}

// countByType is how many events of each type there were since a time.
func (s *Server) countByType(ctx context.Context, since time.Time) (map[string]int64, error) {
	q := segment.VolumeQuery{Query: segment.Query{Since: since.UnixNano(), Until: math.MaxInt64, Transient: true}, Step: 0, By: segment.ByType}
	counted, err := s.Journal.Volume(ctx, &q)
	if err != nil {
		return nil, err
	}
	all := map[string]int64{}
	for _, b := range counted.Buckets {
		for key, n := range b.Counts {
			all[key] += n
		}
	}
	return all, nil
}

func seqText(n event.Seq) string { return strconv.FormatUint(uint64(n), 10) }
