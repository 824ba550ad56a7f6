package web

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// policyLine is one stored policy, with the rules that use it.
type policyLine struct {
	ID, Name, Says string
	Log            bool
	Rules          []link
}

type policiesView struct {
	Tabs    []link
	Said    string
	Problem *problem
	Rows    []policyLine
	Empty   emptyState
	IsAdmin bool
}

// getPoliciesPage lists stored policies.
func (s *Server) getPoliciesPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	v := policiesView{Said: told(q, map[string]string{"made": "The policy is made: rules can use it now.", "saved": "The policy is saved, and counts for all its rules.", "deleted": "The policy is deleted."})}
	if q.err != nil {
		return q.err
	}
	return s.showPolicies(w, r, v, nil)
}

func (s *Server) showPolicies(w http.ResponseWriter, r *http.Request, v policiesView, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	uses := map[string][]link{}
	if _, err = s.eachRule(r.Context(), 0, func(x state.Record[notify.Rule]) bool {
		for _, b := range x.Value.Policies {
			l := link{Text: line(x.Value.Name), Href: "/rules/" + x.ID.String()}
			if b.Policy != "" && !slices.Contains(uses[b.Policy], l) {
				uses[b.Policy] = append(uses[b.Policy], l)
			}
		}
		return true
	}); err != nil {
		return err
	}
	found, err := s.Notify.ListPolicies(r.Context(), 0, maxPage)
	if err != nil {
		return err
	}
	for _, p := range found {
		l := policyLine{ID: p.ID.String(), Name: line(p.Value.Name), Says: line(p.Value.Expression), Log: p.Value.LogExecutions, Rules: uses[p.ID.String()]}
		if p.Value.Matcher != nil {
			l.Says = line(matcherInWords(p.Value.Matcher))
		}
		v.Rows = append(v.Rows, l)
	}
	v.Tabs, v.IsAdmin = ruleTabs("/policies"), callerOf(r).principal.Can(identity.Admin)
	v.Empty = emptyState{Says: "There is none yet. A policy is a condition with a name; a rule can use several, and a change counts for all of them."}
	return s.renderStatus(w, r, status, "policies", pageView{
		Title: "Policies", Says: "Conditions that several rules use.", Docs: "notifications", Active: "/rules", Command: s.getCommand("/v1/policies"), Body: v,
	})
}

// getCommand is the request that reads what a page shows.
func (s *Server) getCommand(path string) string {
	return `curl -H "Authorization: Bearer $TOCSIN_TOKEN" ` + s.Base + path
}

// policyPage is the form of one stored policy.
type policyPage struct {
	Tabs      []link
	ID        string
	Version   string
	Name      string
	Log       bool
	Problem   *problem
	Mistake   *filterProblem
	Form      policyForm
	Kinds     []choice
	Known     []string
	ByMatcher bool
	IsAdmin   bool
	Rules     []link
}

// getNewPolicy shows the form of a new policy.
func (s *Server) getNewPolicy(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	return s.showPolicy(w, r, policyPage{}, nil)
}

// getPolicyPage shows one stored policy.
func (s *Server) getPolicyPage(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	p, err := s.Notify.GetPolicy(r.Context(), id)
	if err != nil {
		return err
	}
	v := policyPage{ID: id.String(), Version: strconv.FormatInt(p.Version, 10), Name: p.Value.Name, Log: p.Value.LogExecutions, Form: policyForm{Expression: p.Value.Expression}}
	if p.Value.Matcher != nil {
		v.Form.setMatcher(p.Value.Matcher)
	}
	return s.showPolicy(w, r, v, nil)
}

func (s *Server) showPolicy(w http.ResponseWriter, r *http.Request, v policyPage, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	if bad, ok := asFilterError(failed); ok {
		v.Mistake = pointAt(v.Form.Expression, bad)
		v.Mistake.Msg = positionText(bad) + ": " + v.Mistake.Msg
	}
	title, command := "New policy", s.getCommand("/v1/policies")
	if v.ID != "" {
		title, command = line(v.Name), s.getCommand("/v1/policies/"+v.ID)
	}
	v.Tabs, v.IsAdmin, v.Kinds = ruleTabs("/policies"), callerOf(r).principal.Can(identity.Admin), kindChoices(v.Form.EventKind)
	v.ByMatcher = *v.Form.matcher() != notify.Matcher{}
	for _, e := range s.Catalog.All() {
		v.Known = append(v.Known, string(e.Type))
	}
	return s.renderStatus(w, r, status, "policy", pageView{
		Title: title, Says: "A condition that several rules use: a matcher, or an expression.", Docs: "notifications", Active: "/rules", Command: command, Body: v,
	})
}

// postPolicyPage makes or changes a policy.
func (s *Server) postPolicyPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "version", "name", "log_executions", "expression", "type", "event_kind", "producer", "model", "client_ip", "brand")
	if err != nil {
		return err
	}
	f := formReader{values: form, used: map[string]bool{}}
	v := policyPage{ID: r.PathValue("id"), Version: f.one("version"), Name: f.one("name"), Log: f.flag("log_executions"), Form: policyForm{
		Expression: f.one("expression"), Type: f.one("type"), EventKind: f.one("event_kind"), Producer: f.one("producer"), Model: f.one("model"), ClientIP: f.one("client_ip"), Brand: f.one("brand"),
	}}
	p := notify.Policy{Name: v.Name, Expression: v.Form.Expression, LogExecutions: v.Log}
	if m := v.Form.matcher(); *m != (notify.Matcher{}) {
		p.Matcher = m
	}
	said := "made"
	if v.ID == "" {
		_, err = s.Notify.CreatePolicy(r.Context(), cause(r), p)
	} else {
		said = "saved"
		err = s.savePolicy(r, v.ID, v.Version, p)
	}
	if err != nil {
		return s.showPolicy(w, r, v, err)
	}
	http.Redirect(w, r, "/policies?said="+said, http.StatusSeeOther)
	return nil
}

func (s *Server) savePolicy(r *http.Request, id, version string, p notify.Policy) error {
	object, err := state.ParseID(id)
	if err != nil {
		return event.NotFoundf("there is no policy %q", id)
	}
	seen, err := formVersion(version)
	if err != nil {
		return err
	}
	_, err = s.Notify.UpdatePolicy(r.Context(), cause(r), object, seen, func(x *notify.Policy) error { *x = p; return nil })
	return err
}

// postDeletePolicy removes a policy that no rule uses.
func (s *Server) postDeletePolicy(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	if err := s.Notify.DeletePolicy(r.Context(), cause(r), id, state.AnyVersion); err != nil {
		return s.showPolicies(w, r, policiesView{}, err)
	}
	http.Redirect(w, r, "/policies?said=deleted", http.StatusSeeOther)
	return nil
}
