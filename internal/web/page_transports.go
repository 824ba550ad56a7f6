package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/state"
	"github.com/tocsin-events/tocsin/internal/transport"
)

// transportLine is one transport in the list.
type transportLine struct {
	ID, Name, Mode string
	Where          string // its destination, without secrets
	Status         notify.Destination
	Badge          badge
	Rules          int
	Waits          string // the rows of the ledger that wait
}

type transportsView struct {
	Said    string
	Rows    []transportLine
	IsAdmin bool
	Empty   emptyState
	Changes string
}

// getTransportsPage lists the ways of telling, and how each stands.
func (s *Server) getTransportsPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	v := transportsView{
		Said: told(q, map[string]string{"deleted": "The transport is deleted."}), IsAdmin: callerOf(r).principal.Can(identity.Admin), Changes: "/inbox/live",
		Empty: emptyState{"There is no way of telling anybody yet.", "tocsin transports --help"},
	}
	if q.err != nil {
		return q.err
	}
	ctx := r.Context()
	found, err := s.Notify.ListTransports(ctx, 0, maxPage)
	if err != nil {
		return err
	}
	stands, err := s.Notify.Destinations(ctx)
	if err != nil {
		return err
	}
	rules, err := s.Notify.ListRules(ctx, 0, maxPage)
	if err != nil {
		return err
	}
	uses := map[string]int{}
	for _, r := range rules {
		for _, id := range r.Value.Transports {
			uses[id]++
		}
	}
	for _, t := range found {
		id := t.ID.String()
		v.Rows = append(v.Rows, transportLine{
			ID: id, Name: line(t.Value.Name), Mode: t.Value.Mode, Where: line(destinationOf(&t.Value)), Status: stands[t.ID], Badge: standing(stands[t.ID]), Rules: uses[id],
			Waits: deliveryFilter{Transport: id}.href("/deliveries"),
		})
	}
	return s.render(w, r, "transports", pageView{
		Title: "Transports", Says: "The ways in which people and machines are told, and how each stands.", Docs: "deliveries", Active: "/transports",
		Command: "tocsin transports list", Body: v,
	})
}

// standing is how a destination stands, in a word.
func standing(d notify.Destination) badge {
	switch {
	case d.Failed.After(d.Delivered) && d.Waiting > 0:
		return badge{"bad", "failing"}
	case d.Failed.After(d.Delivered):
		return badge{"wait", "failed last"}
	case !d.Delivered.IsZero():
		return badge{"good", "works"}
	default:
		return badge{"plain", "not used yet"}
	}
}

// destinationOf is where a transport leads, as people may see it.
func destinationOf(t *notify.Transport) string {
	var members map[string]any
	if json.Unmarshal(t.Settings, &members) != nil {
		return ""
	}
	for _, name := range []string{"url", "address", "host"} {
		if text, ok := members[name].(string); ok && text != "" {
			return text
		}
	}
	return ""
}

// transportForm is the form of a transport, made from the options of its mode.
type transportForm struct {
	Said     string
	Problem  *problem
	ID       string // empty for a new one
	Version  int64
	Modes    []transport.Mode // to choose from, where none is chosen yet
	Mode     transport.Mode
	Name     string
	Called   string // what it is called now
	Fields   []optionField
	Rate     [2]string // count, within
	Retry    [3]string // attempts, first, most
	Defaults [3]string
	IsAdmin  bool
	Status   notify.Destination
	Badge    badge
	Rules    []link
	Ledger   string
	Test     *testAnswer
	Revealed []pair
	Changes  string
}

// optionField is one setting of a form.
type optionField struct {
	transport.Option
	Input   string // text, password, lines, number or choice
	Value   string
	Note    string
	Choices []choice
}

// mapLine is one line of a map of settings: a name, a colon, and a value.
var mapLine = regexp.MustCompile(`^([^\s:{}()"]+)\s*:\s*(.*)$`)

func findMode(name string) (transport.Mode, bool) {
	modes := notify.Modes()
	i := slices.IndexFunc(modes, func(m transport.Mode) bool { return m.Name == name })
	if i < 0 {
		return transport.Mode{}, false
	}
	return modes[i], true
}

// optionFields are the settings of a mode with the values of settings, which
// hold no secrets.
func optionFields(m transport.Mode, settings json.RawMessage) []optionField {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(settings, &members) // what is no object has no values
	var all []optionField
	for _, o := range m.Options {
		f := optionField{Option: o, Input: "text", Value: fieldText(members[o.Name])}
		switch {
		case o.Secret == transport.Whole:
			f.Input = "password"
		case o.Type == "boolean":
			f.Input = "choice"
			for _, c := range []choice{{"", "by default: " + orWord(o.Default, "no"), false}, {"true", "yes", false}, {"false", "no", false}} {
				c.On = c.Value == f.Value
				f.Choices = append(f.Choices, c)
			}
		case o.Type == "list", strings.HasPrefix(o.Type, "map"), o.Name == "body", o.Name == "ca":
			f.Input = "lines"
		case o.Type == "number":
			f.Input = "number"
		}
		if o.Default != "" && f.Input != "choice" {
			f.Note = "Empty: " + o.Default + "."
		}
		switch {
		case o.Type == "list":
			f.Note += " One on each line."
		case strings.HasPrefix(o.Type, "map"):
			f.Note += " One on each line, such as X-Team: operations."
		}
		if strings.Contains(f.Value, redact.Mask) {
			f.Note += " What is masked stays as it is, unless you change it."
		}
		all = append(all, f)
	}
	return all
}

func orWord(word, otherwise string) string {
	switch word {
	case "true":
		return "yes"
	case "", "false":
		return otherwise
	}
	return word
}

// fieldText is a setting as a form shows it.
func fieldText(raw json.RawMessage) string {
	var text string
	var list []string
	var pairs map[string]string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return ""
	case json.Unmarshal(raw, &text) == nil:
		return text
	case json.Unmarshal(raw, &list) == nil:
		return strings.Join(list, "\n")
	case json.Unmarshal(raw, &pairs) == nil:
		lines := make([]string, 0, len(pairs))
		for name, value := range pairs {
			lines = append(lines, name+": "+value)
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	return string(raw)
}

// readOption is a setting as JSON; nil where the form leaves it out.
func readOption(o transport.Option, text string) (any, error) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if strings.TrimSpace(text) == "" {
		return nil, nil //nolint:nilnil // absent is a value of its own
	}
	switch {
	case o.Type == "number":
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return nil, event.Invalidf("settings.%s: must be a whole number", o.Name)
		}
		return n, nil
	case o.Type == "boolean":
		return text == "true", nil
	case o.Type == "list":
		return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' || r == ' ' || r == '\t' }), nil
	case strings.HasPrefix(o.Type, "map"):
		pairs := map[string]string{}
		for one := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
			found := mapLine.FindStringSubmatch(strings.TrimSpace(one))
			switch {
			case found != nil:
				pairs[found[1]] = found[2]
			case o.Type == "map":
				return nil, event.Invalidf("settings.%s: %q is no name, colon and value", o.Name, clipTo(one, 64))
			default:
				return text, nil // an expression
			}
		}
		return pairs, nil
	case strings.Contains(text, "\n"):
		return text, nil
	default:
		return strings.TrimSpace(text), nil
	}
}

// transportFields are the fields of the form of a mode.
func transportFields(m transport.Mode) []string {
	known := []string{"name", "mode", "version", "rate.count", "rate.within", "retry.attempts", "retry.first", "retry.most"}
	for _, o := range m.Options {
		known = append(known, "s."+o.Name)
	}
	return known
}

// readTransport reads the form of a transport.
func readTransport(m transport.Mode, form url.Values) (in notify.TransportInput, err error) {
	in = notify.TransportInput{Name: strings.TrimSpace(form.Get("name")), Mode: m.Name}
	settings := map[string]any{}
	for _, o := range m.Options {
		value, err := readOption(o, form.Get("s."+o.Name))
		if err != nil {
			return in, err
		}
		if value != nil {
			settings[o.Name] = value
		}
	}
	if in.Settings, err = json.Marshal(settings); err != nil {
		return in, err
	}
	if form.Get("rate.count")+form.Get("rate.within") != "" {
		in.Rate = &notify.Rate{}
		err = readFields(form, map[string]any{"rate.count": &in.Rate.Count, "rate.within": &in.Rate.Within})
	}
	if err == nil && form.Get("retry.attempts")+form.Get("retry.first")+form.Get("retry.most") != "" {
		retry := notify.DefaultRetry()
		in.Retry = &retry
		err = readFields(form, map[string]any{"retry.attempts": &retry.Attempts, "retry.first": &retry.First, "retry.most": &retry.Most})
	}
	return in, err
}

// readFields reads numbers and durations of a form; empty ones stay as they are.
func readFields(form url.Values, into map[string]any) error {
	for name, to := range into {
		text := strings.TrimSpace(form.Get(name))
		if text == "" {
			continue
		}
		var err error
		switch to := to.(type) {
		case *int:
			*to, err = strconv.Atoi(text)
		case *config.Duration:
			err = to.UnmarshalText([]byte(text))
		}
		if err != nil {
			return event.Invalidf("%s: %q is neither a number nor a duration such as 10m", name, clipTo(text, 32))
		}
	}
	return nil
}

// fill shows what a transport holds, or what was typed.
func (v *transportForm) fill(in notify.TransportInput) {
	v.Name, v.Fields = in.Name, optionFields(v.Mode, in.Settings)
	if in.Rate != nil {
		v.Rate = [2]string{strconv.Itoa(in.Rate.Count), in.Rate.Within.String()}
	}
	if in.Retry != nil {
		v.Retry = [3]string{strconv.Itoa(in.Retry.Attempts), in.Retry.First.String(), in.Retry.Most.String()}
	}
}

// typed shows what was typed, also where it could not be read.
func (v *transportForm) typed(form url.Values) {
	v.Name, v.Fields = form.Get("name"), optionFields(v.Mode, nil)
	for i := range v.Fields {
		f := &v.Fields[i]
		f.Value = form.Get("s." + f.Name)
		for j := range f.Choices {
			f.Choices[j].On = f.Choices[j].Value == f.Value
		}
	}
	v.Rate = [2]string{form.Get("rate.count"), form.Get("rate.within")}
	v.Retry = [3]string{form.Get("retry.attempts"), form.Get("retry.first"), form.Get("retry.most")}
}

func (s *Server) showTransportForm(w http.ResponseWriter, r *http.Request, v transportForm, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	d := notify.DefaultRetry()
	v.Defaults = [3]string{strconv.Itoa(d.Attempts), d.First.String(), d.Most.String()}
	page := pageView{Title: "New transport", Says: "A way in which rules can tell people or machines.", Docs: "transports", Active: "/transports", Command: "tocsin transports create transport.yaml", Body: v}
	if v.ID != "" {
		page.Title, page.Says, page.Command = v.Called, plain(v.Mode.Doc), "tocsin transports edit "+v.ID+" change.yaml"
	}
	return s.renderStatus(w, r, status, "transport", page)
}

// getNewTransport asks for the mode, then shows the form of it.
func (s *Server) getNewTransport(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "mode")
	if q.err != nil {
		return q.err
	}
	v := transportForm{IsAdmin: true, Modes: notify.Modes()}
	if name := q.text("mode"); name != "" {
		mode, ok := findMode(name)
		if !ok {
			return event.NotFoundf("there is no mode %q", clipTo(name, 64))
		}
		v.Mode, v.Modes = mode, nil
		v.fill(notify.TransportInput{})
	}
	return s.showTransportForm(w, r, v, nil)
}

// postTransportPage makes a transport.
func (s *Server) postTransportPage(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return event.Invalidf("form: %w", err)
	}
	mode, ok := findMode(r.PostForm.Get("mode"))
	if !ok {
		return event.Invalidf("mode: choose one")
	}
	form, err := readForm(w, r, transportFields(mode)...)
	if err != nil {
		return err
	}
	in, err := readTransport(mode, form)
	var made state.Record[notify.Transport]
	if err == nil {
		made, err = s.Notify.CreateTransport(r.Context(), cause(r), in)
	}
	if err != nil {
		v := transportForm{IsAdmin: true, Mode: mode}
		v.typed(form)
		return s.showTransportForm(w, r, v, err)
	}
	http.Redirect(w, r, "/transports/"+made.ID.String()+"?said=made", http.StatusSeeOther)
	return nil
}

// getTransportPage shows one transport: its form, how it stands, and a test.
func (s *Server) getTransportPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said")
	said := told(q, map[string]string{"made": "The transport is made. Test it, then name it in a rule.", "saved": "The transport is saved."})
	if q.err != nil {
		return q.err
	}
	v, err := s.openTransportForm(r)
	if err != nil {
		return err
	}
	v.Said = said
	return s.showTransportForm(w, r, v, nil)
}

// openTransportForm is the form of the transport that the path names.
func (s *Server) openTransportForm(r *http.Request) (v transportForm, err error) {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return v, err
	}
	ctx := r.Context()
	t, err := s.Notify.GetTransport(ctx, id)
	if err != nil {
		return v, err
	}
	mode, ok := findMode(t.Value.Mode)
	if !ok {
		return v, fmt.Errorf("transport %s: the mode %q is unknown", id, t.Value.Mode)
	}
	v = transportForm{ID: id.String(), Version: t.Version, Mode: mode, IsAdmin: callerOf(r).principal.Can(identity.Admin), Ledger: deliveryFilter{Transport: id.String()}.href("/deliveries"), Changes: "/inbox/live"}
	v.fill(notify.TransportInput{Name: t.Value.Name, Mode: t.Value.Mode, Settings: t.Value.Settings, Rate: t.Value.Rate, Retry: t.Value.Retry})
	stands, err := s.Notify.Destinations(ctx)
	if err != nil {
		return v, err
	}
	v.Called, v.Status, v.Badge = line(t.Value.Name), stands[id], standing(stands[id])
	rules, err := s.Notify.ListRules(ctx, 0, maxPage)
	for _, r := range rules {
		if slices.Contains(r.Value.Transports, v.ID) {
			v.Rules = append(v.Rules, link{Text: line(r.Value.Name), Href: "/rules/" + r.ID.String()})
		}
	}
	return v, err
}

// postEditTransport changes one.
func (s *Server) postEditTransport(w http.ResponseWriter, r *http.Request) error {
	v, err := s.openTransportForm(r)
	if err != nil {
		return err
	}
	form, err := readForm(w, r, transportFields(v.Mode)...)
	if err != nil {
		return err
	}
	version, err := formVersion(form.Get("version"))
	if err != nil {
		return err
	}
	id, err := state.ParseID(v.ID)
	if err != nil {
		return err
	}
	in, err := readTransport(v.Mode, form)
	if err == nil {
		_, err = s.Notify.UpdateTransport(r.Context(), cause(r), id, version, func(notify.TransportInput) (notify.TransportInput, error) { return in, nil })
	}
	if err != nil {
		v.typed(form)
		return s.showTransportForm(w, r, v, err)
	}
	http.Redirect(w, r, "/transports/"+v.ID+"?said=saved", http.StatusSeeOther)
	return nil
}

// postDeleteTransport removes one that no rule uses.
func (s *Server) postDeleteTransport(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	if err := s.Notify.DeleteTransport(r.Context(), cause(r), id, state.AnyVersion); err != nil {
		v, e := s.openTransportForm(r)
		if e != nil {
			return e
		}
		return s.showTransportForm(w, r, v, err)
	}
	http.Redirect(w, r, "/transports?said=deleted", http.StatusSeeOther)
	return nil
}

// postTestPage sends a real message and shows the answer.
func (s *Server) postTestPage(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	got, failed := s.testTransport(r, id)
	v, err := s.openTransportForm(r)
	if err != nil {
		return err
	}
	if failed == nil {
		got.Answer, got.Error = plain(got.Answer), plain(got.Error)
		v.Test = &got
	}
	return s.showTransportForm(w, r, v, failed)
}

// postRevealTransport shows the secrets of one, to those who give their password
// again.
func (s *Server) postRevealTransport(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "password")
	if err != nil {
		return err
	}
	v, err := s.openTransportForm(r)
	if err != nil {
		return err
	}
	id, err := state.ParseID(v.ID)
	if err != nil {
		return err
	}
	settings, failed := s.revealSettings(r, id, form.Get("password"))
	if failed == nil {
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, settings, "", "  "); err != nil {
			return err
		}
		v.Revealed = []pair{{"Settings", plain(pretty.String())}}
	}
	return s.showTransportForm(w, r, v, failed)
}
