package notify

import (
	"cmp"
	"context"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
	"github.com/tocsin-events/tocsin/internal/transport"
)

// Template replaces the words in which a type of event is told. Placeholders are
// those of the catalog's templates: {data.path}, {host|somewhere}.
type Template struct {
	Type  string `json:"type"`
	Title string `json:"title"` // empty for the usual one
	Text  string `json:"text"`  // empty for the catalog's
}

const maxTemplate = 8 << 10

var templates = state.Collection[Template]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "notify", Model: "template",
	Name: func(t *Template) string { return t.Type },
	Keys: func(t *Template) map[string]string { return map[string]string{"type": t.Type} },
	Check: func(t *Template) error {
		if t.Type == "" || len(t.Type) > 128 {
			return event.Invalidf("type: name the type of event that the template is for")
		}
		if t.Title == "" && t.Text == "" {
			return event.Invalidf("text: write a title, a text, or both")
		}
		if len(t.Title) > 200 || len(t.Text) > maxTemplate {
			return event.Invalidf("text: at most %d bytes, and 200 for the title", maxTemplate)
		}
		return nil
	},
}

// compose makes the message of an event, in the words of its type.
func (n *Notify) compose(e *event.Event, t *Template) transport.Message {
	m := transport.Compose(n.o.Catalog, e, n.o.PublicURL)
	if t != nil {
		if t.Title != "" {
			m.Title = catalog.Render(t.Title, e)
		}
		if t.Text != "" {
			m.Text = catalog.Render(t.Text, e)
		}
	}
	return m
}

// Preview is how an event would be told.
func (n *Notify) Preview(t Template, e *event.Event) (title, text string, severity event.Severity) {
	m := n.compose(e, &t)
	return m.Title, m.Text, cmp.Or(m.Severity, event.Info)
}

// ListTemplates returns up to limit templates behind an id.
func (n *Notify) ListTemplates(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[Template], error) {
	return templates.List(ctx, n.o.State.Reader(), after, limit)
}

// GetTemplate returns one template.
func (n *Notify) GetTemplate(ctx context.Context, id state.ObjectID) (state.Record[Template], error) {
	return templates.Get(ctx, n.o.State.Reader(), id)
}

// CreateTemplate stores the words for a type.
func (n *Notify) CreateTemplate(ctx context.Context, by state.Cause, t Template) (made state.Record[Template], err error) {
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		made, err = templates.Insert(tx, t)
		return err
	})
	return made, err
}

// UpdateTemplate changes them.
func (n *Notify) UpdateTemplate(ctx context.Context, by state.Cause, id state.ObjectID, version int64, change func(*Template) error) (r state.Record[Template], err error) {
	err = n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		r, err = templates.Update(tx, id, version, change)
		return err
	})
	return r, err
}

// DeleteTemplate goes back to the catalog's words.
func (n *Notify) DeleteTemplate(ctx context.Context, by state.Cause, id state.ObjectID, version int64) error {
	return n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		_, err := templates.Delete(tx, id, version)
		return err
	})
}
