package jq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/itchyny/gojq"
)

// maxProgram is how many bytes a program may have.
const maxProgram = 64 << 10

// A Code is a compiled program. It never changes.
type Code struct {
	source    string
	variables []string // that it needs, of those it was compiled with
	slots     []int    // where each of variables is in what Run is given; -1 the clock, -2 the Meter
	code      *gojq.Code
	path      []string // of keys, where the program is nothing else
	endless   bool
}

// Values are what an evaluation may see besides its input. A variable costs
// nothing until a program uses it.
type Values struct {
	Vars []any     // in the order of the variables that Compile was given
	Now  time.Time // what now answers
}

// Error is a program that can't be compiled.
type Error struct {
	Source  string
	Offset  int // bytes into Source; -1 where unknown
	Problem string
}

func (e *Error) Error() string {
	if e.Offset < 0 {
		return e.Problem
	}
	return fmt.Sprintf("%s at column %d of the expression", e.Problem, e.Offset+1)
}

// Compile makes a Code that may use the variables, named with their dollar sign.
// The error is an *Error.
func Compile(source string, variables ...string) (code *Code, err error) {
	defer func() { // a mistake in the library must not end the server
		if r := recover(); r != nil {
			code, err = nil, &Error{Source: source, Offset: -1, Problem: fmt.Sprintf("the expression can't be compiled: %v", r)}
		}
	}()
	if len(source) > maxProgram {
		return nil, &Error{Source: source, Offset: -1, Problem: fmt.Sprintf("the expression is longer than %d bytes", maxProgram)}
	}
	query, err := gojq.Parse(source)
	if err != nil {
		return nil, syntax(source, err)
	}
	if depth(source) > maxDepth {
		return nil, &Error{Source: source, Offset: -1, Problem: "the expression is nested too deeply"}
	}
	c := &Code{source: source, path: keys(query)}
	r := &rewriter{called: map[string]bool{}, variables: map[string]bool{}}
	r.query(query)
	if r.err == nil {
		r.addPrelude(query)
	}
	if r.err != nil {
		return nil, &Error{Source: source, Offset: -1, Problem: r.err.Error()}
	}
	for slot, name := range slices.Concat([]string{meterVar, nowVar}, variables) {
		if r.variables[name] && !slices.Contains(c.variables, name) {
			c.variables, c.slots = append(c.variables, name), append(c.slots, slot-2)
		}
	}
	c.endless = r.endless
	c.code, err = gojq.Compile(query, append(guards(), gojq.WithVariables(c.variables))...)
	if err != nil {
		return nil, &Error{Source: source, Offset: -1, Problem: unknown(err, variables)}
	}
	return c, nil
}

// addPrelude defines the functions of prelude that the program uses.
func (r *rewriter) addPrelude(query *gojq.Query) {
	if len(r.called) == 0 {
		return
	}
	all, err := gojq.Parse(prelude + ".")
	if err != nil {
		r.fail("prelude: %w", err)
		return
	}
	r.trusted = true
	r.called["sub"] = r.called["sub"] || r.called["gsub"]
	var defs []*gojq.FuncDef
	for _, def := range all.FuncDefs {
		switch {
		case !r.called[strings.TrimPrefix(def.Name, "_")]:
			continue
		case strings.HasPrefix(def.Name, "_"): // the built-in one under another name: it stays as it is
		default:
			r.define(def)
		}
		defs = append(defs, def)
	}
	query.FuncDefs = append(defs, query.FuncDefs...)
}

// depth is how deep the brackets of a program go.
func depth(source string) int {
	most, now := 0, 0
	for _, c := range source {
		switch c {
		case '(', '[', '{':
			now++
			most = max(most, now)
		case ')', ']', '}':
			now--
		}
	}
	return most
}

func syntax(source string, err error) error {
	bad := &Error{Source: source, Offset: -1, Problem: err.Error()}
	if parse, ok := errors.AsType[*gojq.ParseError](err); ok {
		bad.Offset = max(0, parse.Offset-len(parse.Token))
	}
	return bad
}

// unknown adds to the message about an unknown variable which ones there are.
func unknown(err error, variables []string) string {
	if text := err.Error(); strings.HasPrefix(text, "variable not defined") {
		return text + "; there are " + strings.Join(variables, ", ")
	}
	return err.Error()
}

// keys is the path of a program such as .a.b; nil for any other.
func keys(q *gojq.Query) []string {
	if q.Term == nil || len(q.FuncDefs) > 0 || len(q.Imports) > 0 || q.Meta != nil {
		return nil
	}
	path := []string{}
	switch {
	case q.Term.Type == gojq.TermTypeIdentity && len(q.Term.SuffixList) == 0:
		return path
	case q.Term.Type == gojq.TermTypeIndex && q.Term.Index.Name != "":
		path = append(path, q.Term.Index.Name)
	default:
		return nil
	}
	for _, s := range q.Term.SuffixList {
		if s.Index == nil || s.Index.Name == "" || s.Optional {
			return nil
		}
		path = append(path, s.Index.Name)
	}
	return path
}

// Source is the program as it was given.
func (c *Code) Source() string { return c.source }

// Uses says whether the program needs that variable.
func (c *Code) Uses(variable string) bool { return slices.Contains(c.variables, variable) }

// Run evaluates the program on input and returns its first result, null where
// it has none. Numbers in input must be int or float64. An error that wraps ErrLimit or
// the end of the Meter's context is the end of the run; any other is the program's.
func (c *Code) Run(m *Meter, input any, values Values) (result any, err error) {
	if v, ok := c.follow(input); ok {
		return v, nil
	}
	defer func() { // as in Compile
		if r := recover(); r != nil {
			result, err = nil, fmt.Errorf("the expression failed: %v", r)
		}
	}()
	var room [12]any
	vars := room[:0]
	for _, slot := range c.slots {
		switch slot {
		case -2:
			vars = append(vars, m)
		case -1:
			vars = append(vars, float64(values.Now.UnixMilli())/1000)
		default:
			vars = append(vars, values.Vars[slot])
		}
	}
	m.built = 0
	var v any
	var ok bool
	if c.endless {
		m.enter()
		v, ok = c.code.RunWithContext(interrupt{m}, input, vars...).Next()
		m.leave()
	} else {
		v, ok = c.code.RunWithContext(context.Background(), input, vars...).Next()
	}
	if !ok {
		return nil, nil
	}
	return m.result(v)
}

func (m *Meter) result(v any) (any, error) {
	if err, isError := v.(error); isError {
		return nil, clip(err)
	}
	s := scale{left: MaxResult}
	if err := s.weigh(v, maxDepth); err != nil {
		return nil, err
	}
	if s.odd {
		return plain(v), nil
	}
	return v, nil
}

// follow answers programs that only name keys without starting gojq.
func (c *Code) follow(v any) (any, bool) {
	if c.path == nil {
		return nil, false
	}
	for _, key := range c.path {
		switch object := v.(type) {
		case nil:
			return nil, true
		case map[string]any:
			v = object[key]
		default:
			return nil, false // gojq has the words for it
		}
	}
	return v, true
}

// clip keeps an error's message short: it may quote megabytes.
func clip(err error) error {
	const most = 1024
	if errors.Is(err, ErrLimit) || len(err.Error()) <= most {
		return err
	}
	return errors.New(strings.ToValidUTF8(err.Error()[:most], "") + "…")
}

// Bool evaluates a condition: false and null are false, all else is true.
func (c *Code) Bool(m *Meter, input any, values Values) (bool, error) {
	v, err := c.Run(m, input, values)
	return v != nil && v != false, err
}
