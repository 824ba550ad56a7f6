package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
)

// giver makes events of JSON that a program or a file gives: a CloudEvent, or the
// short form {"type", "severity", "subject", "time", "id", "data"}.
type giver struct {
	env    *Env
	source string // of events in the short form
	types  *catalog.Catalog
}

func newGiver(env *Env, name string) *giver {
	return &giver{env: env, source: env.Base + "/" + name, types: catalog.New()}
}

// short is the short form of an event.
type short struct {
	ID       event.ID        `json:"id"`
	Type     event.Type      `json:"type"`
	Severity string          `json:"severity"`
	Subject  string          `json:"subject"`
	Time     string          `json:"time"`
	Data     json.RawMessage `json:"data"`
}

// read makes an event of one JSON object. The id is used where it has none of its
// own, and so is the time. Errors are of class event.ErrInvalid.
func (g *giver) read(raw []byte, id event.ID, at time.Time) (event.Event, error) {
	var form struct {
		SpecVersion json.RawMessage `json:"specversion"`
	}
	if err := json.Unmarshal(raw, &form); err != nil {
		return event.Event{}, event.Invalidf("not a JSON object: %w", err)
	}
	var e event.Event
	var err error
	if form.SpecVersion != nil {
		if e, err = event.Decode(raw); err != nil {
			return e, err
		}
		if e.Source != g.source && (e.Source == g.env.Base || strings.HasPrefix(e.Source, g.env.Base+"/")) {
			return e, event.Invalidf("source %q belongs to this server; use one of your own, or the short form", e.Source)
		}
		if e.Time.IsZero() {
			e.Time = at
		}
	} else if e, err = g.short(raw, id, at); err != nil {
		return e, err
	}
	if e.Host == "" {
		e.Host = g.env.Host
	}
	if m := g.types.Check(&e); m != nil && !m.Unknown {
		return e, event.Invalidf("%w", m)
	}
	return e, nil
}

func (g *giver) short(raw []byte, id event.ID, at time.Time) (event.Event, error) {
	var s short
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return event.Event{}, event.Invalidf("%w; the members are type, severity, subject, time, id and data", err)
	}
	e := event.Event{
		ID: id, Source: g.source, Type: s.Type, Subject: s.Subject, Time: at, Host: g.env.Host, AuthType: "system", AuthName: "tocsin",
	}
	if s.Type == "" {
		return e, event.Invalidf("type is missing")
	}
	if s.ID != "" {
		e.ID = s.ID
	}
	if s.Severity != "" {
		severity, err := event.ParseSeverity(s.Severity)
		if err != nil {
			return e, err
		}
		e.Severity = severity
	}
	if s.Time != "" {
		t, err := event.ParseTime(s.Time)
		if err != nil {
			return e, event.Invalidf("time: %w", err)
		}
		e.Time = t
	}
	if s.Data != nil && string(s.Data) != "null" {
		e.Data, e.DataContentType = s.Data, "application/json"
	}
	// What is not strict JSON, or no text of an attribute, is found by reading it again.
	if e.Severity == 0 {
		e.Severity = g.types.Severity(e.Type)
	}
	if _, err := event.Decode(e.AppendJSON(nil)); err != nil {
		return e, err
	}
	return e, nil
}

// all makes events of a whole document: an object, an array, or a line for each.
// id and at are those of the document; each event's own is made of them and its
// place. An error names the line or the place in the array.
func (g *giver) all(content []byte, lines bool, id event.ID, at time.Time) ([]event.Event, error) {
	var raws []json.RawMessage
	where := "event"
	switch content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")); {
	case lines:
		where = "line"
		for line := range bytes.SplitSeq(content, []byte("\n")) {
			raws = append(raws, bytes.TrimSpace(line))
		}
	case len(bytes.TrimSpace(content)) > 0 && bytes.TrimSpace(content)[0] == '[':
		if err := json.Unmarshal(content, &raws); err != nil {
			return nil, event.Invalidf("not a JSON array: %w", err)
		}
	default:
		d := json.NewDecoder(bytes.NewReader(content))
		var one json.RawMessage
		if err := d.Decode(&one); err != nil {
			return nil, event.Invalidf("not JSON: %w", err)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return nil, event.Invalidf("more than one JSON value: use an array, or a file *.ndjson")
		}
		raws = append(raws, one)
	}
	var events []event.Event
	for n, raw := range raws {
		if len(raw) == 0 {
			continue
		}
		e, err := g.read(raw, madeID(string(id), strconv.Itoa(n)), at)
		if err != nil {
			return nil, event.Invalidf("%s %d: %w", where, n+1, err)
		}
		events = append(events, e)
	}
	if len(events) == 0 {
		return nil, event.Invalidf("there is no event in it")
	}
	return events, nil
}
