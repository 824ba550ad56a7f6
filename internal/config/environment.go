package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
)

// prefix of the environment variables.
const prefix = "TOCSIN_"

// clientVariables are read elsewhere and are no configuration keys.
func clientVariables() []string {
	return []string{"TOCSIN_URL", "TOCSIN_TOKEN", "TOCSIN_ADMIN_PASSWORD", "TOCSIN_CONFIG", "TOCSIN_SPOOL"}
}

// Key is one scalar key of the configuration, for the documentation.
type Key struct {
	Name     string // such as ingest.max_event
	Variable string // such as TOCSIN_INGEST_MAX_EVENT
	Default  string
	Doc      string
}

// Keys lists every scalar key with its default.
func Keys() []Key {
	c := Default()
	var keys []Key
	walk(reflect.ValueOf(&c).Elem(), "", func(name, doc string, v reflect.Value) {
		keys = append(keys, Key{Name: name, Variable: variable(name), Default: fmt.Sprint(v.Interface()), Doc: doc})
	})
	return keys
}

func variable(name string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

// walk visits every scalar of a configuration.
func walk(v reflect.Value, path string, visit func(name, doc string, v reflect.Value)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Tag.Get("yaml") == "-" {
			continue
		}
		name := path + field.Tag.Get("yaml")
		switch f := v.Field(i); f.Kind() {
		case reflect.Struct:
			walk(f, name+".", visit)
		case reflect.String, reflect.Bool, reflect.Int64, reflect.Int, reflect.Float64:
			visit(name, field.Tag.Get("doc"), f)
		}
	}
}

// environment applies the TOCSIN_ variables.
func (c *Config) environment(environ []string) []error {
	scalars := map[string]reflect.Value{}
	walk(reflect.ValueOf(c).Elem(), "", func(name, _ string, v reflect.Value) { scalars[variable(name)] = v })
	var problems []error
	for _, pair := range environ {
		name, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, prefix) || slices.Contains(clientVariables(), name) {
			continue
		}
		v, known := scalars[name]
		if !known {
			problems = append(problems, event.Invalidf("environment: %s is no key of the configuration; tocsin check --defaults lists all keys", name))
			continue
		}
		if err := set(v, text); err != nil {
			problems = append(problems, event.Invalidf("environment: %s: %w", name, err))
		}
	}
	return problems
}

func set(v reflect.Value, text string) error {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return event.Invalidf("%q is neither true nor false", text)
		}
		v.SetBool(b)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return event.Invalidf("%q is not a number", text)
		}
		v.SetFloat(f)
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return event.Invalidf("%q is not a whole number", text)
		}
		v.SetInt(n)
	}
	return nil
}
