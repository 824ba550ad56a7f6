package notify

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Rule says which events are told, to whom, by which ways, and how often.
type Rule struct {
	Name     string   `json:"name"`
	Enabled  bool     `json:"enabled"`
	Severity string   `json:"severity"` // the least; empty for any
	Types    []string `json:"types"`    // patterns; none for any
	Filter   string   `json:"filter"`   // CEL

	Mode     string    `json:"mode"` // how policies are combined: all, any or none of them
	Policies []Binding `json:"policies"`

	Recipients Recipients `json:"recipients"`
	Transports []string   `json:"transports"` // ids

	GroupBy     []string        `json:"group_by"` // expressions; each value has a memory of its own
	Threshold   *Threshold      `json:"threshold"`
	Absence     *Absence        `json:"absence"`
	Resolve     *Resolve        `json:"resolve"`
	RepeatEvery config.Duration `json:"repeat_every"` // the first is told at once, then at most one message in this time
	DigestEvery config.Duration `json:"digest_every"` // all are told together, this long after the first
	QuietHours  *QuietHours     `json:"quiet_hours"`
	Escalate    []Step          `json:"escalate"`

	LogExecutions bool `json:"log_executions"` // raise policy_execution
	Routing       bool `json:"routing"`        // made on the routing page: its channels hear an event once
}

// Threshold wants a number of events within a time.
type Threshold struct {
	Count   int             `json:"count"`
	Within  config.Duration `json:"within"`
	GroupBy []string        `json:"group_by"`
}

// Absence tells that no event came for a time. Groups are known from their first
// event on.
type Absence struct {
	Within  config.Duration `json:"within"`
	GroupBy []string        `json:"group_by"`
}

// Resolve names the events that end what a rule has told, in the same group: that
// is told, too, and nobody is waited for any more.
type Resolve struct {
	Types  []string `json:"types"`  // patterns
	Filter string   `json:"filter"` // CEL
}

// Step is one more round of telling where nobody has acknowledged.
type Step struct {
	After      config.Duration `json:"after"` // since the round before
	Recipients Recipients      `json:"recipients"`
	Transports []string        `json:"transports"` // none for those of the rule
}

// Recipients are who is told by ways that need a person.
type Recipients struct {
	Groups       []string `json:"groups"`        // ids
	Users        []string `json:"users"`         // ids
	AccessLevels []string `json:"access_levels"` // such as admin: everybody who has it
	Actor        bool     `json:"actor"`         // who did it
	Subject      bool     `json:"subject"`       // the user that it is about
	Expression   string   `json:"expression"`    // CEL: a list of usernames or ids
}

// ofEvent reports whether the recipients differ from event to event.
func (r *Recipients) ofEvent() bool { return r.Actor || r.Subject || r.Expression != "" }

// Binding is one policy of a rule: a stored one, a user or group whose events
// pass, or a condition of its own.
type Binding struct {
	Policy     string   `json:"policy,omitempty"` // id of a stored one
	Group      string   `json:"group,omitempty"`  // id
	User       string   `json:"user,omitempty"`   // id
	Matcher    *Matcher `json:"matcher,omitempty"`
	Expression string   `json:"expression,omitempty"`

	Negate    bool            `json:"negate"`
	Order     int             `json:"order"`
	Timeout   config.Duration `json:"timeout"`    // 0 is a second
	OnFailure string          `json:"on_failure"` // fail, or pass: the result when it can't be evaluated; never negated
}

// Matcher wants all of its configured fields to match.
type Matcher struct {
	Type     string `json:"type,omitempty"` // pattern
	Kind     string `json:"kind,omitempty"`
	Producer string `json:"producer,omitempty"` // last part of the source, or all of it
	Model    string `json:"model,omitempty"`    // model_name, or app.model_name
	ClientIP string `json:"client_ip,omitempty"`
	Brand    string `json:"brand,omitempty"`
}

// Policy is a condition that several rules use.
type Policy struct {
	Name          string   `json:"name"`
	Matcher       *Matcher `json:"matcher"`
	Expression    string   `json:"expression"`
	LogExecutions bool     `json:"log_executions"`
}

// Modes of combining policies.
const (
	All  = "all"
	Any  = "any"
	None = "none"
)

// NewRule is what holds where nothing is said.
func NewRule() Rule { return Rule{Enabled: true, Mode: Any} }

// groupBy are the expressions that tell groups apart.
func (r *Rule) groupBy() []string {
	switch {
	case r.Threshold != nil && len(r.Threshold.GroupBy) > 0:
		return r.Threshold.GroupBy
	case r.Absence != nil && len(r.Absence.GroupBy) > 0:
		return r.Absence.GroupBy
	}
	return r.GroupBy
}

// remembers reports whether the rule has cells at all.
func (r *Rule) remembers() bool {
	return r.Threshold != nil || r.Absence != nil || r.RepeatEvery > 0 || r.DigestEvery > 0 || r.QuietHours != nil || r.Resolve != nil || len(r.Escalate) > 0
}

// fill writes out what lists and words mean where they are left out.
func (r *Rule) fill() {
	r.Name = strings.TrimSpace(r.Name)
	r.Mode = cmp.Or(r.Mode, Any)
	for _, list := range []*[]string{&r.Types, &r.Transports, &r.GroupBy} {
		*list = orEmpty(*list)
	}
	r.Recipients.fill()
	if r.Policies == nil {
		r.Policies = []Binding{}
	}
	for i := range r.Policies {
		r.Policies[i].OnFailure = cmp.Or(r.Policies[i].OnFailure, "fail")
	}
	if r.Escalate == nil {
		r.Escalate = []Step{}
	}
	for i := range r.Escalate {
		r.Escalate[i].Recipients.fill()
		r.Escalate[i].Transports = orEmpty(r.Escalate[i].Transports)
	}
	if r.Threshold != nil {
		r.Threshold.GroupBy = orEmpty(r.Threshold.GroupBy)
	}
	if r.Absence != nil {
		r.Absence.GroupBy = orEmpty(r.Absence.GroupBy)
	}
	if r.Resolve != nil {
		r.Resolve.Types = orEmpty(r.Resolve.Types)
	}
}

func (r *Recipients) fill() {
	r.Groups, r.Users, r.AccessLevels = orEmpty(r.Groups), orEmpty(r.Users), orEmpty(r.AccessLevels)
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Limits of what one rule may hold.
const (
	maxName     = 120
	maxList     = 200
	maxCount    = 10_000
	maxWindow   = 400 * 24 * time.Hour
	minInterval = time.Second
)

var rules = state.Collection[Rule]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "notify", Model: "rule",
	Name:  func(r *Rule) string { return r.Name },
	Keys:  func(r *Rule) map[string]string { return map[string]string{"name": strings.ToLower(r.Name)} },
	Check: checkRule,
	Relations: map[string]func(*state.Tx, string) string{
		"transports": func(tx *state.Tx, id string) string { return nameOf(tx, &transports, id) },
	},
}

var policies = state.Collection[Policy]{ //nolint:gochecknoglobals // likewise
	App: "notify", Model: "policy",
	Name:  func(p *Policy) string { return p.Name },
	Keys:  func(p *Policy) map[string]string { return map[string]string{"name": strings.ToLower(p.Name)} },
	Check: func(p *Policy) error { return checkName("a policy", p.Name) },
}

func nameOf[T any](tx *state.Tx, c *state.Collection[T], text string) string {
	id, err := state.ParseID(text)
	if err != nil {
		return ""
	}
	r, err := c.Get(tx.Context(), tx, id)
	if err != nil {
		return "" // only the name is missing from the diff
	}
	return c.Name(&r.Value)
}

func checkName(what, name string) error {
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) {
		return event.Invalidf("name: %s needs one of 1 to %d bytes, without control characters", what, maxName)
	}
	return nil
}

// checkRule finds what needs no look at anything else; compiling finds the rest.
func checkRule(r *Rule) error {
	problems := []error{checkName("a rule", r.Name)}
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			problems = append(problems, event.Invalidf(format, args...))
		}
	}
	if r.Severity != "" {
		_, err := event.ParseSeverity(r.Severity)
		bad(err != nil, "severity: %q is none of info, notice, warn, error, critical", r.Severity)
	}
	bad(!slices.Contains([]string{All, Any, None}, r.Mode), "mode: %q is none of all, any, none", r.Mode)
	bad(len(r.Types)+len(r.Policies)+len(r.Transports)+len(r.Escalate) > maxList, "a rule may have at most %d types, policies, transports and steps", maxList)
	bad(slices.Contains(r.Types, ""), "types: a pattern is empty; leave the list empty for all types")
	if t := r.Threshold; t != nil {
		bad(t.Count < 1 || t.Count > maxCount, "threshold.count: use 1 to %d", maxCount)
		bad(!inWindow(t.Within), "threshold.within: use 1s to 400d")
	}
	if r.Absence != nil {
		bad(!inWindow(r.Absence.Within), "absence.within: use 1s to 400d")
		bad(r.Threshold != nil, "absence: can't be combined with threshold: make two rules")
	}
	if r.Resolve != nil {
		bad(len(r.Resolve.Types) == 0 || slices.Contains(r.Resolve.Types, ""), "resolve.types: name the types of events that end what is told")
		bad(r.Absence != nil, "resolve: an absence is over by itself")
	}
	bad(r.RepeatEvery != 0 && !inWindow(r.RepeatEvery), "repeat_every: use 1s to 400d")
	bad(r.DigestEvery != 0 && !inWindow(r.DigestEvery), "digest_every: use 1s to 400d")
	bad(r.RepeatEvery != 0 && r.DigestEvery != 0, "digest_every: can't be combined with repeat_every: a digest waits, a repeat tells the first at once")
	if r.QuietHours != nil {
		problems = append(problems, r.QuietHours.check())
	}
	for i := range r.Escalate {
		bad(!inWindow(r.Escalate[i].After), "escalate[%d].after: use 1s to 400d", i)
		bad(r.Escalate[i].Recipients.ofEvent(), "escalate[%d].recipients: name groups, users or access levels", i)
	}
	return errors.Join(problems...)
}

func inWindow(d config.Duration) bool {
	return time.Duration(d) >= minInterval && time.Duration(d) <= maxWindow
}

// ListRules returns up to limit rules behind an id.
func (n *Notify) ListRules(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[Rule], error) {
	return rules.List(ctx, n.o.State.Reader(), after, limit)
}

// GetRule returns one rule.
func (n *Notify) GetRule(ctx context.Context, id state.ObjectID) (state.Record[Rule], error) {
	return rules.Get(ctx, n.o.State.Reader(), id)
}

// FindRule returns the rule with a name, or an id.
func (n *Notify) FindRule(ctx context.Context, name string) (state.Record[Rule], error) {
	r, err := rules.Find(ctx, n.o.State.Reader(), "name", strings.ToLower(name))
	if !errors.Is(err, event.ErrNotFound) {
		return r, err
	}
	if id, notID := state.ParseID(name); notID == nil {
		return rules.Get(ctx, n.o.State.Reader(), id)
	}
	return r, event.NotFoundf("there is no rule %q", name)
}

// CreateRule stores a rule. Errors name the field.
func (n *Notify) CreateRule(ctx context.Context, by state.Cause, r Rule) (made state.Record[Rule], err error) {
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		r.fill()
		if err := n.compiles(tx, &r, nil); err != nil {
			return err
		}
		made, err = rules.Insert(tx, r)
		return err
	})
	return made, err
}

// UpdateRule changes a rule.
func (n *Notify) UpdateRule(ctx context.Context, by state.Cause, id state.ObjectID, version int64, change func(*Rule) error) (r state.Record[Rule], err error) {
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		r, err = rules.Update(tx, id, version, func(v *Rule) error {
			before := v.people()
			if err := change(v); err != nil {
				return err
			}
			v.fill()
			return n.compiles(tx, v, before)
		})
		return err
	})
	return r, err
}

// DeleteRule removes a rule. What it has told stays in the ledger.
func (n *Notify) DeleteRule(ctx context.Context, by state.Cause, id state.ObjectID, version int64) error {
	return n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		_, err := rules.Delete(tx, id, version)
		return err
	})
}

// ListPolicies returns up to limit stored policies behind an id.
func (n *Notify) ListPolicies(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[Policy], error) {
	return policies.List(ctx, n.o.State.Reader(), after, limit)
}

// GetPolicy returns one stored policy.
func (n *Notify) GetPolicy(ctx context.Context, id state.ObjectID) (state.Record[Policy], error) {
	return policies.Get(ctx, n.o.State.Reader(), id)
}

// CreatePolicy stores a policy.
func (n *Notify) CreatePolicy(ctx context.Context, by state.Cause, p Policy) (made state.Record[Policy], err error) {
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		if _, err := n.condition(p.Matcher, p.Expression); err != nil {
			return err
		}
		made, err = policies.Insert(tx, p)
		return err
	})
	return made, err
}

// UpdatePolicy changes a policy, for all rules that use it.
func (n *Notify) UpdatePolicy(ctx context.Context, by state.Cause, id state.ObjectID, version int64, change func(*Policy) error) (r state.Record[Policy], err error) {
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		r, err = policies.Update(tx, id, version, func(p *Policy) error {
			if err := change(p); err != nil {
				return err
			}
			_, err := n.condition(p.Matcher, p.Expression)
			return err
		})
		return err
	})
	return r, err
}

// DeletePolicy removes a policy that no rule uses.
func (n *Notify) DeletePolicy(ctx context.Context, by state.Cause, id state.ObjectID, version int64) error {
	return n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		err := eachOf(tx.Context(), tx, &rules, func(r state.Record[Rule]) error {
			if slices.ContainsFunc(r.Value.Policies, func(b Binding) bool { return b.Policy == id.String() }) {
				return event.Conflictf("the rule %q uses this policy: change the rule first", r.Value.Name)
			}
			return nil
		})
		if err != nil {
			return err
		}
		_, err = policies.Delete(tx, id, version)
		return err
	})
}

// eachOf goes over all objects of a collection.
func eachOf[T any](ctx context.Context, q state.Querier, c *state.Collection[T], do func(state.Record[T]) error) error {
	const page = 500
	for after := state.ObjectID(0); ; {
		found, err := c.List(ctx, q, after, page)
		if err != nil {
			return err
		}
		for _, r := range found {
			if err := do(r); err != nil {
				return err
			}
			after = r.ID
		}
		if len(found) < page {
			return nil
		}
	}
}
