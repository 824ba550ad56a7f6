package web

import (
	"net/http"
	"strings"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/source"
)

// sourceLine is one source in the list.
type sourceLine struct {
	sourceRow

	Badge badge
	Note  string // what lacks, or went wrong
	hours []int64
}

// Spark draws the last day.
func (l sourceLine) Spark() sparkline { return drawSparkline(l.hours) }

type sourcesView struct {
	Query  string
	Groups []sourceGroup
	Empty  emptyState
}

// sourceGroup are the sources in one of the states, those first that want
// something.
type sourceGroup struct {
	Title string
	Rows  []sourceLine
}

func (s *Server) sourceLines(r *http.Request) ([]sourceLine, error) {
	rows, hours, err := s.sourceRows(r.Context())
	if err != nil {
		return nil, err
	}
	lines := make([]sourceLine, len(rows))
	for i, row := range rows {
		l := sourceLine{sourceRow: row, Badge: faring(row.Status), Note: source.Note(row.Status, row.Lacks, row.LastError), hours: make([]int64, 24)}
		for _, t := range row.Types {
			for h, n := range hours[string(t)] {
				l.hours[h] += n
			}
		}
		lines[i] = l
	}
	return lines, nil
}

// faring is how a source fares, in a word.
func faring(s source.Status) badge {
	switch s {
	case source.Running:
		return badge{"good", "running"}
	case source.Idle:
		return badge{"plain", "idle"}
	case source.Disabled:
		return badge{"plain", "disabled"}
	case source.Failed:
		return badge{"bad", "failed"}
	}
	return badge{"wait", clipTo(string(s), 24)} // an agent may say anything
}

// getSourcesPage lists what is watched on this host, and what others send.
func (s *Server) getSourcesPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "q")
	if q.err != nil {
		return q.err
	}
	lines, err := s.sourceLines(r)
	if err != nil {
		return err
	}
	v := sourcesView{Query: q.text("q"), Empty: emptyState{"No source has these words in its name or description.", "tocsin sources"}}
	for _, g := range []struct {
		title string
		has   func(*sourceLine) bool
	}{
		{"Lacks something", func(l *sourceLine) bool { return l.Status == source.Failed || l.Status == source.Unavailable }},
		{"Watches this host", func(l *sourceLine) bool { return l.Path == "" }},
		{"Takes what others send", func(l *sourceLine) bool { return true }},
	} {
		var of, rest []sourceLine
		for _, l := range lines {
			if g.has(&l) {
				of = append(of, l)
			} else {
				rest = append(rest, l)
			}
		}
		lines = rest
		of = withWords(of, v.Query)
		if len(of) > 0 {
			v.Groups = append(v.Groups, sourceGroup{g.title, of})
		}
	}
	return s.render(w, r, "sources", pageView{
		Title: "Sources", Says: "What is watched on this host, what others send here, and how each fares.", Docs: "sources", Active: "/sources", Command: "tocsin sources", Body: v,
	})
}

func withWords(lines []sourceLine, words string) []sourceLine {
	var kept []sourceLine
	for _, l := range lines {
		text, all := strings.ToLower(l.Name+" "+l.Doc+" "+string(l.Status)), true
		for word := range strings.FieldsSeq(strings.ToLower(words)) {
			all = all && strings.Contains(text, word)
		}
		if all {
			kept = append(kept, l)
		}
	}
	return kept
}

type sourceView struct {
	sourceLine

	Made []sourceType
	Hook pair // the request that it takes; empty for what is watched
}

type sourceType struct {
	Type   event.Type
	Says   string
	Wired  badge
	Count  int64
	Events string
}

func wired(e *catalog.Entry) badge {
	if e.Wired {
		return badge{"good", "wired"}
	}
	return badge{"plain", "not wired"}
}

// getSourcePage shows one source.
func (s *Server) getSourcePage(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	name := r.PathValue("name")
	lines, err := s.sourceLines(r)
	if err != nil {
		return err
	}
	_, sums, err := s.lastDay(r.Context())
	if err != nil {
		return err
	}
	for _, l := range lines {
		if l.Name != name {
			continue
		}
		v := sourceView{sourceLine: l}
		for _, t := range l.Types {
			e, _ := s.Catalog.Get(t)
			v.Made = append(v.Made, sourceType{t, e.Description, wired(&e), sums[string(t)], eventsHref(equals("type", string(t)), "24h")})
		}
		if l.Path != "" {
			v.Hook = pair{"POST", strings.TrimSuffix(s.Base, "/") + l.Path}
		}
		return s.render(w, r, "source", pageView{
			Title: name, Says: l.Doc, Docs: "sources", Active: "/sources", Command: "tocsin sources " + name, Body: v,
		})
	}
	return event.NotFoundf("there is no source %q", name)
}
