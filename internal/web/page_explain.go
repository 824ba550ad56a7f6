package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// explainView says why a rule fires for an event, or not.
type explainView struct {
	Tabs       []link
	ID, Asked  string
	Problem    *problem
	Row        *eventRow
	Explained  bool
	Fires      bool
	Reason     string
	Group      string
	Checks     []checkLine
	Tells      []string
	Deliveries []ledgerLine
	Candidates []eventRow // to choose from, where none is named
	Told       string
}

// checkLine is one condition.
type checkLine struct {
	Name, Detail string
	Passed       bool
	Parts        []notifyPart
}

// notifyPart is a part of an expression, and what it gave.
type notifyPart struct {
	Text, Result string
	Values       []pair
}

// ledgerLine is a row of the ledger, briefly.
type ledgerLine struct {
	ID, Way, To, Reason string
	State               badge
	Count, Attempts     int
}

// getExplain explains a rule for the event that is asked for.
func (s *Server) getExplain(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "sequence")
	if q.err != nil {
		return q.err
	}
	x, err := s.ruleOf(r)
	if err != nil {
		return err
	}
	v := explainView{Tabs: ruleTabs("/rules"), ID: x.ID.String(), Asked: strings.TrimSpace(q.text("sequence"))}
	var status int
	err = s.explain(r, &v, &x)
	if v.Problem, status, err = refusal(err); err != nil {
		return err
	}
	if !v.Explained {
		if v.Candidates, err = s.newestOf(r, ruleFilter(&x.Value)); err != nil {
			return err
		}
	}
	command := "tocsin rules test " + v.ID + " --sequence SEQUENCE"
	if v.Asked != "" {
		command = "tocsin rules test " + v.ID + " --sequence " + shellWord(v.Asked)
	}
	return s.renderStatus(w, r, status, "explain", pageView{
		Title: "Explain: " + line(x.Value.Name), Says: "Why this rule tells of an event, or not.", Docs: "notifications", Active: "/rules", Command: command, Body: v,
	})
}

// shellWord quotes what is not a number.
func shellWord(text string) string {
	if _, err := strconv.ParseUint(text, 10, 64); err == nil {
		return text
	}
	return shellQuote(text)
}

// ruleFilter finds events of the types of a rule.
func ruleFilter(r *notify.Rule) string {
	var types []string
	for _, t := range r.Types {
		types = append(types, "glob(type, "+strings.TrimPrefix(equals("", t), " == ")+")")
	}
	return strings.Join(types, " || ")
}

func (s *Server) explain(r *http.Request, v *explainView, x *state.Record[notify.Rule]) error {
	if v.Asked == "" {
		return nil
	}
	seq, err := event.ParseSeq(v.Asked)
	if err != nil {
		return err
	}
	row, err := s.rowOf(seq)
	if err != nil {
		return err
	}
	found, err := s.Notify.Explain(r.Context(), x.ID, x.Value, seq)
	if err != nil {
		return err
	}
	labels, err := s.labels(r.Context())
	if err != nil {
		return err
	}
	v.Explained, v.Fires, v.Reason, v.Group, v.Row, v.Told = true, found.Fires, line(found.Reason), line(found.Group), row, "/events/"+row.Seq+"/told"
	for _, c := range found.Conditions {
		v.Checks = append(v.Checks, newCheckLine(&c))
	}
	for _, t := range found.Tells {
		text := t.Transport + " (" + t.Mode + ")"
		if t.Recipient != "" {
			text = t.Recipient + " by " + text
		}
		v.Tells = append(v.Tells, line(text))
	}
	for i := range found.Deliveries {
		v.Deliveries = append(v.Deliveries, labels.ledgerLine(&found.Deliveries[i]))
	}
	return nil
}

// rowOf is an event as lists show it.
func (s *Server) rowOf(seq event.Seq) (*eventRow, error) {
	hit, err := s.Journal.Get(seq)
	if err != nil {
		return nil, err
	}
	row, _, err := s.eventRow(&hit)
	return &row, err
}

func newCheckLine(c *notify.Check) checkLine {
	l := checkLine{Name: line(c.Name), Detail: plain(clipTo(c.Detail, clipValue)), Passed: c.Passed}
	for _, p := range c.Parts {
		part := notifyPart{Text: line(p.Text), Result: line(p.Result)}
		for _, value := range p.Values {
			part.Values = append(part.Values, pair{line(value.Name), line(value.Value)})
		}
		l.Parts = append(l.Parts, part)
	}
	return l
}

func (l *ruleLabels) ledgerLine(d *notify.Delivery) ledgerLine {
	out := ledgerLine{ID: d.ID.String(), Way: l.ways[d.Transport.String()], State: stateBadge(d.State), Reason: line(reasonText(d.Reason)), Count: d.Count, Attempts: d.Attempts}
	if d.Recipient != 0 {
		out.To = line(l.user(d.Recipient.String()))
	}
	return out
}

// toldView says for one event what every rule made of it.
type toldView struct {
	Row        *eventRow
	Fires      []verdictLine
	Others     []verdictLine // those that come closest first
	Deliveries []ledgerLine
	IsAdmin    bool
	New        string // makes a rule for such events
}

// verdictLine is a rule and the first thing that stands in its way.
type verdictLine struct {
	ID, Name, Reason string
	Passed, Of       int // conditions that hold
}

// getTold answers why somebody was told of an event, or nobody.
func (s *Server) getTold(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	seq, err := event.ParseSeq(r.PathValue("sequence"))
	if err != nil {
		return event.NotFoundf("there is no event %q", r.PathValue("sequence"))
	}
	row, err := s.rowOf(seq)
	if err != nil {
		return err
	}
	ctx := r.Context()
	all, err := s.Notify.ExplainAll(ctx, seq)
	if err != nil {
		return err
	}
	labels, err := s.labels(ctx)
	if err != nil {
		return err
	}
	v := toldView{Row: row, IsAdmin: callerOf(r).principal.Can(identity.Admin)}
	v.New = "/rules/new?" + search{}.href("", "type", row.Type)[1:]
	for _, x := range all {
		l := verdictLine{ID: x.Rule.ID.String(), Name: line(x.Rule.Value.Name), Reason: line(x.Explanation.Reason), Of: len(x.Explanation.Conditions)}
		for _, c := range x.Explanation.Conditions {
			if c.Passed {
				l.Passed++
			}
		}
		if x.Explanation.Fires {
			v.Fires = append(v.Fires, l)
		} else {
			v.Others = append(v.Others, l)
		}
	}
	slices.SortStableFunc(v.Others, func(a, b verdictLine) int { return (a.Of - a.Passed) - (b.Of - b.Passed) })
	found, err := s.Notify.Deliveries(ctx, notify.DeliveryQuery{Sequence: seq, Limit: maxPage})
	if err != nil {
		return err
	}
	for i := range found {
		v.Deliveries = append(v.Deliveries, labels.ledgerLine(&found[i]))
	}
	return s.render(w, r, "told", pageView{
		Title: "Who was told of " + row.Type, Says: "What every rule makes of this event, and what the ledger has of it.", Docs: "notifications", Active: "/events",
		Command: "tocsin rules test RULE --sequence " + row.Seq, Body: v,
	})
}
