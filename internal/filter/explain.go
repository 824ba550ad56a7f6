package filter

import (
	"encoding/json"
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
	"cel.dev/cel-go/parser"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Part is one condition of a filter, joined to the others by && or ||, with what
// it gave for one event.
type Part struct {
	Text   string  `json:"text"`
	Result string  `json:"result"` // true, false, or the error
	Values []Value `json:"values"`
}

// Value is what stood in an event where a filter looked.
type Value struct {
	Name  string `json:"name"`  // such as severity, or data.path
	Value string `json:"value"` // as JSON; "absent"
}

// Explain says for each condition of a filter what it gave for an event, and
// with which values. All are evaluated, also those that a match would skip.
// Errors are of type *Error.
func (v *Env) Explain(source string, in *Input) ([]Part, error) {
	f, err := v.Compile(source)
	if err != nil || f.All() {
		return nil, err
	}
	checked, _ := v.bools.Compile(source) // it has just compiled
	program, err := v.bools.Program(checked, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptExhaustiveEval))
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	_, details, _ := program.Eval(in) // each part says what is wrong with it
	x := explainer{ast: checked.NativeRep()}
	if details != nil {
		x.state = details.State()
	}
	x.parts(x.ast.Expr())
	return x.found, nil
}

// explainer walks an evaluated expression.
type explainer struct {
	ast   *ast.AST
	state interpreter.EvalState
	found []Part
}

func (x *explainer) parts(e ast.Expr) {
	if e.Kind() == ast.CallKind && (e.AsCall().FunctionName() == operators.LogicalAnd || e.AsCall().FunctionName() == operators.LogicalOr) {
		for _, arg := range e.AsCall().Args() {
			x.parts(arg)
		}
		return
	}
	p := Part{Text: x.text(e), Result: "not evaluated", Values: []Value{}}
	if result, ok := x.value(e); ok {
		p.Result = result
	}
	x.values(e, &p)
	x.found = append(x.found, p)
}

func (x *explainer) text(e ast.Expr) string {
	text, err := parser.Unparse(e, x.ast.SourceInfo())
	if err != nil {
		return "(a condition that can't be written)"
	}
	return text
}

// value is what an expression gave, as JSON.
func (x *explainer) value(e ast.Expr) (string, bool) {
	if x.state == nil {
		return "", false
	}
	val, ok := x.state.Value(e.ID())
	if !ok {
		return "", false
	}
	return shown(val), true
}

func shown(val ref.Val) string {
	if err, failed := val.Value().(error); failed {
		if isAbsent(err) {
			return "absent"
		}
		return err.Error()
	}
	budget := 1000
	plain, err := native(val, 8, &budget)
	if err != nil {
		return val.Type().TypeName()
	}
	doc, err := json.Marshal(plain)
	if err != nil {
		return val.Type().TypeName()
	}
	return string(doc[:min(len(doc), 512)])
}

// values collects the attributes and members of data below an expression.
func (x *explainer) values(e ast.Expr, p *Part) {
	switch e.Kind() {
	case ast.SelectKind, ast.IdentKind:
		name := x.text(e)
		if _, err := event.ParseSeverity(name); err == nil || name == eventVariable || slices.ContainsFunc(p.Values, func(v Value) bool { return v.Name == name }) {
			return
		}
		if got, ok := x.value(e); ok {
			p.Values = append(p.Values, Value{name, got})
			return
		}
		if e.Kind() == ast.SelectKind {
			x.values(e.AsSelect().Operand(), p)
		}
	case ast.CallKind:
		if e.AsCall().IsMemberFunction() {
			x.values(e.AsCall().Target(), p)
		}
		for _, arg := range e.AsCall().Args() {
			x.values(arg, p)
		}
	case ast.ListKind:
		for _, item := range e.AsList().Elements() {
			x.values(item, p)
		}
	case ast.ComprehensionKind:
		x.values(e.AsComprehension().IterRange(), p)
	}
}
