package catalog

import (
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// Misfit says why an event does not follow its type's entry, or that the type
// is unknown. It is a finding, not a failure: ingest.unknown decides what is
// done about it.
type Misfit struct { //nolint:errname // a finding; it is an error only where it is refused
	Unknown bool   // the type is in no entry
	Field   string // the data field at fault; empty for the data as a whole
	Problem string
}

func (m *Misfit) Error() string {
	if m.Field == "" {
		return m.Problem
	}
	return fmt.Sprintf("data.%s %s", m.Field, m.Problem)
}

// Check compares an event's data with its type's fields. More fields than the
// entry lists are welcome. It returns nil where the event fits. The data must
// be valid JSON, which Decode has made sure of.
func (c *Catalog) Check(e *event.Event) *Misfit {
	t := (*c.entries.Load())[e.Type]
	if t == nil {
		return &Misfit{Unknown: true, Problem: fmt.Sprintf("type %q is not in the catalog", e.Type)}
	}
	if e.Data == nil {
		if len(t.need) > 0 {
			return &Misfit{Field: t.need[0], Problem: "is missing: the event has no JSON data"}
		}
		return nil
	}
	sc := scan.GetValid(e.Data)
	defer scan.Put(sc)
	kind, err := sc.Next()
	if err != nil {
		return &Misfit{Problem: "data is not JSON: " + err.Error()}
	}
	if kind != scan.ObjectStart {
		if len(t.fields) == 0 {
			return nil
		}
		return &Misfit{Problem: "data must be a JSON object"}
	}
	return t.checkMembers(sc)
}

func (t *compiled) checkMembers(sc *scan.Scanner) *Misfit {
	var seen uint64 // a bit for each required field, by its place in need
	for {
		kind, err := sc.Next()
		if err != nil {
			return &Misfit{Problem: "data is not JSON: " + err.Error()}
		}
		if kind == scan.ObjectEnd {
			break
		}
		f := t.fields[string(sc.Text())]
		if f == nil {
			if _, err := sc.Skip(); err != nil {
				return &Misfit{Problem: "data is not JSON: " + err.Error()}
			}
			continue
		}
		if m := t.checkValue(sc, f.Field); m != nil {
			return m
		}
		seen |= f.needed
	}
	for i, name := range t.need {
		if seen&(1<<i) == 0 {
			return &Misfit{Field: name, Problem: "is missing"}
		}
	}
	return nil
}

func (t *compiled) checkValue(sc *scan.Scanner, f *Field) *Misfit {
	kind, err := sc.Next()
	if err != nil {
		return &Misfit{Problem: "data is not JSON: " + err.Error()}
	}
	if kind == scan.Null {
		if f.Required && f.Type != Nullable && f.Type != Any {
			return wrongType(f)
		}
		return nil
	}
	var ok bool
	switch f.Type {
	case String, Nullable:
		// Seed 002 shows numbers as strings; its view makes them so.
		ok = kind == scan.String || kind == scan.Number && t.entry.Kind == event.KindSignificant
	case Timestamp:
		if kind != scan.String {
			return wrongType(f)
		}
		if _, err := time.Parse(time.RFC3339Nano, string(sc.Text())); err != nil {
			return &Misfit{Field: f.Name, Problem: "must be an RFC 3339 time"}
		}
		ok = true
	case Integer:
		ok = kind == scan.Number && isInteger(sc.Raw())
	case Number:
		ok = kind == scan.Number
	case Boolean:
		ok = kind == scan.True || kind == scan.False
	case Object:
		ok = kind == scan.ObjectStart
	case Strings:
		return t.checkElements(sc, f, kind, scan.String)
	case Objects:
		return t.checkElements(sc, f, kind, scan.ObjectStart)
	case Any:
		ok = true
	}
	if !ok {
		return wrongType(f)
	}
	if _, err := sc.Skip(); err != nil {
		return &Misfit{Problem: "data is not JSON: " + err.Error()}
	}
	return nil
}

func wrongType(f *Field) *Misfit {
	return &Misfit{Field: f.Name, Problem: "must be of type " + string(f.Type)}
}

func (t *compiled) checkElements(sc *scan.Scanner, f *Field, kind, want scan.Kind) *Misfit {
	if kind != scan.ArrayStart {
		return wrongType(f)
	}
	for {
		kind, err := sc.Next()
		if err != nil {
			return &Misfit{Problem: "data is not JSON: " + err.Error()}
		}
		switch kind {
		case scan.ArrayEnd:
			return nil
		case want:
			if _, err := sc.Skip(); err != nil {
				return &Misfit{Problem: "data is not JSON: " + err.Error()}
			}
		default:
			return wrongType(f)
		}
	}
}

func isInteger(raw []byte) bool {
	for _, c := range raw {
		if c == '.' || c == 'e' || c == 'E' {
			return false
		}
	}
	return true
}

// Secrecy tells what an entry says about a top-level data field: known is false
// where it says nothing and the word list decides.
func (c *Catalog) Secrecy(t event.Type, field []byte) (secret, known bool) {
	found := (*c.entries.Load())[t]
	if found == nil {
		return false, false
	}
	f := found.fields[string(field)]
	if f == nil || f.Secret == nil {
		return false, false
	}
	return *f.Secret, true
}
