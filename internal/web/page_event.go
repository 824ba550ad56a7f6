package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/microcosm-cc/bluemonday"

	"github.com/tocsin-events/tocsin/internal/event"
)

// eventView is one event with everything that is known of it.
type eventView struct {
	Row             eventRow
	Description     string
	Newer, OlderOne string
	Exception       []failure
	Diff            []change
	Mail            *mail
	Documents       []document
	Groups          []group
	Data            []pair
	Links           []link
	Copies          []pair
	JSON            string
}

type pair struct{ Name, Value string }

type group struct {
	Name  string
	Pairs []pair
}

// failure is one link in a chain of causes.
type failure struct {
	event.Exception
	Caused bool
}

// change is one field of a diff.
type change struct {
	Name           string
	Old, New       string
	HasOld, HasNew bool
}

// mail is a mail as it was sent.
type mail struct {
	Head []pair
	HTML template.HTML
	Text string
}

// document is a part of an event that was written as HTML.
type document struct {
	Name string
	HTML template.HTML
}

// getEventPage shows one event. The page of events takes it into its drawer.
func (s *Server) getEventPage(w http.ResponseWriter, r *http.Request) error {
	seq, err := event.ParseSeq(r.PathValue("sequence"))
	if err != nil {
		return event.NotFoundf("there is no event %q", r.PathValue("sequence"))
	}
	hit, err := s.Journal.Get(seq)
	if err != nil {
		return err
	}
	row, e, err := s.eventRow(&hit)
	if err != nil {
		return err
	}
	v := eventView{Row: row, Groups: attributeGroups(e), Links: related(e), Copies: s.copies(e, row.Seq)}
	if entry, ok := s.Catalog.Get(e.Type); ok {
		v.Description = plain(entry.Description)
	}
	v.Links = append(v.Links, link{Text: "what was told of it", Href: deliveryFilter{Sequence: row.Seq}.href("/deliveries")}, link{Text: "silence events like this", Href: silenceHref(e)})
	if seq > s.Journal.First() {
		v.OlderOne = "/events/" + seqText(seq-1)
	}
	if seq < s.Journal.Last() {
		v.Newer = "/events/" + seqText(seq+1)
	}
	v.readData(e)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, event.InsertRecorded(nil, hit.Body, hit.Seq, time.Unix(0, hit.Recorded)), "", "  "); err != nil {
		return err
	}
	v.JSON = plain(pretty.String())
	return s.render(w, r, "event", pageView{
		Title: row.Type, Says: row.Message, Active: "/events", Command: "tocsin events 'sequence == " + row.Seq + "' --since 3650d -o json", Body: v,
	})
}

// readData takes the structured parts out of the data, and leaves the rest for
// the table.
func (v *eventView) readData(e *event.Event) {
	if e.Binary != nil {
		v.Data = []pair{{"data_base64", fmt.Sprintf("%d bytes of %s", len(e.Binary), e.DataContentType)}}
		return
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(e.Data, &members) != nil || members == nil {
		v.Data = dataRows("", e.Data)
		return
	}
	var x event.Exception
	if json.Unmarshal(members["exception"], &x) == nil && x.Type != "" {
		v.Exception = failures(&x)
		delete(members, "exception")
	}
	var d map[string]json.RawMessage
	if json.Unmarshal(members["diff"], &d) == nil && d != nil {
		v.Diff = changes(d)
		delete(members, "diff")
	}
	if e.Type == "email_sent" {
		v.Mail = newMail(members)
		for _, name := range []string{"subject", "body", "from_email", "to_email", "to"} {
			delete(members, name)
		}
	}
	var advice string
	if json.Unmarshal(members["monitoringAgentResult"], &advice) == nil && advice != "" {
		v.Documents = append(v.Documents, document{"What the monitoring agent says", sanitised(advice)})
		delete(members, "monitoringAgentResult")
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		v.Data = append(v.Data, dataRows(name, members[name])...)
	}
	v.Data = v.Data[:min(len(v.Data), maxDataRows)]
}

// maxCauses bounds how many causes of a failure are shown.
const maxCauses = 20

func failures(x *event.Exception) []failure {
	var all []failure
	for ; x != nil && len(all) < maxCauses; x = x.Cause {
		all = append(all, failure{*x, len(all) > 0})
	}
	return all
}

// changes reads a diff: previous and new value of each field, or what was added
// to and removed from a relation.
func changes(d map[string]json.RawMessage) []change {
	var all []change
	for _, name := range slices.Sorted(maps.Keys(d)) {
		var members map[string]json.RawMessage
		c := change{Name: plain(name)}
		if json.Unmarshal(d[name], &members) != nil {
			c.New, c.HasNew = shownJSON(d[name]), true
		}
		for key, value := range members {
			if string(value) == "null" || string(value) == "[]" {
				continue
			}
			switch key {
			case "previous_value":
				c.Old, c.HasOld = shownJSON(value), true
			case "new_value":
				c.New, c.HasNew = shownJSON(value), true
			case "remove":
				c.Old, c.HasOld = shownRelated(value), true
			case "add":
				c.New, c.HasNew = shownRelated(value), true
			}
		}
		all = append(all, c)
	}
	return all
}

// shownRelated names what was added to a relation or removed from it.
func shownRelated(raw []byte) string {
	var all []struct{ PK, Name string }
	if json.Unmarshal(raw, &all) != nil {
		return shownJSON(raw)
	}
	names := make([]string, 0, len(all))
	for _, r := range all {
		names = append(names, strings.TrimSpace(line(r.Name)+" ("+line(r.PK)+")"))
	}
	return strings.Join(names, ", ")
}

// shownJSON is a value as people read it: texts without quotes.
func shownJSON(raw []byte) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return plain(text)
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil && len(list) > 0 {
		return plain(strings.Join(list, ", "))
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, raw, "", "  ") == nil {
		return plain(pretty.String())
	}
	return plain(string(raw))
}

func newMail(members map[string]json.RawMessage) *mail {
	m := &mail{}
	for _, h := range [][2]string{{"from_email", "From"}, {"to", "To"}, {"to_email", "To"}, {"subject", "Subject"}} {
		if raw := members[h[0]]; raw != nil && string(raw) != "null" {
			m.Head = append(m.Head, pair{h[1], shownJSON(raw)})
		}
	}
	var body string
	if json.Unmarshal(members["body"], &body) == nil {
		if start := strings.TrimSpace(body); strings.HasPrefix(start, "<") {
			m.HTML = sanitised(body)
		} else {
			m.Text = plain(body)
		}
	}
	return m
}

// documentPolicy lets text, lists and tables through, and nothing that acts,
// loads or leads anywhere.
var documentPolicy = func() *bluemonday.Policy { //nolint:gochecknoglobals // a constant, safe for concurrent use
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "hr", "b", "strong", "i", "em", "u", "code", "pre", "blockquote", "ul", "ol", "li", "dl", "dt", "dd",
		"h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "div", "span")
	return p
}()

// sanitised is HTML from elsewhere without anything that acts.
func sanitised(in string) template.HTML {
	return template.HTML(documentPolicy.Sanitize(plain(in))) //nolint:gosec // what the policy lets through has neither attributes nor scripts
}

// attributeGroups are the attributes that are there, in words.
func attributeGroups(e *event.Event) []group {
	all := []group{}
	for _, g := range []struct {
		name  string
		pairs [][2]string
	}{
		{"What", [][2]string{{"severitytext", "Severity"}, {"kind", "Kind"}, {"subject", "About"}, {"source", "Source"}, {"host", "Host"}, {"brand", "Brand"}}},
		{"When", [][2]string{{"time", "Happened"}, {"recordedtime", "Recorded"}, {"expirytime", "Expires"}}},
		{"Who", [][2]string{{"actor", "Actor"}, {"authtype", "Kind of actor"}, {"authid", "Id"}, {"authname", "Name"}, {"authemail", "Mail"}, {"onbehalfof", "On behalf of"}}},
		{"From where", [][2]string{
			{"clientip", "Address"},
			{"geocity", "City"},
			{"geocountry", "Country"},
			{"geocontinent", "Continent"},
			{"geolat", "Latitude"},
			{"geolon", "Longitude"},
			{"asn", "Network number"},
			{"asorg", "Network"},
			{"asnetwork", "Range"},
		}},
		{"Why", [][2]string{{"correlationid", "Correlation"}, {"causationid", "Caused by"}, {"causationdepth", "Depth of causes"}, {"traceparent", "Trace"}}},
		{"Record", [][2]string{{"sequence", "Sequence"}, {"id", "Id"}, {"recordedby", "Brought by"}, {"dataschema", "Schema"}, {"datacontenttype", "Media type"}}},
	} {
		out := group{Name: g.name}
		for _, a := range g.pairs {
			value := e.Text(a[0])
			if t, err := event.ParseTime(value); err == nil && g.name == "When" {
				value = t.UTC().Format("2006-01-02 15:04:05.000 MST")
			}
			if value != "" {
				out.Pairs = append(out.Pairs, pair{a[1], plain(clipTo(value, clipValue))})
			}
		}
		if len(out.Pairs) > 0 {
			all = append(all, out)
		}
	}
	others := group{Name: "More"}
	for _, x := range e.Extensions {
		others.Pairs = append(others.Pairs, pair{x.Name, plain(clipTo(fmt.Sprint(x.Value), clipValue))})
	}
	if len(others.Pairs) > 0 {
		all = append(all, others)
	}
	return all
}

// related leads to other events of the same thing.
func related(e *event.Event) []link {
	var all []link
	add := func(text string, terms ...string) {
		conditions := make([]string, 0, len(terms)/2)
		for i := 0; i+1 < len(terms); i += 2 {
			if terms[i+1] == "" {
				return
			}
			conditions = append(conditions, equals(terms[i], terms[i+1]))
		}
		all = append(all, link{Text: text, Href: eventsHref(strings.Join(conditions, " && "), "30d")})
	}
	add("more like this", "type", string(e.Type), "source", e.Source)
	add("of this type", "type", string(e.Type))
	add("about the same", "subject", e.Subject)
	add("by this actor", "authid", e.AuthID)
	add("from this address", "clientip", e.ClientIP)
	add("of this host", "host", e.Host)
	add("of this chain", "correlationid", e.CorrelationID)
	add("what caused it", "id", e.CausationID)
	add("what it caused", "causationid", string(e.ID))
	return all
}

// copies are the ways to this event from outside of the page.
func (s *Server) copies(e *event.Event, seq string) []pair {
	return []pair{
		{"Filter", equals("source", e.Source) + " && " + equals("id", string(e.ID))},
		{"Link", s.Base + "/events/" + seq},
		{"curl", `curl -H "Authorization: Bearer $TOCSIN_TOKEN" ` + s.Base + "/v1/events/" + seq},
		{"Shell", "tocsin events 'sequence == " + seq + "' --since 3650d -o json"},
	}
}

// maxDataRows bounds the table of one event's data.
const maxDataRows = 500

// dataRows flattens data into paths and values.
func dataRows(path string, raw []byte) []pair {
	if raw == nil {
		return nil
	}
	join := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	var rows []pair
	var object map[string]json.RawMessage
	var list []json.RawMessage
	switch {
	case json.Unmarshal(raw, &object) == nil && len(object) > 0:
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if rows = append(rows, dataRows(join(name), object[name])...); len(rows) > maxDataRows {
				return rows[:maxDataRows]
			}
		}
		return rows
	case json.Unmarshal(raw, &list) == nil && len(list) > 0 && bytes.ContainsAny(raw, "{"):
		for i := range list {
			if rows = append(rows, dataRows(join(strconv.Itoa(i)), list[i])...); len(rows) > maxDataRows {
				return rows[:maxDataRows]
			}
		}
		return rows
	}
	return []pair{{plain(path), shownJSON(raw)}}
}
