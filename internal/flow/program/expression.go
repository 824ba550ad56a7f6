package program

import (
	"errors"
	"strings"

	"github.com/tocsin-events/tocsin/internal/flow/jq"
)

// The variables that every expression may use; those of loops and catches follow.
const (
	slotContext = iota
	slotInput
	slotOutput
	slotSecrets
	slotAuthorization
	slotTask
	slotWorkflow
	slotRuntime
	slotScope // the first variable of a loop
)

func baseVariables() []string {
	return []string{"$context", "$input", "$output", "$secrets", "$authorization", "$task", "$workflow", "$runtime"}
}

// lazy are the variables that are made when an expression wants them.
var lazy = []int{slotSecrets, slotTask, slotWorkflow, slotRuntime} //nolint:gochecknoglobals // a constant in all but name

// An expression is a jq program of a document.
type expression struct {
	code  *jq.Code
	needs []int // of lazy
}

// unwrap takes the ${ } from an expression.
func unwrap(text string) (string, bool) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "${") && strings.HasSuffix(text, "}") {
		return text[2 : len(text)-1], true
	}
	return text, false
}

// expression compiles a field that holds an expression, with or without ${ }.
func (c *compiler) expression(n *node) *expression {
	if n == nil {
		return nil
	}
	source, ok := n.text()
	switch {
	case ok:
		source, _ = unwrap(source)
	case n.value == true:
		source = "true"
	case n.value == false:
		source = "false"
	default:
		c.fail(n, "write it as a text: '.x > 1'", "an expression is a text, not %s", n.what())
		return nil
	}
	return c.code(n, source)
}

func (c *compiler) code(n *node, source string) *expression {
	if c.codes++; c.codes > maxExpressions {
		if c.codes == maxExpressions+1 {
			c.fail(n, "make two flows of it", "the flow has more than %d expressions", maxExpressions)
		}
		return nil
	}
	names := append(baseVariables(), c.scope...)
	for i, name := range names { // an inner variable hides an outer one
		for _, later := range names[i+1:] {
			if later == name {
				names[i] = ""
			}
		}
	}
	code, err := jq.Compile(source, names...)
	if err != nil {
		instead := ""
		if strings.Contains(source, "${") {
			instead = `a text with values inside is one expression: ${ "Hello \(.name)" }`
		}
		c.fail(n, instead, "the expression does not compile: %v", err)
		return nil
	}
	if code.Uses("$secrets") {
		c.checkSecrets(n, source)
	}
	e := &expression{code: code}
	for _, slot := range lazy {
		if code.Uses(names[slot]) {
			e.needs = append(e.needs, slot)
		}
	}
	return e
}

// A template is a value of a document with expressions in it.
type template struct {
	dynamic  bool // holds an expression
	constant any  // where not dynamic
	expr     *expression
	keys     []string
	parts    []*template // of an object (with keys) or an array
}

// template compiles a value in which texts of the form ${ … } are expressions.
func (c *compiler) template(n *node) *template {
	if n == nil {
		return nil
	}
	t := &template{}
	switch n.kind {
	case object:
		t.keys = make([]string, 0, len(n.fields))
		for _, f := range n.fields {
			t.keys = append(t.keys, f.name)
			t.parts = append(t.parts, c.template(f.value))
		}
	case array:
		for _, item := range n.items {
			t.parts = append(t.parts, c.template(item))
		}
	default:
		if text, ok := n.text(); ok {
			if source, is := unwrap(text); is {
				t.expr, t.dynamic = c.code(n, source), true
				return t
			}
		}
	}
	for _, part := range t.parts {
		t.dynamic = t.dynamic || part.dynamic
	}
	if !t.dynamic {
		*t = template{constant: n.plain()}
	}
	return t
}

// transform compiles input.from, output.as and export.as: a text is an expression
// even without ${ }, anything else a template.
func (c *compiler) transform(n *node) *template {
	if n == nil {
		return nil
	}
	if _, ok := n.text(); ok {
		return &template{dynamic: true, expr: c.expression(n)}
	}
	return c.template(n)
}

// eval evaluates an expression on dot.
func (x *exec) eval(e *expression, dot any) (any, error) {
	if e == nil {
		return nil, nil
	}
	for _, slot := range e.needs {
		v, err := x.lazy(slot)
		if err != nil {
			return nil, err
		}
		x.slots[slot] = v
	}
	v, err := e.code.Run(x.meter, dot, jq.Values{Vars: x.slots, Now: x.clock})
	if err != nil {
		return nil, x.expressionError(err)
	}
	return v, nil
}

func (x *exec) expressionError(err error) error {
	if errors.Is(err, jq.ErrLimit) {
		failure := Failure(TypeRuntime, 500, "%v", err)
		failure.Final = true
		return failure
	}
	if x.ctx.Err() != nil {
		return err
	}
	return Failure(TypeExpression, 400, "%v", err)
}

// condition evaluates an expression as a condition: false and null are false.
func (x *exec) condition(e *expression, dot any) (bool, error) {
	v, err := x.eval(e, dot)
	return v != nil && v != false, err
}

// template evaluates a template. The result is no larger than the result of one
// expression may be.
func (x *exec) template(t *template, dot any) (any, error) {
	switch {
	case !t.dynamic:
		return t.constant, nil
	case t.expr != nil:
		return x.eval(t.expr, dot)
	}
	v, err := x.parts(t, dot)
	if err != nil {
		return nil, err
	}
	if _, err := jq.Size(v, jq.MaxResult); err != nil {
		return nil, Failure(TypeExpression, 400, "%v", err)
	}
	return v, nil
}

func (x *exec) parts(t *template, dot any) (any, error) {
	switch {
	case !t.dynamic:
		return t.constant, nil
	case t.expr != nil:
		return x.eval(t.expr, dot)
	case t.keys == nil:
		items := make([]any, len(t.parts))
		for i, part := range t.parts {
			v, err := x.parts(part, dot)
			if err != nil {
				return nil, err
			}
			items[i] = v
		}
		return items, nil
	}
	object := make(map[string]any, len(t.parts))
	for i, part := range t.parts {
		v, err := x.parts(part, dot)
		if err != nil {
			return nil, err
		}
		object[t.keys[i]] = v
	}
	return object, nil
}
