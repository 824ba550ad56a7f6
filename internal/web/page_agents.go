package web

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/agent"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/source"
)

// agentLine is one remote host in the list.
type agentLine struct {
	agent.Row

	Badge  badge
	Tags   []pair
	Wants  []agent.Source // what lacks something there
	Events string         // those of the host
	Clock  string         // how far its clock is off, where that is worth a word
}

type agentsView struct {
	Said    string
	Rows    []agentLine
	Forward *Forwarding
	Empty   emptyState
	IsAdmin bool
	Here    []pair // what an agent's configuration says to report here
}

// clockOff is how far a clock may be off without a word.
const clockOff = 5 * time.Second

func newAgentLine(row *agent.Row) agentLine {
	row = shown(row)
	l := agentLine{Row: *row, Badge: badge{"good", "reports"}, Events: eventsHref(equals("host", row.Name), "24h")}
	switch {
	case row.Silent:
		l.Badge = badge{"bad", "silent"}
	case row.Refused > 0:
		l.Badge = badge{"wait", "events refused"}
	case row.Lag > 1000:
		l.Badge = badge{"wait", "behind"}
	}
	for _, name := range slices.Sorted(maps.Keys(row.Labels)) {
		l.Tags = append(l.Tags, pair{name, row.Labels[name]})
	}
	for _, s := range row.Sources {
		if s.Status == string(source.Failed) || s.Status == string(source.Unavailable) {
			l.Wants = append(l.Wants, s)
		}
	}
	if off := time.Duration(row.ClockOff) * time.Millisecond; off.Abs() > clockOff {
		l.Clock = off.Abs().Round(time.Second).String() + " behind"
		if off > 0 {
			l.Clock = off.Round(time.Second).String() + " ahead"
		}
	}
	return l
}

// shown is an agent with what it says of itself made fit to be looked at.
func shown(row *agent.Row) *agent.Row {
	r := *row
	r.Name, r.Version, r.Token, r.Labels = line(r.Name), line(r.Version), line(r.Token), make(map[string]string, len(row.Labels))
	for name, value := range row.Labels {
		r.Labels[line(name)] = line(value)
	}
	r.Sources = make([]agent.Source, len(row.Sources))
	for i, s := range row.Sources {
		s.Name, s.Status, s.LastError, s.Lacks = line(s.Name), line(s.Status), line(s.LastError), line(s.Lacks)
		r.Sources[i] = s
	}
	return &r
}

// getAgentsPage lists the remote hosts that report here.
func (s *Server) getAgentsPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	if q.err != nil {
		return q.err
	}
	rows, err := s.Agents.List(r.Context())
	if err != nil {
		return err
	}
	v := agentsView{
		Said: told(q, map[string]string{"forgotten": "The agent is forgotten. It joins anew with its next report."}), IsAdmin: callerOf(r).principal.Can(identity.Admin), Forward: s.Forwarding(),
		Empty: emptyState{"No other host reports here yet.", "tocsin tokens create --name web-1 --scope forward"},
		Here:  []pair{{"forward.url", s.Base}, {"forward.token_file", "/etc/tocsin/forward.token"}},
	}
	for i := range rows {
		v.Rows = append(v.Rows, newAgentLine(&rows[i]))
	}
	return s.render(w, r, "agents", pageView{
		Title: "Agents", Says: "Other hosts on which Tocsin runs and reports here.", Docs: "agents", Active: "/agents", Command: "tocsin agents", Body: v,
	})
}

type agentView struct {
	agentLine

	IsAdmin bool
	Facts   []pair
	States  []badge // of each of its sources
}

// getAgentPage shows one.
func (s *Server) getAgentPage(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	row, err := s.Agents.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	v := agentView{agentLine: newAgentLine(&row), IsAdmin: callerOf(r).principal.Can(identity.Admin)}
	v.Facts = []pair{
		{"Version", row.Version},
		{"Address", row.Address},
		{"Token", row.Token},
		{"Events not sent yet", strconv.FormatUint(row.Lag, 10)},
		{"Events refused since its start", strconv.FormatUint(row.Refused, 10)},
		{"Clock", v.Clock},
		{"Id", row.ID},
	}
	for _, t := range v.Tags {
		v.Facts = append(v.Facts, pair{"Label " + t.Name, t.Value})
	}
	v.Facts = slices.DeleteFunc(v.Facts, func(p pair) bool { return p.Value == "" })
	for _, src := range v.Sources {
		v.States = append(v.States, faring(source.Status(src.Status)))
	}
	return s.render(w, r, "agent", pageView{
		Title: v.Name, Says: "A host that reports here.", Docs: "agents", Active: "/agents", Command: agentCommand(&row), Body: v,
	})
}

// agentCommand shows a host in a terminal: by its name, or by its id where the name,
// which the host chose, would mean something to a shell.
func agentCommand(row *agent.Row) string {
	plainName := row.Name != "" && row.Name[0] != '-' && !strings.ContainsFunc(row.Name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_'
	})
	if plainName {
		return "tocsin agents " + row.Name
	}
	return "tocsin agents " + row.ID
}

// postForgetAgent forgets one.
func (s *Server) postForgetAgent(w http.ResponseWriter, r *http.Request) error {
	if err := s.Agents.Forget(r.Context(), cause(r), r.PathValue("id")); err != nil {
		return err
	}
	http.Redirect(w, r, "/agents?said=forgotten", http.StatusSeeOther)
	return nil
}
