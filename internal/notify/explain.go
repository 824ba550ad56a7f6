package notify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Explanation says why a rule fires for an event, or not.
type Explanation struct {
	Fires      bool         `json:"fires"`
	Reason     string       `json:"reason"` // the first thing that stands in the way; empty where nothing does
	Conditions []Check      `json:"conditions"`
	Tells      []Would      `json:"tells"` // who would hear of it, and how
	Group      string       `json:"group"` // of a rule that remembers
	Deliveries []Delivery   `json:"-"`     // what the ledger holds of it
	Event      *event.Event `json:"-"`
}

// Would is one message that would be sent.
type Would struct {
	Transport string `json:"transport"`
	Mode      string `json:"mode"`
	Recipient string `json:"recipient"` // a username; empty for a destination of the transport's own
}

// Explain goes through a rule for an event, condition by condition. It records
// nothing. id is the rule's, where it is stored.
func (n *Notify) Explain(ctx context.Context, id state.ObjectID, r Rule, seq event.Seq) (Explanation, error) {
	var x Explanation
	r.fill()
	c, s, err := n.trial(ctx, id, r)
	if err != nil {
		return x, err
	}
	if id != 0 {
		stored, err := n.GetRule(ctx, id)
		if err != nil {
			return x, err
		}
		c.created = stored.Created
	}
	if x.Event, err = n.event(seq); err != nil {
		return x, err
	}
	n.check(ctx, c, s, newSubject(x.Event), &x)
	if id != 0 {
		x.Deliveries, err = n.Deliveries(ctx, DeliveryQuery{Rule: id, Sequence: seq, Limit: 50})
	}
	return x, err
}

// trial compiles a rule that may not be stored, and all that it works with.
func (n *Notify) trial(ctx context.Context, id state.ObjectID, r Rule) (*rule, *set, error) {
	r.Name = cmp.Or(r.Name, "New rule")
	if err := rules.Check(&r); err != nil {
		return nil, nil, err
	}
	db := n.o.State.Reader()
	c, err := n.compile(id, r, func(p state.ObjectID) (*Policy, error) {
		found, err := policies.Get(ctx, db, p)
		return &found.Value, err
	})
	if err != nil {
		return nil, nil, err
	}
	s, err := n.surroundings(ctx)
	return c, s, err
}

func (n *Notify) check(ctx context.Context, r *rule, s *set, sub *subject, x *Explanation) {
	add := func(name string, passed bool, detail, otherwise string, parts []filter.Part) {
		x.Conditions = append(x.Conditions, Check{name, passed, detail, parts})
		if !passed && x.Reason == "" {
			x.Reason = otherwise
		}
	}
	add("enabled", r.Enabled, strconv.FormatBool(r.Enabled), "the rule is off", nil)
	if n.isOwn(sub.Event) && isSilent(sub.Type) {
		add("loop", false, string(sub.Type), "telling itself has raised this event; it tells nobody", nil)
	}
	add("types", r.fitsType(sub.Type) && (!s.transient(sub.Type) || slices.Contains(r.Types, string(sub.Type))),
		fmt.Sprintf("%s against %s", sub.Type, cmp.Or(strings.Join(r.Types, ", "), "any")), "the type does not fit", nil)
	add("severity", sub.Severity >= r.least, fmt.Sprintf("%s, at least %s is wanted", sub.Severity, cmp.Or(r.Severity, "info")), "the severity is too low", nil)
	matched, err := r.filter.Match(sub.input())
	parts, _ := n.o.Filters.Explain(r.Filter, sub.input()) // it has compiled
	detail := cmp.Or(r.Filter, "no filter")
	if err != nil {
		detail += ": " + err.Error()
	}
	add("filter", matched && err == nil, detail, "the filter does not match", parts)
	n.checkPolicies(ctx, r, s, sub, add)
	x.Fires = x.Reason == ""
	for i := range s.silences {
		if s.silences[i].covers(r, sub, sub.RecordedTime) {
			add("silence", false, s.silences[i].Filter, "a silence covered it: "+cmp.Or(s.silences[i].Comment, s.silences[i].Filter), nil)
			x.Fires = false
		}
	}
	if !sub.RecordedTime.IsZero() && sub.RecordedTime.Before(r.created) {
		add("age", false, "created "+r.created.Format(time.RFC3339), "the event is older than the rule", nil)
		x.Fires = false
	}
	persons, err := r.audience.ofEvent(s.people, sub)
	if err != nil {
		add("recipients", false, err.Error(), "", nil)
	}
	if len(r.groupBy) > 0 {
		_, x.Group = r.group(sub, persons)
	}
	x.Tells = []Would{}
	everybody := union(r.audience.always(s.people), persons)
	for _, id := range r.ways {
		to := s.ways[id]
		switch {
		case to == nil:
		case !to.personal:
			x.Tells = append(x.Tells, Would{Transport: to.name, Mode: to.mode})
		default:
			for _, who := range everybody {
				if p := s.people.byID[who]; p != nil {
					x.Tells = append(x.Tells, Would{to.name, to.mode, p.Username})
				}
			}
		}
	}
	if len(x.Tells) == 0 {
		add("recipients", false, "nobody", "the rule has nobody to tell: no recipients, or no transports", nil)
	}
	if r.remembers() {
		x.Conditions = append(x.Conditions, Check{Name: "memory", Passed: true, Detail: "what it remembers decides when it tells: " + r.remembersWhat()})
	}
}

func (r *rule) fitsType(t event.Type) bool {
	return len(r.Types) == 0 || slices.ContainsFunc(r.Types, func(p string) bool { return filter.Glob(p, string(t)) })
}

func (r *rule) remembersWhat() string {
	var parts []string
	if r.Threshold != nil {
		parts = append(parts, fmt.Sprintf("%d events in %s", r.Threshold.Count, r.Threshold.Within))
	}
	if r.Absence != nil {
		parts = append(parts, fmt.Sprintf("nothing for %s", r.Absence.Within))
	}
	if r.Resolve != nil {
		parts = append(parts, "over by "+strings.Join(r.Resolve.Types, ", "))
	}
	if r.RepeatEvery > 0 {
		parts = append(parts, fmt.Sprintf("the first, then every %s", r.RepeatEvery))
	}
	if r.DigestEvery > 0 {
		parts = append(parts, fmt.Sprintf("a digest every %s", r.DigestEvery))
	}
	if r.QuietHours != nil {
		parts = append(parts, fmt.Sprintf("quiet from %s to %s", r.QuietHours.From, r.QuietHours.To))
	}
	if len(r.Escalate) > 0 {
		parts = append(parts, fmt.Sprintf("%d steps of escalation", len(r.Escalate)))
	}
	return strings.Join(parts, "; ")
}

func (n *Notify) checkPolicies(ctx context.Context, r *rule, s *set, sub *subject, add func(string, bool, string, string, []filter.Part)) {
	passed := 0
	for i := range r.policies {
		b := &r.policies[i]
		result, err := b.execute(ctx, s.people, sub)
		ok := result != b.Negate
		detail := b.text()
		var parts []filter.Part
		switch {
		case err != nil:
			ok = b.OnFailure == "pass"
			detail += ": " + err.Error()
		case b.cond != nil && b.cond.matcher != nil && !result:
			detail += ": " + b.cond.matcher.field(sub) + " does not match"
		}
		if b.cond != nil && b.cond.filter != nil {
			parts, _ = n.o.Filters.Explain(b.cond.filter.String(), sub.input()) // it has compiled
		}
		if b.Negate {
			detail += " (negated)"
		}
		if ok {
			passed++
		}
		add(fmt.Sprintf("policies[%d]", i), ok, detail, "", parts)
	}
	if len(r.policies) == 0 {
		return
	}
	good := r.Mode == All && passed == len(r.policies) || r.Mode == Any && passed > 0 || r.Mode == None && passed == 0
	add("mode", good, fmt.Sprintf("%d of %d policies pass; %s of them must", passed, len(r.policies), r.Mode), "the policies do not pass", nil)
}
