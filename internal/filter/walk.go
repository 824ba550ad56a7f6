package filter

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/tocsin-events/tocsin/internal/event"
)

// planner turns a checked expression into an index plan, and finds the mistakes
// that CEL's type checker can't know about.
type planner struct {
	ast *ast.AST
	now time.Time
	err error
}

func unknown() *Node { return &Node{Op: OpUnknown} }

func (p *planner) fail(e ast.Expr, format string, args ...any) {
	if p.err != nil {
		return
	}
	at := p.ast.SourceInfo().GetStartLocation(e.ID())
	p.err = &Error{Line: max(1, at.Line()), Column: at.Column() + 1, Msg: fmt.Sprintf(format, args...)}
}

// node plans one condition. It visits every subexpression, so that mistakes are
// found also where no index can help.
func (p *planner) node(e ast.Expr) *Node {
	switch e.Kind() {
	case ast.LiteralKind:
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return constant(bool(b))
		}
	case ast.CallKind:
		return p.call(e)
	case ast.SelectKind:
		p.selection(e)
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			p.node(x)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			p.node(entry.AsMapEntry().Key())
			p.node(entry.AsMapEntry().Value())
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		p.node(c.IterRange())
		p.node(c.AccuInit())
		p.node(c.LoopCondition())
		p.node(c.LoopStep())
		p.node(c.Result())
	}
	return unknown()
}

func constant(b bool) *Node {
	n := &Node{Op: OpConst}
	if b {
		n.Min = 1
	}
	return n
}

func (p *planner) selection(e ast.Expr) {
	s := e.AsSelect()
	p.node(s.Operand())
	if s.Operand().Kind() != ast.IdentKind {
		return
	}
	variable := s.Operand().AsIdent()
	if members := mapMembers(variable); members != nil && !slices.Contains(members, s.FieldName()) {
		p.fail(e, "%s has no %q; it has %s", variable, s.FieldName(), strings.Join(members, ", "))
	}
}

func (p *planner) call(e ast.Expr) *Node {
	c := e.AsCall()
	args := c.Args()
	switch c.FunctionName() {
	case operators.LogicalAnd:
		return &Node{Op: OpAnd, Kids: p.nodes(args)}
	case operators.LogicalOr:
		return &Node{Op: OpOr, Kids: p.nodes(args)}
	case operators.LogicalNot:
		return &Node{Op: OpNot, Kids: p.nodes(args)}
	}
	if c.IsMemberFunction() {
		p.node(c.Target())
	}
	for _, a := range args {
		p.node(a)
	}
	switch c.FunctionName() {
	case operators.Equals:
		return p.equals(args[0], args[1])
	case operators.NotEquals:
		return &Node{Op: OpNot, Kids: []*Node{p.equals(args[0], args[1])}}
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return p.compare(c.FunctionName(), args[0], args[1])
	case operators.In:
		return p.in(args[0], args[1])
	case textFunction:
		if needle, ok := stringOf(args[1]); ok {
			return &Node{Op: OpText, Values: []string{strings.ToLower(needle)}}
		}
	case "glob":
		return p.glob(args[0], args[1])
	case "inCIDR":
		if network, ok := stringOf(args[1]); ok {
			if _, err := netip.ParsePrefix(network); err != nil {
				p.fail(args[1], "inCIDR: %q is not a network such as 192.0.2.0/24", network)
			}
		}
	case "ago":
		if d, ok := stringOf(args[0]); ok {
			if _, err := event.ParseDuration(d); err != nil {
				p.fail(args[0], "ago: %s", err)
			}
		}
	case "contains", "startsWith", "endsWith":
		return p.substring(c, args)
	}
	return unknown()
}

func (p *planner) nodes(list []ast.Expr) []*Node {
	kids := make([]*Node, len(list))
	for i, e := range list {
		kids[i] = p.node(e)
	}
	return kids
}

// substring plans the member functions of strings.
func (p *planner) substring(c ast.CallExpr, args []ast.Expr) *Node {
	if !c.IsMemberFunction() || len(args) != 1 {
		return unknown()
	}
	part, ok := stringOf(args[0])
	if !ok {
		return unknown()
	}
	if _, isData := dataPath(c.Target()); isData {
		return &Node{Op: OpNeeds, Kids: []*Node{{Op: OpText, Values: []string{strings.ToLower(part)}}}}
	}
	if column, isColumn := columnOf(c.Target()); isColumn && !strings.ContainsAny(part, "*?") {
		pattern := map[string]string{"contains": "*" + part + "*", "startsWith": part + "*", "endsWith": "*" + part}
		return &Node{Op: OpGlob, Column: column, Values: []string{pattern[c.FunctionName()]}}
	}
	return unknown()
}

func (p *planner) glob(text, pattern ast.Expr) *Node {
	column, isColumn := columnOf(text)
	value, isConst := stringOf(pattern)
	if !isColumn || !isConst {
		return unknown()
	}
	return &Node{Op: OpGlob, Column: column, Values: []string{value}}
}

func (p *planner) equals(a, b ast.Expr) *Node {
	if a.Kind() == ast.LiteralKind {
		a, b = b, a
	}
	if column, ok := columnOf(a); ok {
		if value, ok := stringOf(b); ok {
			return &Node{Op: OpIn, Column: column, Values: []string{value}}
		}
		return unknown()
	}
	if path, ok := dataPath(a); ok {
		if value, ok := scalarText(b); ok {
			return &Node{Op: OpData, Path: path, Values: []string{value}}
		}
		return unknown()
	}
	if name, ok := attributeOf(a); ok {
		if value, ok := stringOf(b); ok {
			return &Node{Op: OpAttribute, Path: name, Values: []string{value}}
		}
		return unknown()
	}
	if isIdent(a, "severitytext") {
		if value, ok := stringOf(b); ok {
			s, err := event.ParseSeverity(value)
			if err != nil {
				return constant(false)
			}
			return &Node{Op: OpSeverity, Min: int64(s), Max: int64(s)}
		}
	}
	return p.compare(operators.Equals, a, b)
}

func (p *planner) in(a, list ast.Expr) *Node {
	if list.Kind() != ast.ListKind {
		return unknown()
	}
	values := []string{}
	for _, x := range list.AsList().Elements() {
		value, ok := scalarText(x)
		if !ok {
			return unknown()
		}
		if _, isString := stringOf(x); !isString && !isData(a) {
			return unknown()
		}
		values = append(values, value)
	}
	if column, ok := columnOf(a); ok {
		return &Node{Op: OpIn, Column: column, Values: values}
	}
	if path, ok := dataPath(a); ok {
		either := &Node{Op: OpOr}
		for _, v := range values {
			either.Kids = append(either.Kids, &Node{Op: OpData, Path: path, Values: []string{v}})
		}
		return &Node{Op: OpNeeds, Kids: []*Node{either}}
	}
	return unknown()
}

// compare plans comparisons of the severity and of the time with a constant.
func (p *planner) compare(op string, a, b ast.Expr) *Node {
	if _, ok := p.constant(a); ok {
		a, b = b, a
		op = map[string]string{
			operators.Less: operators.Greater, operators.LessEquals: operators.GreaterEquals,
			operators.Greater: operators.Less, operators.GreaterEquals: operators.LessEquals, operators.Equals: operators.Equals,
		}[op]
	}
	var leaf Op
	switch {
	case isIdent(a, "severity"), isIdent(a, "severitynumber"):
		leaf = OpSeverity
	case isIdent(a, "time"):
		leaf = OpTime
	default:
		return unknown()
	}
	value, ok := p.constant(b)
	if !ok {
		return unknown()
	}
	n := &Node{Op: leaf, Min: math.MinInt64, Max: math.MaxInt64}
	switch op {
	case operators.Equals:
		n.Min, n.Max = value, value
	case operators.Less:
		n.Max = value - 1
	case operators.LessEquals:
		n.Max = value
	case operators.Greater:
		n.Min = value + 1
	case operators.GreaterEquals:
		n.Min = value
	}
	return n
}

// constant is the value of a number, of a severity's name, or of a fixed time
// in nanoseconds. Extremes are left to the program, so that nothing overflows.
func (p *planner) constant(e ast.Expr) (int64, bool) {
	switch e.Kind() {
	case ast.LiteralKind:
		if n, ok := e.AsLiteral().(types.Int); ok && n > math.MinInt32 && n < math.MaxInt32 {
			return int64(n), true
		}
	case ast.IdentKind:
		if s, err := event.ParseSeverity(e.AsIdent()); err == nil {
			return int64(s), true
		}
	case ast.CallKind:
		return p.fixedTime(e)
	}
	return 0, false
}

func (p *planner) fixedTime(e ast.Expr) (int64, bool) {
	c := e.AsCall()
	if len(c.Args()) != 1 {
		return 0, false
	}
	arg, ok := stringOf(c.Args()[0])
	if !ok {
		return 0, false
	}
	switch c.FunctionName() {
	case "timestamp":
		if t, err := event.ParseTime(arg); err == nil {
			return t.UnixNano(), true
		}
	case "ago":
		// The program will ask the clock again, a little later. What is kept here
		// is a little earlier, and so never passes over an event; but it may keep
		// one too many, which a rounding to seconds makes visible to nobody.
		if d, err := event.ParseDuration(arg); err == nil && d.Abs() < 100*365*24*time.Hour {
			return p.now.Add(-d).UnixNano(), true
		}
	}
	return 0, false
}

func isIdent(e ast.Expr, name string) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == name }

func columnOf(e ast.Expr) (Column, bool) {
	if e.Kind() == ast.SelectKind {
		s := e.AsSelect()
		if !s.IsTestOnly() && s.FieldName() == "id" && isIdent(s.Operand(), "actor") {
			return ColumnActor, true
		}
		return 0, false
	}
	if e.Kind() != ast.IdentKind {
		return 0, false
	}
	switch e.AsIdent() {
	case "type":
		return ColumnType, true
	case "kind":
		return ColumnKind, true
	case "source":
		return ColumnSource, true
	case "authid":
		return ColumnActor, true
	case "clientip":
		return ColumnClientIP, true
	case "id":
		return ColumnID, true
	}
	return 0, false
}

func isData(e ast.Expr) bool {
	_, ok := dataPath(e)
	return ok
}

// dataPath recognises data.a.b and data["a"].b.
// attributeOf recognises an attribute of type String that is in no column.
func attributeOf(e ast.Expr) (string, bool) {
	if e.Kind() != ast.IdentKind {
		return "", false
	}
	name := e.AsIdent()
	return name, name == "subject" || slices.Contains(event.TextAttributes(), name)
}

func dataPath(e ast.Expr) (string, bool) {
	var names []string
	for {
		switch e.Kind() {
		case ast.SelectKind:
			if e.AsSelect().IsTestOnly() {
				return "", false
			}
			names = append(names, e.AsSelect().FieldName())
			e = e.AsSelect().Operand()
		case ast.CallKind:
			c := e.AsCall()
			if c.FunctionName() != operators.Index {
				return "", false
			}
			name, ok := stringOf(c.Args()[1])
			if !ok {
				return "", false
			}
			names = append(names, name)
			e = c.Args()[0]
		case ast.IdentKind:
			slices.Reverse(names)
			return strings.Join(names, "."), e.AsIdent() == "data" && len(names) > 0
		default:
			return "", false
		}
	}
}

func stringOf(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// scalarText is the canonical text of a constant, as the index keeps values.
func scalarText(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	return valueText(e.AsLiteral())
}

func valueText(v ref.Val) (string, bool) {
	switch v := v.(type) {
	case types.String:
		return string(v), true
	case types.Bool:
		return strconv.FormatBool(bool(v)), true
	case types.Int:
		return CanonicalNumber(strconv.FormatInt(int64(v), 10)), true
	case types.Uint:
		return CanonicalNumber(strconv.FormatUint(uint64(v), 10)), true
	case types.Double:
		return CanonicalNumber(strconv.FormatFloat(float64(v), 'g', -1, 64)), true
	}
	return "", false
}

// CanonicalNumber is the text under which a JSON number is indexed: equal
// numbers have equal texts, so 1, 1.0 and 1e0 are "1".
func CanonicalNumber(raw string) string {
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil {
		return raw
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}
