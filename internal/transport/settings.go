package transport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"unicode"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// Option is one setting of a mode.
type Option struct {
	Name     string  `json:"name"`
	Type     string  `json:"type"` // string, number, boolean, duration, list, map
	Default  string  `json:"default"`
	Doc      string  `json:"doc"`
	Required bool    `json:"required,omitempty"`
	Secret   Secrecy `json:"secret,omitempty"`

	stays bool // a secret that is never sent, such as a key that signs
}

// Secrecy says what of a setting is secret.
type Secrecy string

// The sorts of secrets.
const (
	Whole  Secrecy = "whole"  // all of it
	URL    Secrecy = "url"    // user-info and query of a URL
	Values Secrecy = "values" // the values of a map
)

func optionsOf[C any](c C) []Option {
	v := reflect.ValueOf(c)
	var options []Option
	for i := range v.NumField() {
		f := v.Type().Field(i)
		o := Option{
			Name: f.Tag.Get("json"), Type: typeName(f.Type), Doc: f.Tag.Get("doc"),
			Required: f.Tag.Get("required") == "true", Secret: Secrecy(f.Tag.Get("secret")),
			stays: f.Tag.Get("stays") == "true",
		}
		if !v.Field(i).IsZero() {
			o.Default = fmt.Sprint(v.Field(i).Interface())
		}
		options = append(options, o)
	}
	return options
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[config.Duration]():
		return "duration"
	case t == reflect.TypeFor[headers]():
		return "map or expression"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.Map:
		return "map"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.Int:
		return "number"
	default:
		return "string"
	}
}

// decodeStrict reads settings; the error joins every problem.
func decodeStrict(settings json.RawMessage, options []Option, into any) error {
	if len(bytes.TrimSpace(settings)) == 0 {
		settings = json.RawMessage("{}")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(settings, &members); err != nil || members == nil {
		return event.Invalidf("settings: must be a JSON object")
	}
	var problems []error
	known := make([]string, len(options))
	for i, o := range options {
		known[i] = o.Name
		raw, given := members[o.Name]
		delete(members, o.Name)
		if o.Required && (!given || string(raw) == "null" || string(raw) == `""`) {
			problems = append(problems, event.Invalidf("settings.%s: is missing: %s", o.Name, o.Doc))
			continue
		}
		if !given || string(raw) == "null" {
			continue
		}
		one, err := json.Marshal(map[string]json.RawMessage{o.Name: raw})
		if err == nil {
			err = json.Unmarshal(one, into)
		}
		if err != nil {
			problems = append(problems, event.Invalidf("settings.%s: must be a %s: %s", o.Name, o.Type, settingProblem(err)))
		}
	}
	for name := range members {
		problems = append(problems, event.Invalidf("settings: unknown key %q; known are %s", cut(name, 64), strings.Join(known, ", ")))
	}
	return errors.Join(problems...)
}

// settingProblem is what is wrong with a value, without the value: it may be a
// secret.
func settingProblem(err error) string {
	if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return "this is a JSON " + strings.Fields(typed.Value)[0]
	}
	return err.Error()
}

// Redacted is what people may see of the settings of a mode.
func Redacted(mode string, settings json.RawMessage) (json.RawMessage, error) {
	d, err := find(mode)
	if err != nil {
		return nil, err
	}
	var members map[string]any
	if err := json.Unmarshal(settings, &members); err != nil {
		return nil, event.Invalidf("settings: must be a JSON object")
	}
	for _, o := range d.Options {
		if value, ok := members[o.Name]; ok && o.Secret != "" {
			members[o.Name] = masked(o.Secret, value)
		}
	}
	return json.Marshal(members)
}

// Restore puts back the secrets of old settings where new ones hold what
// Redacted shows of them, so that a form can be sent without knowing them. A
// secret that is sent goes to no other place in this way: who names one would
// learn it. The error is of class event.ErrInvalid.
func Restore(mode string, settings, old json.RawMessage) (json.RawMessage, error) {
	d, err := find(mode)
	if err != nil {
		return nil, err
	}
	var members, before map[string]any
	if json.Unmarshal(settings, &members) != nil || json.Unmarshal(old, &before) != nil {
		return nil, event.Invalidf("settings: must be a JSON object")
	}
	var kept []Option
	for _, o := range d.Options {
		value, given := members[o.Name]
		secret, had := before[o.Name]
		if !given || !had || o.Secret == "" {
			continue
		}
		pairs, isMap := value.(map[string]any)
		were, wasMap := secret.(map[string]any)
		switch {
		case isMap && wasMap:
			for name, v := range pairs {
				if v == masked(Whole, v) && were[name] != nil {
					pairs[name] = were[name]
					if v != "" {
						kept = append(kept, o)
					}
				}
			}
		case reflect.DeepEqual(value, masked(o.Secret, secret)):
			members[o.Name] = secret
			if value != "" {
				kept = append(kept, o)
			}
		}
	}
	for _, o := range kept {
		if !o.stays && leadsTo(members) != leadsTo(before) {
			return nil, event.Invalidf("settings.%s: give it again, since it would go to another place, or in another way", o.Name)
		}
	}
	return json.Marshal(members)
}

// leadsTo is where settings lead, and how what is sent there is protected.
func leadsTo(members map[string]any) string {
	var out strings.Builder
	for _, name := range []string{"host", "port", "tls", "ca", "address", "protocol"} {
		if v := members[name]; v != nil && v != "" && v != 0.0 {
			fmt.Fprintf(&out, "%s=%q ", name, fmt.Sprint(v))
		}
	}
	text, _ := members["url"].(string)
	fixed, _, _ := strings.Cut(text, "{{")
	if u, err := url.Parse(fixed); err == nil && u.Host != "" {
		fixed = u.Scheme + "://" + strings.ToLower(u.Host)
	}
	return out.String() + fixed
}

func masked(s Secrecy, value any) any {
	switch v := value.(type) {
	case map[string]any:
		shown := make(map[string]any, len(v))
		for name := range v {
			shown[name] = redact.Mask
		}
		return shown
	case string:
		if v == "" {
			return ""
		}
		if s == URL {
			return shownURL(v)
		}
	}
	return redact.Mask
}

// shownURL masks what may be a secret in a URL: the user-info, the query, and the
// parts of the path that look like a token.
func shownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return redact.Mask
	}
	shown := u.Scheme + "://"
	if u.User != nil {
		shown += redact.Mask + "@"
	}
	shown += u.Host + shownPath(redact.Text(u.EscapedPath()))
	if u.RawQuery != "" {
		shown += "?" + redact.Mask
	}
	return shown
}

// tokenLength is how long a part of a path must be to look like a token.
const tokenLength = 16

// shownPath masks the parts of a path that are long and mix letters and digits:
// many services name a webhook by its secret.
func shownPath(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if len(part) >= tokenLength && strings.ContainsAny(part, "0123456789") && strings.ContainsFunc(part, unicode.IsLetter) {
			parts[i] = redact.Mask
		}
	}
	return strings.Join(parts, "/")
}
