package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/notify"
)

// ruleForm is a rule as a form has it: what was typed, also where it is wrong.
// Every row that can be added or removed is in it, so that no script is needed.
type ruleForm struct {
	Version                      string
	Name, Severity, Filter, Mode string
	Enabled                      bool
	Types                        []string
	Policies                     []policyForm
	To                           recipientsForm
	Transports                   []string

	GroupBy                                 []string
	GroupIn                                 string // which part of the rule has them: threshold, absence, or the rule itself
	Count, Within, Absence, Repeat, Digest  string
	QuietFrom, QuietTo, QuietZone, QuietBut string
	QuietDays                               []string
	Over                                    []string // types of events that end it
	OverFilter                              string
	Steps                                   []stepForm
	LogExecutions, Routing                  bool
}

// policyForm is one policy of a rule. Kind says which of the rest counts.
type policyForm struct {
	Kind                                              string // matcher, expression, policy, group or user
	Ref, Expression, Timeout, Order, OnFailure        string
	Type, EventKind, Producer, Model, ClientIP, Brand string
	Negate                                            bool
}

type recipientsForm struct {
	Groups, Users, Levels []string // users by name, or by id
	Actor, Subject        bool
	Expression            string
}

type stepForm struct {
	After      string
	To         recipientsForm
	Transports []string
}

// kindsOfPolicy are the rows that a rule can have.
func kindsOfPolicy() []string { return []string{"matcher", "expression", "policy", "group", "user"} }

// newRuleForm is the form of a rule; who gives the name of a user by id.
func newRuleForm(r *notify.Rule, who func(string) string) ruleForm {
	f := ruleForm{
		Name: r.Name, Severity: r.Severity, Filter: r.Filter, Mode: r.Mode, Enabled: r.Enabled, Types: r.Types, Transports: r.Transports, GroupBy: r.GroupBy,
		To: newRecipientsForm(&r.Recipients, who), Repeat: durationText(r.RepeatEvery), Digest: durationText(r.DigestEvery), LogExecutions: r.LogExecutions, Routing: r.Routing,
	}
	if t := r.Threshold; t != nil {
		f.Count, f.Within = strconv.Itoa(t.Count), t.Within.String()
		if len(t.GroupBy) > 0 {
			f.GroupBy, f.GroupIn = t.GroupBy, "threshold"
		}
	}
	if a := r.Absence; a != nil {
		f.Absence = a.Within.String()
		if len(a.GroupBy) > 0 {
			f.GroupBy, f.GroupIn = a.GroupBy, "absence"
		}
	}
	if r.Resolve != nil {
		f.Over, f.OverFilter = r.Resolve.Types, r.Resolve.Filter
	}
	if q := r.QuietHours; q != nil {
		f.QuietFrom, f.QuietTo, f.QuietZone, f.QuietBut, f.QuietDays = q.From, q.To, q.Timezone, q.Except, q.Days
	}
	for _, b := range r.Policies {
		f.Policies = append(f.Policies, newPolicyForm(&b, who))
	}
	for _, s := range r.Escalate {
		f.Steps = append(f.Steps, stepForm{s.After.String(), newRecipientsForm(&s.Recipients, who), s.Transports})
	}
	return f
}

func durationText(d config.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func newRecipientsForm(r *notify.Recipients, who func(string) string) recipientsForm {
	f := recipientsForm{Groups: r.Groups, Levels: r.AccessLevels, Actor: r.Actor, Subject: r.Subject, Expression: r.Expression}
	for _, id := range r.Users {
		f.Users = append(f.Users, who(id))
	}
	return f
}

func newPolicyForm(b *notify.Binding, who func(string) string) policyForm {
	p := policyForm{Kind: "expression", Expression: b.Expression, Negate: b.Negate, Timeout: durationText(b.Timeout), OnFailure: b.OnFailure}
	if b.Order != 0 {
		p.Order = strconv.Itoa(b.Order)
	}
	switch {
	case b.Policy != "":
		p.Kind, p.Ref = "policy", b.Policy
	case b.Group != "":
		p.Kind, p.Ref = "group", b.Group
	case b.User != "":
		p.Kind, p.Ref = "user", who(b.User)
	case b.Matcher != nil:
		p.Kind = "matcher"
		p.setMatcher(b.Matcher)
	}
	return p
}

func (p *policyForm) setMatcher(m *notify.Matcher) {
	p.Type, p.EventKind, p.Producer, p.Model, p.ClientIP, p.Brand = m.Type, m.Kind, m.Producer, m.Model, m.ClientIP, m.Brand
}

func (p *policyForm) matcher() *notify.Matcher {
	return &notify.Matcher{Type: p.Type, Kind: p.EventKind, Producer: p.Producer, Model: p.Model, ClientIP: p.ClientIP, Brand: p.Brand}
}

// maxRuleForm is the largest form of a rule, in bytes.
const maxRuleForm = 1 << 20

// rowField is a field of a row: its list, its number, its name.
var rowField = regexp.MustCompile(`^(policies|escalate)\.(\d{1,3})\.([a-z_]+)$`)

// readRuleForm reads the form of a rule, and the act that its button asks for.
// Fields that it does not know are refused.
func readRuleForm(w http.ResponseWriter, r *http.Request) (f ruleForm, act string, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxRuleForm)
	if err := r.ParseForm(); err != nil {
		return f, "", event.Invalidf("form: %w", err)
	}
	v := formReader{values: r.PostForm, used: map[string]bool{}}
	f = ruleForm{
		Version: v.one("version"), Name: v.one("name"), Severity: v.one("severity"), Filter: v.one("filter"), Mode: v.one("mode"), Enabled: v.flag("enabled"),
		Types: v.words("types"), To: v.recipients("recipients."), Transports: v.list("transports"), GroupBy: v.list("group_by"), GroupIn: v.one("group_in"),
		Count: v.one("threshold.count"), Within: v.one("threshold.within"), Absence: v.one("absence.within"), Repeat: v.one("repeat_every"), Digest: v.one("digest_every"),
		QuietFrom: v.one("quiet.from"), QuietTo: v.one("quiet.to"), QuietZone: v.one("quiet.timezone"), QuietBut: v.one("quiet.except"), QuietDays: v.list("quiet.days"),
		Over: v.words("resolve.types"), OverFilter: v.one("resolve.filter"),
		LogExecutions: v.flag("log_executions"), Routing: v.flag("routing"),
	}
	v.one("window")
	for _, at := range v.rows("policies") {
		f.Policies = append(f.Policies, policyForm{
			Kind: v.one(at + "kind"), Ref: v.one(at + "ref"), Expression: v.one(at + "expression"), Timeout: v.one(at + "timeout"), Order: v.one(at + "order"), OnFailure: v.one(at + "on_failure"),
			Type: v.one(at + "type"), EventKind: v.one(at + "event_kind"), Producer: v.one(at + "producer"), Model: v.one(at + "model"), ClientIP: v.one(at + "client_ip"), Brand: v.one(at + "brand"),
			Negate: v.one(at+"negate") == "true",
		})
	}
	for _, at := range v.rows("escalate") {
		f.Steps = append(f.Steps, stepForm{v.one(at + "after"), v.recipients(at), v.list(at + "transports")})
	}
	act = v.one("act")
	return f, act, v.unknown()
}

// formReader reads a form and notes what it was asked for.
type formReader struct {
	values url.Values
	used   map[string]bool
}

func (v *formReader) one(name string) string {
	v.used[name] = true
	return strings.TrimSpace(strings.ReplaceAll(v.values.Get(name), "\r\n", "\n"))
}

func (v *formReader) flag(name string) bool { return v.one(name) != "" }

// list are the values of a name that are not empty.
func (v *formReader) list(name string) []string {
	v.used[name] = true
	var all []string
	for _, text := range v.values[name] {
		if text = strings.TrimSpace(text); text != "" && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all
}

// words are the same, split at commas and blanks.
func (v *formReader) words(name string) []string {
	var all []string
	for _, text := range v.list(name) {
		for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' || r == '\r' }) {
			if !slices.Contains(all, word) {
				all = append(all, word)
			}
		}
	}
	return all
}

func (v *formReader) recipients(at string) recipientsForm {
	return recipientsForm{
		Groups: v.list(at + "groups"), Users: v.words(at + "users"), Levels: v.list(at + "access_levels"),
		Actor: v.flag(at + "actor"), Subject: v.flag(at + "subject"), Expression: v.one(at + "expression"),
	}
}

// rows are the prefixes of the rows of a list, in their order.
func (v *formReader) rows(of string) []string {
	var numbers []int
	for name := range v.values {
		m := rowField.FindStringSubmatch(name)
		if m == nil || m[1] != of {
			continue
		}
		if n, err := strconv.Atoi(m[2]); err == nil && !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	all := make([]string, len(numbers))
	for i, n := range numbers {
		all[i] = of + "." + strconv.Itoa(n) + "."
	}
	return all
}

func (v *formReader) unknown() error {
	for name := range v.values {
		if !v.used[name] {
			return event.Invalidf("form: unknown field %q", clipTo(name, clipLine))
		}
	}
	return nil
}

// change does what a button other than Save asks for: a row more, or less. It
// reports whether act is one of these, and where the new row is.
func (f *ruleForm) change(act string) (fresh string, ok bool) {
	verb, rest, _ := strings.Cut(act, "-")
	what, number, _ := strings.Cut(rest, "-")
	at, wrong := strconv.ParseUint(number, 10, 16)
	switch {
	case verb == "add" && slices.Contains(kindsOfPolicy(), what):
		f.Policies = append(f.Policies, policyForm{Kind: what, OnFailure: "fail"})
		return "policies." + strconv.Itoa(len(f.Policies)-1), true
	case act == "add-step":
		f.Steps = append(f.Steps, stepForm{})
		return "escalate." + strconv.Itoa(len(f.Steps)-1), true
	case act == "add-type":
		f.Types = append(f.Types, "")
		return "types", true
	case act == "add-group-by":
		f.GroupBy = append(f.GroupBy, "")
		return "group_by", true
	case act == "drop-policy-"+number && wrong == nil && int(at) < len(f.Policies):
		f.Policies = slices.Delete(f.Policies, int(at), int(at)+1)
		return "", true
	case act == "drop-step-"+number && wrong == nil && int(at) < len(f.Steps):
		f.Steps = slices.Delete(f.Steps, int(at), int(at)+1)
		return "", true
	}
	return "", false
}

// rule makes a rule of what was typed. id gives the id of a user by name.
func (f *ruleForm) rule(id func(string) string) (notify.Rule, error) {
	var problems []error
	duration := func(field, text string) (d config.Duration) {
		if text != "" {
			if err := d.UnmarshalText([]byte(text)); err != nil {
				problems = append(problems, event.Invalidf("%s: %w", field, err))
			}
		}
		return d
	}
	whole := func(field, text string) int {
		n, err := strconv.Atoi(cmp.Or(text, "0"))
		if err != nil {
			problems = append(problems, event.Invalidf("%s: %q is no whole number", field, text))
		}
		return n
	}
	r := notify.Rule{
		Name: f.Name, Enabled: f.Enabled, Severity: f.Severity, Types: f.Types, Filter: f.Filter, Mode: f.Mode, Recipients: f.To.recipients(id), Transports: f.Transports,
		GroupBy: f.GroupBy, RepeatEvery: duration("repeat_every", f.Repeat), DigestEvery: duration("digest_every", f.Digest), LogExecutions: f.LogExecutions, Routing: f.Routing,
	}
	if f.Count != "" || f.Within != "" {
		r.Threshold = &notify.Threshold{Count: whole("threshold.count", f.Count), Within: duration("threshold.within", f.Within)}
	}
	if f.Absence != "" {
		r.Absence = &notify.Absence{Within: duration("absence.within", f.Absence)}
	}
	if len(f.Over) > 0 || f.OverFilter != "" {
		r.Resolve = &notify.Resolve{Types: f.Over, Filter: f.OverFilter}
	}
	switch { // where they stood, so that what the rule remembers goes on
	case f.GroupIn == "threshold" && r.Threshold != nil:
		r.Threshold.GroupBy, r.GroupBy = f.GroupBy, nil
	case f.GroupIn == "absence" && r.Absence != nil:
		r.Absence.GroupBy, r.GroupBy = f.GroupBy, nil
	}
	if f.QuietFrom != "" || f.QuietTo != "" {
		r.QuietHours = &notify.QuietHours{Timezone: f.QuietZone, From: f.QuietFrom, To: f.QuietTo, Days: f.QuietDays, Except: f.QuietBut}
	}
	for i := range f.Policies {
		p, at := &f.Policies[i], "policies["+strconv.Itoa(i)+"]."
		b := p.binding(id)
		b.Timeout, b.Order = duration(at+"timeout", p.Timeout), whole(at+"order", p.Order)
		r.Policies = append(r.Policies, b)
	}
	for i, s := range f.Steps {
		r.Escalate = append(r.Escalate, notify.Step{After: duration("escalate["+strconv.Itoa(i)+"].after", s.After), Recipients: s.To.recipients(id), Transports: s.Transports})
	}
	return r, errors.Join(problems...)
}

func (t *recipientsForm) recipients(id func(string) string) notify.Recipients {
	r := notify.Recipients{Groups: t.Groups, AccessLevels: t.Levels, Actor: t.Actor, Subject: t.Subject, Expression: t.Expression}
	for _, name := range t.Users {
		r.Users = append(r.Users, id(name))
	}
	return r
}

func (p *policyForm) binding(id func(string) string) notify.Binding {
	b := notify.Binding{Negate: p.Negate, OnFailure: p.OnFailure}
	switch p.Kind {
	case "matcher":
		b.Matcher = p.matcher()
	case "policy":
		b.Policy = p.Ref
	case "group":
		b.Group = p.Ref
	case "user":
		b.User = id(p.Ref)
	default:
		b.Expression = p.Expression
	}
	return b
}

// at finds the field that an error speaks of, by the words with which it begins,
// and the text in it.
func (f *ruleForm) at(err error) (field, text string) {
	said := err.Error()
	if strings.HasPrefix(said, "filter:") {
		return "filter", f.Filter
	}
	if strings.HasPrefix(said, "resolve.filter:") {
		return "resolve.filter", f.OverFilter
	}
	if strings.HasPrefix(said, "recipients.expression:") {
		return "recipients.expression", f.To.Expression
	}
	name, rest, _ := strings.Cut(said, "[")
	number, _, _ := strings.Cut(rest, "]")
	i, bad := strconv.Atoi(number)
	switch {
	case bad != nil:
	case name == "policies" && i < len(f.Policies):
		return "policies." + number + ".expression", f.Policies[i].Expression
	case name == "group_by" && i < len(f.GroupBy):
		return "group_by", f.GroupBy[i]
	}
	return "", ""
}

// mistake shows a wrong expression where it was typed, with a mark below the
// place; nil where the error is of another kind.
func (f *ruleForm) mistake(err error) (field string, shown *filterProblem) {
	bad, ok := asFilterError(err)
	if !ok {
		return "", nil
	}
	field, text := f.at(err)
	if field == "" {
		return "", nil
	}
	shown = pointAt(text, bad)
	shown.Msg = positionText(bad) + ": " + shown.Msg
	return field, shown
}

func positionText(bad *filter.Error) string {
	return "line " + strconv.Itoa(bad.Line) + ", column " + strconv.Itoa(bad.Column)
}
