package notify

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
	"github.com/tocsin-events/tocsin/internal/transport"
)

// Details is what the ledger keeps beside an event's number.
type Details struct {
	Why      string         `json:"why"` // event, threshold, absence, resolved, digest, escalation
	Group    string         `json:"group,omitempty"`
	Count    int            `json:"count,omitempty"`
	Severity event.Severity `json:"severity,omitempty"`
	Title    string         `json:"title,omitempty"` // empty: in the words of the event's type
	Text     string         `json:"text,omitempty"`
	Round    int            `json:"round,omitempty"`
	Resolved bool           `json:"resolved,omitempty"`
}

// details puts a telling into words. A single event has none of its own: it is
// told in the words of its type.
func (r *rule) details(t *told, group string) Details {
	d := Details{Why: t.why, Group: group, Count: t.count, Severity: t.worst, Round: t.round}
	in := ""
	if group != "" {
		in = " (" + group + ")"
	}
	switch t.why {
	case whyThreshold:
		d.Title = fmt.Sprintf("%s: %d events in %s%s", r.Name, t.count, r.Threshold.Within, in)
		d.Text = "The last one: " + t.lines[0].Text
	case whyAbsence:
		d.Title = fmt.Sprintf("%s: nothing for %s%s", r.Name, r.Absence.Within, in)
		d.Text = fmt.Sprintf("No event came since %s UTC.", stamp(t.lines[0].At))
	case whyResolved:
		verb := "is over"
		if r.Absence != nil {
			verb = "is back"
		}
		d.Title, d.Text, d.Resolved = fmt.Sprintf("%s: %s%s", r.Name, verb, in), t.lines[0].Text, true
	case whyEscalation:
		d.Title = fmt.Sprintf("%s: not acknowledged%s", r.Name, in)
		d.Text = fmt.Sprintf("Told at %s UTC, and nobody has acknowledged it since: %s", stamp(t.lines[0].At), t.lines[0].Text)
	case whyDigest:
		d.Title, d.Text = fmt.Sprintf("%s: %s%s", r.Name, byType(t), in), digest(t)
	}
	return d
}

func stamp(nanos int64) string { return time.Unix(0, nanos).UTC().Format("2006-01-02 15:04:05") }

// byType is "12 events: 9 disk_full, 3 login_failed".
func byType(t *told) string {
	noun := "events"
	if t.count == 1 {
		noun = "event"
	}
	names := slices.SortedFunc(maps.Keys(t.types), func(a, b string) int {
		if t.types[a] != t.types[b] {
			return t.types[b] - t.types[a]
		}
		return strings.Compare(a, b)
	})
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("%d %s", t.types[name], cmp.Or(name, "absent"))
	}
	return fmt.Sprintf("%d %s: %s", t.count, noun, strings.Join(parts, ", "))
}

// digest lists what waited.
func digest(t *told) string {
	var b strings.Builder
	for _, l := range t.lines {
		fmt.Fprintf(&b, "%s  %-8s  %s\n", stamp(l.At), l.Severity, l.Text)
	}
	if more := t.count - len(t.lines); more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	return strings.TrimRight(b.String(), "\n")
}

// delivery is a row of the ledger that is to be written.
type delivery struct {
	key       string // in the order of events: an index takes such keys at its end
	rule, way state.ObjectID
	person    state.ObjectID
	thread    string
	seq       event.Seq
	doc       string
	created   int64
	inbox     *inboxItem // of the mode inbox: what is stored instead of sent
}

// telling is a told with all that is needed to make rows of it.
type telling struct {
	rule    *rule
	group   string // the cell's
	shown   string // the group as people read it
	told    told
	persons []state.ObjectID // those whom the event names
	cause   *subject         // nil where only time has passed
}

// tell makes rows of a telling, or counts why not.
func (w *work) tell(t *telling) {
	r := t.rule
	ways, audience := r.ways, r.audience
	persons := t.persons
	if t.told.round > 0 {
		s := r.steps[t.told.round-1]
		ways, audience, persons = s.ways, s.audience, nil
		if a := &s.audience.Recipients; len(a.Groups)+len(a.Users)+len(a.AccessLevels) == 0 {
			audience, persons = r.audience, t.persons // the same people again
		}
	}
	seq := t.told.lines[len(t.told.lines)-1].Seq
	if t.cause != nil && !w.inBudget(t) {
		return
	}
	var everybody []state.ObjectID
	found := false
	for _, id := range ways {
		way := w.set.ways[id]
		if way == nil {
			continue
		}
		if reason := w.loops(t, way); reason != "" {
			w.suppress(r, id, 0, reason, seq)
			continue
		}
		if !way.personal {
			w.add(t, way, 0, seq)
			continue
		}
		if !found {
			everybody, found = union(audience.always(w.set.people), persons), true
		}
		for _, who := range everybody {
			w.add(t, way, who, seq)
		}
	}
}

func union(a, b []state.ObjectID) []state.ObjectID {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

// add makes the row for one destination or person, unless they were told already
// or do not want to be.
func (w *work) add(t *telling, to *way, who state.ObjectID, seq event.Seq) {
	r := t.rule
	var person *Person
	if who != 0 {
		if person = w.set.people.byID[who]; person == nil {
			return // no longer there, or not active
		}
		if w.set.mutes[mute{r.id.String(), who.String()}] {
			w.suppress(r, to.id, who, "unsubscribed", seq)
			return
		}
		if person.Email == "" && to.mode != Inbox {
			w.suppress(r, to.id, who, "no_address", seq)
			return
		}
	}
	if t.told.why == whyEvent && (who != 0 || r.Routing) {
		once := heard{to.id, who}
		if w.heard[once] && len(r.steps) == 0 { // what escalates must be there to be acknowledged
			w.suppress(r, to.id, who, "told_already", seq)
			return
		}
		w.heard[once] = true
	}
	d := r.details(&t.told, t.shown)
	doc, err := json.Marshal(d)
	if err != nil {
		doc = []byte("{}") // numbers and texts always marshal
	}
	row := delivery{
		rule: r.id, way: to.id, person: who, thread: r.id.String() + "/" + t.group, seq: seq, doc: string(doc), created: t.told.at,
		key: fmt.Sprintf("%012x_", uint64(seq)) + shortHash(fmt.Sprint("1|", r.id, "|", t.group, "|", to.id, "|", who, "|", seq, "|", d.Why, "|", d.Round, "|", t.told.at)),
	}
	if to.mode == Inbox {
		row.inbox = w.inboxItem(t, &d, who, seq)
	}
	w.rows = append(w.rows, row)
	w.e.n.o.Metrics.Told(to.name)
}

func (w *work) inboxItem(t *telling, d *Details, who state.ObjectID, seq event.Seq) *inboxItem {
	item := &inboxItem{user: who, rule: t.rule.id, seq: seq, severity: d.Severity, title: d.Title, text: d.Text, created: time.Unix(0, t.told.at)}
	if d.Title == "" && t.cause != nil {
		m := w.e.n.compose(t.cause.Event, w.set.templates[t.cause.Type])
		item.title, item.text, item.severity = m.Title, m.Text, m.Severity
	}
	return item
}

// message is what a row of the ledger sends.
func (n *Notify) message(d *Details, e *event.Event, t *Template, rule state.ObjectID, ruleName string) transport.Message {
	m := transport.Message{Event: e, Severity: d.Severity}
	if e != nil {
		m = n.compose(e, t)
	} else {
		// The same for an absence and its end, so that the other side knows what ends.
		m.Event = &event.Event{
			ID: event.ID("rule-" + rule.String()), Type: "notification.absence", Source: n.o.Source + "/" + producer, Subject: "rule/" + rule.String(), Host: cmp.Or(d.Group, n.o.Host),
			Severity: d.Severity, Kind: event.KindCustom, Time: time.Now().UTC(),
		}
		m.Link = strings.TrimRight(n.o.PublicURL, "/") + "/deliveries"
	}
	m.Rule, m.Resolved = ruleName, d.Resolved
	if d.Title != "" {
		m.Title, m.Text, m.Severity = d.Title, d.Text, max(d.Severity, event.Info)
	}
	return m
}
