package web

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

func isTemporary(err error) bool { return errors.Is(err, event.ErrUnavailable) }

// deliveryRow is a row of the ledger as the API shows it.
type deliveryRow struct {
	ID        string       `json:"id"`
	Key       string       `json:"idempotency_key"`
	Rule      string       `json:"rule"`
	Transport string       `json:"transport"`
	Recipient string       `json:"recipient"` // id of a user; empty for a destination of the transport's own
	Sequence  string       `json:"sequence"`  // empty where it is about no event
	Why       string       `json:"why"`
	Group     string       `json:"group"`
	Title     string       `json:"title"` // empty: in the words of the event's type
	Text      string       `json:"text"`
	State     string       `json:"state"`
	Reason    string       `json:"reason"`
	Count     int          `json:"count"`
	Attempts  int          `json:"attempts"`
	Due       *time.Time   `json:"due"` // of the next attempt
	Created   time.Time    `json:"created"`
	Finished  *time.Time   `json:"finished"`
	Tries     []attemptRow `json:"tries,omitempty"`
}

// attemptRow is one try of a delivery.
type attemptRow struct {
	Number    int       `json:"number"`
	Time      time.Time `json:"time"`
	Status    int       `json:"status"`
	LatencyMS float64   `json:"latency_ms"`
	Answer    string    `json:"answer"`
	Error     string    `json:"error"`
}

func newDeliveryRow(d notify.Delivery) deliveryRow {
	row := deliveryRow{
		ID: d.ID.String(), Key: d.Key, Rule: d.Rule.String(), Transport: d.Transport.String(), Why: d.Details.Why, Group: d.Details.Group,
		Title: d.Details.Title, Text: d.Details.Text, State: d.State, Reason: d.Reason, Count: d.Count, Attempts: d.Attempts, Created: d.Created,
	}
	if d.Recipient != 0 {
		row.Recipient = d.Recipient.String()
	}
	if d.Sequence != 0 {
		row.Sequence = d.Sequence.String()
	}
	if d.State == notify.Queued || d.State == notify.Retrying {
		row.Due = &d.Due
	}
	if !d.Ended.IsZero() {
		row.Finished = &d.Ended
	}
	return row
}

// deliveryStates are what ?state= knows.
func deliveryStates() []string {
	return []string{notify.Queued, notify.Retrying, notify.Delivered, notify.Dead, notify.Suppressed}
}

// readDeliveryQuery reads which rows of the ledger are wanted.
func readDeliveryQuery(q *query) notify.DeliveryQuery {
	id := func(name string) state.ObjectID {
		text := q.text(name)
		if text == "" {
			return 0
		}
		n, err := state.ParseID(text)
		if err != nil {
			q.fail("query: %s: %s", name, err)
		}
		return n
	}
	out := notify.DeliveryQuery{Rule: id("rule"), Transport: id("transport"), State: q.text("state"), Before: id("cursor")}
	if out.State != "" && !slices.Contains(deliveryStates(), out.State) {
		q.fail("query: state %q is none of %v", out.State, deliveryStates())
	}
	if text := q.text("sequence"); text != "" {
		seq, err := event.ParseSeq(text)
		if err != nil {
			q.fail("query: %s", err)
		}
		out.Sequence = seq
	}
	out.Limit = q.number("limit", 100, 1, maxPage)
	return out
}

func (s *Server) getDeliveries(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "rule", "transport", "state", "sequence", "limit", "cursor")
	wanted := readDeliveryQuery(q)
	if q.err != nil {
		return q.err
	}
	limit := wanted.Limit
	wanted.Limit++
	found, err := s.Notify.Deliveries(r.Context(), wanted)
	if err != nil {
		return err
	}
	out := page[deliveryRow]{Items: []deliveryRow{}}
	for i, d := range found {
		if i == limit {
			next := found[i-1].ID.String()
			out.Next = &next
			break
		}
		out.Items = append(out.Items, newDeliveryRow(d))
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) getDelivery(w http.ResponseWriter, r *http.Request) error {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	d, tries, err := s.Notify.GetDelivery(r.Context(), id)
	if err != nil {
		return err
	}
	row := newDeliveryRow(d)
	row.Tries = []attemptRow{}
	for _, a := range tries {
		row.Tries = append(row.Tries, attemptRow{a.Number, a.Time, a.Status, float64(a.Latency) / 1e6, a.Answer, a.Error})
	}
	return writeJSON(w, http.StatusOK, row)
}

// postReplay sends one delivery again.
func (s *Server) postReplay(w http.ResponseWriter, r *http.Request) error {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	d, err := s.Notify.ReplayOne(r.Context(), cause(r), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, newDeliveryRow(d))
}

// postReplayAll sends all deliveries again that a query names.
func (s *Server) postReplayAll(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Rule      string      `json:"rule"`
		Transport string      `json:"transport"`
		State     string      `json:"state"`
		Sequence  anySequence `json:"sequence"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	var err error
	q := notify.DeliveryQuery{State: in.State, Sequence: event.Seq(in.Sequence)}
	if in.Rule != "" {
		if q.Rule, err = state.ParseID(in.Rule); err != nil {
			return event.Invalidf("rule: %s", err)
		}
	}
	if in.Transport != "" {
		if q.Transport, err = state.ParseID(in.Transport); err != nil {
			return event.Invalidf("transport: %s", err)
		}
	}
	if q == (notify.DeliveryQuery{}) {
		return event.Invalidf("say which: rule, transport, state (dead or delivered) or sequence; everything at once is not meant")
	}
	count, err := s.Notify.Replay(r.Context(), cause(r), q)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusAccepted, map[string]int{"count": count})
}

// postAcknowledge notes that somebody looks after what was told.
func (s *Server) postAcknowledge(w http.ResponseWriter, r *http.Request) error {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := onDuty(r); err != nil {
		return err
	}
	d, err := s.Notify.Acknowledge(r.Context(), cause(r), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, newDeliveryRow(d))
}
