package web

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// deliveryLine is one row of the ledger.
type deliveryLine struct {
	ID, State             string
	Badge                 badge
	Rule, Way             link
	Recipient             string
	Type, Title, Severity string
	Event, Explain        string // links
	Reason                string // in words
	Count, Attempts       int
	Due                   *time.Time
	Created               time.Time
	Ended                 *time.Time
}

type deliveriesView struct {
	Said        string
	Filter      deliveryFilter
	Filtered    bool
	States      []link
	Rules, Ways []choice
	Rows        []deliveryLine
	Older       string
	Replay      string // the page that says what would be sent again
	Changes     string // the stream that says that the page is old
	Empty       emptyState
}

// deliveryFilter is which rows are wanted, as it stands in the address.
type deliveryFilter struct{ Rule, Transport, State, Sequence string }

// href is a page of the ledger with this filter; more are further parameters.
func (f deliveryFilter) href(path string, more ...string) string {
	q := url.Values{}
	for _, p := range f.pairs() {
		q.Set(p.Name, p.Value)
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

func (f deliveryFilter) pairs() []pair {
	var all []pair
	for _, p := range []pair{{"rule", f.Rule}, {"transport", f.Transport}, {"state", f.State}, {"sequence", f.Sequence}} {
		if p.Value != "" {
			all = append(all, p)
		}
	}
	return all
}

// flags are the same for the command line.
func (f deliveryFilter) flags() string {
	var out strings.Builder
	for _, p := range f.pairs() {
		out.WriteString(" --" + p.Name + " " + shellQuote(p.Value))
	}
	return out.String()
}

const deliveriesPerPage = 50

// stateBadge shows the state of a delivery.
func stateBadge(name string) badge {
	tones := map[string]string{notify.Queued: "plain", notify.Retrying: "wait", notify.Delivered: "good", notify.Dead: "bad", notify.Suppressed: "plain"}
	return badge{cmp.Or(tones[name], "plain"), name}
}

// reasonText says in words why something was not told.
func reasonText(reason string) string {
	words := map[string]string{
		"silenced":         "a silence covers it",
		"depth":            "too many events led to one another",
		"budget":           "its chain of causes has told enough",
		"loop":             "the transport would be told of its own failure",
		"told_already":     "the person, or the channel, has heard of the event already",
		"unsubscribed":     "the person does not want to hear this rule",
		"no_address":       "the person has no e-mail address",
		"exception_folded": "the same mistake was recorded often enough in this minute",
	}
	if text := words[reason]; text != "" {
		return text
	}
	return plain(clipTo(reason, clipLine))
}

// readDeliveryFilter reads the filter of the ledger. Fields that a form sends
// empty ask for nothing.
func readDeliveryFilter(q *query) (deliveryFilter, notify.DeliveryQuery) {
	f := deliveryFilter{q.text("rule"), q.text("transport"), q.text("state"), q.text("sequence")}
	return f, readDeliveryQuery(q)
}

// getDeliveriesPage shows the ledger.
func (s *Server) getDeliveriesPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "rule", "transport", "state", "sequence", "cursor", "said", "count")
	f, wanted := readDeliveryFilter(q)
	v := deliveriesView{Filter: f, Said: told(q, map[string]string{"replayed": "These are sent again: "}), Filtered: len(f.pairs()) > 0}
	count := q.number("count", 0, 0, math.MaxInt32)
	if q.err != nil {
		return q.err
	}
	if v.Said != "" {
		v.Said += countText(int64(count)) + "."
	}
	ctx := r.Context()
	wanted.Limit = deliveriesPerPage + 1
	found, err := s.Notify.Deliveries(ctx, wanted)
	if err != nil {
		return err
	}
	names := newNames(s)
	for i := range found {
		if i == deliveriesPerPage {
			v.Older = f.href("/deliveries", "cursor", found[i-1].ID.String())
			break
		}
		row, err := s.deliveryLine(ctx, names, &found[i])
		if err != nil {
			return err
		}
		v.Rows = append(v.Rows, row)
	}
	if err := s.deliveryChoices(ctx, &v); err != nil {
		return err
	}
	if over := f.State == "" || f.State == notify.Dead || f.State == notify.Delivered; over && v.Filtered && callerOf(r).principal.Can(identity.Admin) {
		v.Replay = f.href("/deliveries/replay")
	}
	if q.text("cursor") == "" {
		v.Changes = "/inbox/live"
	}
	return s.render(w, r, "deliveries", pageView{
		Title: "Deliveries", Says: "Each message that a rule has made: whether it has arrived, and what the other side said.", Docs: "deliveries", Active: "/deliveries",
		Command: "tocsin deliveries" + f.flags(), Body: v,
	})
}

// deliveryChoices fills what the form of the ledger offers.
func (s *Server) deliveryChoices(ctx context.Context, v *deliveriesView) error {
	for _, name := range append([]string{""}, deliveryStates()...) {
		other := v.Filter
		other.State = name
		v.States = append(v.States, link{cmp.Or(name, "all"), other.href("/deliveries"), name == v.Filter.State})
	}
	rules, err := s.Notify.ListRules(ctx, 0, maxPage)
	if err != nil {
		return err
	}
	for _, r := range rules {
		v.Rules = append(v.Rules, choice{r.ID.String(), line(r.Value.Name), r.ID.String() == v.Filter.Rule})
	}
	ways, err := s.Notify.ListTransports(ctx, 0, maxPage)
	if err != nil {
		return err
	}
	for _, t := range ways {
		v.Ways = append(v.Ways, choice{t.ID.String(), line(t.Value.Name), t.ID.String() == v.Filter.Transport})
	}
	v.Rules, v.Ways = withChosen(v.Rules, v.Filter.Rule), withChosen(v.Ways, v.Filter.Transport)
	v.Empty = emptyState{"Nothing was told yet: no rule has found an event for anybody.", "tocsin rules list"}
	if v.Filtered {
		v.Empty = emptyState{Says: "No row of the ledger is like that."}
	}
	return nil
}

// withChosen adds what is asked for where it is none of the choices: it was
// removed, or there are too many to choose from.
func withChosen(all []choice, value string) []choice {
	if value == "" || slices.ContainsFunc(all, func(c choice) bool { return c.On }) {
		return all
	}
	return append(all, choice{value, "number " + value, true})
}

// deliveryLine is a row of the ledger with the names of what it is about.
func (s *Server) deliveryLine(ctx context.Context, names *names, d *notify.Delivery) (deliveryLine, error) {
	row := deliveryLine{
		ID: d.ID.String(), State: d.State, Badge: stateBadge(d.State), Title: line(d.Details.Title), Reason: reasonText(d.Reason),
		Count: d.Count, Attempts: d.Attempts, Created: d.Created, Type: d.Details.Why,
	}
	if d.Details.Severity != 0 {
		row.Severity = d.Details.Severity.String()
	}
	if d.State == notify.Queued || d.State == notify.Retrying {
		row.Due = &d.Due
	}
	if !d.Ended.IsZero() {
		row.Ended = &d.Ended
	}
	if d.Sequence != 0 {
		row.Event = "/events/" + seqText(d.Sequence)
		e, _, there := s.eventLine(d.Sequence)
		if row.Type = e.Type; !there {
			row.Type = "an event that is gone"
		}
		row.Title, row.Severity = cmp.Or(row.Title, e.Message), cmp.Or(row.Severity, e.Severity)
	}
	name, there, err := names.rule(ctx, d.Rule)
	if err != nil {
		return row, err
	}
	if d.Rule == 0 {
		name = cmp.Or(line(d.Details.Group), name)
	}
	if row.Rule = (link{Text: name}); there {
		row.Rule.Href = "/rules/" + d.Rule.String()
		if d.Sequence != 0 {
			row.Explain = row.Rule.Href + "/explain?sequence=" + seqText(d.Sequence)
		}
	}
	if d.Transport != 0 { // of a suppressed row, it may be none
		if name, err = names.way(ctx, d.Transport); err != nil {
			return row, err
		}
		row.Way = link{Text: name, Href: deliveryFilter{Transport: d.Transport.String()}.href("/deliveries")}
	}
	if d.Recipient != 0 {
		row.Recipient, err = names.person(ctx, d.Recipient)
	}
	return row, err
}

type deliveryView struct {
	Said        string
	Problem     *problem
	Row         deliveryLine
	Text        string
	Tries       []attemptLine
	Facts       []pair
	Way         string // the page of the transport
	More        []link
	Inbox       bool // it lies there: nothing was sent
	Replayable  bool
	Escalates   bool
	RecipientID string
	Changes     string
}

// attemptLine is one try as the page shows it.
type attemptLine struct {
	Number  int
	Time    time.Time
	Status  int
	Latency string
	Answer  string
	Error   string
}

// getDeliveryPage shows one row of the ledger with its attempts.
func (s *Server) getDeliveryPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	v := deliveryView{Said: told(q, map[string]string{"replayed": "It is sent again, under the key that it has.", "acknowledged": "It is acknowledged: nobody is told of it again."})}
	if q.err != nil {
		return q.err
	}
	return s.showDelivery(w, r, v, nil)
}

func (s *Server) showDelivery(w http.ResponseWriter, r *http.Request, v deliveryView, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	ctx := r.Context()
	d, tries, err := s.Notify.GetDelivery(ctx, id)
	if err != nil {
		return err
	}
	if v.Row, err = s.deliveryLine(ctx, newNames(s), &d); err != nil {
		return err
	}
	for _, a := range tries {
		v.Tries = append(v.Tries, attemptLine{a.Number, a.Time, a.Status, latencyText(a.Latency), plain(a.Answer), plain(a.Error)})
	}
	if err := s.completeDelivery(r, &v, &d); err != nil {
		return err
	}
	return s.renderStatus(w, r, status, "delivery", pageView{
		Title: "Delivery " + id.String(), Says: "One message, and what came of each attempt to send it.", Docs: "deliveries", Active: "/deliveries",
		Command: "tocsin deliveries show " + id.String(), Body: v,
	})
}

// completeDelivery adds the words of a delivery, what is known of it, and what
// can be done.
func (s *Server) completeDelivery(r *http.Request, v *deliveryView, d *notify.Delivery) error {
	ctx, p := r.Context(), callerOf(r).principal
	_, e, _ := s.eventLine(d.Sequence)
	if d.State != notify.Suppressed {
		title, text, severity, err := s.Notify.Words(ctx, d, e)
		switch {
		case isNotFound(err):
			v.Row.Title = "The event is no longer in the journal."
		case err != nil:
			return err
		default:
			v.Row.Title, v.Text, v.Row.Severity = line(title), plain(text), severity.String()
		}
	}
	v.Facts = []pair{{"Why", whyText(d.Details.Why)}, {"Group", plain(d.Details.Group)}, {"Key", d.Key}}
	if d.Details.Count > 1 {
		v.Facts = append(v.Facts, pair{"Events", strconv.Itoa(d.Details.Count)})
	}
	if d.Recipient != 0 && p.Can(identity.Admin) {
		v.RecipientID = d.Recipient.String()
	}
	t, err := s.Notify.GetTransport(ctx, d.Transport)
	switch {
	case err == nil:
		v.Inbox = t.Value.Mode == notify.Inbox
		v.Way = "/transports/" + d.Transport.String()
	case !isNotFound(err):
		return err
	}
	v.Replayable = v.Way != "" && !v.Inbox && (d.State == notify.Dead || d.State == notify.Delivered) && p.Can(identity.Admin)
	if p.Can(identity.Emit) {
		if v.Escalates, err = s.Notify.Escalating(ctx, d.ID); err != nil {
			return err
		}
	}
	if d.State == notify.Queued || d.State == notify.Retrying {
		v.Changes = "/inbox/live"
	}
	f := deliveryFilter{Rule: d.Rule.String()}
	v.More = []link{{Text: "of this rule", Href: f.href("/deliveries")}}
	if d.Sequence != 0 {
		v.More = append(v.More, link{Text: "about this event", Href: deliveryFilter{Sequence: d.Sequence.String()}.href("/deliveries")})
	}
	return nil
}

// whyText says what made a rule speak.
func whyText(why string) string {
	return map[string]string{
		"event": "an event matched", "threshold": "enough events came within the time", "absence": "no event came for the time",
		"resolved": "what was missing is back", "digest": "what waited is told together", "escalation": "nobody has acknowledged it",
	}[why]
}

func latencyText(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return strconv.FormatFloat(float64(d)/1e6, 'f', 2, 64) + " ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	default:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
}

// postReplayPage sends one delivery again.
func (s *Server) postReplayPage(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	if _, err := s.Notify.ReplayOne(r.Context(), cause(r), id); err != nil {
		return s.showDelivery(w, r, deliveryView{}, err)
	}
	http.Redirect(w, r, "/deliveries/"+id.String()+"?said=replayed", http.StatusSeeOther)
	return nil
}

// postAcknowledgeDelivery ends the escalation of what a delivery has told.
func (s *Server) postAcknowledgeDelivery(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	if _, err := s.Notify.Acknowledge(r.Context(), cause(r), id); err != nil {
		return s.showDelivery(w, r, deliveryView{}, err)
	}
	http.Redirect(w, r, "/deliveries/"+id.String()+"?said=acknowledged", http.StatusSeeOther)
	return nil
}

type replayView struct {
	Problem *problem
	Count   int
	Fields  []pair // of the form
	Words   []pair // the same with names
	Back    string
}

// getReplayPage says how many deliveries would be sent again, before they are.
func (s *Server) getReplayPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "rule", "transport", "state", "sequence")
	f, wanted := readDeliveryFilter(q)
	if q.err == nil && len(f.pairs()) == 0 {
		q.fail("query: say which: rule, transport, state or sequence; everything at once is not meant")
	}
	if q.err != nil {
		return q.err
	}
	v := replayView{Fields: f.pairs(), Back: f.href("/deliveries")}
	ctx, names := r.Context(), newNames(s)
	var err error
	if v.Count, err = s.Notify.Replayable(ctx, wanted); err != nil {
		return err
	}
	for _, p := range v.Fields {
		switch p.Name {
		case "rule":
			p.Value, _, err = names.rule(ctx, wanted.Rule)
		case "transport":
			p.Value, err = names.way(ctx, wanted.Transport)
		}
		if err != nil {
			return err
		}
		v.Words = append(v.Words, p)
	}
	return s.render(w, r, "replay", pageView{
		Title: "Send again", Says: "What would be sent once more, before it is.", Docs: "deliveries", Active: "/deliveries",
		Command: "tocsin deliveries replay" + f.flags(), Body: v,
	})
}

// postReplayAllPage sends all deliveries again that the form names.
func (s *Server) postReplayAllPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "rule", "transport", "state", "sequence")
	if err != nil {
		return err
	}
	q := &query{values: form}
	f, wanted := readDeliveryFilter(q)
	if len(f.pairs()) == 0 {
		q.fail("say which: rule, transport, state or sequence; everything at once is not meant")
	}
	if q.err != nil {
		return q.err
	}
	count, err := s.Notify.Replay(r.Context(), cause(r), wanted)
	if err != nil {
		return err
	}
	f.State = "" // what was dead is no longer
	http.Redirect(w, r, f.href("/deliveries", "said", "replayed", "count", strconv.Itoa(count)), http.StatusSeeOther)
	return nil
}
