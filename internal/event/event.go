// Package event is the vocabulary of Tocsin: the event itself, its severities,
// the error classes, and the strict JSON form in which an event travels.
//
// An event is a CloudEvents 1.0 event (specification "CloudEvents - Version
// 1.0.2"); one representation serves the journal, the API, Kafka, webhooks and
// the pages. The package promises three things: it imports the standard library
// only; Decode accepts nothing that AppendJSON could not write again without
// loss; and no function here keeps state, so everything is safe for concurrent
// use.
package event

import (
	"strconv"
	"time"
)

// ID is the CloudEvents id: unique together with Source.
type ID string

// Type is the CloudEvents type, such as "disk_full" or "server.registered".
type Type string

// Seq is the position of an event in the journal. The first is 1; 0 means that
// the event has not been recorded.
type Seq uint64

// String gives the 20-digit, zero-padded form that the CloudEvents sequence
// extension demands, so that sequences sort as text.
func (s Seq) String() string {
	return string(appendSeq(make([]byte, 0, seqDigits), s))
}

const seqDigits = 20

func appendSeq(b []byte, s Seq) []byte {
	var digits [seqDigits]byte
	for i := seqDigits - 1; i >= 0; i-- {
		digits[i] = byte('0' + s%10)
		s /= 10
	}
	return append(b, digits[:]...)
}

// ParseSeq reads a sequence with or without its leading zeros.
func ParseSeq(text string) (Seq, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, Invalidf("sequence %q is not a whole number", clip(text))
	}
	return Seq(n), nil
}

// Kind says which of the four worlds an event belongs to, or custom.
type Kind string

// The kinds, each with the seed that describes it.
const (
	KindHost        Kind = "host"        // seed 000: a hosting panel's event sources
	KindSys         Kind = "sys"         // seed 001: an automation server's system events
	KindSignificant Kind = "significant" // seed 002: a bare-metal cloud's significant events
	KindAudit       Kind = "audit"       // seed 003: an identity provider's audit log
	KindCustom      Kind = "custom"      // types that a user added, and unknown ones
)

// Kinds lists every kind in the order in which people read them.
func Kinds() []Kind {
	return []Kind{KindHost, KindSys, KindSignificant, KindAudit, KindCustom}
}

// Event is one CloudEvents 1.0 event. Attributes with a field of their own are
// those that Tocsin reads; every other extension is kept in Extensions. The
// zero value of a field means that the attribute is absent.
type Event struct {
	ID              ID
	Source          string
	Type            Type
	Subject         string // the affected thing, such as "user/42"; never the actor
	Time            time.Time
	DataContentType string
	DataSchema      string

	Kind     Kind
	Severity Severity

	AuthType   string // user, api_key, service_account, system, unauthenticated
	AuthID     string
	AuthName   string
	AuthEmail  string
	OnBehalfOf string // the impersonated user

	ClientIP     string
	GeoCountry   string
	GeoContinent string
	GeoCity      string
	GeoLat       string
	GeoLon       string
	ASN          string
	ASOrg        string
	ASNetwork    string

	CorrelationID  string
	CausationID    string
	CausationDepth int32
	TraceParent    string

	Sequence     Seq
	RecordedTime time.Time
	RecordedBy   string
	ExpiryTime   time.Time
	Brand        string
	Host         string

	// Extensions holds every other extension attribute, sorted by name.
	Extensions []Attribute

	// Data is the data member as one JSON value, exactly as it was sent; nil
	// when absent. Binary holds the decoded bytes of data_base64 instead.
	Data   []byte
	Binary []byte
}

// Attribute is an extension attribute without a field of its own. Values keep
// the JSON type in which they came: string, bool or int32.
type Attribute struct {
	Name  string
	Value any
}

// Actor is the one who did it, for people: the name, else the address, else
// the id; empty when nobody is known.
func (e *Event) Actor() string {
	switch {
	case e.AuthName != "":
		return e.AuthName
	case e.AuthEmail != "":
		return e.AuthEmail
	default:
		return e.AuthID
	}
}

// Extension returns the value of an extension without a field of its own.
func (e *Event) Extension(name string) (any, bool) {
	for _, a := range e.Extensions {
		if a.Name == name {
			return a.Value, true
		}
	}
	return nil, false
}
