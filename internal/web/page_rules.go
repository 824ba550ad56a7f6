package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// ruleTabs are the pages about what is told; at is the one that is open.
func ruleTabs(at string) []link {
	tabs := []link{{Text: "Rules", Href: "/rules"}, {Text: "Routing", Href: "/routing"}, {Text: "Policies", Href: "/policies"}}
	for i := range tabs {
		tabs[i].On = tabs[i].Href == at
	}
	return tabs
}

// ruleLine is one rule in a list, in words.
type ruleLine struct {
	ID, Name, Severity, Types string
	Enabled, Routing          bool
	Conditions, Ways, To      []string
	Told, Suppressed          int
}

type rulesView struct {
	Tabs    []link
	Query   string
	Narrow  string // what of the routing page the list is narrowed down to
	Said    string
	Problem *problem
	Rows    []ruleLine
	More    string
	Empty   emptyState
	IsAdmin bool
}

const rulesPerPage = 200

// getRulesPage lists rules, those with some words alone where they are given, or
// those that touch a cell of the routing page.
func (s *Server) getRulesPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "q", "after", "said", "type", "transport")
	v := rulesView{Query: q.text("q"), Said: told(q, map[string]string{"deleted": "The rule is deleted. What it has told stays in the ledger.", "on": "The rule tells again.", "off": "The rule is off and tells nothing."})}
	after, err := state.ObjectID(0), q.err
	if text := q.text("after"); text != "" && err == nil {
		after, err = state.ParseID(text)
	}
	if err != nil {
		return err
	}
	return s.showRules(w, r, v, after, nil)
}

func (s *Server) showRules(w http.ResponseWriter, r *http.Request, v rulesView, after state.ObjectID, failed error) error {
	ctx := r.Context()
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	labels, err := s.labels(ctx)
	if err != nil {
		return err
	}
	counts, err := s.Notify.CountTold(ctx, time.Now().Add(-24*time.Hour))
	if err != nil {
		return err
	}
	pattern, way := r.URL.Query().Get("type"), r.URL.Query().Get("transport")
	if pattern != "" || way != "" {
		v.Narrow = line("with " + cmp.Or(pattern, "any type") + " and " + cmp.Or(labels.ways[way], "any transport"))
	}
	last, err := s.eachRule(ctx, after, func(x state.Record[notify.Rule]) bool {
		l := labels.line(&x)
		c := counts[x.ID]
		l.Told, l.Suppressed = c.Told, c.Suppressed
		if touches(&x.Value, pattern, way) && l.mentions(v.Query) {
			v.Rows = append(v.Rows, l)
		}
		return len(v.Rows) < rulesPerPage
	})
	if err != nil {
		return err
	}
	if last != 0 {
		v.More = search{}.href("/rules", "q", v.Query, "type", pattern, "transport", way, "after", last.String())
	}
	v.Tabs, v.IsAdmin = ruleTabs("/rules"), callerOf(r).principal.Can(identity.Admin)
	v.Empty = emptyState{Says: "No rule is like that."}
	if v.Query == "" && v.Narrow == "" {
		v.Empty = emptyState{"There is no rule: nobody is told of anything. Make one here, or set a cell of the routing page.", ""}
	}
	return s.renderStatus(w, r, status, "rules", pageView{Title: "Rules", Says: "Which events are told, to whom, by which way, and how often.", Docs: "notifications", Active: "/rules", Command: "tocsin rules list", Body: v})
}

// eachRule walks over rules behind an id until do wants no more, and returns the
// id of the last one it has seen, or 0 at the end.
func (s *Server) eachRule(ctx context.Context, after state.ObjectID, do func(state.Record[notify.Rule]) bool) (state.ObjectID, error) {
	for {
		found, err := s.Notify.ListRules(ctx, after, maxPage)
		if err != nil {
			return 0, err
		}
		for _, x := range found {
			after = x.ID
			if !do(x) {
				return after, nil
			}
		}
		if len(found) < maxPage {
			return 0, nil
		}
	}
}

// touches reports whether a rule may tell of a type by a transport.
func touches(r *notify.Rule, pattern, way string) bool {
	if way != "" && !slices.Contains(r.Transports, way) {
		return false
	}
	return pattern == "" || len(r.Types) == 0 || slices.ContainsFunc(r.Types, func(t string) bool { return notify.Overlap(t, pattern) })
}

// mentions reports whether every word is in what a list says of a rule.
func (l *ruleLine) mentions(words string) bool {
	if words == "" {
		return true
	}
	text := l.Name + " " + l.Severity + " " + l.Types + " " + strings.Join(slices.Concat(l.Conditions, l.Ways, l.To), " ")
	if !l.Enabled {
		text += " off"
	}
	text = strings.ToLower(text)
	for word := range strings.FieldsSeq(strings.ToLower(words)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// ruleLabels are the names of what rules are made of, by id.
type ruleLabels struct {
	ways, modes, groups, policies map[string]string
	wayOrder, policyOrder         []string
	user                          func(id string) string
}

// labels reads them. Users are looked up as they are needed.
func (s *Server) labels(ctx context.Context) (*ruleLabels, error) {
	l := &ruleLabels{ways: map[string]string{}, modes: map[string]string{}, policies: map[string]string{}}
	ways, err := s.Notify.ListTransports(ctx, 0, maxPage)
	if err != nil {
		return nil, err
	}
	for _, t := range ways {
		id := t.ID.String()
		l.ways[id], l.modes[id] = line(t.Value.Name), t.Value.Mode
		l.wayOrder = append(l.wayOrder, id)
	}
	stored, err := s.Notify.ListPolicies(ctx, 0, maxPage)
	if err != nil {
		return nil, err
	}
	for _, p := range stored {
		l.policies[p.ID.String()] = line(p.Value.Name)
		l.policyOrder = append(l.policyOrder, p.ID.String())
	}
	if l.groups, err = s.groupNames(ctx); err != nil {
		return nil, err
	}
	known := map[string]string{}
	l.user = func(text string) string {
		if name, ok := known[text]; ok {
			return name
		}
		name := text // of somebody who is gone, the number is all there is
		if id, err := state.ParseID(text); err == nil {
			if u, err := s.Identity.GetUser(ctx, id); err == nil {
				name = u.Value.Username
			}
		}
		known[text] = name
		return name
	}
	return l, nil
}

func namesFor(ids []string, names map[string]string, kind string) []string {
	var all []string
	for _, id := range ids {
		all = append(all, cmp.Or(names[id], kind+" "+id+", which is gone"))
	}
	return all
}

// line puts a rule into words.
func (l *ruleLabels) line(x *state.Record[notify.Rule]) ruleLine {
	r := &x.Value
	out := ruleLine{
		ID: x.ID.String(), Name: line(r.Name), Severity: cmp.Or(r.Severity, "info"), Types: line(cmp.Or(strings.Join(r.Types, ", "), "all types")), Enabled: r.Enabled, Routing: r.Routing,
		Conditions: conditionsInWords(r, l), Ways: namesFor(r.Transports, l.ways, "transport"), To: l.recipients(&r.Recipients),
	}
	personal := slices.ContainsFunc(r.Transports, func(id string) bool { return isPersonalMode(l.modes[id]) })
	switch {
	case len(r.Transports) == 0:
		out.To = []string{"nobody: it has no transport"}
	case !personal:
		out.To = []string{"the destination of the transport"}
	case len(out.To) == 0:
		out.To = []string{"nobody: it has no recipient"}
	}
	return out
}

func isPersonalMode(mode string) bool {
	for _, m := range notify.Modes() {
		if m.Name == mode {
			return m.Personal
		}
	}
	return false
}

// recipients puts into words who is told.
func (l *ruleLabels) recipients(r *notify.Recipients) []string {
	var all []string
	for _, level := range r.AccessLevels {
		all = append(all, line("everybody with access level "+level))
	}
	for _, g := range namesFor(r.Groups, l.groups, "group") {
		all = append(all, "group "+g)
	}
	for _, u := range r.Users {
		all = append(all, line(l.user(u)))
	}
	if r.Actor {
		all = append(all, "who did it")
	}
	if r.Subject {
		all = append(all, "whom it is about")
	}
	if r.Expression != "" {
		all = append(all, line("who "+r.Expression+" names"))
	}
	return all
}

// conditionsInWords is what else must hold, and how often it is told.
func conditionsInWords(r *notify.Rule, l *ruleLabels) []string {
	var all []string
	if r.Filter != "" {
		all = append(all, line(r.Filter))
	}
	for i, b := range r.Policies {
		word := map[string]string{notify.All: "and ", notify.Any: "or ", notify.None: "nor "}[r.Mode]
		if i == 0 {
			word = map[string]string{notify.None: "not "}[r.Mode]
		}
		all = append(all, line(word+bindingInWords(&b, l)))
	}
	groups := r.GroupBy
	if t := r.Threshold; t != nil {
		all = append(all, strconv.Itoa(t.Count)+" events in "+t.Within.String())
		groups = slices.Concat(groups, t.GroupBy)
	}
	if a := r.Absence; a != nil {
		all = append(all, "nothing for "+a.Within.String())
		groups = slices.Concat(groups, a.GroupBy)
	}
	if r.Resolve != nil {
		all = append(all, line("until "+strings.Join(r.Resolve.Types, ", ")))
	}
	if r.RepeatEvery > 0 {
		all = append(all, "the first at once, then at most every "+r.RepeatEvery.String())
	}
	if r.DigestEvery > 0 {
		all = append(all, "all of "+r.DigestEvery.String()+" together")
	}
	if len(groups) > 0 {
		all = append(all, line("for each "+strings.Join(groups, ", ")))
	}
	if q := r.QuietHours; q != nil {
		all = append(all, line("quiet from "+q.From+" to "+q.To+" "+cmp.Or(q.Timezone, "UTC")))
	}
	if len(r.Escalate) > 0 {
		all = append(all, "told again until somebody acknowledges, "+strconv.Itoa(len(r.Escalate))+" times at most")
	}
	return all
}

// bindingInWords is one policy of a rule.
func bindingInWords(b *notify.Binding, l *ruleLabels) string {
	var text string
	switch {
	case b.Policy != "":
		text = "policy " + cmp.Or(l.policies[b.Policy], b.Policy+", which is gone")
	case b.Group != "":
		text = "events of group " + cmp.Or(l.groups[b.Group], b.Group+", which is gone")
	case b.User != "":
		text = "events of " + l.user(b.User)
	case b.Matcher != nil:
		text = matcherInWords(b.Matcher)
	default:
		text = b.Expression
	}
	if b.Negate {
		return "not (" + text + ")"
	}
	return text
}

func matcherInWords(m *notify.Matcher) string {
	var parts []string
	for _, p := range []pair{{"type", m.Type}, {"kind", m.Kind}, {"producer", m.Producer}, {"model", m.Model}, {"address", m.ClientIP}, {"brand", m.Brand}} {
		if p.Value != "" {
			parts = append(parts, p.Name+" "+p.Value)
		}
	}
	return strings.Join(parts, " and ")
}

// postRuleState switches a rule on or off.
func (s *Server) postRuleState(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "enabled")
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	on := form.Get("enabled") == "true"
	if _, err = s.Notify.UpdateRule(r.Context(), cause(r), id, state.AnyVersion, func(x *notify.Rule) error { x.Enabled = on; return nil }); err != nil {
		return s.showRules(w, r, rulesView{}, 0, err)
	}
	http.Redirect(w, r, "/rules?said="+map[bool]string{true: "on", false: "off"}[on], http.StatusSeeOther)
	return nil
}

// postDeleteRule removes a rule.
func (s *Server) postDeleteRule(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	if err := s.Notify.DeleteRule(r.Context(), cause(r), id, state.AnyVersion); err != nil {
		return s.showRules(w, r, rulesView{}, 0, err)
	}
	http.Redirect(w, r, "/rules?said=deleted", http.StatusSeeOther)
	return nil
}
