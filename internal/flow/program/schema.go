package program

import (
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tocsin-events/tocsin/internal/flow/jq"
)

// A schema is a JSON Schema of a document, compiled. nil lets everything pass.
type schema struct {
	compiled *jsonschema.Schema
	parts    int
}

// maxSchema bounds how many subschemas one value may be held against: references
// could multiply them without end.
const maxSchema = 2000

// maxChecks bounds the parts of a schema times the bytes of a value.
const maxChecks = 64 << 20

// schema compiles a schema block. Only schemas that are written in the document are
// understood: nothing is fetched.
func (c *compiler) schema(n *node) *schema {
	if n == nil || !c.object(n, "schema", "format", "document", "resource") {
		return nil
	}
	if format, ok := n.field("format").text(); ok && format != "json" && !strings.HasPrefix(format, "json:") {
		c.fail(n.field("format"), "write format: json", "schemas in %s are not understood", format)
	}
	if resource := n.field("resource"); resource != nil {
		c.fail(resource, "write it under document:", "a schema from elsewhere is not fetched")
		return nil
	}
	document := n.field("document")
	if document == nil {
		c.fail(n, "write document: {type: object}", "the schema is missing")
		return nil
	}
	value := document.plain()
	cost := &schemaCost{root: value, open: map[string]bool{}}
	if cost.count(value); cost.err != nil {
		c.fail(document, "", "%v", cost.err)
		return nil
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noLoader{})
	const place = "flow:schema"
	if err := compiler.AddResource(place, value); err != nil {
		c.fail(document, "", "the schema: %v", err)
		return nil
	}
	compiled, err := compiler.Compile(place)
	if err != nil {
		c.fail(document, "", "the schema does not compile: %s", strings.ReplaceAll(err.Error(), place+"#", ""))
		return nil
	}
	return &schema{compiled, cost.n}
}

// noLoader fetches nothing.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) { return nil, fmt.Errorf("%s is not fetched", url) }

// A schemaCost counts subschemas, following references.
type schemaCost struct {
	root any
	open map[string]bool
	n    int
	err  error
}

func (s *schemaCost) count(v any) {
	if s.err != nil {
		return
	}
	if s.n++; s.n > maxSchema {
		s.err = fmt.Errorf("the schema unfolds to more than %d parts", maxSchema)
		return
	}
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			s.count(item)
		}
	case map[string]any:
		for key, item := range v {
			if key == "$defs" || key == "definitions" { // counted where they are used
				continue
			}
			if ref, ok := item.(string); ok && (key == "$ref" || key == "$dynamicRef" || key == "$recursiveRef") {
				s.follow(ref)
				continue
			}
			s.count(item)
		}
	}
}

func (s *schemaCost) follow(ref string) {
	pointer, local := strings.CutPrefix(ref, "#")
	switch {
	case !local || (pointer != "" && !strings.HasPrefix(pointer, "/")):
		s.err = fmt.Errorf("the reference %q does not point into the schema; write #/$defs/name", ref)
		return
	case s.open[ref]:
		s.err = fmt.Errorf("the schema refers to itself at %s", ref)
		return
	}
	target, found := lookup(s.root, pointer)
	if !found {
		s.err = fmt.Errorf("the reference %q points at nothing", ref)
		return
	}
	s.open[ref] = true
	s.count(target)
	delete(s.open, ref)
}

// validate holds a value against the schema.
func (s *schema) validate(v any) error {
	if s == nil {
		return nil
	}
	if _, err := jq.Size(v, maxChecks/s.parts); err != nil {
		return Failure(TypeValidation, 400, "the value is too large for a schema of %d parts", s.parts)
	}
	err := s.compiled.Validate(v)
	if invalid, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		for len(invalid.Causes) > 0 {
			invalid = invalid.Causes[0]
		}
		where := "/" + strings.Join(invalid.InstanceLocation, "/")
		return Failure(TypeValidation, 400, "%s: %s", where, invalid.ErrorKind.LocalizedString(message.NewPrinter(language.English)))
	}
	if err != nil {
		return Failure(TypeValidation, 400, "%v", err)
	}
	return nil
}
