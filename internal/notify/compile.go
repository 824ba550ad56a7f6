package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

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

	need need
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
	if n, ok := needed(c.filter.Plan()); ok {
		c.need = n
	}
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

// set is all that decides, as it was stored at one moment. It belongs to one
// goroutine.
type set struct {
	rules     []*rule // enabled, by id
	byID      map[state.ObjectID]*rule
	known     map[state.ObjectID]bool // those that are on, also broken ones: their cells are kept
	buckets   map[event.Type]*bucket
	silences  []silence
	people    *people
	ways      map[state.ObjectID]*way
	templates map[event.Type]*Template
	mutes     map[mute]bool
	transient func(event.Type) bool
}

// way is what deciding needs to know of a transport.
type way struct {
	id         state.ObjectID
	name, mode string
	personal   bool
}

// compiles refuses a rule that can't work: what it names must be there. Persons
// and groups that it has named before may have gone since.
func (n *Notify) compiles(tx *state.Tx, r *Rule, before map[string]bool) error {
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
	return n.peopleExist(ctx, tx, r, before)
}

// peopleExist refuses users and groups that name nobody.
func (n *Notify) peopleExist(ctx context.Context, q state.Querier, r *Rule, before map[string]bool) error {
	for name := range r.people() {
		model, text, _ := strings.Cut(name, "/")
		if before[name] {
			continue
		}
		if id, err := state.ParseID(text); err != nil || !exists(model)(ctx, q, id) {
			return event.Invalidf("%ss: there is no %q", model, text)
		}
	}
	return nil
}

// people are the users and groups that a rule names, as user/ID and group/ID.
func (r *Rule) people() map[string]bool {
	named := map[string]bool{}
	add := func(model string, list ...string) {
		for _, text := range list {
			named[model+"/"+text] = true
		}
	}
	add("group", r.Recipients.Groups...)
	add("user", r.Recipients.Users...)
	for i := range r.Escalate {
		add("group", r.Escalate[i].Recipients.Groups...)
		add("user", r.Escalate[i].Recipients.Users...)
	}
	for _, b := range r.Policies {
		if b.Group != "" {
			add("group", b.Group)
		}
		if b.User != "" {
			add("user", b.User)
		}
	}
	return named
}

// exists asks for an object of another package's model.
func exists(model string) func(context.Context, state.Querier, state.ObjectID) bool {
	return func(ctx context.Context, q state.Querier, id state.ObjectID) bool {
		var one int
		return q.QueryRowContext(ctx, `SELECT 1 FROM objects WHERE model = $1 AND id = $2`, model, int64(id)).Scan(&one) == nil
	}
}
