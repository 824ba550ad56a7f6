package web

import (
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// inboxRow is a message to the caller as the API shows it.
type inboxRow struct {
	ID       string     `json:"id"`
	Rule     string     `json:"rule"`
	Delivery string     `json:"delivery"`
	Sequence string     `json:"sequence"` // empty where it is about no event
	Severity string     `json:"severity"`
	Title    string     `json:"title"`
	Text     string     `json:"text"`
	Created  time.Time  `json:"created"`
	Seen     *time.Time `json:"seen"`
}

func newInboxRow(i notify.InboxItem) inboxRow {
	row := inboxRow{
		ID: i.ID.String(), Rule: i.Rule.String(), Delivery: i.Delivery.String(), Severity: i.Severity.String(), Title: i.Title, Text: i.Text, Created: i.Created,
	}
	if i.Sequence != 0 {
		row.Sequence = i.Sequence.String()
	}
	if !i.Seen.IsZero() {
		row.Seen = &i.Seen
	}
	return row
}

// ownInbox is whose inbox is meant: the caller's.
func ownInbox(r *http.Request) (state.ObjectID, error) {
	if p := callerOf(r).principal; p.User != 0 {
		return p.User, nil
	}
	return 0, event.Invalidf("only users have an inbox: sign in (tocsin login)")
}

func (s *Server) getInbox(w http.ResponseWriter, r *http.Request) error {
	user, err := ownInbox(r)
	if err != nil {
		return err
	}
	q := readQuery(r, "limit", "cursor", "unseen")
	before, limit := listPage(q)
	unseen := q.flag("unseen")
	if q.err != nil {
		return q.err
	}
	found, err := s.Notify.InboxOf(r.Context(), user, before, unseen, limit+1)
	if err != nil {
		return err
	}
	count, err := s.Notify.Unseen(r.Context(), user)
	if err != nil {
		return err
	}
	out := struct {
		page[inboxRow]
		Unseen int `json:"unseen"`
	}{page[inboxRow]{Items: []inboxRow{}}, count}
	for i, item := range found {
		if i == limit {
			next := found[i-1].ID.String()
			out.Next = &next
			break
		}
		out.Items = append(out.Items, newInboxRow(item))
	}
	return writeJSON(w, http.StatusOK, out)
}

// seenInput says whether messages were seen.
type seenInput struct {
	Seen *bool `json:"seen"` // absent: true
}

// postSeen notes that the caller has seen a message, or that it is new again.
func (s *Server) postSeen(w http.ResponseWriter, r *http.Request) error {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.markSeen(w, r, id)
}

// postAllSeen notes that the caller has seen all messages.
func (s *Server) postAllSeen(w http.ResponseWriter, r *http.Request) error {
	return s.markSeen(w, r, 0)
}

func (s *Server) markSeen(w http.ResponseWriter, r *http.Request, id state.ObjectID) error {
	user, err := ownInbox(r)
	if err != nil {
		return err
	}
	var in seenInput
	if r.ContentLength != 0 {
		if err := readJSON(w, r, &in); err != nil {
			return err
		}
	}
	if id != 0 {
		if _, err := s.Notify.InboxItemOf(r.Context(), user, id); err != nil {
			return err
		}
	}
	count, err := s.Notify.MarkSeen(r.Context(), cause(r), user, id, in.Seen == nil || *in.Seen)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]int{"count": count})
}
