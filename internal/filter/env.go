package filter

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Names that a filter may not spell, because only macros write them.
const (
	eventVariable = "@event"
	textFunction  = "@text"
	attrFunction  = "@attribute"
)

// NewEnv returns the environment of filters.
func NewEnv() (*Env, error) {
	options := []cel.EnvOption{
		cel.ClearMacros(),
		cel.Macros(append(cel.StandardMacros, //nolint:gocritic // a new slice is meant
			cel.GlobalMacro("text", 1, withEvent(textFunction)),
			cel.GlobalMacro("attribute", 1, withEvent(attrFunction)))...),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserRecursionLimit(maxDepth),
		cel.ParserExpressionSizeLimit(MaxSource),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals()),
		ext.Strings(), ext.Lists(),
		cel.Variable(eventVariable, cel.DynType),
		cel.Variable("data", cel.DynType),
	}
	options = append(options, variables()...)
	options = append(options, functions()...)
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("filter environment: %w", err)
	}
	return &Env{bools: env}, nil
}

// coreText are the attributes of type String that every CloudEvent knows.
func coreText() []string {
	return []string{"specversion", "id", "source", "type", "subject", "datacontenttype", "dataschema", "kind", "severitytext"}
}

func variables() []cel.EnvOption {
	var options []cel.EnvOption
	for _, name := range append(coreText(), event.TextAttributes()...) {
		if name == "asn" {
			continue // the map of this name has it as asn.number
		}
		options = append(options, cel.Variable(name, cel.StringType))
	}
	for _, name := range []string{"time", "recordedtime", "expirytime"} {
		options = append(options, cel.Variable(name, cel.TimestampType))
	}
	for _, name := range []string{"severity", "severitynumber", "causationdepth", "sequence"} {
		options = append(options, cel.Variable(name, cel.IntType))
	}
	for _, name := range []string{"actor", "geo", "asn"} {
		options = append(options, cel.Variable(name, cel.MapType(cel.StringType, cel.StringType)))
	}
	for _, s := range event.Severities() {
		options = append(options, cel.Constant(s.String(), cel.IntType, types.Int(s)))
	}
	return options
}

// withEvent hands the event to a function that reads more of it than its
// arguments.
func withEvent(function string) cel.MacroFactory {
	return func(eh cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
		return eh.NewCall(function, eh.NewIdent(eventVariable), args[0]), nil
	}
}

func functions() []cel.EnvOption {
	str, boolean := cel.StringType, cel.BoolType
	return []cel.EnvOption{
		cel.Function("glob", cel.Overload("glob_string_string", []*cel.Type{str, str}, boolean,
			cel.BinaryBinding(func(text, pattern ref.Val) ref.Val {
				return types.Bool(Glob(string(pattern.(types.String)), string(text.(types.String))))
			}))),
		cel.Function("inCIDR", cel.Overload("in_cidr_string_string", []*cel.Type{str, str}, boolean, cel.BinaryBinding(inCIDR))),
		cel.Function("ago", cel.Overload("ago_string", []*cel.Type{str}, cel.TimestampType, cel.UnaryBinding(ago))),
		cel.Function(textFunction, cel.Overload("text_event_string", []*cel.Type{cel.DynType, str}, boolean, cel.BinaryBinding(text))),
		cel.Function(attrFunction, cel.Overload("attribute_event_string", []*cel.Type{cel.DynType, str}, str, cel.BinaryBinding(attribute))),
	}
}

func inCIDR(address, network ref.Val) ref.Val {
	prefix, err := netip.ParsePrefix(string(network.(types.String)))
	if err != nil {
		return types.NewErr("inCIDR: %q is not a network such as 192.0.2.0/24", network)
	}
	ip, err := netip.ParseAddr(string(address.(types.String)))
	if err != nil {
		return types.False // an event without an address is in no network
	}
	return types.Bool(prefix.Contains(ip.Unmap().WithZone("")))
}

func ago(duration ref.Val) ref.Val {
	d, err := event.ParseDuration(string(duration.(types.String)))
	if err != nil {
		return types.NewErr("ago: %s", err)
	}
	return types.Timestamp{Time: time.Now().Add(-d)}
}

func text(in, needle ref.Val) ref.Val {
	input, ok := in.Value().(*Input)
	if !ok {
		return types.NewErr("text: no event")
	}
	return types.Bool(input.hasText(strings.ToLower(string(needle.(types.String)))))
}

func attribute(in, name ref.Val) ref.Val {
	input, ok := in.Value().(*Input)
	if !ok {
		return types.NewErr("attribute: no event")
	}
	return types.String(input.event.Text(string(name.(types.String))))
}

// Glob matches a text against a pattern in which * stands for any characters,
// also dots and none, and ? for exactly one.
func Glob(pattern, text string) bool {
	// The last star is the only one that ever needs to be reconsidered, so the
	// cost is at most len(pattern) * len(text).
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
