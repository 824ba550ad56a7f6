package segment

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/filter"
)

// outcomes is a filter.Outcome for each of up to 64 events.
type outcomes struct{ t, f, x uint64 } // can be true, can be false, can fail

func broadcast(o filter.Outcome, all uint64) (r outcomes) {
	if o&filter.CanBeTrue != 0 {
		r.t = all
	}
	if o&filter.CanBeFalse != 0 {
		r.f = all
	}
	if o&filter.CanFail != 0 {
		r.x = all
	}
	return r
}

func (o outcomes) not() outcomes { return outcomes{o.f, o.t, o.x} }

// and combines as filter.Outcome does: false wins over an error.
func (o outcomes) and(p outcomes) outcomes {
	return outcomes{o.t & p.t, o.f | p.f, o.x&(p.t|p.x) | p.x&(o.t|o.x)}
}

// miss is what is left of a condition on data whose value an index has not
// seen: not true, yet an error where the member is absent.
const miss = filter.CanBeFalse | filter.CanFail

// bound is a plan's node as one source can answer it.
type bound struct {
	op   filter.Op
	kids []bound

	fixed    filter.Outcome // of OpConst
	col      *column        // of OpIn and OpTime
	table    []bool         // of OpIn: the codes that match
	single   bool           // only the last code of table does
	min, max int64          // of OpTime
	blocks   blockSet       // of OpData and OpText: where it may be true
	value    []byte         // of OpData and OpText
	number   bool           // of OpData: value reads as a number, which has many spellings
	exact    bool           // of OpData for an id: can't fail
}

// binder binds a plan to a source.
type binder struct {
	v        view
	problems []error // of indexes that are damaged, and are done without
}

func fixed(o filter.Outcome) bound { return bound{op: filter.OpConst, fixed: o} }

func fixedBool(b bool) bound {
	if b {
		return fixed(filter.CanBeTrue)
	}
	return fixed(filter.CanBeFalse)
}

// bind fails where the source's dictionaries can't be read.
func (b *binder) bind(n *filter.Node) (bound, error) {
	switch n.Op {
	case filter.OpConst:
		return fixedBool(n.Min == 1), nil
	case filter.OpAnd, filter.OpOr, filter.OpNot:
		kids := make([]bound, len(n.Kids))
		for i, kid := range n.Kids {
			var err error
			if kids[i], err = b.bind(kid); err != nil {
				return bound{}, err
			}
		}
		// What a whole block can be passed over for is asked first.
		slices.SortStableFunc(kids, func(x, y bound) int { return x.cost() - y.cost() })
		return bound{op: n.Op, kids: kids}, nil
	case filter.OpIn:
		return b.in(n)
	case filter.OpSeverity:
		c := b.v.cols()
		return b.code(func(code int) bool {
			s := int64(c.severity(code))
			return s >= n.Min && s <= n.Max
		}), nil
	case filter.OpTime:
		c := b.v.cols()
		switch {
		case c.minTime >= n.Min && c.maxTime <= n.Max:
			return fixed(filter.CanBeTrue), nil
		case c.maxTime < n.Min || c.minTime > n.Max:
			return fixed(filter.CanBeFalse), nil
		}
		return bound{op: filter.OpTime, col: &c.time, min: n.Min, max: n.Max}, nil
	case filter.OpData:
		if len(n.Values) != 1 {
			return fixed(filter.Unknown), nil
		}
		return b.data(n.Path, n.Values[0]), nil
	case filter.OpText:
		if len(n.Values) != 1 {
			return fixed(filter.Unknown), nil
		}
		needle := []byte(strings.ToLower(n.Values[0]))
		leaf := bound{op: filter.OpText, value: needle}
		leaf.blocks = b.note(b.v.text(needle))
		return leaf, nil
	default:
		return fixed(filter.Unknown), nil
	}
}

func (n *bound) cost() int {
	switch n.op {
	case filter.OpConst:
		return 0
	case filter.OpData, filter.OpText:
		if n.blocks == nil { // a table's bodies must be searched
			return 5
		}
		return 1
	case filter.OpIn:
		return 2
	case filter.OpTime:
		return 3
	default:
		return 4
	}
}

// note keeps the problem of an index that could not be read: it narrows nothing.
func (b *binder) note(set blockSet, err error) blockSet {
	if err != nil {
		b.problems = append(b.problems, err)
		return nil
	}
	return set
}

func (b *binder) data(path, value string) bound {
	_, err := strconv.ParseFloat(value, 64)
	leaf := bound{op: filter.OpData, value: []byte(value), number: err == nil}
	switch {
	case len(value) <= maxPair || path == idPath:
		leaf.blocks = b.note(b.v.pairs(valueHashes(path, value)...))
	case !leaf.number:
		leaf.blocks = b.note(b.v.text([]byte(strings.ToLower(value))))
	}
	return leaf
}

// in binds the equality of a column.
func (b *binder) in(n *filter.Node) (bound, error) {
	c := b.v.cols()
	switch n.Column {
	case filter.ColumnType:
		return b.inCodes(c.types, &c.codeType, n.Values)
	case filter.ColumnKind:
		return b.inCodes(c.kinds, &c.codeKind, n.Values)
	case filter.ColumnSource:
		return b.inColumn(c.sources, &c.source, n.Values)
	case filter.ColumnActor:
		return b.inColumn(c.actors, &c.actor, n.Values)
	case filter.ColumnClientIP:
		return b.inColumn(c.ips, &c.ip, n.Values)
	case filter.ColumnID:
		kids := make([]bound, len(n.Values))
		for i, id := range n.Values {
			kids[i] = b.data(idPath, id)
			kids[i].exact, kids[i].number = true, false
		}
		return bound{op: filter.OpOr, kids: kids}, nil
	default:
		return fixed(filter.Unknown), nil
	}
}

func lookup(d dictionary, values []string) (codes []uint32, err error) {
	for _, value := range values {
		if code, ok, err := d.lookup(value); err != nil {
			return nil, err
		} else if ok {
			codes = append(codes, code)
		}
	}
	return codes, nil
}

func (b *binder) inColumn(d dictionary, col *column, values []string) (bound, error) {
	codes, err := lookup(d, values)
	if err != nil || len(codes) == 0 {
		return fixed(filter.CanBeFalse), err
	}
	if col.width == 0 {
		return fixedBool(slices.Contains(codes, uint32(col.base))), nil
	}
	table := make([]bool, slices.Max(codes)+1)
	for _, code := range codes {
		table[code] = true
	}
	return bound{op: filter.OpIn, col: col, table: table, single: len(codes) == 1}, nil
}

func (b *binder) inCodes(d dictionary, of *column, values []string) (bound, error) {
	found, err := lookup(d, values)
	if err != nil || len(found) == 0 {
		return fixed(filter.CanBeFalse), err
	}
	return b.code(func(code int) bool { return slices.Contains(found, uint32(of.value(code))) }), nil
}

// code binds a condition on the type, kind and severity: it is asked once for
// each combination that the source has.
func (b *binder) code(holds func(code int) bool) bound {
	c := b.v.cols()
	table := make([]bool, c.codeCount)
	some, all := false, true
	for code := range table {
		table[code] = holds(code)
		some, all = some || table[code], all && table[code]
	}
	if some == all {
		return fixedBool(all)
	}
	return bound{op: filter.OpIn, col: &c.code, table: table}
}

// place is what a plan is evaluated about: rows from..to of one block, and, once
// only one row is left, its body.
type place struct {
	v               view
	block, from, to int
	coarse          bool // leave the columns alone
	body            []byte
	excerpt         bool // body is only the end of it, from data on
	walk            *walker
}

func (n *bound) eval(p *place) outcomes {
	all := span(p.to - p.from)
	switch n.op {
	case filter.OpConst:
		return broadcast(n.fixed, all)
	case filter.OpNot:
		return n.kids[0].eval(p).not()
	case filter.OpAnd:
		r := outcomes{t: all}
		for i := range n.kids {
			if r = r.and(n.kids[i].eval(p)); r.t|r.x == 0 {
				break
			}
		}
		return r
	case filter.OpOr:
		none := outcomes{t: all}
		for i := range n.kids {
			if none = none.and(n.kids[i].eval(p).not()); none.t|none.x == 0 {
				break
			}
		}
		return none.not()
	case filter.OpIn:
		if p.coarse {
			return outcomes{t: all, f: all}
		}
		return n.evalIn(p, all)
	case filter.OpTime:
		return n.evalTime(p, all)
	case filter.OpData:
		return broadcast(n.inData(n.blocks.has(p.block) && (n.exact && p.excerpt || p.mayHold(n.inBody))), all)
	default: // OpText
		return broadcast(n.inData(n.blocks.has(p.block) && p.mayHold(func(body []byte) bool {
			return p.walk.holdsText(body, n.value, p.body != nil)
		})), all)
	}
}

// mayHold asks about the body, or about all bodies of the block where they lie
// open.
func (p *place) mayHold(holds func(body []byte) bool) bool {
	switch {
	case p.body != nil:
		return holds(p.body)
	case p.coarse:
		return true
	default:
		return p.v.anyBody(p.from, p.to, holds)
	}
}

// inData is the outcome of OpData and OpText, given whether it can be true.
func (n *bound) inData(possible bool) filter.Outcome {
	o := miss
	if possible {
		o = filter.Unknown
	}
	if n.exact {
		o &^= filter.CanFail
	}
	return o
}

// asksData reports a condition on data, or on the id.
func (n *bound) asksData() bool {
	return n.op == filter.OpData || n.op == filter.OpText || slices.ContainsFunc(n.kids, func(k bound) bool { return k.asksData() })
}

// possible evaluates about the source as a whole, as one event.
func (n *bound) possible() outcomes {
	switch n.op {
	case filter.OpConst:
		return broadcast(n.fixed, 1)
	case filter.OpNot:
		return n.kids[0].possible().not()
	case filter.OpAnd:
		r := outcomes{t: 1}
		for i := range n.kids {
			r = r.and(n.kids[i].possible())
		}
		return r
	case filter.OpOr:
		none := outcomes{t: 1}
		for i := range n.kids {
			none = none.and(n.kids[i].possible().not())
		}
		return none.not()
	case filter.OpIn, filter.OpTime:
		return outcomes{t: 1, f: 1}
	default:
		return broadcast(n.inData(!n.blocks.empty()), 1)
	}
}

func (n *bound) evalIn(p *place, all uint64) outcomes {
	var bits uint64
	if n.single {
		bits = n.col.equal(uint64(len(n.table)-1), p.from, p.to)
	} else {
		bits = n.col.member(n.table, p.from, p.to)
	}
	return outcomes{t: bits, f: all &^ bits}
}

func (n *bound) evalTime(p *place, all uint64) outcomes {
	low, high := p.v.times(p.block)
	switch {
	case low >= n.min && high <= n.max:
		return outcomes{t: all}
	case high < n.min || low > n.max:
		return outcomes{f: all}
	case p.coarse:
		return outcomes{t: all, f: all}
	}
	bits := n.col.within(n.min, n.max, p.from, p.to)
	return outcomes{t: bits, f: all &^ bits}
}

// inBody reports whether the value can occur in a stored body: it may be
// spelled differently only where it is a number, or where something is escaped.
func (n *bound) inBody(body []byte) bool {
	return n.number || bytes.Contains(body, n.value) || bytes.IndexByte(body, '\\') >= 0
}

// bindQuery binds the whole of a query's conditions on an event.
func (b *binder) bindQuery(q *Query) (bound, error) {
	var all []*filter.Node
	if q.Since != math.MinInt64 || q.Until != math.MaxInt64 {
		if q.Until == math.MinInt64 {
			return fixed(filter.CanBeFalse), nil
		}
		until := q.Until
		if until != math.MaxInt64 { // which is open, all else exclusive
			until--
		}
		all = append(all, &filter.Node{Op: filter.OpTime, Min: q.Since, Max: until})
	}
	if q.Plan != nil {
		all = append(all, q.Plan)
	}
	return b.bind(&filter.Node{Op: filter.OpAnd, Kids: all})
}

// shown gives the rows that are neither expired nor of a hidden class.
func (c *columns) shown(q *Query, from, to int) uint64 {
	rows := span(to - from)
	if !q.Transient {
		rows &^= c.class.equal(uint64(Transient), from, to)
	}
	if c.minExpiry != 0 && c.minExpiry <= q.Now {
		rows &^= c.expiry.within(math.MinInt64, -1, from, to) | c.expiry.within(1, q.Now, from, to)
	}
	return rows
}
