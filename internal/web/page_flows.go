package web

import (
	"context"
	"net/http"

	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// flowTabs are the pages about flows; at is the one that is open.
func flowTabs(r *http.Request, at string) []link {
	tabs := []link{{Text: "Flows", Href: "/flows"}, {Text: "Triggers", Href: "/triggers"}, {Text: "Runs", Href: "/runs"}}
	if callerOf(r).principal.Can(identity.Admin) {
		tabs = append(tabs, link{Text: "Secrets", Href: "/secrets"})
	}
	for i := range tabs {
		tabs[i].On = tabs[i].Href == at
	}
	return tabs
}

// flowEntry is one flow in the list.
type flowEntry struct {
	ID, Name, Version, Reason, Source string
	Badge                             badge
	Triggers, Off                     int // of them, so many are switched off
	Drifted                           bool
	Last                              []runLine
}

type flowsView struct {
	Tabs    []link
	Said    string
	Rows    []flowEntry
	More    string
	IsAdmin bool
	Changes string
	Empty   emptyState
}

const (
	flowsPerPage = 100
	lastRuns     = 5 // of each flow
)

// flowBadge is how a flow stands, in a word.
func flowBadge(s flow.Validity) badge {
	if s == flow.Valid {
		return badge{"good", "valid"}
	}
	return badge{"bad", "invalid"}
}

// getFlowsPage lists flows with their newest runs.
func (s *Server) getFlowsPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "after", "said")
	v := flowsView{Said: told(q, map[string]string{"deleted": "The flow is deleted. Runs that had begun go on; its triggers have nothing to run."})}
	after, err := state.ObjectID(0), q.err
	if text := q.text("after"); text != "" && err == nil {
		after, err = state.ParseID(text)
	}
	if err != nil {
		return err
	}
	ctx := r.Context()
	found, err := s.Flow.ListFlows(ctx, after, flowsPerPage+1)
	if err != nil {
		return err
	}
	on, off, err := s.countTriggers(ctx)
	if err != nil {
		return err
	}
	for i := range found {
		if i == flowsPerPage {
			v.More = "/flows?after=" + found[i-1].ID.String()
			break
		}
		f := &found[i]
		id := f.ID.String()
		e := flowEntry{
			ID: id, Name: line(f.Value.Name), Version: shortHash(f.Value.Hash), Reason: line(f.Value.Reason), Source: line(f.Value.Source), Badge: flowBadge(f.Value.State), Drifted: f.Value.Drifted(),
			Triggers: on[id] + off[id], Off: off[id],
		}
		runs, err := s.Flow.RunsBehind(ctx, flow.RunQuery{Flow: f.ID, Limit: lastRuns}, flow.RunPlace{})
		if err != nil {
			return err
		}
		for j := range runs {
			e.Last = append(e.Last, newRunLineView(&runs[j]))
		}
		v.Rows = append(v.Rows, e)
	}
	v.Tabs, v.IsAdmin = flowTabs(r, "/flows"), callerOf(r).principal.Can(identity.Admin)
	v.Empty = emptyState{Says: "There is no flow yet. A flow is what Tocsin does by itself when something happens, or when it is time: start with one of the templates."}
	if after == 0 {
		v.Changes = "/runs/live"
	}
	return s.render(w, r, "flows", pageView{Title: "Flows", Says: "What is done when something happens, or when it is time.", Docs: "flows", Active: "/flows", Command: "tocsin flows list", Body: v})
}

// countTriggers counts the triggers of each flow, by its id: those that are on, and
// those that are off.
func (s *Server) countTriggers(ctx context.Context) (on, off map[string]int, err error) {
	on, off = map[string]int{}, map[string]int{}
	return on, off, s.eachTrigger(ctx, func(t state.Record[flow.Trigger]) {
		if t.Value.Enabled {
			on[t.Value.Flow]++
		} else {
			off[t.Value.Flow]++
		}
	})
}

// eachTrigger walks over all triggers.
func (s *Server) eachTrigger(ctx context.Context, do func(state.Record[flow.Trigger])) error {
	for after := state.ObjectID(0); ; {
		found, err := s.Flow.ListTriggers(ctx, after, maxPage)
		if err != nil {
			return err
		}
		for _, t := range found {
			after = t.ID
			do(t)
		}
		if len(found) < maxPage {
			return nil
		}
	}
}

// flowNames are the names of all flows, by id.
func (s *Server) flowNames(ctx context.Context) (names map[string]string, order []string, err error) {
	names = map[string]string{}
	for after := state.ObjectID(0); ; {
		found, err := s.Flow.ListFlows(ctx, after, flowsPerPage)
		if err != nil {
			return nil, nil, err
		}
		for _, f := range found {
			after = f.ID
			names[f.ID.String()] = line(f.Value.Name)
			order = append(order, f.ID.String())
		}
		if len(found) < flowsPerPage {
			return names, order, nil
		}
	}
}

// flowName is what a flow is called; of one that is gone, its number is all there is.
func flowName(names map[string]string, id string) string {
	if name := names[id]; name != "" {
		return name
	}
	return "flow " + line(id) + ", which is gone"
}

// shortHash is enough of a version to tell it from others.
func shortHash(hash string) string { return clipHash(hash, 10) }

func clipHash(hash string, n int) string { return hash[:min(n, len(hash))] }
