package flow

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/jq"
	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Secret is what flows use by its name and nobody sees: a text, or an object such
// as {"username", "password"}. It lies sealed.
type Secret struct {
	Name   string `json:"name"`
	Sealed string `json:"secret_value"` // the name makes every diff mask it
}

// maxSecret is the largest value, in bytes of JSON.
const maxSecret = 64 << 10

// secretName is the form of a name: what stands behind $secrets in an expression.
var secretName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

var secrets = state.Collection[Secret]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "flow", Model: "secret",
	Name: func(s *Secret) string { return s.Name },
	Keys: func(s *Secret) map[string]string { return map[string]string{"name": s.Name} },
	Check: func(s *Secret) error {
		if !secretName.MatchString(s.Name) {
			return event.Invalidf("name: %q is not the name of a secret: letters, digits and _, the first no digit, at most 64", s.Name)
		}
		return nil
	},
}

// sealSecret checks a value and seals it. It is bound to no name, so that a secret
// can be given another one.
func (e *Engine) sealSecret(value json.RawMessage) (string, error) {
	if len(value) > maxSecret {
		return "", event.Invalidf("value: %d bytes are too many: at most %d", len(value), maxSecret)
	}
	v, err := jq.Decode(value)
	if err != nil {
		return "", event.Invalidf("value: not JSON") // the error might show a part of it
	}
	switch v := v.(type) {
	case string:
		if v == "" {
			return "", event.Invalidf("value: the secret is empty")
		}
	case map[string]any:
		for name, part := range v {
			if text, ok := part.(string); !ok || text == "" {
				return "", event.Invalidf("value: %q must be a text that is not empty", name)
			}
		}
		if len(v) == 0 {
			return "", event.Invalidf("value: the secret is empty")
		}
	default:
		return "", event.Invalidf("value: a secret is a text, or an object of texts such as {\"username\": …, \"password\": …}")
	}
	return e.seal.Close("secret", string(bytes.TrimSpace(value))), nil
}

// CreateSecret stores a secret; value is a JSON string, or an object of strings.
func (e *Engine) CreateSecret(ctx context.Context, by state.Cause, name string, value json.RawMessage) (r state.Record[Secret], err error) {
	sealed, err := e.sealSecret(value)
	if err != nil {
		return r, err
	}
	err = e.o.State.Write(ctx, by, func(tx *state.Tx) (err error) {
		r, err = secrets.Insert(tx, Secret{name, sealed})
		return err
	})
	return r, err
}

// UpdateSecret gives a secret another name or value; an empty name and a nil value
// leave them as they are. Runs that are under way use the new value from their next
// task on.
func (e *Engine) UpdateSecret(ctx context.Context, by state.Cause, id state.ObjectID, version int64, name string, value json.RawMessage) (r state.Record[Secret], err error) {
	sealed := ""
	if value != nil {
		if sealed, err = e.sealSecret(value); err != nil {
			return r, err
		}
	}
	err = e.o.State.Write(ctx, by, func(tx *state.Tx) (err error) {
		r, err = secrets.Update(tx, id, version, func(s *Secret) error {
			if name != "" {
				s.Name = name
			}
			if sealed != "" && !e.sameSecret(s.Sealed, value) {
				s.Sealed = sealed
			}
			return nil
		})
		return err
	})
	return r, err
}

// sameSecret reports whether a value is the one that is stored: each sealing of it
// looks different, and what has not changed is not told as changed.
func (e *Engine) sameSecret(sealed string, value json.RawMessage) bool {
	plain, err := e.seal.Open("secret", sealed)
	return err == nil && plain == string(bytes.TrimSpace(value))
}

// GetSecret returns one secret, sealed.
func (e *Engine) GetSecret(ctx context.Context, id state.ObjectID) (state.Record[Secret], error) {
	return secrets.Get(ctx, e.o.State.Reader(), id)
}

// ListSecrets lists up to limit secrets behind an id, sealed.
func (e *Engine) ListSecrets(ctx context.Context, after state.ObjectID, limit int) ([]state.Record[Secret], error) {
	return secrets.List(ctx, e.o.State.Reader(), after, limit)
}

// DeleteSecret removes a secret. Flows that use it fail from now on.
func (e *Engine) DeleteSecret(ctx context.Context, by state.Cause, id state.ObjectID, version int64) error {
	return e.o.State.Write(ctx, by, func(tx *state.Tx) error {
		_, err := secrets.Delete(tx, id, version)
		return err
	})
}

// RevealSecret shows a secret's value, and raises secret_view in the same
// transaction. The caller has made sure of the person.
func (e *Engine) RevealSecret(ctx context.Context, by state.Cause, id state.ObjectID, raise func(tx *state.Tx, app, model, pk, name string) error) (value json.RawMessage, err error) {
	err = e.o.State.Write(ctx, by, func(tx *state.Tx) error {
		s, err := secrets.Get(ctx, tx, id)
		if err != nil {
			return err
		}
		plain, err := e.seal.Open("secret", s.Value.Sealed)
		if err != nil {
			return err
		}
		value = json.RawMessage(plain)
		return raise(tx, secrets.App, secrets.Model, id.String(), s.Value.Name)
	})
	return value, err
}

// secret is the value of a secret that a run uses: a string, or a map of strings.
func (e *Engine) secret(ctx context.Context, _ *Run, name string) (any, error) {
	s, err := secrets.Find(ctx, e.o.State.Reader(), "name", name)
	if err != nil {
		return nil, err
	}
	return e.openSecret(&s.Value)
}

func (e *Engine) openSecret(s *Secret) (any, error) {
	plain, err := e.seal.Open("secret", s.Sealed)
	if err != nil {
		return nil, err
	}
	return jq.Decode([]byte(plain))
}

// A concealer masks the values of the stored secrets wherever they stand.
type concealer struct{ replace *strings.Replacer }

// leastConcealed is the length below which a secret can't be told from other text,
// in bytes.
const leastConcealed = 6

// concealer knows the secrets of this moment.
func (e *Engine) concealer(ctx context.Context) (*concealer, error) {
	var values []string
	const page = 500
	for after := state.ObjectID(0); ; {
		found, err := e.ListSecrets(ctx, after, page)
		if err != nil {
			return nil, err
		}
		for i := range found {
			after = found[i].ID
			v, err := e.openSecret(&found[i].Value)
			if err != nil {
				continue // what can't be read was not used either
			}
			values = append(values, textsOf(v)...)
		}
		if len(found) < page {
			break
		}
	}
	return conceal(values), nil
}

// textsOf are the secret parts of a value: a user's name is none.
func textsOf(v any) []string {
	if text, ok := v.(string); ok {
		return []string{text}
	}
	var all []string
	parts, _ := v.(map[string]any)
	for name, part := range parts {
		if text, ok := part.(string); ok && name != "username" {
			all = append(all, text)
		}
	}
	return all
}

// conceal makes a concealer of values, also as they stand in URLs.
func conceal(values []string) *concealer {
	var forms []string
	for _, v := range values {
		if len(v) >= leastConcealed {
			forms = append(forms, v, url.QueryEscape(v), url.PathEscape(v))
		}
	}
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) }) // one may be a part of another
	var pairs []string
	for _, form := range forms {
		pairs = append(pairs, form, redact.Mask)
	}
	return &concealer{strings.NewReplacer(pairs...)}
}

// text masks secrets in a text, and what looks like a credential.
func (c *concealer) text(s string) string { return redact.Text(c.replace.Replace(s)) }

// value masks stored secrets in a JSON value, which it does not change; keys stay.
func (c *concealer) value(v any) any {
	switch v := v.(type) {
	case string:
		return c.replace.Replace(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = c.value(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, part := range v {
			out[name] = c.value(part)
		}
		return out
	}
	return v
}
