package redact

import "github.com/tocsin-events/tocsin/internal/event"

// Event masks the secrets of an event in place: in its data, in its attributes
// of type String, and in extensions with a secret name. Binary data is kept: it
// has no keys, and what it means is its sender's affair.
func Event(e *event.Event, secrecy Secrecy) {
	if e.Data != nil {
		e.Data = JSON(e.Data, secrecy)
	}
	e.Source = Text(e.Source)
	e.Subject = Text(e.Subject)
	e.DataSchema = Text(e.DataSchema)
	e.EachText(func(value *string) {
		if *value != "" {
			*value = Text(*value)
		}
	})
	for i := range e.Extensions {
		a := &e.Extensions[i]
		if Key(a.Name) {
			a.Value = Mask
		} else if text, ok := a.Value.(string); ok {
			a.Value = Text(text)
		}
	}
}
