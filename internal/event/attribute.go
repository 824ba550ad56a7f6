package event

import (
	"strconv"
	"time"
)

// Text is the value of an attribute by its CloudEvents name, as text; empty
// where it is absent or unknown. Times are RFC 3339, the sequence has no zeros
// in front. "actor" is Actor, and "severity" is severitytext.
func (e *Event) Text(name string) string {
	switch name {
	case "specversion":
		return "1.0"
	case "id":
		return string(e.ID)
	case "source":
		return e.Source
	case "type":
		return string(e.Type)
	case "subject":
		return e.Subject
	case "datacontenttype":
		return e.DataContentType
	case "dataschema":
		return e.DataSchema
	case "kind":
		return string(e.Kind)
	case "severity", "severitytext":
		return e.Severity.String()
	case "severitynumber":
		return intText(int64(e.Severity))
	case "causationdepth":
		return intText(int64(e.CausationDepth))
	case "sequence":
		return intText(int64(e.Sequence))
	case "time":
		return timeText(e.Time)
	case "recordedtime":
		return timeText(e.RecordedTime)
	case "expirytime":
		return timeText(e.ExpiryTime)
	case "actor":
		return e.Actor()
	}
	for i := range textAttributes {
		if textAttributes[i].name == name {
			return *textAttributes[i].field(e)
		}
	}
	value, _ := e.Extension(name)
	switch v := value.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int32:
		return strconv.Itoa(int(v))
	}
	return ""
}

// Reserved tells whether a name has a meaning already, so that no extension of
// one's own can have it.
func Reserved(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "subject", "datacontenttype", "dataschema", "data", "kind", "severity", "severitytext", "severitynumber",
		"causationdepth", "sequence", "sequencetype", "time", "recordedtime", "expirytime", "actor", "geo", "misfit", "quarantined":
		return true
	}
	for i := range textAttributes {
		if textAttributes[i].name == name {
			return true
		}
	}
	return false
}

func intText(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// TextAttributes lists the names of the attributes of type String that have a
// field of their own, besides the core ones.
func TextAttributes() []string {
	names := make([]string, len(textAttributes))
	for i := range textAttributes {
		names[i] = textAttributes[i].name
	}
	return names
}

// EachText calls do for every attribute of type String that has a field of its
// own, besides the core ones. do may change the value.
func (e *Event) EachText(do func(value *string)) {
	for i := range textAttributes {
		do(textAttributes[i].field(e))
	}
}

// SetExtension sets an extension attribute and keeps them sorted by name. The list
// is copied: events that share one do not see it.
func (e *Event) SetExtension(name string, value any) {
	at := 0
	for at < len(e.Extensions) && e.Extensions[at].Name < name {
		at++
	}
	rest := e.Extensions[at:]
	if len(rest) > 0 && rest[0].Name == name {
		rest = rest[1:]
	}
	all := make([]Attribute, 0, len(e.Extensions)+1)
	e.Extensions = append(append(append(all, e.Extensions[:at]...), Attribute{Name: name, Value: value}), rest...)
}
