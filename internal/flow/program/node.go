package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// The limits of a document.
const (
	maxDocument = 1 << 20 // bytes
	maxNodes    = 50_000  // values, with what aliases repeat
	maxNesting  = 64
)

// A node is a value in a document, with its place.
type node struct {
	kind         nodeKind
	path         string // JSON pointer
	line, column int
	value        any      // of a scalar: nil, bool, int, float64, string
	fields       []*field // of an object, in their order
	items        []*node  // of an array
}

type nodeKind int

const (
	scalar nodeKind = iota
	object
	array
)

type field struct {
	name         string
	line, column int
	value        *node
}

func (n *node) field(name string) *node {
	if n == nil {
		return nil
	}
	for _, f := range n.fields {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

func (n *node) text() (string, bool) {
	if n == nil {
		return "", false
	}
	s, ok := n.value.(string)
	return s, ok && n.kind == scalar
}

func (n *node) problem(format string, args ...any) Problem {
	return Problem{Path: n.path, Line: n.line, Column: n.column, Problem: fmt.Sprintf(format, args...)}
}

// plain is the node as a JSON value.
func (n *node) plain() any {
	switch n.kind {
	case object:
		m := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			m[f.name] = f.value.plain()
		}
		return m
	case array:
		items := make([]any, len(n.items))
		for i, item := range n.items {
			items[i] = item.plain()
		}
		return items
	}
	return n.value
}

// what is the kind of a node in words.
func (n *node) what() string {
	switch {
	case n.kind == object:
		return "an object"
	case n.kind == array:
		return "a list"
	case n.value == nil:
		return "nothing"
	}
	switch n.value.(type) {
	case string:
		return "a text"
	case bool:
		return "true or false"
	}
	return "a number"
}

// escape writes a name as a part of a JSON pointer.
func escape(name string) string {
	if !strings.ContainsAny(name, "~/") {
		return name
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// parse reads a document: JSON where it begins with a brace, else YAML.
func parse(document []byte) (*node, *Problem) {
	if len(document) > maxDocument {
		return nil, &Problem{Problem: fmt.Sprintf("the document has more than %d bytes", maxDocument)}
	}
	if start := bytes.TrimLeft(document, " \t\r\n\ufeff"); len(start) > 0 && start[0] == '{' && json.Valid(start) {
		return parseJSON(document)
	}
	var root yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(document))
	if err := d.Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, &Problem{Line: 1, Column: 1, Problem: "the document is empty"}
		}
		return nil, yamlProblem(err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, &Problem{Problem: "there is a second document", Instead: "put each flow into a file of its own"}
	}
	r := &reader{}
	n := r.yaml(root.Content[0], "", 0)
	return n, r.problem
}

// yamlProblem takes the line out of a message such as "yaml: line 3: did not find …".
func yamlProblem(err error) *Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	p := &Problem{Problem: "this is no YAML: " + text}
	if rest, found := strings.CutPrefix(text, "line "); found {
		number, message, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			p.Line, p.Column, p.Problem = line, 1, "this is no YAML: "+message
		}
	}
	return p
}

// A reader makes nodes and stops at the first problem. What an alias repeats is
// counted each time, so that a bomb of aliases is refused and not unfolded.
type reader struct {
	count   int
	open    []*yaml.Node // aliases that are being followed
	problem *Problem
}

func (r *reader) fail(n *node, format string, args ...any) *node {
	if r.problem == nil {
		p := n.problem(format, args...)
		r.problem = &p
	}
	return n
}

// admit counts a node and says whether it may be read.
func (r *reader) admit(n *node, depth int) bool {
	if r.count++; r.count > maxNodes {
		r.fail(n, "the document has more than %d values", maxNodes)
	}
	if depth > maxNesting {
		r.fail(n, "the document is nested deeper than %d levels", maxNesting)
	}
	return r.problem == nil
}

func (r *reader) yaml(y *yaml.Node, path string, depth int) *node {
	n := &node{path: path, line: y.Line, column: y.Column}
	if !r.admit(n, depth) {
		return n
	}
	switch y.Kind {
	case yaml.AliasNode:
		if slices.Contains(r.open, y.Alias) {
			return r.fail(n, "the alias *%s holds itself", y.Value)
		}
		r.open = append(r.open, y.Alias)
		n = r.yaml(y.Alias, path, depth+1)
		r.open = r.open[:len(r.open)-1]
	case yaml.MappingNode:
		n.kind = object
		for i := 0; i+1 < len(y.Content) && r.problem == nil; i += 2 {
			r.yamlField(n, y.Content[i], y.Content[i+1], depth)
		}
	case yaml.SequenceNode:
		n.kind = array
		for i, item := range y.Content {
			if r.problem != nil {
				break
			}
			n.items = append(n.items, r.yaml(item, path+"/"+strconv.Itoa(i), depth+1))
		}
	default:
		r.scalar(n, y)
	}
	return n
}

func (r *reader) yamlField(n *node, key, value *yaml.Node, depth int) {
	at := &node{path: n.path, line: key.Line, column: key.Column}
	switch {
	case key.Kind != yaml.ScalarNode:
		r.fail(at, "a key must be a text")
	case key.Tag == "!!merge":
		r.fail(at, "merge keys (<<) are not understood: write the keys out")
	case n.field(key.Value) != nil:
		r.fail(at, "the key %q is there twice", key.Value)
	default:
		child := r.yaml(value, n.path+"/"+escape(key.Value), depth+1)
		n.fields = append(n.fields, &field{name: key.Value, line: key.Line, column: key.Column, value: child})
	}
}

func (r *reader) scalar(n *node, y *yaml.Node) {
	var err error
	switch y.ShortTag() {
	case "!!null":
	case "!!bool":
		err = y.Decode(&n.value)
	case "!!int":
		n.value, err = integer(y.Value)
	case "!!float":
		var f float64
		if err = y.Decode(&f); err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
			err = fmt.Errorf("%s is no number of JSON", y.Value)
		}
		n.value = f
	case "!!str", "!!timestamp":
		n.value = y.Value
	default:
		err = fmt.Errorf("the tag %s is not understood", y.Tag)
	}
	if err != nil {
		r.fail(n, "%v", err)
	}
}

func integer(text string) (any, error) {
	if i, err := strconv.ParseInt(text, 0, 64); err == nil {
		return int(i), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("%s is no number", text)
	}
	return f, nil
}

// parseJSON reads valid JSON with the places of its values.
func parseJSON(document []byte) (*node, *Problem) {
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(document, []byte("\ufeff"))))
	d.UseNumber()
	r := &jsonReader{reader{}, d, document, 0, 1, 1}
	n := r.value("", 0)
	return n, r.problem
}

type jsonReader struct {
	reader
	*json.Decoder
	document             []byte
	offset, line, column int
}

// place moves line and column to where the next token begins.
func (r *jsonReader) place() (line, column int) {
	end := int(r.InputOffset())
	for end < len(r.document) && strings.IndexByte(" \t\r\n,:", r.document[end]) >= 0 {
		end++
	}
	for ; r.offset < end; r.offset++ {
		if r.document[r.offset] == '\n' {
			r.line, r.column = r.line+1, 0
		}
		r.column++
	}
	return r.line, r.column
}

func (r *jsonReader) value(path string, depth int) *node {
	n := &node{path: path}
	n.line, n.column = r.place()
	if !r.admit(n, depth) {
		return n
	}
	token, err := r.Token()
	if err != nil {
		return r.fail(n, "this is no JSON: %v", err)
	}
	switch token := token.(type) {
	case json.Delim:
		n.kind = array
		if token == '{' {
			n.kind = object
		}
		for i := 0; r.More() && r.problem == nil; i++ {
			if n.kind == array {
				n.items = append(n.items, r.value(path+"/"+strconv.Itoa(i), depth+1))
				continue
			}
			r.member(n, path, depth)
		}
		if r.problem == nil {
			_, err = r.Token()
		}
	case json.Number:
		n.value, err = integer(token.String())
	default:
		n.value = token
	}
	if err != nil {
		r.fail(n, "this is no JSON: %v", err)
	}
	return n
}

func (r *jsonReader) member(n *node, path string, depth int) {
	at := &node{path: path}
	at.line, at.column = r.place()
	token, err := r.Token()
	name, ok := token.(string)
	if err != nil || !ok {
		r.fail(at, "this is no JSON: %v", err)
		return
	}
	if n.field(name) != nil {
		r.fail(at, "the key %q is there twice", name)
		return
	}
	n.fields = append(n.fields, &field{name, at.line, at.column, r.value(path+"/"+escape(name), depth+1)})
}
