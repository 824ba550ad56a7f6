package web

import (
	"net/http"

	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/source"
)

type settingsView struct {
	Retention retention
	Journal   JournalStats
	Tokens    []tokenRow
	Sources   []source.Row
	Report    *VerifyReport
	IsAdmin   bool
}

// getSettingsPage shows retention, journal, sources and tokens.
func (s *Server) getSettingsPage(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	return s.showSettings(w, r, nil)
}

func (s *Server) showSettings(w http.ResponseWriter, r *http.Request, report *VerifyReport) error {
	found, err := s.Settings.load(r.Context())
	if err != nil {
		return err
	}
	stats := s.Journal.Stats()
	v := settingsView{Retention: found.Value.Retention, Journal: NewJournalStats(&stats), Sources: s.Sources(), Report: report}
	if v.IsAdmin = callerOf(r).principal.Can("admin"); v.IsAdmin {
		tokens, err := s.Identity.ListTokens(r.Context(), 0, maxPage)
		if err != nil {
			return err
		}
		for _, t := range tokens {
			v.Tokens = append(v.Tokens, newTokenRow(t))
		}
	}
	return s.render(w, r, "settings", pageView{Title: "Settings", Says: "How long events are kept, who may send them, and what is watched.", Active: "settings", Command: "tocsin journal stats", Body: v})
}

// postVerifyPage verifies the journal and shows what was found.
func (s *Server) postVerifyPage(w http.ResponseWriter, r *http.Request) error {
	report, err := s.Journal.Verify(r.Context(), journal.VerifyOptions{})
	if err != nil && r.Context().Err() != nil {
		return err
	}
	told := NewVerifyReport(&report, err)
	return s.showSettings(w, r, &told)
}
