package web

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/state"
)

// runLine is one run in a list.
type runLine struct {
	ID, Short       string
	Badge           badge
	Flow, Trigger   link
	By              string // who has started it, where it was no trigger
	Cause           link   // the event
	Slot            *time.Time
	Queued          time.Time
	Took            string
	Status, Message string
	Error           string
}

// runBadge is how a run stands, in a word.
func runBadge(s flow.RunState) badge {
	tones := map[flow.RunState]string{flow.Completed: "good", flow.Faulted: "bad", flow.Waiting: "wait", flow.Running: "wait", flow.Cancelled: "plain", flow.Queued: "plain"}
	return badge{cmp.Or(tones[s], "plain"), string(s)}
}

func newRunLineView(r *flow.Run) runLine {
	l := runLine{
		ID: string(r.ID), Short: clipHash(string(r.ID), 8), Badge: runBadge(r.State), By: line(r.By), Slot: r.Slot, Queued: r.Queued,
		Status: line(r.Status), Message: line(r.StatusMsg), Error: clipTo(line(cmp.Or(r.Error, r.Failure)), 160),
		Flow: link{Text: line(r.FlowName), Href: "/flows/" + r.Flow.String()},
	}
	if l.Status == "unknown" {
		l.Status = ""
	}
	if r.Trigger != 0 {
		l.Trigger = link{Text: cmp.Or(line(r.TriggerName), r.Trigger.String()), Href: "/triggers/" + r.Trigger.String()}
	}
	if r.Event != nil {
		l.Cause = link{Text: line(string(r.Event.Type)), Href: "/events/" + seqText(r.Event.Sequence)}
	}
	if r.State.Over() && !r.Started.IsZero() {
		l.Took = latencyText(r.Finished.Sub(r.Started))
	}
	return l
}

// runFilter is which runs are wanted, as it stands in the address.
type runFilter struct{ Flow, Trigger, State string }

func (f runFilter) href(more ...string) string {
	q := url.Values{}
	all := append([]string{"flow", f.Flow, "trigger", f.Trigger, "state", f.State}, more...)
	for i := 0; i+1 < len(all); i += 2 {
		if all[i+1] != "" {
			q.Set(all[i], all[i+1])
		}
	}
	if len(q) == 0 {
		return "/runs"
	}
	return "/runs?" + q.Encode()
}

// flags are the same for the command line.
func (f runFilter) flags() string {
	var out strings.Builder
	for _, p := range []pair{{"flow", f.Flow}, {"trigger", f.Trigger}, {"state", f.State}} {
		if p.Value != "" {
			out.WriteString(" --" + p.Name + " " + p.Value)
		}
	}
	return out.String()
}

type runsView struct {
	Tabs            []link
	Filter          runFilter
	Filtered        bool
	States          []link
	Flows, Triggers []choice
	Rows            []runLine
	Older           string
	Changes         string
	Empty           emptyState
}

const runsPerPage = 50

// getRunsPage lists runs, the newest first.
func (s *Server) getRunsPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "flow", "trigger", "state", "cursor")
	wanted, behind := readRunQuery(q)
	if q.err != nil {
		return q.err
	}
	f := runFilter{q.text("flow"), q.text("trigger"), q.text("state")}
	v := runsView{Tabs: flowTabs(r, "/runs"), Filter: f, Filtered: f != runFilter{}}
	ctx := r.Context()
	wanted.Limit = runsPerPage + 1
	found, err := s.Flow.RunsBehind(ctx, wanted, behind)
	if err != nil {
		return err
	}
	for i := range found {
		if i == runsPerPage {
			v.Older = f.href("cursor", runCursor(flow.RunPlace{Queued: found[i-1].Queued, ID: found[i-1].ID}))
			break
		}
		v.Rows = append(v.Rows, newRunLineView(&found[i]))
	}
	if err := s.runChoices(r, &v); err != nil {
		return err
	}
	if q.text("cursor") == "" {
		v.Changes = "/runs/live"
	}
	v.Empty = emptyState{Says: "No flow has run yet. A trigger runs one when something happens, or when it is time; or run one by hand from its page.", Do: "tocsin flows run NAME"}
	if v.Filtered {
		v.Empty = emptyState{Says: "No run is like that."}
	}
	return s.render(w, r, "runs", pageView{Title: "Runs", Says: "What flows have done, and what they are doing.", Docs: "flows", Active: "/flows", Command: "tocsin runs list" + f.flags(), Body: v})
}

// runChoices offers what the list can be narrowed down to.
func (s *Server) runChoices(r *http.Request, v *runsView) error {
	f := v.Filter
	of := func(state string) string { g := f; g.State = state; return g.href() }
	v.States = []link{{Text: "all", Href: of(""), On: f.State == ""}}
	for _, state := range runStates() {
		v.States = append(v.States, link{Text: string(state), Href: of(string(state)), On: f.State == string(state)})
	}
	names, order, err := s.flowNames(r.Context())
	if err != nil {
		return err
	}
	for _, id := range order {
		v.Flows = append(v.Flows, choice{id, names[id], id == f.Flow})
	}
	if f.Flow != "" && names[f.Flow] == "" {
		v.Flows = append(v.Flows, choice{f.Flow, flowName(names, f.Flow), true})
	}
	there := false
	err = s.eachTrigger(r.Context(), func(t state.Record[flow.Trigger]) {
		id := t.ID.String()
		there = there || id == f.Trigger
		v.Triggers = append(v.Triggers, choice{id, line(t.Value.Name), id == f.Trigger})
	})
	if f.Trigger != "" && !there {
		v.Triggers = append(v.Triggers, choice{f.Trigger, "trigger " + f.Trigger + ", which is gone", true})
	}
	return err
}

// getRunChanges tells an open page that flows or runs have changed.
func (s *Server) getRunChanges(w http.ResponseWriter, r *http.Request) error {
	return s.streamChanges(w, r, s.Flow.Changed)
}
