package web

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// triggerLine is one trigger in the list, in words.
type triggerLine struct {
	ID, Name string
	Enabled  bool
	Flow     link
	When     []string
	Next     *time.Time
	Skips    []skipLine
	Priority int
}

// skipLine is how often a trigger did not run, and why.
type skipLine struct {
	Words  string
	Count  int64
	Newest string // the newest event, a link
}

type triggersView struct {
	Tabs    []link
	Said    string
	Problem *problem
	Narrow  string // the flow to which the list is narrowed down
	Rows    []triggerLine
	More    string
	IsAdmin bool
	Flow    string
	Changes string
	Empty   emptyState
}

const triggersPerPage = 100

// skipWords says in words why a trigger did not run.
func skipWords(s flow.Skip) string {
	words := map[flow.Skip]string{
		flow.FilterFalse: "the filter did not match", flow.FilterError: "the filter failed", flow.Disabled: "it was off", flow.Loop1: "the chain began with it (loop1)",
		flow.Loop2: "its own flow emitted the event (loop2)", flow.Loop3: "the chain began with its flow (loop3)", flow.Depth: "too many events led to one another",
		flow.Throttled: "throttled", flow.Overlap: "an earlier run was under way", flow.Missed: "the time was missed",
	}
	return cmp.Or(words[s], line(string(s)))
}

// triggerWords says in words when a trigger runs its flow.
func triggerWords(t *flow.Trigger) []string {
	var all []string
	if t.Kind == flow.OnSchedule {
		switch {
		case t.Cron != "":
			all = append(all, line("cron "+t.Cron))
		case t.Every > 0:
			all = append(all, "every "+t.Every.String())
		case t.At != nil:
			all = append(all, "once, at "+t.At.UTC().Format("2006-01-02 15:04:05 MST"))
		}
		if t.Timezone != "" {
			all = append(all, line(t.Timezone))
		}
		return all
	}
	all = append(all, line(cmp.Or(strings.Join(t.Types, ", "), "all types")))
	if t.Filter != "" {
		all = append(all, line(t.Filter))
	}
	if th := t.Throttle; th != nil {
		if a := th.Accumulate; a != nil {
			all = append(all, countText(int64(a.Count))+" events, or all of "+a.Within.String())
		} else {
			all = append(all, "once within "+th.OnceWithin.String())
		}
		if len(th.GroupBy) > 0 {
			all = append(all, line("for each "+strings.Join(th.GroupBy, ", ")))
		}
	}
	return all
}

// getTriggersPage lists triggers, those of one flow where it is named.
func (s *Server) getTriggersPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "flow", "after", "said")
	v := triggersView{Flow: q.text("flow"), Said: told(q, map[string]string{
		"made": "The trigger is made, and counts from now on.", "saved": "The trigger is saved, and counts from now on.", "deleted": "The trigger is deleted. Runs that it has started go on.",
		"on": "The trigger runs its flow again.", "off": "The trigger is off. Runs that it has started go on.",
	})}
	after, err := state.ObjectID(0), q.err
	if text := q.text("after"); text != "" && err == nil {
		after, err = state.ParseID(text)
	}
	if err != nil {
		return err
	}
	return s.showTriggers(w, r, v, after, nil)
}

func (s *Server) showTriggers(w http.ResponseWriter, r *http.Request, v triggersView, after state.ObjectID, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	ctx := r.Context()
	names, _, err := s.flowNames(ctx)
	if err != nil {
		return err
	}
	skips, err := s.Flow.Skips(ctx)
	if err != nil {
		return err
	}
	found, err := s.Flow.ListTriggers(ctx, after, maxPage)
	if err != nil {
		return err
	}
	for i := range found {
		t := &found[i]
		if v.Flow != "" && t.Value.Flow != v.Flow {
			continue
		}
		if len(v.Rows) == triggersPerPage || i == maxPage-1 {
			v.More = search{}.href("/triggers", "flow", v.Flow, "after", found[i-1].ID.String())
			break
		}
		v.Rows = append(v.Rows, newTriggerLine(t, names, skips[t.ID]))
	}
	if v.Flow != "" {
		v.Narrow = flowName(names, v.Flow)
	}
	v.Tabs, v.IsAdmin = flowTabs(r, "/triggers"), callerOf(r).principal.Can(identity.Admin)
	v.Empty = emptyState{Says: "There is no trigger yet: nothing runs by itself. Store a flow, then say here when it runs."}
	if v.Flow != "" {
		v.Empty = emptyState{Says: "This flow has no trigger."}
	}
	return s.renderStatus(w, r, status, "triggers", pageView{Title: "Triggers", Says: "When flows run: for which events, and at which times.", Docs: "flows", Active: "/flows", Command: "tocsin triggers list", Body: v})
}

func newTriggerLine(t *state.Record[flow.Trigger], names map[string]string, skips []flow.SkipCount) triggerLine {
	l := triggerLine{
		ID: t.ID.String(), Name: line(t.Value.Name), Enabled: t.Value.Enabled, When: triggerWords(&t.Value), Priority: t.Value.Priority,
		Flow: link{Text: flowName(names, t.Value.Flow)},
	}
	if names[t.Value.Flow] != "" {
		l.Flow.Href = "/flows/" + t.Value.Flow
	}
	if t.Value.Kind == flow.OnSchedule && t.Value.Enabled {
		if next, err := t.Value.Next(t.Created, time.Now(), 1); err == nil && len(next) > 0 {
			l.Next = &next[0]
		}
	}
	l.Skips = skipLines(skips)
	return l
}

func skipLines(skips []flow.SkipCount) []skipLine {
	var all []skipLine
	for _, c := range skips {
		x := skipLine{Words: skipWords(c.Reason), Count: c.Count}
		if c.Newest != 0 {
			x.Newest = "/triggers/explain?sequence=" + seqText(c.Newest)
		}
		all = append(all, x)
	}
	return all
}

// postTriggerState switches a trigger on or off.
func (s *Server) postTriggerState(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "enabled")
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	on := form.Get("enabled") == "true"
	if _, err := s.Flow.UpdateTrigger(r.Context(), cause(r), id, state.AnyVersion, func(t *flow.Trigger) error { t.Enabled = on; return nil }); err != nil {
		return s.showTriggers(w, r, triggersView{}, 0, err)
	}
	http.Redirect(w, r, "/triggers?said="+map[bool]string{true: "on", false: "off"}[on], http.StatusSeeOther)
	return nil
}

// postDeleteTrigger removes a trigger.
func (s *Server) postDeleteTrigger(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	if err := s.Flow.DeleteTrigger(r.Context(), cause(r), id, state.AnyVersion); err != nil {
		return s.showTriggers(w, r, triggersView{}, 0, err)
	}
	http.Redirect(w, r, "/triggers?said=deleted", http.StatusSeeOther)
	return nil
}

// triggeredView says for one event what every trigger made of it.
type triggeredView struct {
	Tabs       []link
	Asked      string
	Problem    *problem
	Row        *eventRow
	Fires      []triggeredLine
	Others     []triggeredLine // those of the event's type first
	Candidates []eventRow
}

// triggeredLine is what one trigger made of the event.
type triggeredLine struct {
	ID, Name, Flow, Why, Detail, Run string
	Matches                          bool
}

// getTriggered answers why a flow ran for an event, or why none did.
func (s *Server) getTriggered(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "sequence")
	if q.err != nil {
		return q.err
	}
	v := triggeredView{Tabs: flowTabs(r, "/triggers"), Asked: strings.TrimSpace(q.text("sequence"))}
	var status int
	var err error
	if v.Asked != "" {
		err = s.explainTriggers(r, &v)
	}
	if v.Problem, status, err = refusal(err); err != nil {
		return err
	}
	if v.Row == nil {
		if v.Candidates, err = s.newestOf(r, ""); err != nil {
			return err
		}
	}
	return s.renderStatus(w, r, status, "triggered", pageView{
		Title: "Which triggers ran", Says: "What each trigger makes of an event, and why it does not run.", Docs: "flows", Active: "/flows",
		Command: "tocsin triggers explain " + cmp.Or(v.Asked, "SEQUENCE"), Body: v,
	})
}

func (s *Server) explainTriggers(r *http.Request, v *triggeredView) error {
	seq, err := event.ParseSeq(v.Asked)
	if err != nil {
		return err
	}
	row, err := s.rowOf(seq)
	if err != nil {
		return err
	}
	found, err := s.Flow.ExplainEvent(r.Context(), seq)
	if err != nil {
		return err
	}
	v.Row, v.Asked = row, seqText(seq)
	for i := range found {
		x := newVerdictRow(&found[i])
		l := triggeredLine{ID: x.Trigger, Name: line(x.Name), Flow: line(x.Flow), Detail: plain(clipTo(x.Detail, clipValue)), Run: string(x.Run), Matches: x.Matches}
		if x.Skip != "" {
			l.Why = skipWords(x.Skip)
		}
		if x.Fires {
			v.Fires = append(v.Fires, l)
		} else {
			v.Others = append(v.Others, l)
		}
	}
	slices.SortStableFunc(v.Others, func(a, b triggeredLine) int {
		switch {
		case a.Matches == b.Matches:
			return 0
		case a.Matches:
			return -1
		}
		return 1
	})
	return nil
}
