package transport

import (
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Message is what is told. It must not change while it is sent.
type Message struct {
	// Key is the idempotency key: the same at every attempt, unlike that of any
	// other message, of letters, digits, "-" and "_".
	Key   string
	Event *event.Event
	// RuleID and Rule are the rule that told; its mails make one thread.
	RuleID, Rule string
	Severity     event.Severity
	Title        string // one line
	Text         string // one line or more
	Link         string // leads to the event
	Recipients   []Recipient
	Brand        Brand
	// Resolved says that what Event has told is over. Event is then the one that
	// was told before, so that the other side knows what to end.
	Resolved bool
	// Unsubscribe is a URL that ends these messages for the one recipient; empty
	// where there is none (RFC 8058: it takes a POST).
	Unsubscribe string
}

// Recipient is a person.
type Recipient struct{ Name, Email, Username string }

// Brand is under whose name a message goes out.
type Brand struct {
	Name string // Tocsin where empty
	URL  string
	Logo string // URL of a picture
}

func (m *Message) brand() string {
	if m.Brand.Name == "" {
		return "Tocsin"
	}
	return oneLine(m.Brand.Name)
}

// person is the first recipient; empty where a destination has none.
func (m *Message) person() Recipient {
	if len(m.Recipients) == 0 {
		return Recipient{}
	}
	return m.Recipients[0]
}

// headline is the title with the severity, or that it is over.
func (m *Message) headline() string {
	if m.Resolved {
		return "[resolved] " + oneLine(m.Title)
	}
	return "[" + m.Severity.String() + "] " + oneLine(m.Title)
}

// Compose makes a message of an event, in the words of its type's template. The
// caller completes Key, Rule, Recipients and Brand, and may change what it reads
// like. publicURL is that of this server.
func Compose(c *catalog.Catalog, e *event.Event, publicURL string) Message {
	title := string(e.Type)
	switch {
	case e.Host != "":
		title += " on " + e.Host
	case e.Subject != "":
		title += ": " + e.Subject
	}
	severity := e.Severity
	if severity == 0 {
		severity = c.Severity(e.Type)
	}
	m := Message{Event: e, Severity: severity, Title: oneLine(title), Text: c.Message(e), Brand: Brand{Name: e.Brand}}
	if e.Sequence != 0 {
		m.Link = strings.TrimRight(publicURL, "/") + "/events/" + strconv.FormatUint(uint64(e.Sequence), 10)
	}
	return m
}

// fact is one line of what is known about an event.
type fact struct{ name, value string }

// facts are the attributes that people look at first, without empty ones.
func (m *Message) facts() []fact {
	e := m.Event
	all := []fact{
		{"Type", string(e.Type)},
		{"Severity", m.Severity.String()},
		{"Subject", e.Subject},
		{"Host", e.Host},
		{"Actor", e.Actor()},
		{"Address", e.ClientIP},
		{"Time", e.Time.UTC().Format(time.RFC3339)},
		{"Rule", m.Rule},
	}
	var known []fact
	for _, f := range all {
		if f.value != "" {
			known = append(known, fact{f.name, oneLine(f.value)})
		}
	}
	return known
}
