package event

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// Limits on what an event may carry.
const (
	MaxAttribute  = 64 << 10 // bytes in one attribute's value
	MaxName       = 64       // bytes in an extension's name
	MaxExtensions = 64       // extension attributes without a field of their own
)

// Earliest and latest instant that an attribute of type Timestamp may name:
// what 64 bits of nanoseconds hold, so that no comparison can overflow.
var (
	minTime = time.Unix(0, math.MinInt64).UTC() //nolint:gochecknoglobals // a constant, which Go can't write as one
	maxTime = time.Unix(0, math.MaxInt64).UTC() //nolint:gochecknoglobals // a constant, which Go can't write as one
)

// Decode reads one event in the CloudEvents JSON format, strictly: specversion
// 1.0, the required attributes, legal names and types for all others, one of
// data and data_base64 at most. Nothing in the result aliases in. The errors
// are of class ErrInvalid and name the attribute, or the line and column.
func Decode(in []byte) (Event, error) {
	sc := scan.Get(in)
	defer scan.Put(sc)
	d := decoder{in: string(in)} // one copy, which all attributes share
	err := d.object(sc)
	if err == nil {
		_, err = sc.Next()
	}
	if err == nil {
		err = d.finish()
	}
	if err != nil {
		return Event{}, invalid(err)
	}
	return d.event, nil
}

// DecodeStored reads what AppendStored has made of an event, and leaves out what
// was checked then. Data aliases in, which must not change.
func DecodeStored(in []byte) (Event, error) {
	sc := scan.GetValid(in)
	defer scan.Put(sc)
	d := decoder{in: string(in), stored: true}
	if err := d.object(sc); err != nil {
		return Event{}, invalid(err)
	}
	if err := d.finish(); err != nil {
		return Event{}, invalid(err)
	}
	return d.event, nil
}

func invalid(err error) error {
	if errors.Is(err, ErrInvalid) {
		return err
	}
	return Invalidf("%w", err)
}

type decoder struct {
	in          string
	event       Event
	specVersion string
	sevText     string
	sevNumber   int32
	binaryText  string
	hasBinary   bool
	stored      bool // read from the journal: known to be valid
}

func (d *decoder) object(sc *scan.Scanner) error {
	kind, err := sc.Next()
	if err != nil {
		return err
	}
	if kind != scan.ObjectStart {
		return Invalidf("an event must be a JSON object")
	}
	for {
		kind, err := sc.Next()
		if err != nil {
			return err
		}
		if kind == scan.ObjectEnd {
			return nil
		}
		if err := d.member(sc, d.text(sc)); err != nil {
			return err
		}
	}
}

// text is the current string token, sharing the decoder's copy of the input.
func (d *decoder) text(sc *scan.Scanner) string {
	if sc.Escaped() {
		return string(sc.Text())
	}
	return d.in[sc.Offset()+1 : sc.EndOffset()-1]
}

func (d *decoder) member(sc *scan.Scanner, name string) error {
	if name == "data" {
		raw, err := sc.Skip()
		if d.event.Data = raw; !d.stored {
			d.event.Data = slices.Clone(raw)
		}
		return err
	}
	kind, err := sc.Next()
	if err != nil {
		return err
	}
	v := value{kind: kind}
	switch kind {
	case scan.String:
		v.text = d.text(sc)
	case scan.True, scan.False:
	case scan.Null: // JSON format, 2.2: null is the same as absent
		return nil
	case scan.Number:
		n, err := strconv.ParseInt(string(sc.Raw()), 10, 32)
		if err != nil {
			return Invalidf("attribute %q: %s is not a 32-bit whole number; CloudEvents has no others, so send it as a string", clip(name), clip(string(sc.Raw())))
		}
		v.number = int32(n)
	default:
		return Invalidf("attribute %q is an object or array; only data may be one", clip(name))
	}
	if name == "data_base64" {
		if kind != scan.String {
			return Invalidf("data_base64 must be a string")
		}
		d.binaryText, d.hasBinary = v.text, true
		return nil
	}
	return d.attribute(name, v)
}

// value is an attribute's value: String with text, Number, True or False.
type value struct {
	kind   scan.Kind
	text   string
	number int32
}

func (v value) any() any {
	switch v.kind {
	case scan.String:
		return v.text
	case scan.Number:
		return v.number
	default:
		return v.kind == scan.True
	}
}

func (d *decoder) attribute(name string, v value) error {
	if v.kind == scan.String && !d.stored {
		if err := checkText(name, v.text); err != nil {
			return err
		}
	}
	e := &d.event
	switch name {
	case "severitynumber":
		return intAttribute(name, v, &d.sevNumber)
	case "causationdepth":
		return intAttribute(name, v, &e.CausationDepth)
	}
	field, isTime := d.field(name)
	switch {
	case field == nil && isTime == nil && name != "sequence":
		return d.extension(name, v)
	case v.kind != scan.String:
		return Invalidf("attribute %q must be a string", name)
	case field != nil:
		*field = v.text
		return nil
	case isTime != nil:
		return timeAttribute(name, v.text, isTime)
	}
	var err error
	e.Sequence, err = ParseSeq(v.text)
	return err
}

// field finds where an attribute of type String, or of type Timestamp, is kept.
func (d *decoder) field(name string) (*string, *time.Time) {
	e := &d.event
	switch name {
	case "specversion":
		return &d.specVersion, nil
	case "id":
		return (*string)(&e.ID), nil
	case "source":
		return &e.Source, nil
	case "type":
		return (*string)(&e.Type), nil
	case "subject":
		return &e.Subject, nil
	case "datacontenttype":
		return &e.DataContentType, nil
	case "dataschema":
		return &e.DataSchema, nil
	case "kind":
		return (*string)(&e.Kind), nil
	case "severitytext":
		return &d.sevText, nil
	case "time":
		return nil, &e.Time
	case "recordedtime":
		return nil, &e.RecordedTime
	case "expirytime":
		return nil, &e.ExpiryTime
	}
	for i := range textAttributes {
		if textAttributes[i].name == name {
			return textAttributes[i].field(e), nil
		}
	}
	return nil, nil
}

func (d *decoder) extension(name string, v value) error {
	if err := checkName(name); err != nil {
		return err
	}
	if len(d.event.Extensions) >= MaxExtensions {
		return Invalidf("more than %d extension attributes", MaxExtensions)
	}
	d.event.Extensions = append(d.event.Extensions, Attribute{Name: name, Value: v.any()})
	return nil
}

func intAttribute(name string, v value, to *int32) error {
	if v.kind == scan.Number {
		*to = v.number
		return nil
	}
	// The binary content mode of HTTP carries integers as text.
	n, err := strconv.ParseInt(v.text, 10, 32)
	if v.kind != scan.String || err != nil {
		return Invalidf("attribute %q must be a 32-bit whole number", name)
	}
	*to = int32(n)
	return nil
}

func timeAttribute(name, text string, to *time.Time) error {
	t, err := ParseTime(text)
	if err != nil {
		return Invalidf("attribute %q: %w", name, err)
	}
	*to = t
	return nil
}

// ParseTime reads an RFC 3339 timestamp and gives it in UTC. Years are limited
// to 1678–2261: what 64 bits of nanoseconds hold.
func ParseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(text)) // RFC 3339, 5.6: "t" and "z" are allowed
	if err != nil {
		return time.Time{}, Invalidf("%q is not an RFC 3339 time such as 2026-11-21T10:00:00Z", clip(text))
	}
	if t.Before(minTime) || t.After(maxTime) {
		return time.Time{}, Invalidf("%q is out of range: years 1678 to 2261 can be recorded", clip(text))
	}
	return t.UTC(), nil
}

// checkText enforces the CloudEvents type String (specification, 2.3).
func checkText(name, text string) error {
	if len(text) > MaxAttribute {
		return Invalidf("attribute %q is longer than %d bytes", clip(name), MaxAttribute)
	}
	if isPlain(text) {
		return nil
	}
	for _, r := range text {
		if r < 0x20 || r >= 0x7F && r <= 0x9F {
			return Invalidf("attribute %q holds the control character U+%04X", clip(name), r)
		}
		if r&0xFFFE == 0xFFFE || r >= 0xFDD0 && r <= 0xFDEF {
			return Invalidf("attribute %q holds U+%04X, which is no character", clip(name), r)
		}
	}
	if !utf8.ValidString(text) {
		return Invalidf("attribute %q is not valid UTF-8", clip(name))
	}
	return nil
}

func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c >= 0x7F {
			return false
		}
	}
	return true
}

// checkName enforces attribute names (specification, 3.1): lower-case letters
// and digits of ASCII.
func checkName(name string) error {
	if name == "" {
		return Invalidf("an attribute's name is empty")
	}
	if len(name) > MaxName {
		return Invalidf("attribute name %q is longer than %d bytes", clip(name), MaxName)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return Invalidf("attribute name %q: only a–z and 0–9 are allowed (CloudEvents 1.0, 3.1)", clip(name))
		}
	}
	return nil
}

// finish checks what needs the whole event.
func (d *decoder) finish() error {
	e := &d.event
	switch {
	case d.specVersion == "":
		return Invalidf("specversion is missing; it must be \"1.0\"")
	case d.specVersion != "1.0":
		return Invalidf("specversion %q is not supported; it must be \"1.0\"", clip(d.specVersion))
	case d.hasBinary && e.Data != nil:
		return Invalidf("data and data_base64 are both there; send one")
	}
	if d.hasBinary {
		b, err := base64.StdEncoding.DecodeString(d.binaryText)
		if err != nil {
			return Invalidf("data_base64 is not standard base64: %w", err)
		}
		e.Binary = b
		if b == nil {
			e.Binary = []byte{}
		}
	}
	if err := d.severity(); err != nil {
		return err
	}
	if d.stored {
		return nil
	}
	slices.SortFunc(e.Extensions, func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) })
	return e.Validate()
}

func (d *decoder) severity() (err error) {
	e := &d.event
	if d.sevText != "" {
		if e.Severity, err = ParseSeverity(d.sevText); err != nil {
			return fmt.Errorf("severitytext: %w", err)
		}
	}
	if d.sevNumber == 0 {
		return nil
	}
	number := Severity(d.sevNumber)
	switch {
	case number.String() == "":
		return Invalidf("severitynumber %d is unknown: use 9, 10, 13, 17 or 18", d.sevNumber)
	case e.Severity != 0 && e.Severity != number:
		return Invalidf("severitytext %q and severitynumber %d do not agree", d.sevText, d.sevNumber)
	}
	e.Severity = number
	return nil
}

// Validate checks the envelope of an event however it was made: the required
// attributes, the kind, and the media type. Errors are of class ErrInvalid.
func (e *Event) Validate() error {
	switch {
	case e.ID == "":
		return Invalidf("id is missing or empty")
	case e.Source == "":
		return Invalidf("source is missing or empty")
	case e.Type == "":
		return Invalidf("type is missing or empty")
	}
	if err := checkURI("source", e.Source, false); err != nil {
		return err
	}
	if err := checkURI("dataschema", e.DataSchema, true); err != nil {
		return err
	}
	if e.Kind != "" && !slices.Contains(Kinds(), e.Kind) {
		return Invalidf("kind %q is unknown: use host, sys, significant, audit or custom", clip(string(e.Kind)))
	}
	if e.DataContentType != "" && e.DataContentType != "application/json" {
		if _, _, err := mime.ParseMediaType(e.DataContentType); err != nil {
			return Invalidf("datacontenttype %q is not a media type", clip(e.DataContentType))
		}
	}
	return nil
}

// FromText builds an event from attributes given as text, as the binary content
// mode of the HTTP binding sends them (HTTP protocol binding, 3.1.3), with the
// checks of Decode. The caller sets Data or Binary afterwards.
func FromText(attributes map[string]string) (Event, error) {
	var d decoder
	for name, text := range attributes {
		if err := checkName(name); err != nil {
			return Event{}, err
		}
		if err := d.attribute(name, value{kind: scan.String, text: text}); err != nil {
			return Event{}, err
		}
	}
	if err := d.finish(); err != nil {
		return Event{}, err
	}
	return d.event, nil
}
