package catalog

import (
	"encoding/json"
	"strconv"
)

// Schema is the JSON Schema (draft 2020-12) of an entry's data, for outsiders.
// Ingest itself uses Check, which is cheaper and decides the same. More members
// than the schema names are allowed, because new versions add some.
func (e *Entry) Schema() json.RawMessage {
	properties := make(map[string]any, len(e.Fields))
	required := []string{}
	for _, f := range e.Fields {
		p := e.property(f)
		p["description"] = f.Doc
		if f.Secret != nil && *f.Secret {
			p["writeOnly"] = true
		}
		properties[f.Name] = p
		if f.Required {
			required = append(required, f.Name)
		}
	}
	schema := map[string]any{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"$id":         e.SchemaID(),
		"title":       string(e.Type),
		"description": e.Description,
		"properties":  properties,
	}
	if len(e.Fields) > 0 {
		schema["type"] = "object"
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	out, err := json.Marshal(schema)
	if err != nil {
		panic("catalog: schema of " + string(e.Type) + ": " + err.Error()) // maps of strings always marshal
	}
	return out
}

// SchemaID is the value of dataschema: a name, not an address.
func (e *Entry) SchemaID() string {
	id := "urn:tocsin:type:" + string(e.Type)
	if e.Version > 0 {
		id += ":" + strconv.Itoa(e.Version)
	}
	return id
}

func (e *Entry) property(f Field) map[string]any {
	switch f.Type {
	case String:
		return map[string]any{"type": "string"}
	case Nullable:
		return map[string]any{"type": []string{"string", "null"}}
	case Timestamp:
		return map[string]any{"type": "string", "format": "date-time"}
	case Integer, Number, Boolean, Object:
		return map[string]any{"type": string(f.Type)}
	case Strings:
		return map[string]any{"type": "array", "items": map[string]any{"type": "string"}}
	case Objects:
		return map[string]any{"type": "array", "items": map[string]any{"type": "object"}}
	default:
		return map[string]any{}
	}
}
