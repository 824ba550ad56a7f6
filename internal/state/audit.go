package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// producer is the last part of the source of audit events of changes.
const producer = "state"

// change is one member of a diff (seed 003).
type change struct {
	Previous json.RawMessage `json:"previous_value"`
	New      json.RawMessage `json:"new_value"`
}

// audit raises one of the model_ events. before and after are the object's JSON;
// nil where it did not or does not exist.
func (c *Collection[T]) audit(tx *Tx, t event.Type, id ObjectID, value *T, before, after []byte) error {
	if c.Quiet {
		return nil
	}
	diff, err := c.diff(tx, before, after)
	if err != nil {
		return fmt.Errorf("audit %s: %w", c.Model, err)
	}
	return tx.raiseChange(t, c.App, c.Model, id.String(), c.Name(value), diff)
}

// raiseChange raises one of the model_ events.
func (tx *Tx) raiseChange(t event.Type, app, model, pk, name string, diff any) error {
	data := map[string]any{"model": map[string]any{"app": "tocsin_" + app, "model_name": model, "pk": pk, "name": name}, "diff": diff}
	if tx.by.Request != nil {
		data["http_request"] = tx.by.Request
	}
	return tx.Raise(producer, t, model+"/"+pk, data)
}

// Changed raises model_updated for something that is kept elsewhere, such as the
// configuration: before and after are its members. Nothing is raised where they
// are equal.
func (tx *Tx) Changed(app, model, name string, before, after map[string]any) error {
	was, err := json.Marshal(before)
	if err != nil {
		return fmt.Errorf("audit %s: %w", model, err)
	}
	is, err := json.Marshal(after)
	if err != nil {
		return fmt.Errorf("audit %s: %w", model, err)
	}
	diff, err := diffOf(was, is)
	if err != nil || len(diff) == 0 {
		return err
	}
	return tx.raiseChange("model_updated", app, model, name, name, diff)
}

// Deleted raises model_deleted for something that is no object of a Collection.
func (tx *Tx) Deleted(app, model, pk, name string, before map[string]any) error {
	was, err := json.Marshal(before)
	if err != nil {
		return fmt.Errorf("audit %s: %w", model, err)
	}
	diff, err := diffOf(was, nil)
	if err != nil {
		return err
	}
	return tx.raiseChange("model_deleted", app, model, pk, name, diff)
}

// related is one member of a relation's diff.
type related struct {
	PK   string `json:"pk"`
	Name string `json:"name"`
}

// relation is the diff of a list of ids: what was added and what was removed.
type relation struct {
	Add    []related `json:"add"`
	Remove []related `json:"remove"`
}

// diff compares two objects: relations by what was added to and removed from
// them, all else by its value before and after.
func (c *Collection[T]) diff(tx *Tx, before, after []byte) (map[string]any, error) {
	changes, err := diffOf(before, after)
	if err != nil {
		return nil, err
	}
	diff := make(map[string]any, len(changes))
	for name, ch := range changes {
		names := c.Relations[name]
		if names == nil {
			diff[name] = ch
			continue
		}
		var was, is []string
		if err := errors.Join(json.Unmarshal(ch.Previous, &was), json.Unmarshal(ch.New, &is)); err != nil {
			return nil, err
		}
		r := relation{Add: []related{}, Remove: []related{}}
		for _, id := range is {
			if !slices.Contains(was, id) {
				r.Add = append(r.Add, related{id, names(tx, id)})
			}
		}
		for _, id := range was {
			if !slices.Contains(is, id) {
				r.Remove = append(r.Remove, related{id, names(tx, id)})
			}
		}
		if len(r.Add)+len(r.Remove) > 0 {
			diff[name] = r
		}
	}
	return diff, nil
}

// diffOf compares two objects member by member. A changed secret shows as
// changed, with both sides masked.
func diffOf(before, after []byte) (map[string]change, error) {
	was, is := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if err := unmarshalIfAny(before, &was); err != nil {
		return nil, err
	}
	if err := unmarshalIfAny(after, &is); err != nil {
		return nil, err
	}
	diff := map[string]change{}
	for name, now := range is {
		if old, had := was[name]; !had || !bytes.Equal(old, now) {
			diff[name] = masked(name, was[name], now)
		}
	}
	for name, old := range was {
		if _, has := is[name]; !has {
			diff[name] = masked(name, old, nil)
		}
	}
	return diff, nil
}

func unmarshalIfAny(doc []byte, into *map[string]json.RawMessage) error {
	if doc == nil {
		return nil
	}
	return json.Unmarshal(doc, into)
}

func masked(name string, old, now json.RawMessage) change {
	c := change{Previous: orNull(old), New: orNull(now)}
	if redact.Key(name) {
		c.Previous, c.New = mask(c.Previous), mask(c.New)
	}
	return c
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func mask(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return raw
	}
	return json.RawMessage(`"` + redact.Mask + `"`)
}
