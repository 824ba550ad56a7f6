package jq

import (
	"slices"
	"strings"

	"github.com/itchyny/gojq"
)

// quick are built-in functions that do a bounded amount of work and make little:
// they need neither a watch nor a check.
func quick(name string) bool {
	switch name {
	case "length", "not", "type", "tonumber", "tostring", "toboolean", "keys", "has", "startswith", "endswith", "ascii_downcase",
		"ascii_upcase", "ltrimstr", "rtrimstr", "trimstr", "trim", "ltrim", "rtrim", "floor", "ceil", "round", "sqrt", "abs", "min", "max", "first",
		"last", "utf8bytelength", "error", "isnan", "isinfinite", "fabs", "gmtime", "mktime", "fromdateiso8601", "todateiso8601",
		"fromdate", "todate", "null", "true", "false":
		return true
	}
	return false
}

// passing are built-in functions that hand on values of others, many of them in
// paths, where a check would be in the way.
func passing(name string) bool {
	switch name {
	case "empty", "select", "recurse", "first", "last", "limit", "skip", "until", "while", "repeat", "range", "path", "paths",
		"arrays", "objects", "iterables", "booleans", "numbers", "normals", "finites", "strings", "nulls", "values", "scalars", "any", "all", "in",
		"isempty", "IN", "test", "getpath", "_getpath", "nth":
		return true
	}
	return false
}

// onText are the functions that look for all matches in a text.
func onText(name string) bool {
	switch name {
	case "match", "capture", "scan", "splits", "sub", "gsub", "split", "indices":
		return true
	}
	return false
}

// term rewrites t in place. What must be wrapped becomes a query in parentheses
// that keeps the suffixes of t.
func (r *rewriter) term(t *gojq.Term) {
	if r.terms++; r.terms > 64 {
		r.endless = true
	}
	for _, s := range t.SuffixList {
		if s.Iter {
			r.endless = true
		}
		r.index(s.Index)
	}
	switch t.Type {
	case gojq.TermTypeIndex:
		r.index(t.Index)
	case gojq.TermTypeRecurse:
		r.endless = true
	case gojq.TermTypeFunc:
		r.function(t)
	case gojq.TermTypeObject:
		r.object(t)
	case gojq.TermTypeArray:
		r.array(t)
	case gojq.TermTypeUnary:
		r.term(t.Unary.Term)
	case gojq.TermTypeFormat:
		r.str(t.Str)
		r.wrap(t, checked)
	case gojq.TermTypeString:
		if t.Str.Queries != nil {
			r.endless = r.endless || len(t.Str.Queries) > 8
			r.str(t.Str)
			r.wrap(t, checked)
		}
	case gojq.TermTypeQuery:
		r.query(t.Query)
	default:
		r.control(t)
	}
}

func (r *rewriter) control(t *gojq.Term) {
	switch t.Type {
	case gojq.TermTypeIf:
		r.query(t.If.Cond)
		r.query(t.If.Then)
		for _, e := range t.If.Elif {
			r.query(e.Cond)
			r.query(e.Then)
		}
		r.query(t.If.Else)
	case gojq.TermTypeTry:
		r.query(t.Try.Body)
		r.query(t.Try.Catch)
	case gojq.TermTypeReduce:
		r.endless = true
		r.patterns(t.Reduce.Patterns)
		r.query(t.Reduce.Query)
		r.query(t.Reduce.Start)
		r.query(t.Reduce.Update)
	case gojq.TermTypeForeach:
		r.endless = true
		r.patterns(t.Foreach.Patterns)
		r.query(t.Foreach.Query)
		r.query(t.Foreach.Start)
		r.query(t.Foreach.Update)
		r.query(t.Foreach.Extract)
	case gojq.TermTypeLabel:
		r.endless = true
		r.query(t.Label.Body)
	}
}

// wrap puts w around t without its suffixes.
func (r *rewriter) wrap(t *gojq.Term, w func(*gojq.Query) *gojq.Query) {
	inner := *t
	inner.SuffixList = nil
	*t = gojq.Term{Type: gojq.TermTypeQuery, Query: w(&gojq.Query{Term: &inner}), SuffixList: t.SuffixList}
}

func (r *rewriter) function(t *gojq.Term) {
	f := t.Func
	r.name(f)
	for _, arg := range f.Args {
		r.query(arg)
	}
	if strings.HasPrefix(f.Name, "$") || strings.HasPrefix(f.Name, "_tocsin") {
		return
	}
	if r.owns(f) {
		r.endless = true
		return
	}
	if !quick(f.Name) || len(f.Args) > 1 || (len(f.Args) == 1 && passing(f.Name)) {
		r.endless = true
	}
	if onText(f.Name) && (f.Name != "split" || len(f.Args) == 2) {
		r.wrap(t, func(q *gojq.Query) *gojq.Query { return pipe(call("_tocsin_text"), q) })
	}
	if f.Name == "tonumber" || f.Name == "fromjson" {
		r.wrap(t, func(q *gojq.Query) *gojq.Query { return pipe(call("_tocsin_digits"), q) })
	}
	if !quick(f.Name) && !passing(f.Name) {
		r.wrap(t, checked)
	}
}

func (r *rewriter) object(t *gojq.Term) {
	for _, kv := range t.Object.KeyVals {
		if strings.HasPrefix(kv.Key, "$") {
			r.name(&gojq.Func{Name: kv.Key})
		}
		r.str(kv.KeyString)
		r.query(kv.KeyQuery)
		r.query(kv.Val)
	}
	if !slices.ContainsFunc(t.Object.KeyVals, func(kv *gojq.ObjectKeyVal) bool {
		return kv.Val == nil || kv.KeyQuery != nil || !literal(kv.Val)
	}) {
		return
	}
	r.wrap(t, checked)
}

func (r *rewriter) array(t *gojq.Term) {
	q := t.Array.Query
	if q == nil || literal(q) {
		return
	}
	r.items(q)
	if single(q) {
		r.wrap(t, checked)
		return
	}
	r.variables[meterVar] = true
	t.Array.Query = pipe(q, call("_tocsin_each", call(meterVar)))
	r.wrap(t, checked)
}

// items rewrites what is in the brackets of an array. Its commas are not what
// makes a program run long; any other comma can be.
func (r *rewriter) items(q *gojq.Query) {
	if q.Op == gojq.OpComma && len(q.FuncDefs) == 0 {
		r.items(q.Left)
		r.items(q.Right)
		return
	}
	r.query(q)
}

// single says that q can give one value only, as far as its form shows.
func single(q *gojq.Query) bool {
	if q.Term == nil || len(q.FuncDefs) > 0 || len(q.Patterns) > 0 {
		return false
	}
	if slices.ContainsFunc(q.Term.SuffixList, func(s *gojq.Suffix) bool { return s.Iter }) {
		return false
	}
	switch q.Term.Type {
	case gojq.TermTypeIdentity, gojq.TermTypeNull, gojq.TermTypeTrue, gojq.TermTypeFalse, gojq.TermTypeNumber:
		return true
	case gojq.TermTypeIndex:
		return q.Term.Index.Start == nil
	case gojq.TermTypeString:
		return q.Term.Str.Queries == nil
	case gojq.TermTypeFunc:
		return strings.HasPrefix(q.Term.Func.Name, "$")
	}
	return false
}

// literal says that q is made of constants only.
func literal(q *gojq.Query) bool {
	if len(q.FuncDefs) > 0 || len(q.Patterns) > 0 {
		return false
	}
	if q.Op == gojq.OpComma {
		return literal(q.Left) && literal(q.Right)
	}
	if q.Term == nil || len(q.Term.SuffixList) > 0 {
		return false
	}
	switch q.Term.Type {
	case gojq.TermTypeNull, gojq.TermTypeTrue, gojq.TermTypeFalse, gojq.TermTypeNumber:
		return true
	case gojq.TermTypeString:
		return q.Term.Str.Queries == nil
	case gojq.TermTypeArray:
		return q.Term.Array.Query == nil || literal(q.Term.Array.Query)
	case gojq.TermTypeObject:
		return !slices.ContainsFunc(q.Term.Object.KeyVals, func(kv *gojq.ObjectKeyVal) bool {
			return kv.Val == nil || kv.KeyQuery != nil || (kv.KeyString != nil && kv.KeyString.Queries != nil) || strings.HasPrefix(kv.Key, "$") || !literal(kv.Val)
		})
	}
	return false
}
