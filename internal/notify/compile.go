package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/state"
)

// rule is a Rule that can decide.
type rule struct {
	Rule
	id       state.ObjectID
	least    event.Severity
	filter   *filter.Filter
	policies []policy
	audience *audience
	groupBy  []*filter.Expression
	resolve  *filter.Filter // of Resolve; nil where there is none
	steps    []step
	ways     []state.ObjectID
	print    string // of what its cells depend on
	created  time.Time
	version  int64

	path, value string // data.path == value is needed; empty where no such thing is known
}

// policy is a compiled binding.
type policy struct {
	Binding
	name string
	id   state.ObjectID // of a stored one
	cond *condition     // nil: the events of a user or group
	log  bool
}

// step is a compiled step of an escalation.
type step struct {
	after    time.Duration
	audience *audience
	ways     []state.ObjectID
}

const defaultTimeout = time.Second

// compile makes a rule ready, with the stored policies that it uses. Errors name
// the field and are of class event.ErrInvalid.
func (n *Notify) compile(id state.ObjectID, r Rule, stored func(state.ObjectID) (*Policy, error)) (*rule, error) {
	c := &rule{Rule: r, id: id}
	if r.Severity != "" {
		least, err := event.ParseSeverity(r.Severity)
		if err != nil {
			return nil, event.Invalidf("severity: %w", err)
		}
		c.least = least
	}
	var err error
	if c.filter, err = n.o.Filters.Compile(r.Filter); err != nil {
		return nil, event.Invalidf("filter: %w", err)
	}
	for i, b := range r.Policies {
		p, err := n.bind(b, stored)
		if err != nil {
			return nil, event.Invalidf("policies[%d]: %w", i, err)
		}
		p.log = p.log || r.LogExecutions
		c.policies = append(c.policies, *p)
	}
	slices.SortStableFunc(c.policies, func(a, b policy) int { return cmp.Compare(a.Order, b.Order) })
	if c.audience, err = n.audience(r.Recipients); err != nil {
		return nil, err
	}
	for i, text := range r.groupBy() {
		x, err := n.o.Filters.CompileExpression(text)
		if err != nil {
			return nil, event.Invalidf("group_by[%d]: %w", i, err)
		}
		c.groupBy = append(c.groupBy, x)
	}
	if r.Resolve != nil {
		if c.resolve, err = n.o.Filters.Compile(r.Resolve.Filter); err != nil {
			return nil, event.Invalidf("resolve.filter: %w", err)
		}
	}
	if c.ways, err = ids(r.Transports); err != nil {
		return nil, event.Invalidf("transports: %s", err)
	}
	if c.steps, err = n.steps(r.Escalate, c.ways); err != nil {
		return nil, err
	}
	c.print = printOf(&r)
	c.path, c.value = needed(c.filter.Plan())
	return c, nil
}

func (n *Notify) steps(list []Step, otherwise []state.ObjectID) ([]step, error) {
	steps := make([]step, len(list))
	for i, s := range list {
		a, err := n.audience(s.Recipients)
		if err != nil {
			return nil, event.Invalidf("escalate[%d].%w", i, err)
		}
		ways, err := ids(s.Transports)
		if err != nil {
			return nil, event.Invalidf("escalate[%d].transports: %s", i, err)
		}
		if len(ways) == 0 {
			ways = otherwise
		}
		steps[i] = step{time.Duration(s.After), a, ways}
	}
	return steps, nil
}

func (n *Notify) bind(b Binding, stored func(state.ObjectID) (*Policy, error)) (*policy, error) {
	p := &policy{Binding: b}
	p.Timeout = cmp.Or(p.Timeout, config.Duration(defaultTimeout))
	if p.Timeout < 0 || time.Duration(p.Timeout) > time.Minute {
		return nil, event.Invalidf("timeout: use 1ms to 1m")
	}
	if b.OnFailure != "fail" && b.OnFailure != "pass" {
		return nil, event.Invalidf("on_failure: %q is neither fail nor pass", b.OnFailure)
	}
	given := 0
	for _, is := range []bool{b.Policy != "", b.Group != "", b.User != "", b.Matcher != nil, b.Expression != ""} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, event.Invalidf("use one of policy, group, user, matcher and expression; these are %d", given)
	}
	var err error
	switch {
	case b.Policy != "":
		if p.id, err = state.ParseID(b.Policy); err != nil {
			return nil, event.Invalidf("policy: %s", err)
		}
		v, err := stored(p.id)
		if err != nil {
			return nil, event.Invalidf("policy: %s", err)
		}
		p.name, p.log = v.Name, v.LogExecutions
		p.cond, err = n.condition(v.Matcher, v.Expression)
		return p, err
	case b.Group != "":
		p.name = "group " + b.Group
		_, err = state.ParseID(b.Group)
		return p, err
	case b.User != "":
		p.name = "user " + b.User
		_, err = state.ParseID(b.User)
		return p, err
	}
	if p.cond, err = n.condition(b.Matcher, b.Expression); err == nil {
		p.name = p.cond.text()
	}
	return p, err
}

func ids(texts []string) ([]state.ObjectID, error) {
	var all []state.ObjectID
	for _, text := range texts {
		id, err := state.ParseID(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all, nil
}

// printOf tells apart what must not share cells.
func printOf(r *Rule) string {
	doc, err := json.Marshal([]any{r.Threshold, r.Absence, r.Resolve, r.RepeatEvery, r.DigestEvery, r.GroupBy, r.Recipients.Actor, r.Recipients.Subject, r.Recipients.Expression})
	if err != nil {
		return ""
	}
	return shortHash(string(doc))
}

// needed finds a condition data.x == "text" without which a filter can't be
// true. Texts that could be another type's are left out: 5 may be written 5.0.
func needed(plan *filter.Node) (path, value string) {
	switch plan.Op {
	case filter.OpAnd:
		for _, kid := range plan.Kids {
			if path, value = needed(kid); path != "" {
				return path, value
			}
		}
	case filter.OpNeeds:
		return needed(plan.Kids[0])
	case filter.OpData:
		v := plan.Values[0]
		if _, err := strconv.ParseFloat(v, 64); err != nil && v != "" && v != "true" && v != "false" && v != "null" && !strings.ContainsAny(v[:1], `[{"`) {
			return plan.Path, v
		}
	}
	return "", ""
}

// set is all that decides, as it was stored at one moment. It belongs to one
// goroutine.
type set struct {
	rules     []*rule // enabled, by id
	byID      map[state.ObjectID]*rule
	known     map[state.ObjectID]bool // all rules, also those that are off
	buckets   map[event.Type]*bucket
	silences  []silence
	people    *people
	ways      map[state.ObjectID]*way
	templates map[event.Type]*Template
	mutes     map[mute]bool
	broken    map[state.ObjectID]error // rules that do not compile any more
	transient func(event.Type) bool
}

// way is what deciding needs to know of a transport.
type way struct {
	id         state.ObjectID
	name, mode string
	personal   bool
}

// bucket is the rules that may fire for one type of event.
type bucket struct {
	always []*rule
	ends   []*rule // those for which events of the type may end what was told
	byPath []byPath
}

type byPath struct {
	path  string
	rules map[string][]*rule
}

// maxBuckets bounds the memory for types that strangers invent.
const maxBuckets = 5000

func (s *set) bucket(t event.Type) *bucket {
	if b := s.buckets[t]; b != nil {
		return b
	}
	b := &bucket{}
	transient := s.transient(t)
	for _, r := range s.rules {
		if transient && !slices.Contains(r.Types, string(t)) {
			continue
		}
		if r.resolve != nil && slices.ContainsFunc(r.Resolve.Types, func(p string) bool { return filter.Glob(p, string(t)) }) {
			b.ends = append(b.ends, r)
		}
		if len(r.Types) > 0 && !slices.ContainsFunc(r.Types, func(p string) bool { return filter.Glob(p, string(t)) }) {
			continue
		}
		if r.path == "" {
			b.always = append(b.always, r)
			continue
		}
		i := slices.IndexFunc(b.byPath, func(p byPath) bool { return p.path == r.path })
		if i < 0 {
			i = len(b.byPath)
			b.byPath = append(b.byPath, byPath{r.path, map[string][]*rule{}})
		}
		b.byPath[i].rules[r.value] = append(b.byPath[i].rules[r.value], r)
	}
	if len(s.buckets) >= maxBuckets {
		clear(s.buckets)
	}
	s.buckets[t] = b
	return b
}

// candidates calls do with every rule that may fire for an event.
func (s *set) candidates(sub *subject, do func(*rule)) {
	b := s.bucket(sub.Type)
	for _, r := range b.always {
		if sub.Severity >= r.least {
			do(r)
		}
	}
	for i := range b.byPath {
		p := &b.byPath[i]
		for _, r := range p.rules[catalog.Lookup(sub.Event, "data."+p.path)] {
			if sub.Severity >= r.least {
				do(r)
			}
		}
	}
}

// compiles refuses a rule that can't work: what it names must be there.
func (n *Notify) compiles(tx *state.Tx, r *Rule) error {
	ctx := tx.Context()
	c, err := n.compile(0, *r, func(id state.ObjectID) (*Policy, error) {
		p, err := policies.Get(ctx, tx, id)
		return &p.Value, err
	})
	if err != nil {
		return err
	}
	ways := c.ways
	for _, s := range c.steps {
		ways = append(ways, s.ways...)
	}
	for _, id := range ways {
		if _, err := transports.Get(ctx, tx, id); err != nil {
			return event.Invalidf("transports: there is no transport %s", id)
		}
	}
	return n.peopleExist(ctx, tx, r)
}

// peopleExist refuses users, groups and policies that name nobody.
func (n *Notify) peopleExist(ctx context.Context, q state.Querier, r *Rule) error {
	check := func(what string, list []string, exists func(context.Context, state.Querier, state.ObjectID) bool) error {
		for _, text := range list {
			if id, err := state.ParseID(text); err != nil || !exists(ctx, q, id) {
				return event.Invalidf("%s: there is no %q", what, text)
			}
		}
		return nil
	}
	all := []Recipients{r.Recipients}
	for _, s := range r.Escalate {
		all = append(all, s.Recipients)
	}
	for _, b := range r.Policies {
		if b.Group != "" {
			all = append(all, Recipients{Groups: []string{b.Group}})
		}
		if b.User != "" {
			all = append(all, Recipients{Users: []string{b.User}})
		}
	}
	for _, a := range all {
		if err := check("groups", a.Groups, exists("group")); err != nil {
			return err
		}
		if err := check("users", a.Users, exists("user")); err != nil {
			return err
		}
	}
	return nil
}

// exists asks for an object of another package's model.
func exists(model string) func(context.Context, state.Querier, state.ObjectID) bool {
	return func(ctx context.Context, q state.Querier, id state.ObjectID) bool {
		var one int
		return q.QueryRowContext(ctx, `SELECT 1 FROM objects WHERE model = $1 AND id = $2`, model, int64(id)).Scan(&one) == nil
	}
}
