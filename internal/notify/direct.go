package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// whyDirect is the reason of what no rule has decided: a flow tells it.
const whyDirect = "direct"

// Direct is what somebody other than a rule has to say.
type Direct struct {
	Key  string // it is told once under this key
	From string // who says it, such as "flow restart-unit"; people read it in place of a rule's name

	// Rule names the rule, by name or id, whose transports and recipients are told
	// where those below are empty. What keeps the rule from telling an event
	// (silences, people who unsubscribed) holds here, too.
	Rule       string
	Transports []string // names or ids
	Recipients []string // usernames or ids of users, group/NAME or group/ID

	Severity    event.Severity
	Title, Text string
	Sequence    event.Seq // of the event that it is about; 0 for none
}

// Tell queues messages that somebody other than a rule wants sent. It is of class
// event.ErrInvalid where what is named is not there. Without transports and rule,
// people are told in their inbox.
func (n *Notify) Tell(ctx context.Context, by state.Cause, d Direct) error {
	find := n.surroundings
	if d.Rule != "" {
		find = func(ctx context.Context) (*set, error) { return n.load(ctx, nil) }
	}
	s, err := find(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	t := &directTelling{d: &d, now: now, from: &rule{Rule: Rule{Name: d.From}}}
	t.work = (&engine{n: n, set: s, seen: now}).work(ctx)
	t.set = s
	if err := t.resolve(ctx); err != nil {
		return err
	}
	if err := t.rows(); err != nil || len(t.work.rows)+len(t.suppressed) == 0 {
		return err
	}
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		if err := t.writeRows(tx); err != nil {
			return err
		}
		if err := t.writeSuppressed(tx); err != nil {
			return err
		}
		return t.writeChains(tx)
	})
	n.touch()
	return err
}

// directTelling makes rows of the ledger of a Direct.
type directTelling struct {
	*work
	d     *Direct
	now   time.Time
	from  *rule    // whose name is shown; one without id where no rule is named
	about *subject // nil for none

	ways    []*way
	persons []state.ObjectID
}

// resolve finds what the telling names.
func (t *directTelling) resolve(ctx context.Context) error {
	d := t.d
	if strings.TrimSpace(d.Title) == "" {
		return event.Invalidf("title: say in one line what is told")
	}
	if d.Sequence != 0 {
		// An event that has expired in the meantime is not a reason to say nothing.
		if e, err := t.e.n.event(d.Sequence); err == nil {
			t.about = newSubject(e)
		}
	}
	if d.Rule != "" {
		if err := t.byRule(); err != nil {
			return err
		}
	}
	if len(d.Transports) > 0 {
		t.ways = nil
	}
	for _, name := range d.Transports {
		to := t.way(name)
		if to == nil {
			return event.Invalidf("transports: there is no transport %q", name)
		}
		t.ways = append(t.ways, to)
	}
	if len(d.Recipients) > 0 {
		if err := t.people(ctx); err != nil {
			return err
		}
	}
	if d.Rule == "" && len(t.ways) == 0 && len(t.persons) > 0 {
		t.ways = t.inbox()
	}
	return t.reaches()
}

// reaches refuses a telling that nobody would hear.
func (t *directTelling) reaches() error {
	if len(t.ways) == 0 {
		return event.Invalidf("transports: name at least one, or a rule, or recipients")
	}
	if len(t.persons) > 0 {
		return nil
	}
	for _, to := range t.ways {
		if to.personal {
			return event.Invalidf("recipients: the transport %q tells persons: name at least one who is there", to.name)
		}
	}
	return nil
}

func (t *directTelling) byRule() error {
	for _, r := range t.set.rules {
		if r.id.String() != t.d.Rule && !strings.EqualFold(r.Name, t.d.Rule) {
			continue
		}
		t.from = r
		for _, id := range r.ways {
			if to := t.set.ways[id]; to != nil {
				t.ways = append(t.ways, to)
			}
		}
		t.persons = r.audience.always(t.set.people)
		if t.about == nil {
			return nil
		}
		named, err := r.audience.ofEvent(t.set.people, t.about)
		t.persons = union(t.persons, named)
		if err != nil {
			return event.Invalidf("rule %q: recipients: %w", r.Name, err)
		}
		return nil
	}
	return event.Invalidf("rule: there is no rule %q that is switched on", t.d.Rule)
}

// way finds a transport by its name or id; nil for none.
func (t *directTelling) way(name string) *way {
	if id, err := state.ParseID(name); err == nil && t.set.ways[id] != nil {
		return t.set.ways[id]
	}
	for _, to := range t.set.ways {
		if strings.EqualFold(to.name, name) {
			return to
		}
	}
	return nil
}

// inbox is the oldest transport of this mode.
func (t *directTelling) inbox() []*way {
	var oldest *way
	for _, to := range t.set.ways {
		if to.mode == Inbox && (oldest == nil || to.id < oldest.id) {
			oldest = to
		}
	}
	if oldest == nil {
		return nil
	}
	return []*way{oldest}
}

// people finds the recipients. Who has gone since they were named is left out, as
// long as somebody is there.
func (t *directTelling) people(ctx context.Context) error {
	t.persons = nil
	var missing []string
	for _, name := range t.d.Recipients {
		group, isGroup := strings.CutPrefix(name, "group/")
		if !isGroup {
			if who := t.set.people.named(name); who != nil {
				t.persons = append(t.persons, who.ID)
			} else {
				missing = append(missing, name)
			}
			continue
		}
		id, err := groupID(ctx, t.e.n.o.State.Reader(), group)
		if err != nil {
			return err
		}
		if id == "" {
			missing = append(missing, name)
			continue
		}
		a := audience{Recipients: Recipients{Groups: []string{id}}}
		t.persons = append(t.persons, a.always(t.set.people)...)
	}
	t.persons = union(t.persons, nil)
	if len(t.persons) == 0 {
		return event.Invalidf("recipients: nobody of %s is there: write names of users, or group/NAME", strings.Join(t.d.Recipients, ", "))
	}
	if len(missing) > 0 {
		t.e.n.o.Logger.WarnContext(ctx, "notify: some recipients are not there", "from", t.d.From, "missing", missing)
	}
	return nil
}

// groupID finds a group by name or id, whose model is another package's; empty for
// none.
func groupID(ctx context.Context, q state.Querier, name string) (string, error) {
	rows, err := q.QueryContext(ctx, `SELECT id FROM objects WHERE model = 'group' AND (lower(name) = lower($1) OR CAST(id AS TEXT) = $1) ORDER BY id`, name)
	if err != nil {
		return "", fmt.Errorf("groups: %w", err)
	}
	defer rows.Close()
	var id state.ObjectID
	if rows.Next() {
		if err := rows.Scan(&id); err != nil {
			return "", fmt.Errorf("groups: %w", err)
		}
	}
	if id == 0 {
		return "", rows.Err()
	}
	return id.String(), rows.Err()
}

// rows decides who is told by which way.
func (t *directTelling) rows() error {
	doc, err := json.Marshal(Details{Why: whyDirect, Group: t.d.From, Count: 1, Severity: max(t.d.Severity, event.Info), Title: t.d.Title, Text: t.d.Text})
	if err != nil {
		return fmt.Errorf("direct: %w", err)
	}
	if t.about != nil {
		if t.from.id != 0 && t.silenced(t.from, t.about, t.now) {
			return nil
		}
		if !t.inBudget(&telling{rule: t.from, cause: t.about}) {
			return nil
		}
	}
	for _, to := range t.ways {
		if t.about != nil && t.loops(&telling{rule: t.from, cause: t.about}, to) != "" {
			t.suppress(t.from, to.id, 0, "loop", t.d.Sequence)
			continue
		}
		if !to.personal {
			t.row(to, 0, string(doc))
			continue
		}
		for _, who := range t.persons {
			t.person(to, who, string(doc))
		}
	}
	return nil
}

func (t *directTelling) person(to *way, who state.ObjectID, doc string) {
	person := t.set.people.byID[who]
	switch {
	case t.from.id != 0 && t.set.mutes[mute{t.from.id.String(), who.String()}]:
		t.suppress(t.from, to.id, who, "unsubscribed", t.d.Sequence)
	case person.Email == "" && to.mode != Inbox:
		t.suppress(t.from, to.id, who, "no_address", t.d.Sequence)
	default:
		t.row(to, who, doc)
	}
}

func (t *directTelling) row(to *way, who state.ObjectID, doc string) {
	d := t.d
	row := delivery{
		rule: t.from.id, way: to.id, person: who, thread: t.from.id.String() + "/" + d.From, seq: d.Sequence, doc: doc, created: t.now.UnixNano(),
		key: fmt.Sprintf("%012x_", uint64(d.Sequence)) + shortHash(fmt.Sprint("direct|", d.Key, "|", to.id, "|", who)),
	}
	if slices.ContainsFunc(t.work.rows, func(other delivery) bool { return other.key == row.key }) {
		return // the same transport under its name and its id
	}
	if to.mode == Inbox {
		row.inbox = &inboxItem{user: who, rule: t.from.id, seq: d.Sequence, severity: max(d.Severity, event.Info), title: d.Title, text: d.Text, created: t.now}
	}
	t.work.rows = append(t.work.rows, row)
	t.e.n.o.Metrics.Told(to.name)
}

// directEvent stands for a telling that is about no event.
func (n *Notify) directEvent(d *Delivery) *event.Event {
	data, err := json.Marshal(map[string]string{"from": d.Details.Group, "title": d.Details.Title, "text": d.Details.Text})
	if err != nil {
		data = nil // texts always marshal
	}
	return &event.Event{
		ID: event.ID("direct-" + d.Key), Type: "notification.direct", Source: n.o.Source + "/" + producer, Host: n.o.Host, Severity: d.Details.Severity,
		Kind: event.KindCustom, Time: d.Created, DataContentType: "application/json", Data: data,
	}
}
