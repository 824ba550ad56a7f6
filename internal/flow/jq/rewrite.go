package jq

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"
)

// The names of variables that rewrite adds. A program can't use them itself.
const (
	hidden   = "$__tocsin"
	nowVar   = "$__tocsin_now"
	meterVar = "$__tocsin_meter"
)

// refused are the functions that a program may not call, with what to do.
func refused(name string) string {
	switch name {
	case "input", "inputs", "input_line_number", "input_filename":
		return "there is only one input: write . for it"
	case "debug", "stderr":
		return "look at the steps of a dry run instead"
	case "$ENV", "env":
		return "name a secret in use.secrets and write $secrets.NAME"
	case "halt", "halt_error":
		return "write error(\"why\") instead"
	case "localtime", "strflocaltime":
		return "the server's time zone is not the flow's: write gmtime or strftime"
	case "builtins":
		return "the manual of jq lists them"
	case "get_search_list", "modulemeta", "$__prog_args":
		return "there are no modules"
	case "tostream", "fromstream", "truncate_stream":
		return "write paths and getpath instead"
	}
	return ""
}

// prelude are definitions that take the place of built-in ones which make arrays
// or compare without being stopped. It is guarded like any program.
const prelude = `
def map(f): [.[] | f];
def add(f): reduce f as $x (null; . + $x);
def sort_by(f): [.[] | [f]] as $keys | _sort_by($keys);
def group_by(f): [.[] | [f]] as $keys | _group_by($keys);
def unique_by(f): [.[] | [f]] as $keys | _unique_by($keys);
def min_by(f): [.[] | [f]] as $keys | _min_by($keys);
def max_by(f): [.[] | [f]] as $keys | _max_by($keys);
def walk(f): def _walk: if type == "array" then [.[] | _walk] elif type == "object" then map_values(_walk) else . end | f; _walk;
def nth($n): .[$n];
def _getpath($p): getpath($p);
def getpath($p): _getpath($p | _tocsin_index);
def _setpath($p; $v): setpath($p; $v);
def setpath($p; $v): _setpath($p | _tocsin_index; $v);
def _contains($x): contains($x);
def contains($x): _tocsin_pairs($x) | _contains($x);
def _inside($x): inside($x);
def inside($x): _tocsin_pairs($x) | _inside($x);
def _indices($x): indices($x);
def indices($x): _tocsin_pairs($x) | _indices($x);
def _index($x): index($x);
def index($x): _tocsin_pairs($x) | _index($x);
def _rindex($x): rindex($x);
def rindex($x): _tocsin_pairs($x) | _rindex($x);
def _join($x): join($x);
def join($x): _tocsin_join($x) | _join($x);
def _transpose: transpose;
def transpose: _tocsin_matrix | _transpose;
def sub($re; str; $flags):
  reduce match($re; $flags) as {$offset, $length, $captures} ({s: ., r: []};
    reduce (($captures | [.[] | select(.name != null) | {(.name): .string}] | add // {}) | str) as $s
      (.i = 0; .r[.i] += .s[.next:$offset] + $s | .i += 1) |
    .next = $offset + $length) | .r[] + .s[.next:] // .s;
def sub($re; str): sub($re; str; null);
def gsub($re; str): sub($re; str; "g");
def gsub($re; str; $flags): sub($re; str; $flags + "g");
def _strftime($f): strftime($f);
def strftime($f): _tocsin_format($f) | _strftime($f);
`

// A rewriter puts guards into one program and notes what the program needs.
type rewriter struct {
	own       []string        // functions and parameters that are defined here, with their arity
	called    map[string]bool // names of built-in functions
	variables map[string]bool // that the program does not bind itself, maybe
	endless   bool            // could run long: has loops, iterations, functions
	terms     int
	trusted   bool // the program is the prelude
	err       error
}

func (r *rewriter) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func call(name string, args ...*gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}}
}

func pipe(left, right *gojq.Query) *gojq.Query {
	return &gojq.Query{Left: left, Op: gojq.OpPipe, Right: right}
}

func identity() *gojq.Query { return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIdentity}} }

// checked is q with its size checked.
func checked(q *gojq.Query) *gojq.Query { return pipe(q, call("_tocsin_size")) }

// query rewrites q in place.
func (r *rewriter) query(q *gojq.Query) {
	if q == nil || r.err != nil {
		return
	}
	if len(q.Imports) > 0 || q.Meta != nil {
		r.fail("there are no modules")
		return
	}
	defer func(outer int) { r.own = r.own[:outer] }(len(r.own))
	for _, def := range q.FuncDefs {
		r.define(def)
	}
	r.patterns(q.Patterns)
	r.query(q.Left)
	r.query(q.Right)
	if q.Term != nil {
		r.term(q.Term)
	}
	switch q.Op {
	case gojq.OpAdd:
		r.replace(q, call("_tocsin_add", q.Left, q.Right))
	case gojq.OpSub:
		r.replace(q, call("_tocsin_subtract", q.Left, q.Right))
	case gojq.OpMul:
		r.replace(q, call("_tocsin_multiply", q.Left, q.Right))
	case gojq.OpUpdateAdd:
		r.update(q, "_tocsin_add")
	case gojq.OpUpdateSub:
		r.update(q, "_tocsin_subtract")
	case gojq.OpUpdateMul:
		r.update(q, "_tocsin_multiply")
	case gojq.OpAssign, gojq.OpModify, gojq.OpUpdateDiv, gojq.OpUpdateMod, gojq.OpUpdateAlt:
		r.endless = true
		plain := *q
		plain.FuncDefs = nil
		r.replace(q, checked(&plain))
	case gojq.OpComma:
		r.endless = true
	}
}

// replace puts other in the place of q, whose own functions stay defined.
func (r *rewriter) replace(q, other *gojq.Query) {
	defs := q.FuncDefs
	*q = *other
	q.FuncDefs = append(defs, q.FuncDefs...)
}

// update writes  a += b  as  b as $v | a |= f(.; $v), which is its definition,
// so that f can be a guarded one.
func (r *rewriter) update(q *gojq.Query, f string) {
	r.endless = true
	const name = hidden + "_operand"
	modify := &gojq.Query{Left: q.Left, Op: gojq.OpModify, Right: call(f, identity(), call(name))}
	r.replace(q, &gojq.Query{Left: q.Right, Op: gojq.OpPipe, Patterns: []*gojq.Pattern{{Name: name}}, Right: checked(modify)})
}

// define rewrites a function. Its name is known in its body and behind it, its
// parameters in its body.
func (r *rewriter) define(def *gojq.FuncDef) {
	r.endless = true
	r.claim(def.Name)
	r.own = append(r.own, arity(def.Name, len(def.Args)))
	defer func(outer int) { r.own = r.own[:outer] }(len(r.own))
	for _, arg := range def.Args {
		r.claim(arg)
		r.own = append(r.own, arity(strings.TrimPrefix(arg, "$"), 0))
	}
	r.query(def.Body)
}

func arity(name string, n int) string { return name + "/" + strconv.Itoa(n) }

// owns says that a call means a function or parameter of the program.
func (r *rewriter) owns(f *gojq.Func) bool { return slices.Contains(r.own, arity(f.Name, len(f.Args))) }

// claim refuses names that are ours.
func (r *rewriter) claim(name string) {
	if !r.trusted && (strings.HasPrefix(name, hidden) || strings.HasPrefix(name, "_tocsin")) {
		r.fail("names that begin with %s are taken", strings.TrimSuffix(name, strings.TrimLeft(name, "$_"))+"tocsin")
	}
}

func (r *rewriter) patterns(all []*gojq.Pattern) {
	for _, p := range all {
		r.claim(p.Name)
		r.patterns(p.Array)
		for _, o := range p.Object {
			r.claim(o.Key)
			r.str(o.KeyString)
			r.query(o.KeyQuery)
			if o.Val != nil {
				r.patterns([]*gojq.Pattern{o.Val})
			}
		}
	}
}

func (r *rewriter) str(s *gojq.String) {
	if s == nil {
		return
	}
	for _, q := range s.Queries {
		r.query(q)
	}
}

func (r *rewriter) index(i *gojq.Index) {
	if i == nil {
		return
	}
	r.str(i.Str)
	fixed := i.Start != nil && i.Start.Term != nil && i.Start.Term.Type == gojq.TermTypeString
	r.query(i.Start)
	r.query(i.End)
	if i.Start != nil && !i.IsSlice && !fixed {
		i.Start = pipe(i.Start, call("_tocsin_index"))
	}
}

// name notes a call of a function or a use of a variable.
func (r *rewriter) name(f *gojq.Func) {
	if r.owns(f) {
		return
	}
	if why := refused(f.Name); why != "" {
		r.fail("%s can't be used here: %s", f.Name, why)
		return
	}
	switch {
	case r.trusted && strings.HasPrefix(f.Name, "_"):
	case strings.HasPrefix(f.Name, hidden) || strings.HasPrefix(f.Name, "_"):
		r.fail("%s is no name of jq", f.Name)
	case strings.HasPrefix(f.Name, "$"):
		r.variables[f.Name] = true
	case f.Name == "now" && len(f.Args) == 0:
		f.Name = nowVar
		r.variables[nowVar] = true
	default:
		r.called[f.Name] = true
	}
}
