package web

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// silenceLine is one silence in the list.
type silenceLine struct {
	ID, Filter, Comment, By, State string
	Badge                          badge
	StartsAt, ExpiresAt            time.Time
	Rules                          []link
	Events                         string // that it matches
}

// silenceForm is what the form of a silence holds.
type silenceForm struct {
	Filter, For, From, Until, Comment string
	Rules                             []string
}

type silencesView struct {
	Said    string
	Problem *problem
	Mistake *filterProblem
	Form    silenceForm
	Times   []choice
	Rules   []choice
	Rows    []silenceLine
	Tabs    []link
	May     bool
	Preview *coverage
	Empty   emptyState
}

// coverage is what a silence would have kept from being told.
type coverage struct {
	Filter         string
	Problem        *filterProblem
	Covered, Total int64
	Partial        bool
	Rows           []eventRow
	Events         string
	All            bool // an empty filter says nothing
}

// silenceTimes are the quick choices of how long a silence lasts.
func silenceTimes() []string { return []string{"30m", "1h", "2h", "8h", "24h", "7d"} }

// silenceStamp is how a form writes a time; it is in UTC.
const silenceStamp = "2006-01-02T15:04"

// previewDeadline is how long the events of a preview are counted.
const previewDeadline = 500 * time.Millisecond

// getSilencesPage lists silences, and holds the form of a new one. A filter in
// the address fills it in, and is previewed.
func (s *Server) getSilencesPage(w http.ResponseWriter, r *http.Request) error {
	values := r.URL.Query()
	typed := newSilenceForm(values)
	values.Del("rule") // is there once for each
	q := readQuery(&http.Request{URL: &url.URL{RawQuery: values.Encode()}}, "state", "filter", "for", "from", "until", "comment", "said")
	v := silencesView{Form: typed, Said: told(q, map[string]string{
		"made": "The silence holds.", "ended": "The silence is ended: what it covered is told again.", "removed": "The silence is removed.",
	})}
	only := q.text("state")
	if only != "" && !slices.Contains([]string{"active", "pending", "expired"}, only) {
		q.fail("query: state must be active, pending or expired")
	}
	if q.err != nil {
		return q.err
	}
	return s.showSilences(w, r, v, only, nil)
}

func (s *Server) showSilences(w http.ResponseWriter, r *http.Request, v silencesView, only string, failed error) error {
	var status int
	var err error
	if bad, ok := asFilterError(failed); ok {
		v.Mistake, status = pointAt(filter.FromSearchBox(v.Form.Filter), bad), http.StatusBadRequest
	} else if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	ctx, p := r.Context(), callerOf(r).principal
	v.May = p.Can(identity.Emit)
	if err := s.listSilences(ctx, &v, only); err != nil {
		return err
	}
	for _, t := range silenceTimes() {
		v.Times = append(v.Times, choice{t, t, t == cmp.Or(v.Form.For, "2h")})
	}
	rules, err := s.Notify.ListRules(ctx, 0, maxPage)
	if err != nil {
		return err
	}
	for _, r := range rules {
		v.Rules = append(v.Rules, choice{r.ID.String(), line(r.Value.Name), slices.Contains(v.Form.Rules, r.ID.String())})
	}
	if v.Form.Filter != "" && v.Mistake == nil {
		if v.Preview, err = s.coverage(ctx, v.Form.Filter); err != nil {
			return err
		}
	}
	return s.renderStatus(w, r, status, "silences", pageView{
		Title: "Silences", Says: "What is not told for a time, such as while a machine is looked after. It is recorded all the same.", Docs: "deliveries", Active: "/silences",
		Command: "tocsin silences list", Body: v,
	})
}

func (s *Server) listSilences(ctx context.Context, v *silencesView, only string) error {
	found, err := s.Notify.ListSilences(ctx, 0, maxPage)
	if err != nil {
		return err
	}
	names := newNames(s)
	counts := map[string]int{}
	order := []string{"active", "pending", "expired"}
	tones := map[string]badge{"active": {"wait", "active"}, "pending": {"plain", "pending"}, "expired": {"plain", "expired"}}
	for _, rec := range slices.Backward(found) {
		row := newSilenceRow(rec)
		counts[row.State]++
		if only != "" && row.State != only {
			continue
		}
		l := silenceLine{
			ID: row.ID, Filter: plain(row.Filter), Comment: line(row.Comment), By: line(row.CreatedBy), State: row.State, Badge: tones[row.State],
			StartsAt: row.StartsAt, ExpiresAt: row.ExpiresAt, Events: eventsHref(row.Filter, "24h"),
		}
		for _, text := range row.Rules {
			id, err := state.ParseID(text)
			if err != nil {
				continue // was checked when it was stored
			}
			name, there, err := names.rule(ctx, id)
			if err != nil {
				return err
			}
			if l.Rules = append(l.Rules, link{Text: name}); there {
				l.Rules[len(l.Rules)-1].Href = "/rules/" + text
			}
		}
		v.Rows = append(v.Rows, l)
	}
	slices.SortStableFunc(v.Rows, func(a, b silenceLine) int {
		return cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State))
	})
	v.Tabs = []link{{"all", "/silences", only == ""}}
	for _, name := range order {
		v.Tabs = append(v.Tabs, link{name + " " + countText(int64(counts[name])), "/silences?state=" + name, name == only})
	}
	v.Empty = emptyState{Says: "There is none like that: everything that rules find is told."}
	return nil
}

// coverage counts how many events of the last day a filter covers, and shows the
// newest of them.
func (s *Server) coverage(ctx context.Context, text string) (*coverage, error) {
	source := filter.FromSearchBox(text)
	c := &coverage{Filter: plain(source), Events: eventsHref(source, "24h")}
	f, err := s.Filters.Compile(source)
	if bad, ok := asFilterError(err); ok {
		c.Problem = pointAt(source, bad)
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	all := segment.Query{Since: now.Add(-24 * time.Hour).UnixNano(), Until: math.MaxInt64, Deadline: now.Add(previewDeadline)}
	of := all
	if !f.All() {
		of.Plan, of.Match = f.Plan(), f.MatchEvent
	}
	for _, q := range []struct {
		query segment.Query
		sum   *int64
	}{{all, &c.Total}, {of, &c.Covered}} {
		counted, err := s.Journal.Volume(ctx, &segment.VolumeQuery{Query: q.query, Step: time.Hour})
		if err != nil {
			return nil, err
		}
		c.Partial = c.Partial || counted.Partial
		for _, b := range counted.Buckets {
			for _, n := range b.Counts {
				*q.sum += n
			}
		}
	}
	of.Limit, of.MaxBytes = 5, maxPageBytes
	found, err := s.Journal.Search(ctx, &of)
	if err != nil {
		return nil, err
	}
	c.Rows, err = s.eventRows(found.Hits)
	return c, err
}

// getSilencePreview is the part of the page that says what a silence would have
// covered, for those who are still writing its filter.
func (s *Server) getSilencePreview(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "filter")
	if len(q.text("filter")) > filter.MaxSource {
		q.fail("query: filter is longer than %d bytes", filter.MaxSource)
	}
	if q.err != nil {
		return q.err
	}
	c := &coverage{All: true}
	if text := strings.TrimSpace(q.text("filter")); text != "" {
		var err error
		if c, err = s.coverage(r.Context(), text); err != nil {
			return err
		}
	}
	return s.render(w, r, "silencepreview", pageView{Title: "Preview", Says: "What a silence would have kept from being told.", Docs: "deliveries", Active: "/silences", Body: c})
}

// parse reads the form of a silence.
func (f *silenceForm) parse(now time.Time) (notify.Silence, error) {
	v := notify.Silence{Filter: filter.FromSearchBox(f.Filter), Rules: f.Rules, Comment: strings.TrimSpace(f.Comment), StartsAt: now}
	var err error
	if f.From != "" {
		if v.StartsAt, err = time.Parse(silenceStamp, f.From); err != nil {
			return v, event.Invalidf("from: %q is no time such as 2026-11-21T22:00", clipTo(f.From, 32))
		}
	}
	if f.Until != "" {
		if v.ExpiresAt, err = time.Parse(silenceStamp, f.Until); err != nil {
			return v, event.Invalidf("until: %q is no time such as 2026-11-21T22:00", clipTo(f.Until, 32))
		}
		return v, nil
	}
	d, err := event.ParseDuration(f.For)
	if err != nil {
		return v, event.Invalidf("for: %w", err)
	}
	v.ExpiresAt = v.StartsAt.Add(d)
	return v, nil
}

func newSilenceForm(form url.Values) silenceForm {
	return silenceForm{Filter: form.Get("filter"), For: form.Get("for"), From: form.Get("from"), Until: form.Get("until"), Comment: form.Get("comment"), Rules: form["rule"]}
}

// postSilencePage makes a silence.
func (s *Server) postSilencePage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "filter", "for", "from", "until", "comment", "rule")
	if err != nil {
		return err
	}
	typed := newSilenceForm(form)
	v, err := typed.parse(time.Now().UTC())
	if err == nil {
		_, err = s.Notify.CreateSilence(r.Context(), cause(r), v)
	}
	if err != nil {
		return s.showSilences(w, r, silencesView{Form: typed}, "", err)
	}
	http.Redirect(w, r, "/silences?said=made", http.StatusSeeOther)
	return nil
}

// postEndSilence ends one now.
func (s *Server) postEndSilence(w http.ResponseWriter, r *http.Request) error {
	return s.silenceDone(w, r, "ended", s.Notify.EndSilence)
}

// postRemoveSilence takes one out of the list that has expired.
func (s *Server) postRemoveSilence(w http.ResponseWriter, r *http.Request) error {
	return s.silenceDone(w, r, "removed", func(ctx context.Context, by state.Cause, id state.ObjectID) error {
		return s.Notify.DeleteSilence(ctx, by, id, state.AnyVersion)
	})
}

func (s *Server) silenceDone(w http.ResponseWriter, r *http.Request, said string, do func(context.Context, state.Cause, state.ObjectID) error) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	if err := do(r.Context(), cause(r), id); err != nil {
		return s.showSilences(w, r, silencesView{}, "", err)
	}
	http.Redirect(w, r, "/silences?said="+said, http.StatusSeeOther)
	return nil
}

// silenceHref is the form of a silence for events like one.
func silenceHref(e *event.Event) string {
	terms := []string{equals("type", string(e.Type)), equals("source", e.Source)}
	if e.Host != "" {
		terms = append(terms, equals("host", e.Host))
	}
	return "/silences?" + url.Values{"filter": {strings.Join(terms, " && ")}}.Encode() + "#new"
}
