package event

import (
	"encoding/base64"
	"strconv"
	"time"

	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// JSONMedia is the media type of one event in JSON (CloudEvents JSON format, 3).
const JSONMedia = "application/cloudevents+json"

// BatchMedia is the media type of a JSON array of events (JSON format, 4).
const BatchMedia = "application/cloudevents-batch+json"

// AppendJSON appends the event in the CloudEvents JSON format: attributes in a
// fixed order without white space, data last. An empty DataContentType means
// JSON and is left out, as it came.
func (e *Event) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"specversion":"1.0"`...)
	if e.Sequence != 0 {
		dst = append(dst, `,"sequence":"`...)
		dst = append(appendSeq(dst, e.Sequence), '"')
	}
	dst = appendTime(dst, "recordedtime", e.RecordedTime)
	return e.appendRest(dst)
}

// AppendStored appends the form that the journal keeps: AppendJSON without
// sequence and recordedtime, which the journal assigns and stores beside it.
func (e *Event) AppendStored(dst []byte) []byte {
	return e.appendRest(append(dst, `{"specversion":"1.0"`...))
}

// storedPrefix is how every stored event begins; InsertRecorded relies on it.
const storedPrefix = `{"specversion":"1.0"`

// InsertRecorded appends the full JSON of an event to dst, given its stored
// form: the same bytes as AppendJSON would give, without decoding.
func InsertRecorded(dst, stored []byte, seq Seq, recorded time.Time) []byte {
	dst = append(dst, storedPrefix...)
	dst = append(dst, `,"sequence":"`...)
	dst = append(appendSeq(dst, seq), '"')
	dst = appendTime(dst, "recordedtime", recorded)
	return append(dst, stored[len(storedPrefix):]...)
}

func (e *Event) appendRest(dst []byte) []byte {
	dst = appendText(dst, "id", string(e.ID))
	dst = appendText(dst, "source", e.Source)
	dst = appendText(dst, "type", string(e.Type))
	dst = appendText(dst, "subject", e.Subject)
	dst = appendTime(dst, "time", e.Time)
	dst = appendText(dst, "datacontenttype", e.DataContentType)
	dst = appendText(dst, "dataschema", e.DataSchema)
	dst = appendText(dst, "kind", string(e.Kind))
	if e.Severity != 0 {
		dst = appendText(dst, "severitytext", e.Severity.String())
		dst = appendInt(dst, "severitynumber", int32(e.Severity))
	}
	for i := range textAttributes {
		dst = appendText(dst, textAttributes[i].name, *textAttributes[i].field(e))
	}
	if e.CausationDepth != 0 {
		dst = appendInt(dst, "causationdepth", e.CausationDepth)
	}
	dst = appendTime(dst, "expirytime", e.ExpiryTime)
	for _, a := range e.Extensions {
		switch v := a.Value.(type) {
		case string:
			dst = appendString(dst, a.Name, v)
		case bool:
			dst = strconv.AppendBool(appendName(dst, a.Name), v)
		case int32:
			dst = appendInt(dst, a.Name, v)
		}
	}
	switch {
	case e.Data != nil:
		dst = append(appendName(dst, "data"), e.Data...)
	case e.Binary != nil:
		dst = append(appendName(dst, "data_base64"), '"')
		dst = append(base64.StdEncoding.AppendEncode(dst, e.Binary), '"')
	}
	return append(dst, '}')
}

// textAttribute is an attribute of type String with a field of its own.
type textAttribute struct {
	name  string
	field func(*Event) *string
}

// textAttributes are the optional text extensions, in the order of AppendJSON.
var textAttributes = []textAttribute{ //nolint:gochecknoglobals // a constant table, which Go can't write as one
	{"authtype", func(e *Event) *string { return &e.AuthType }},
	{"authid", func(e *Event) *string { return &e.AuthID }},
	{"authname", func(e *Event) *string { return &e.AuthName }},
	{"authemail", func(e *Event) *string { return &e.AuthEmail }},
	{"onbehalfof", func(e *Event) *string { return &e.OnBehalfOf }},
	{"clientip", func(e *Event) *string { return &e.ClientIP }},
	{"geocountry", func(e *Event) *string { return &e.GeoCountry }},
	{"geocontinent", func(e *Event) *string { return &e.GeoContinent }},
	{"geocity", func(e *Event) *string { return &e.GeoCity }},
	{"geolat", func(e *Event) *string { return &e.GeoLat }},
	{"geolon", func(e *Event) *string { return &e.GeoLon }},
	{"asn", func(e *Event) *string { return &e.ASN }},
	{"asorg", func(e *Event) *string { return &e.ASOrg }},
	{"asnetwork", func(e *Event) *string { return &e.ASNetwork }},
	{"correlationid", func(e *Event) *string { return &e.CorrelationID }},
	{"causationid", func(e *Event) *string { return &e.CausationID }},
	{"traceparent", func(e *Event) *string { return &e.TraceParent }},
	{"recordedby", func(e *Event) *string { return &e.RecordedBy }},
	{"brand", func(e *Event) *string { return &e.Brand }},
	{"host", func(e *Event) *string { return &e.Host }},
}

func appendName(dst []byte, name string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

func appendText(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(dst, name, value)
}

func appendString(dst []byte, name, value string) []byte {
	return scan.AppendString(appendName(dst, name), value)
}

func appendInt(dst []byte, name string, value int32) []byte {
	return strconv.AppendInt(appendName(dst, name), int64(value), 10)
}

func appendTime(dst []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	dst = append(appendName(dst, name), '"')
	return append(t.UTC().AppendFormat(dst, time.RFC3339Nano), '"')
}
