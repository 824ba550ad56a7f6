package web

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// ruleView is the editor of one rule.
type ruleView struct {
	Tabs                    []link
	ID                      string // empty for a new one
	Said                    string
	Problem                 *problem
	Mistake                 *filterProblem
	MistakeAt, Fresh        string // the field with the mistake, and the row that was just added
	Form                    ruleForm
	IsAdmin                 bool
	Types                   []string // rows of the form, the last one empty
	Groups                  []string // likewise, of group_by
	Known, Users, Zones     []string // what browsers may complete
	Severities, Modes, Ways []choice
	Kinds                   []link // rows that can be added
	Policies                []policyView
	To                      recipientsView
	Quiet                   quietView
	Steps                   []stepView
	Preview                 *previewView
	Windows                 []choice
	JSON, Curl              string
}

type quietView struct{ Days, But []choice }

type policyView struct {
	At      string // prefix of the names of its fields
	Number  int
	Title   string
	Form    policyForm
	Refs    []choice // policies or groups to choose from
	Kinds   []choice // of events
	Failure []choice
	Fresh   bool
	Mistake *filterProblem
}

type recipientsView struct {
	At             string
	Groups, Levels []choice
	Users          string
	Form           recipientsForm
	OfEvent        bool // actor, subject and expression can be chosen
	Mistake        *filterProblem
}

type stepView struct {
	At     string
	Number int
	After  string
	To     recipientsView
	Ways   []choice
	Fresh  bool
}

// offeredMost bounds what a browser is given to complete from.
const offeredMost = 500

// getNewRule shows the form of a new rule.
func (s *Server) getNewRule(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "type", "filter", "transport")
	if q.err != nil {
		return q.err
	}
	x := notify.NewRule()
	x.Filter = q.text("filter")
	for name, list := range map[string]*[]string{"type": &x.Types, "transport": &x.Transports} {
		if text := q.text(name); text != "" {
			*list = []string{text}
		}
	}
	x.Recipients.AccessLevels = []string{string(identity.Administ)}
	return s.showRule(w, r, ruleView{Form: newRuleForm(&x, func(id string) string { return id })}, nil)
}

// getRulePage shows one rule.
func (s *Server) getRulePage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	v := ruleView{ID: r.PathValue("id"), Said: told(q, map[string]string{"made": "The rule is made, and counts from now on.", "saved": "The rule is saved, and counts from now on."})}
	if q.err != nil {
		return q.err
	}
	x, err := s.ruleOf(r)
	if err != nil {
		return err
	}
	labels, err := s.labels(r.Context())
	if err != nil {
		return err
	}
	v.Form = newRuleForm(&x.Value, labels.user)
	v.Form.Version = strconv.FormatInt(x.Version, 10)
	return s.showRule(w, r, v, nil)
}

// ruleOf is the rule that the path names.
func (s *Server) ruleOf(r *http.Request) (state.Record[notify.Rule], error) {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return state.Record[notify.Rule]{}, err
	}
	return s.Notify.GetRule(r.Context(), id)
}

// postRulePage saves a rule, or does what another button of its form asks for.
func (s *Server) postRulePage(w http.ResponseWriter, r *http.Request) error {
	form, act, err := readRuleForm(w, r)
	if err != nil {
		return err
	}
	v := ruleView{ID: r.PathValue("id"), Form: form}
	fresh, changed := v.Form.change(act)
	switch {
	case changed:
		v.Fresh = fresh
		return s.showRule(w, r, v, nil)
	case act == "preview" || act == "all":
		preview, err := s.preview(r, &v.Form, act == "all")
		if err != nil {
			return err
		}
		v.Preview = preview
		return s.showRule(w, r, v, nil)
	}
	rule, err := v.Form.rule(s.userID(r.Context()))
	if err != nil {
		return s.showRule(w, r, v, err)
	}
	if v.ID == "" {
		made, err := s.Notify.CreateRule(r.Context(), cause(r), rule)
		if err != nil {
			return s.showRule(w, r, v, err)
		}
		http.Redirect(w, r, "/rules/"+made.ID.String()+"?said=made", http.StatusSeeOther)
		return nil
	}
	id, err := state.ParseID(v.ID)
	if err != nil {
		return err
	}
	version, err := formVersion(form.Version)
	if err != nil {
		return err
	}
	if _, err := s.Notify.UpdateRule(r.Context(), cause(r), id, version, func(x *notify.Rule) error { *x = rule; return nil }); err != nil {
		return s.showRule(w, r, v, err)
	}
	http.Redirect(w, r, "/rules/"+v.ID+"?said=saved", http.StatusSeeOther)
	return nil
}

// userID gives the id of a user by name. Whom it does not know it gives back, so
// that the error names them.
func (s *Server) userID(ctx context.Context) func(string) string {
	var ids map[string]string
	return func(name string) string {
		if ids == nil {
			ids = map[string]string{}
			if _, err := s.eachUser(ctx, 0, func(u state.Record[identity.User]) bool { ids[u.Value.Username] = u.ID.String(); return true }); err != nil {
				return name
			}
		}
		if id := ids[name]; id != "" {
			return id
		}
		return name
	}
}

func (s *Server) showRule(w http.ResponseWriter, r *http.Request, v ruleView, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	if failed != nil {
		v.MistakeAt, v.Mistake = v.Form.mistake(failed)
	}
	if err := s.offer(r, &v); err != nil {
		return err
	}
	title, says := "New rule", "Which events are told, to whom, by which way, and how often."
	command := "tocsin rules list"
	if v.ID != "" {
		title, command = line(v.Form.Name), "tocsin rules show "+v.ID
	}
	if rule, err := v.Form.rule(s.userID(r.Context())); err == nil {
		if v.JSON, v.Curl, err = s.ruleRequest(v.ID, &rule); err != nil {
			return err
		}
	}
	return s.renderStatus(w, r, status, "rule", pageView{Title: title, Says: says, Docs: "notifications", Active: "/rules", Command: command, Body: v})
}

// ruleRequest is the request that does the same as saving.
func (s *Server) ruleRequest(id string, rule *notify.Rule) (body, curl string, err error) {
	doc, err := json.MarshalIndent(rule, "", "  ")
	if err != nil {
		return "", "", err
	}
	method, path := http.MethodPost, "/v1/rules"
	if id != "" {
		method, path = http.MethodPut, path+"/"+id
	}
	return plain(unescapeHTML.Replace(string(doc))), "curl -X " + method + ` -H "Authorization: Bearer $TOCSIN_TOKEN" -H "Content-Type: application/json" -d @rule.json ` + s.Base + path, nil
}

// offer fills in what can be chosen.
func (s *Server) offer(r *http.Request, v *ruleView) error {
	ctx, f := r.Context(), &v.Form
	labels, err := s.labels(ctx)
	if err != nil {
		return err
	}
	v.Tabs, v.IsAdmin = ruleTabs("/rules"), callerOf(r).principal.Can(identity.Admin)
	v.Types, v.Groups = append(slices.Clone(f.Types), ""), append(slices.Clone(f.GroupBy), "")
	if n := len(f.Types); n > 0 && f.Types[n-1] == "" {
		v.Types = f.Types
	}
	if n := len(f.GroupBy); n > 0 && f.GroupBy[n-1] == "" {
		v.Groups = f.GroupBy
	}
	routing, err := s.Notify.Routing(ctx)
	if err != nil {
		return err
	}
	for _, row := range routing.Rows {
		v.Known = append(v.Known, row.Type)
	}
	if v.IsAdmin {
		if _, err := s.eachUser(ctx, 0, func(u state.Record[identity.User]) bool {
			v.Users = append(v.Users, u.Value.Username)
			return len(v.Users) < offeredMost
		}); err != nil {
			return err
		}
	}
	v.Zones = []string{"UTC", "Europe/Berlin", "Europe/London", "Europe/Paris", "America/New_York", "America/Chicago", "America/Los_Angeles", "America/Sao_Paulo", "Asia/Kolkata", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney"}
	v.Severities, v.Ways = severityChoices(f.Severity, "any"), labels.wayChoices(f.Transports)
	v.Modes = []choice{{notify.All, "all of them hold", f.Mode == notify.All}, {notify.Any, "any of them holds", f.Mode == notify.Any || f.Mode == ""}, {notify.None, "none of them holds", f.Mode == notify.None}}
	for _, kind := range kindsOfPolicy() {
		v.Kinds = append(v.Kinds, link{Text: policyTitle(kind), Href: "add-" + kind})
	}
	v.Windows = windowChoices(r.PostFormValue("window"))
	for _, day := range []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"} {
		v.Quiet.Days = append(v.Quiet.Days, choice{day, day, slices.Contains(f.QuietDays, day)})
	}
	v.Quiet.But = severityChoices(f.QuietBut, "nothing")
	levels, err := s.levelChoices(ctx, "")
	if err != nil {
		return err
	}
	v.To = labels.recipientsView("recipients.", &f.To, levels, true)
	if v.MistakeAt == "recipients.expression" {
		v.To.Mistake = v.Mistake
	}
	for i := range f.Policies {
		p := labels.policyView(i, &f.Policies[i])
		p.Fresh = v.Fresh == strings.TrimSuffix(p.At, ".")
		if v.MistakeAt == p.At+"expression" {
			p.Mistake = v.Mistake
		}
		v.Policies = append(v.Policies, p)
	}
	for i := range f.Steps {
		at := "escalate." + strconv.Itoa(i) + "."
		v.Steps = append(v.Steps, stepView{at, i, f.Steps[i].After, labels.recipientsView(at, &f.Steps[i].To, levels, false), labels.wayChoices(f.Steps[i].Transports), v.Fresh+"." == at})
	}
	return nil
}

func severityChoices(now, none string) []choice {
	all := []choice{{"", none, now == ""}}
	for _, s := range event.Severities() {
		all = append(all, choice{s.String(), s.String(), now == s.String()})
	}
	return all
}

func (l *ruleLabels) wayChoices(on []string) []choice {
	var all []choice
	for _, id := range l.wayOrder {
		all = append(all, choice{id, l.ways[id] + " (" + l.modes[id] + ")", slices.Contains(on, id)})
	}
	for _, id := range on {
		if l.ways[id] == "" {
			all = append(all, choice{id, "transport " + line(id) + ", which is gone", true})
		}
	}
	return all
}

func (l *ruleLabels) recipientsView(at string, f *recipientsForm, levels []choice, ofEvent bool) recipientsView {
	v := recipientsView{At: at, Form: *f, OfEvent: ofEvent, Users: strings.Join(f.Users, ", "), Groups: l.groupChoices(f.Groups)}
	for _, c := range levels {
		c.On = slices.ContainsFunc(f.Levels, func(name string) bool { return name == c.Value })
		v.Levels = append(v.Levels, c)
	}
	return v
}

func (l *ruleLabels) groupChoices(on []string) []choice {
	var all []choice
	for id, name := range l.groups {
		all = append(all, choice{id, name, slices.Contains(on, id)})
	}
	slices.SortFunc(all, func(a, b choice) int { return strings.Compare(a.Text+"\x00"+a.Value, b.Text+"\x00"+b.Value) })
	return all
}

// policyTitle is what a kind of policy is called.
func policyTitle(kind string) string {
	return map[string]string{"matcher": "Matcher", "expression": "Expression", "policy": "Stored policy", "group": "Events of a group", "user": "Events of a user"}[kind]
}

func (l *ruleLabels) policyView(i int, p *policyForm) policyView {
	v := policyView{At: "policies." + strconv.Itoa(i) + ".", Number: i, Title: policyTitle(p.Kind), Form: *p}
	switch p.Kind {
	case "group":
		v.Refs = l.groupChoices([]string{p.Ref})
	case "policy":
		for _, id := range l.policyOrder {
			v.Refs = append(v.Refs, choice{id, l.policies[id], id == p.Ref})
		}
	}
	v.Kinds = kindChoices(p.EventKind)
	v.Failure = []choice{{"fail", "does not hold", p.OnFailure != "pass"}, {"pass", "holds", p.OnFailure == "pass"}}
	return v
}

func kindChoices(now string) []choice {
	all := []choice{{"", "any", now == ""}}
	for _, k := range event.Kinds() {
		all = append(all, choice{string(k), string(k), now == string(k)})
	}
	return all
}
