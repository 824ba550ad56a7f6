// Package catalog knows every type of event: what it means, when it fires, how
// severe it is by default, and which data it carries.
//
// One file registers one family; JSON Schemas, the documentation page, the
// interface's catalog and the checks of ingest all come from these entries, and
// none of them is written by hand. It promises: built-in entries never change
// while the program runs; a custom type never shadows a built-in one, and a new
// version of it only adds fields; a Catalog is safe for concurrent use and a
// reader never waits for a writer.
package catalog

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tocsin-events/tocsin/internal/event"
)

// FieldType is the type of a data field, in the words that users read.
type FieldType string

// The field types. Timestamp is an RFC 3339 string.
const (
	String    FieldType = "string"
	Integer   FieldType = "integer"
	Number    FieldType = "number"
	Boolean   FieldType = "boolean"
	Timestamp FieldType = "timestamp"
	Object    FieldType = "object"
	Strings   FieldType = "string[]"
	Objects   FieldType = "object[]"
	Nullable  FieldType = "string|null"
	Any       FieldType = "any"
)

// Field is one member of an event's data.
type Field struct {
	Name     string    `json:"name"`
	Type     FieldType `json:"type"`
	Required bool      `json:"required"`
	// Secret true masks the value. False overrides the word list, which would
	// otherwise mask the field for its name; nil leaves it to the word list.
	Secret *bool  `json:"secret,omitempty"`
	Doc    string `json:"doc"`
}

// Entry is one type of event.
type Entry struct {
	Type        event.Type     `json:"type"`
	Kind        event.Kind     `json:"kind"`
	Description string         `json:"description"` // one sentence: what it says
	Fires       string         `json:"fires"`       // when it is raised
	Severity    event.Severity `json:"-"`
	Producer    string         `json:"producer"` // the module that raises it, and the last part of its source
	Fields      []Field        `json:"fields"`
	Message     string         `json:"message"` // template, see Render
	Since       string         `json:"since"`
	Transient   bool           `json:"transient"` // journalled, gone after an hour, hidden unless asked for
	Routes      []string       `json:"routes"`    // default routing: channels that are told on a new installation
	Wired       bool           `json:"wired"`     // a producer raises it
	Waits       string         `json:"waits,omitempty"`
	Version     int            `json:"version"` // of a custom type, from 1; 0 for a built-in
}

// Family is what one file registers: entries that share a kind and a producer.
type Family struct {
	Kind     event.Kind
	Producer string
	Entries  []Entry
}

// families is filled by the init functions of this package's files alone.
var families []Family //nolint:gochecknoglobals // the registry: values only, written by init

// register adds a family. It panics on a mistake, because that is a mistake of
// the program which no user can mend.
func register(f Family) {
	for i := range f.Entries {
		e := &f.Entries[i]
		e.Kind = cmp.Or(e.Kind, f.Kind)
		e.Producer = cmp.Or(e.Producer, f.Producer)
		e.Since = cmp.Or(e.Since, "0.1.0")
		if e.Severity == 0 {
			e.Severity = event.Info
		}
		if e.Type == "" || e.Description == "" || e.Fires == "" || e.Message == "" || e.Producer == "" {
			panic("catalog: incomplete entry " + string(e.Type))
		}
		if !e.Wired && e.Waits == "" {
			panic("catalog: " + string(e.Type) + " is not wired and does not say what it waits for")
		}
	}
	families = append(families, f)
}

// Catalog is the set of known types: the built-in ones, and those that users
// have added.
type Catalog struct {
	mu      sync.Mutex // serialises Put; readers use the pointer
	entries atomic.Pointer[map[event.Type]*compiled]
}

type compiled struct {
	entry  Entry
	fields map[string]*checked
	need   []string // names of the required fields
}

// checked is a field with its bit among the required ones; 0 for an optional one.
type checked struct {
	*Field
	needed uint64
}

// New returns a catalog of the built-in types.
func New() *Catalog {
	all := make(map[event.Type]*compiled)
	for _, f := range families {
		for _, e := range f.Entries {
			if all[e.Type] != nil {
				panic("catalog: " + string(e.Type) + " is registered twice")
			}
			all[e.Type] = compile(e)
		}
	}
	c := &Catalog{}
	c.entries.Store(&all)
	return c
}

func compile(e Entry) *compiled {
	c := &compiled{entry: e, fields: make(map[string]*checked, len(e.Fields))}
	for i := range e.Fields {
		f := &e.Fields[i]
		c.fields[f.Name] = &checked{Field: f}
		if f.Required {
			c.fields[f.Name].needed = 1 << len(c.need)
			c.need = append(c.need, f.Name)
		}
	}
	return c
}

// Get returns the entry of a type.
func (c *Catalog) Get(t event.Type) (Entry, bool) {
	if found := (*c.entries.Load())[t]; found != nil {
		return found.entry, true
	}
	return Entry{}, false
}

// All returns every entry, sorted by kind and type.
func (c *Catalog) All() []Entry {
	all := make([]Entry, 0, len(*c.entries.Load()))
	for _, e := range *c.entries.Load() {
		all = append(all, e.entry)
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(slices.Index(event.Kinds(), a.Kind), slices.Index(event.Kinds(), b.Kind)), cmp.Compare(a.Type, b.Type))
	})
	return all
}

// Severity is the default severity of a type; info where it is unknown.
func (c *Catalog) Severity(t event.Type) event.Severity {
	if found := (*c.entries.Load())[t]; found != nil {
		return found.entry.Severity
	}
	return event.Info
}

// typeName is what a custom type may be called: words of lower-case letters,
// digits and underscores, joined by dots, as the built-in names are.
var typeName = regexp.MustCompile(`^[a-z][a-z0-9_]*([.-][a-z0-9_]+)*$`)

// Custom checks a type that a user wants to add and returns it completed: its
// kind, producer and version are set. Errors are of class event.ErrInvalid or
// event.ErrConflict. It does not add it; Put does.
func (c *Catalog) Custom(e Entry) (Entry, error) {
	if len(e.Type) > 128 || !typeName.MatchString(string(e.Type)) {
		return e, event.Invalidf("type %q: use lower-case words of letters, digits and _, joined by dots, 128 characters at most", e.Type)
	}
	if e.Severity == 0 {
		e.Severity = event.Info
	}
	old, exists := c.Get(e.Type)
	if exists && old.Version == 0 {
		return e, event.Conflictf("type %q is built in and can't be redefined; choose another name", e.Type)
	}
	if err := checkFields(e.Fields); err != nil {
		return e, err
	}
	if exists {
		if err := onlyAdds(old.Fields, e.Fields); err != nil {
			return e, err
		}
	}
	e.Kind, e.Producer, e.Wired, e.Version = event.KindCustom, "custom", true, old.Version+1
	e.Transient = false
	e.Since = cmp.Or(old.Since, "custom")
	e.Fires = cmp.Or(e.Fires, "When a producer of yours sends it.")
	e.Message = cmp.Or(e.Message, "{type}: {subject|}")
	if e.Description == "" {
		return e, event.Invalidf("description is missing: say in one sentence what %q means", e.Type)
	}
	return e, nil
}

// Put adds or replaces a custom type that Custom has checked.
func (c *Catalog) Put(e Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := maps.Clone(*c.entries.Load())
	all[e.Type] = compile(e)
	c.entries.Store(&all)
}

func checkFields(fields []Field) error {
	seen := map[string]bool{}
	for _, f := range fields {
		switch {
		case f.Name == "" || len(f.Name) > 128:
			return event.Invalidf("fields: a field's name must have 1 to 128 characters")
		case seen[f.Name]:
			return event.Invalidf("fields: %q is there twice", f.Name)
		case !slices.Contains(FieldTypes(), f.Type):
			return event.Invalidf("fields: %q has the unknown type %q; use one of %v", f.Name, f.Type, FieldTypes())
		}
		seen[f.Name] = true
	}
	return nil
}

// FieldTypes lists the types that a field may have.
func FieldTypes() []FieldType {
	return []FieldType{String, Integer, Number, Boolean, Timestamp, Object, Strings, Objects, Nullable, Any}
}

// onlyAdds makes sure that a new version of a type breaks no consumer: each old
// field is still there with its type, and no field has become required.
func onlyAdds(old, now []Field) error {
	for _, o := range old {
		i := slices.IndexFunc(now, func(f Field) bool { return f.Name == o.Name })
		if i < 0 {
			return event.Conflictf("a new version may only add: field %q is missing", o.Name)
		}
		if now[i].Type != o.Type {
			return event.Conflictf("a new version may only add: field %q was %s", o.Name, o.Type)
		}
		if now[i].Required && !o.Required {
			return event.Conflictf("a new version may only add: field %q was optional", o.Name)
		}
	}
	for _, f := range now {
		isNew := !slices.ContainsFunc(old, func(o Field) bool { return o.Name == f.Name })
		if isNew && f.Required {
			return event.Conflictf("a new version may only add: the new field %q can't be required", f.Name)
		}
	}
	return nil
}
