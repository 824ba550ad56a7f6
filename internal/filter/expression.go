package filter

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Expression is a compiled expression that yields any value: a webhook's body,
// a list of recipients.
type Expression struct {
	source  string
	program cel.Program
	ast     *ast.AST
}

// CompileExpression compiles an expression over an event and further variables,
// which may hold anything. Errors are of type *Error.
func (v *Env) CompileExpression(source string, variables ...string) (*Expression, error) {
	if strings.TrimSpace(source) == "" {
		return nil, &Error{Line: 1, Column: 1, Msg: "the expression is empty"}
	}
	if len(source) > MaxSource {
		return nil, &Error{Line: 1, Column: 1, Msg: fmt.Sprintf("longer than %d bytes", MaxSource)}
	}
	env := v.bools
	if len(variables) > 0 {
		options := make([]cel.EnvOption, len(variables))
		for i, name := range variables {
			options[i] = cel.Variable(name, cel.DynType)
		}
		extended, err := v.bools.Extend(options...)
		if err != nil {
			return nil, fmt.Errorf("expression: %w", err)
		}
		env = extended
	}
	checked, issues := env.Compile(source)
	if err := firstIssue(issues); err != nil {
		return nil, err
	}
	program, err := env.Program(checked, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, &Error{Line: 1, Column: 1, Msg: err.Error()}
	}
	return &Expression{source: source, program: program, ast: checked.NativeRep()}, nil
}

// String is the expression's text.
func (x *Expression) String() string { return x.source }

// Eval computes the value for an event, as encoding/json would decode it but for
// whole numbers, which are int64 or uint64: nil, bool, float64, string, []any,
// map[string]any. An absent member of data is an error, because a value is asked
// for; has() asks whether it is there.
func (x *Expression) Eval(in *Input, variables map[string]any) (any, error) {
	out, _, err := x.program.Eval(extended{in, variables})
	if err != nil {
		return nil, failureOf(x.ast, err)
	}
	budget := maxNodes
	return native(out, maxDepth, &budget)
}

// maxNodes bounds how many values the result of an expression may have.
const maxNodes = 100_000

// extended adds variables to an event.
type extended struct {
	*Input
	variables map[string]any
}

// ResolveName implements cel.Activation.
func (e extended) ResolveName(name string) (any, bool) {
	if value, ok := e.variables[name]; ok {
		return value, true
	}
	return e.Input.ResolveName(name)
}

// native turns a value of CEL into one of Go.
func native(v ref.Val, depth int, budget *int) (any, error) {
	*budget--
	if depth == 0 || *budget < 0 {
		return nil, errors.New("expression: the result is too large")
	}
	switch v := v.(type) {
	case types.Null:
		return nil, nil //nolint:nilnil // null is a value
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return uint64(v), nil
	case types.Double:
		return float64(v), nil
	case types.String:
		return string(v), nil
	case types.Bytes:
		return base64.StdEncoding.EncodeToString(v), nil
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano), nil
	case types.Duration:
		return v.String(), nil
	case traits.Mapper:
		return nativeMap(v, depth, budget)
	case traits.Lister:
		list := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			item, err := native(it.Next(), depth-1, budget)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		return list, nil
	}
	return nil, fmt.Errorf("expression: a value of type %s can't be written as JSON", v.Type().TypeName())
}

func nativeMap(v traits.Mapper, depth int, budget *int) (any, error) {
	m := map[string]any{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, fmt.Errorf("expression: a key of a map is of type %s, not string", key.Type().TypeName())
		}
		value, err := native(v.Get(key), depth-1, budget)
		if err != nil {
			return nil, err
		}
		m[string(name)] = value
	}
	return m, nil
}
