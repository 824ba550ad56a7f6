package state

import (
	"bytes"
	"encoding/json"
	"fmt"

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
	diff, err := diffOf(before, after)
	if err != nil {
		return fmt.Errorf("audit %s: %w", c.Model, err)
	}
	data := map[string]any{
		"model": map[string]any{"app": "tocsin_" + c.App, "model_name": c.Model, "pk": id.String(), "name": c.Name(value)},
		"diff":  diff,
	}
	if tx.by.Request != nil {
		data["http_request"] = tx.by.Request
	}
	return tx.Raise(producer, t, c.Model+"/"+id.String(), data)
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
