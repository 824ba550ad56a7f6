// Package source watches real components of a host, and takes what others send,
// and says what happened.
//
// One file is one source: it registers a value in init, and app opens those
// that the configuration leaves enabled. It promises: a source starts nothing
// before Run, ends when its context does, survives the absence, restart and
// garbage of what it watches and says so once; what it has told it does not
// tell again after a restart of the server.
package source

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

// Source watches one component.
type Source interface {
	// Run watches until ctx ends and then returns nil. An error means that it
	// can't go on; it is started anew after a pause.
	Run(ctx context.Context, env *Env) error
}

// Env is what a source may use.
type Env struct {
	Host    string // name of this machine
	Base    string // prefix of the source attribute of events
	Version string // of this program
	Log     *slog.Logger
	HTTP    *http.Client // the guarded way out; nil where a source is not to call anybody
	Memory  Memory
	History History // what was recorded; nil where a source is not to read it
	Alerts  Alerts  // what is sent to /api/v2/alerts; nil where nothing is
	// Emit records events and returns when they are durable.
	Emit func(ctx context.Context, events ...event.Event) error
	// Told notes that an event of the source was recorded otherwise than by Emit.
	Told func()
	// Status tells people how it goes: Idle or Unavailable with what is lacking
	// and how to give it, or Running.
	Status func(s Status, lacks string)
	// Problem shows what goes wrong while the source goes on, as its last error;
	// nil takes it away.
	Problem func(err error)
}

// Memory keeps what a source must know after a restart, such as what it has
// told already. Keys are the source's own.
type Memory interface {
	Load(ctx context.Context, key string) (string, error)
	Store(ctx context.Context, key, value string) error
}

// History reads what was recorded.
type History interface {
	// Each gives the events of some types that were recorded after a sequence and
	// happened since a time, in the order of their sequences, and returns how far
	// it has read.
	Each(ctx context.Context, types []event.Type, after event.Seq, since time.Time, give func(*event.Event) error) (event.Seq, error)
}

// Status is how a source fares.
type Status string

// The states of a source.
const (
	Running     Status = "running"
	Idle        Status = "idle"        // works, but there is nothing to watch
	Disabled    Status = "disabled"    // by the configuration
	Unavailable Status = "unavailable" // what it watches is not there
	Failed      Status = "failed"      // it ended with an error and will be started anew
)

// Note is what to say of a source in one line: what goes wrong while it works, else
// what it lacks.
func Note(s Status, lacks, lastError string) string {
	if lastError != "" && (s == Running || s == Failed || lacks == "") {
		return lastError
	}
	return lacks
}

// Option is one option of a source, for the documentation.
type Option struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Default string `json:"default"`
	Doc     string `json:"doc"`
}

// definition is one registered source.
type definition struct {
	name, doc string
	options   []Option
	push      bool
	open      func(raw *yaml.Node) (s opened, enabled bool, err error)
}

// opened is a source that is enabled: one of the two is set.
type opened struct {
	source Source
	push   Push
}

// definitions is filled by the init functions of this package's files alone.
var definitions []definition //nolint:gochecknoglobals // the registry: values only, written by init

// register adds a source. C is its options: a struct with yaml and doc tags and
// a field Enabled; defaults are what holds without configuration.
func register[C any](name, doc string, defaults C, open func(C) (Source, error)) {
	define(definition{name: name, doc: doc}, defaults, func(c C) (o opened, err error) {
		o.source, err = open(c)
		return o, err
	})
}

// registerPush adds a source to which others send. C is as for register.
func registerPush[C any](name, doc string, defaults C, open func(C) (Push, error)) {
	define(definition{name: name, doc: doc, push: true}, defaults, func(c C) (o opened, err error) {
		o.push, err = open(c)
		return o, err
	})
}

func define[C any](d definition, defaults C, open func(C) (opened, error)) {
	name := d.name
	d.options = optionsOf(defaults)
	d.open = func(raw *yaml.Node) (opened, bool, error) {
		c := defaults
		if raw != nil {
			if err := decodeStrict(name, raw, &c); err != nil {
				return opened{}, false, err
			}
		}
		if !reflect.ValueOf(c).FieldByName("Enabled").Bool() {
			return opened{}, false, nil
		}
		s, err := open(c)
		if err != nil {
			return opened{}, false, fmt.Errorf("sources.%s: %w", name, err)
		}
		return s, true, nil
	}
	if slices.ContainsFunc(definitions, func(other definition) bool { return other.name == name }) {
		panic("source: " + name + " is registered twice")
	}
	definitions = append(definitions, d)
	slices.SortFunc(definitions, func(a, b definition) int { return cmp.Compare(a.name, b.name) })
}

// decodeStrict decodes options and refuses unknown ones by name and line.
func decodeStrict[C any](name string, raw *yaml.Node, into *C) error {
	if raw.Kind != yaml.MappingNode {
		return event.Invalidf("sources.%s: line %d: must be a mapping of options", name, raw.Line)
	}
	for n := 0; n < len(raw.Content); n += 2 {
		key := raw.Content[n]
		if !slices.ContainsFunc(optionsOf(*into), func(o Option) bool { return o.Name == key.Value }) {
			return event.Invalidf("sources.%s: line %d: unknown option %q; tocsin sources %s lists them", name, key.Line, key.Value, name)
		}
	}
	if err := raw.Decode(into); err != nil {
		return event.Invalidf("sources.%s: %w", name, err)
	}
	return nil
}

func optionsOf[C any](c C) []Option {
	v := reflect.ValueOf(c)
	var options []Option
	for i := range v.NumField() {
		f := v.Type().Field(i)
		options = append(options, Option{
			Name: f.Tag.Get("yaml"), Type: typeName(f.Type), Default: fmt.Sprint(v.Field(i).Interface()), Doc: f.Tag.Get("doc"),
		})
	}
	return options
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[config.Duration]():
		return "duration"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Float64:
		return "number"
	default:
		return "string"
	}
}

// newEvent makes an event of a host type about a subject.
func newEvent(env *Env, producer string, t event.Type, severity event.Severity, subject string, data []byte) event.Event {
	return event.Event{
		ID: event.NewID(), Source: env.Base + "/" + producer, Type: t, Subject: subject, Time: time.Now().UTC(),
		DataContentType: "application/json", Severity: severity, Host: env.Host, AuthType: "system", AuthName: "tocsin", Data: data,
	}
}

// every calls look now and at every interval, until ctx ends or look fails.
func every(ctx context.Context, interval time.Duration, look func(ctx context.Context, now time.Time) error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
