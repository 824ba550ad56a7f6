package web

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// inboxLine is one message of the inbox.
type inboxLine struct {
	ID, Title, Text, Severity string
	Href                      string // of the event, or of the delivery where it is about none
	Rule                      link   // of the rule; without a link where it is gone, or was a test
	RuleID                    string // where it can be muted
	Delivery                  string
	New, Escalates            bool
	Created                   time.Time
}

type inboxView struct {
	Said    string
	Unseen  bool // new ones alone
	Tabs    []link
	Rows    []inboxLine
	Older   string
	New     int
	Muted   []mutedLine
	MayAck  bool
	Empty   emptyState
	Changes string
}

// mutedLine is a rule that somebody does not want to hear.
type mutedLine struct{ ID, Name string }

const inboxPerPage = 50

// getInboxPage lists the messages to whoever is signed in.
func (s *Server) getInboxPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "unseen", "cursor", "said")
	v := inboxView{Unseen: q.flag("unseen"), Changes: "/inbox/live"}
	v.Said = told(q, map[string]string{
		"seen": "All messages are marked as seen.", "acknowledged": "It is acknowledged: nobody is told of it again.",
		"muted": "This rule tells you no more. You can take it back below.", "unmuted": "This rule tells you again.",
	})
	before, _ := listPage(q)
	if q.err != nil {
		return q.err
	}
	p := callerOf(r).principal
	v.MayAck = p.Can(identity.Emit)
	if err := s.listInbox(r.Context(), &v, p.User, before); err != nil {
		return err
	}
	return s.render(w, r, "inbox", pageView{
		Title: "Inbox", Says: "What rules have told you, newest first.", Docs: "deliveries", Active: "/inbox",
		Command: "tocsin inbox --all", Body: v,
	})
}

func (s *Server) listInbox(ctx context.Context, v *inboxView, user, before state.ObjectID) error {
	found, err := s.Notify.InboxOf(ctx, user, before, v.Unseen, inboxPerPage+1)
	if err != nil {
		return err
	}
	names := newNames(s)
	for i := range found {
		if i == inboxPerPage {
			older := []string{"cursor", found[i-1].ID.String()}
			if v.Unseen {
				older = append(older, "unseen", "true")
			}
			v.Older = search{}.href("/inbox", older...)
			break
		}
		row, err := s.inboxLine(ctx, names, &found[i])
		if err != nil {
			return err
		}
		v.Rows = append(v.Rows, row)
	}
	if v.New, err = s.Notify.Unseen(ctx, user); err != nil {
		return err
	}
	muted, err := s.Notify.Muted(ctx, user)
	if err != nil {
		return err
	}
	for _, id := range muted {
		name, _, err := names.rule(ctx, id)
		if err != nil {
			return err
		}
		v.Muted = append(v.Muted, mutedLine{id.String(), name})
	}
	v.Tabs = []link{{"All", "/inbox", !v.Unseen}, {"New", "/inbox?unseen=true", v.Unseen}}
	v.Empty = emptyState{"No message is here. Rules whose way is an inbox tell you of events in this place.", "tocsin rules list"}
	if v.Unseen {
		v.Empty = emptyState{Says: "You have seen all messages."}
	}
	return nil
}

func (s *Server) inboxLine(ctx context.Context, names *names, i *notify.InboxItem) (inboxLine, error) {
	row := inboxLine{
		ID: i.ID.String(), Title: line(i.Title), Text: plain(i.Text), Severity: i.Severity.String(), New: i.Seen.IsZero(), Created: i.Created,
		Rule: link{Text: "a test"},
	}
	if i.Delivery != 0 {
		row.Delivery = i.Delivery.String()
		row.Href = "/deliveries/" + row.Delivery
	}
	if i.Sequence != 0 {
		row.Href = "/events/" + seqText(i.Sequence)
	}
	if i.Rule == 0 {
		return row, nil
	}
	name, there, err := names.rule(ctx, i.Rule)
	if err != nil {
		return row, err
	}
	row.Rule.Text = name
	if !there {
		return row, nil
	}
	row.Rule.Href, row.RuleID = "/rules/"+i.Rule.String(), i.Rule.String()
	if names.escalates[i.Rule] {
		row.Escalates, err = s.Notify.Escalating(ctx, i.Delivery)
	}
	return row, err
}

// inboxDone leads back to where a form of the inbox was sent from.
func inboxDone(w http.ResponseWriter, r *http.Request, unseen, said string) error {
	more := []string{}
	if unseen != "" {
		more = append(more, "unseen", "true")
	}
	if said != "" {
		more = append(more, "said", said)
	}
	to := "/inbox"
	if len(more) > 0 {
		to = search{}.href(to, more...)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// postSeenPage marks a message as seen, or as new again.
func (s *Server) postSeenPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "new", "unseen")
	if err != nil {
		return err
	}
	user, err := ownInbox(r)
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	if _, err := s.Notify.InboxItemOf(r.Context(), user, id); err != nil {
		return err
	}
	if _, err := s.Notify.MarkSeen(r.Context(), cause(r), user, id, form.Get("new") == ""); err != nil {
		return err
	}
	return inboxDone(w, r, form.Get("unseen"), "")
}

// postAllSeenPage marks all messages as seen.
func (s *Server) postAllSeenPage(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	user, err := ownInbox(r)
	if err != nil {
		return err
	}
	if _, err := s.Notify.MarkSeen(r.Context(), cause(r), user, 0, true); err != nil {
		return err
	}
	return inboxDone(w, r, "", "seen")
}

// postAcknowledgePage ends the escalation of what a message has told.
func (s *Server) postAcknowledgePage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "unseen")
	if err != nil {
		return err
	}
	user, err := ownInbox(r)
	if err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	item, err := s.Notify.InboxItemOf(r.Context(), user, id)
	if err != nil {
		return err
	}
	if _, err := s.Notify.Acknowledge(r.Context(), cause(r), item.Delivery); err != nil {
		return err
	}
	return inboxDone(w, r, form.Get("unseen"), "acknowledged")
}

// postMutePage keeps a rule from telling whoever is signed in.
func (s *Server) postMutePage(w http.ResponseWriter, r *http.Request) error {
	return s.mutePage(w, r, "muted", s.Notify.Mute)
}

// postUnmutePage takes that back.
func (s *Server) postUnmutePage(w http.ResponseWriter, r *http.Request) error {
	return s.mutePage(w, r, "unmuted", s.Notify.Resubscribe)
}

func (s *Server) mutePage(w http.ResponseWriter, r *http.Request, said string, do func(context.Context, state.Cause, state.ObjectID, state.ObjectID) error) error {
	form, err := readForm(w, r, "rule")
	if err != nil {
		return err
	}
	user, err := ownInbox(r)
	if err != nil {
		return err
	}
	rule, err := state.ParseID(form.Get("rule"))
	if err != nil {
		return err
	}
	if err := do(r.Context(), cause(r), rule, user); err != nil {
		return err
	}
	return inboxDone(w, r, "", said)
}

// changesPause is the least time between two messages of a stream of changes.
const changesPause = 250 * time.Millisecond

// getChanges tells an open page that the ledger or an inbox has changed, and how
// many messages are new. The page then asks for itself again.
func (s *Server) getChanges(w http.ResponseWriter, r *http.Request) error {
	return s.streamChanges(w, r, s.Notify.Changed)
}

// streamChanges tells an open page that what it shows has changed; changes gives a
// channel that is closed at the next change.
func (s *Server) streamChanges(w http.ResponseWriter, r *http.Request, changes func() <-chan struct{}) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	who := callerOf(r).principal
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("Cache-Control", "no-store, no-transform")
	head.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s.Metrics.Tail(1)
	defer s.Metrics.Tail(-1)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.stop, cancel)()
	t := &tail{w: w, out: http.NewResponseController(w), may: func(ctx context.Context) error { _, err := who.Again(ctx); return err }}
	beat, check := time.NewTicker(tailHeartbeat), time.NewTicker(tailCheck)
	defer beat.Stop()
	defer check.Stop()
	for changed, fresh := changes(), true; ; {
		if !t.allowed(ctx, s.Journal.Last()) {
			return nil
		}
		if fresh && s.sayChanged(ctx, t, who.User) != nil {
			return nil // the stream has begun: an error can only end it
		}
		fresh = false
		select {
		case <-changed:
			select { // many changes a second are one
			case <-time.After(changesPause):
			case <-ctx.Done():
				return nil
			}
			changed, fresh = changes(), true
		case <-check.C:
		case <-beat.C:
			t.checkedAt = 0 // the session may have expired, which is no event
			if t.buf = append(t.buf, ":\n\n"...); t.flush() != nil {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Server) sayChanged(ctx context.Context, t *tail, user state.ObjectID) error {
	count, err := s.Notify.Unseen(ctx, user)
	if err != nil {
		return err
	}
	data, err := json.Marshal(map[string]int{"unseen": count})
	if err != nil {
		return err
	}
	t.buf = append(append(append(t.buf, "data: "...), data...), "\n\n"...)
	return t.flush()
}

// names gives what rules, transports and people are called; each is read once.
type names struct {
	s                   *Server
	rules, ways, people map[state.ObjectID]string
	gone                map[state.ObjectID]bool // rules that are no longer there
	escalates           map[state.ObjectID]bool // rules that were read
}

func newNames(s *Server) *names {
	return &names{s, map[state.ObjectID]string{}, map[state.ObjectID]string{}, map[state.ObjectID]string{}, map[state.ObjectID]bool{}, map[state.ObjectID]bool{}}
}

// rule is the name of a rule, and whether it is still there.
func (n *names) rule(ctx context.Context, id state.ObjectID) (name string, there bool, err error) {
	if id == 0 {
		return "a flow", false, nil // no rule has told it
	}
	if _, known := n.rules[id]; !known {
		r, err := n.s.Notify.GetRule(ctx, id)
		switch {
		case isNotFound(err):
			n.rules[id], n.gone[id] = "rule "+id.String()+", removed", true
		case err != nil:
			return "", false, err
		default:
			n.rules[id], n.escalates[id] = line(r.Value.Name), len(r.Value.Escalate) > 0
		}
	}
	return n.rules[id], !n.gone[id], nil
}

// way is the name of a transport.
func (n *names) way(ctx context.Context, id state.ObjectID) (string, error) {
	return nameIn(n.ways, id, "transport", func() (string, error) {
		t, err := n.s.Notify.GetTransport(ctx, id)
		return t.Value.Name, err
	})
}

// person is the name of a user.
func (n *names) person(ctx context.Context, id state.ObjectID) (string, error) {
	return nameIn(n.people, id, "user", func() (string, error) {
		u, err := n.s.Identity.GetUser(ctx, id)
		return u.Value.Username, err
	})
}

// nameIn looks a name up once; what is gone is named for what it was.
func nameIn(known map[state.ObjectID]string, id state.ObjectID, what string, get func() (string, error)) (string, error) {
	if _, found := known[id]; !found {
		name, err := get()
		switch {
		case isNotFound(err):
			name = what + " " + id.String() + ", removed"
		case err != nil:
			return "", err
		}
		known[id] = line(name)
	}
	return known[id], nil
}

// eventLine is the event with a sequence, as lists show it; found is false where
// retention has taken it.
func (s *Server) eventLine(seq event.Seq) (row eventRow, e *event.Event, found bool) {
	hit, err := s.Journal.Get(seq)
	if err != nil {
		return row, nil, false
	}
	row, e, err = s.eventRow(&hit)
	return row, e, err == nil
}
