package filter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Limits of one filter.
const (
	MaxSource = 16 << 10 // bytes of its text
	maxDepth  = 64       // nesting of its expression
	maxCost   = 1e6      // CEL cost units of one evaluation, about 20 ms

	interruptEvery = 100 // steps of a loop between two looks at the context
)

// Filter is a compiled filter.
type Filter struct {
	source  string
	plan    *Node
	program cel.Program // nil where everything matches
	ast     *ast.AST
}

// Error is what is wrong with a filter's text. Line and Column count from 1.
type Error struct {
	Line, Column int
	Msg          string
}

func (e *Error) Error() string {
	return fmt.Sprintf("filter, line %d, column %d: %s", e.Line, e.Column, e.Msg)
}

// Unwrap makes the error one of class event.ErrInvalid.
func (e *Error) Unwrap() error { return event.ErrInvalid }

// EvalError is what went wrong when an expression was evaluated for an event.
// Line and Column count from 1; 0 where the place is not known.
type EvalError struct {
	Line, Column int
	Err          error
}

func (e *EvalError) Error() string {
	if e.Line == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Err)
}

// Unwrap is what CEL says.
func (e *EvalError) Unwrap() error { return e.Err }

// failureOf finds where in an expression its evaluation has failed.
func failureOf(from *ast.AST, err error) error {
	failed := &EvalError{Err: err}
	if at, ok := errors.AsType[*types.Err](err); ok && at.NodeID() != 0 {
		place := from.SourceInfo().GetStartLocation(at.NodeID())
		failed.Line, failed.Column = max(1, place.Line()), place.Column()+1
	}
	return failed
}

// Env compiles filters. One is enough for a program; it is safe for concurrent
// use.
type Env struct {
	bools *cel.Env
}

// Compile compiles a filter, a CEL expression that is true or false. Empty text
// matches everything. Errors are of type *Error.
func (v *Env) Compile(source string) (*Filter, error) {
	f := &Filter{source: source, plan: &Node{Op: OpConst, Min: 1}}
	if strings.TrimSpace(source) == "" {
		return f, nil
	}
	if len(source) > MaxSource {
		return nil, &Error{Line: 1, Column: 1, Msg: fmt.Sprintf("longer than %d bytes", MaxSource)}
	}
	checked, issues := v.bools.Compile(source)
	if err := firstIssue(issues); err != nil {
		return nil, err
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, &Error{Line: 1, Column: 1, Msg: fmt.Sprintf("a filter must be true or false, this is of type %s", t)}
	}
	p := planner{ast: checked.NativeRep(), now: time.Now()}
	f.plan = p.node(p.ast.Expr())
	if p.err != nil {
		return nil, p.err
	}
	program, err := v.bools.Program(checked, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, &Error{Line: 1, Column: 1, Msg: err.Error()}
	}
	f.program, f.ast = program, checked.NativeRep()
	return f, nil
}

func firstIssue(issues *cel.Issues) error {
	if issues == nil || len(issues.Errors()) == 0 {
		return nil
	}
	first := issues.Errors()[0]
	return &Error{Line: max(1, first.Location.Line()), Column: first.Location.Column() + 1, Msg: plainWords(first.Message)}
}

// plainWords turns CEL's commonest messages into ones that a person can act on.
func plainWords(msg string) string {
	if name, ok := strings.CutPrefix(msg, "undeclared reference to '"); ok {
		name, _, _ = strings.Cut(name, "'")
		return fmt.Sprintf("unknown name %q: text needs quotes, members of data begin with data.", name)
	}
	if rest, ok := strings.CutPrefix(msg, "found no matching overload for "); ok {
		return "these types don't fit together: " + rest
	}
	return strings.TrimPrefix(msg, "Syntax error: ")
}

// String is the filter's text.
func (f *Filter) String() string { return f.source }

// Plan is the part of the filter that an index can use.
func (f *Filter) Plan() *Node { return f.plan }

// All reports whether the filter matches every event.
func (f *Filter) All() bool { return f.program == nil }

// Match decides about one event. Where a member of data is absent, the event
// does not match and there is no error. Any other failure of the expression is
// an error, and the event does not match.
func (f *Filter) Match(in *Input) (bool, error) {
	if f.program == nil {
		return true, nil
	}
	out, _, err := f.program.Eval(in)
	return decided(f.ast, out, err)
}

// MatchContext is Match that ends with an error when ctx does.
func (f *Filter) MatchContext(ctx context.Context, in *Input) (bool, error) {
	if f.program == nil {
		return true, nil
	}
	out, _, err := f.program.ContextEval(ctx, in)
	return decided(f.ast, out, err)
}

func decided(from *ast.AST, out ref.Val, err error) (bool, error) {
	if err != nil {
		if isAbsent(err) {
			return false, nil
		}
		return false, failureOf(from, err)
	}
	matched, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("filter: the result is of type %s, not bool", out.Type().TypeName())
	}
	return bool(matched), nil
}

// MatchEvent is Match for a single filter on a single event.
func (f *Filter) MatchEvent(e *event.Event) (bool, error) { return f.Match(NewInput(e)) }

// isAbsent recognises CEL's error for a member that is not there; it has no type.
func isAbsent(err error) bool { return strings.Contains(err.Error(), "no such key") }

// FromSearchBox turns what a person typed into a filter: a bare phrase in
// quotes is a text search, everything else is CEL as it stands.
func FromSearchBox(typed string) string {
	typed = strings.TrimSpace(typed)
	if len(typed) < 2 || typed[0] != '"' && typed[0] != '\'' || typed[len(typed)-1] != typed[0] {
		return typed
	}
	inner := typed[1 : len(typed)-1]
	if strings.ContainsRune(strings.ReplaceAll(inner, `\`+typed[:1], ""), rune(typed[0])) {
		return typed // two literals with something between them: an expression
	}
	return "text(" + typed + ")"
}
