package segment

import (
	"cmp"
	"context"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

// By is what Volume tells apart.
type By uint8

// What Volume can count by.
const (
	ByNone By = iota // everything under the key ""
	ByType
	BySeverity // severitytext; "" for events without one
	ByKind
	ByAll // type, kind and severity at once; see SplitKey
)

// SplitKey takes a key of ByAll apart.
func SplitKey(key string) (typ, kind, severity string) {
	typ, rest, _ := strings.Cut(key, "\x00")
	kind, severity, _ = strings.Cut(rest, "\x00")
	return typ, kind, severity
}

// VolumeQuery asks how many events there were in each step of time. Of Query,
// the order and the page's limits do not count.
type VolumeQuery struct {
	Query
	Step time.Duration // buckets align to 1970-01-01 in UTC; 0 is one bucket, at Since
	By   By
}

// Bucket holds the counts of one step.
type Bucket struct {
	Start  int64 // nanoseconds since 1970
	Counts map[string]int64
}

// Counts is the answer of Volume.
type Counts struct {
	Buckets  []Bucket // in order of time; empty ones are left out
	Partial  bool     // the deadline came first: the newest segments were counted
	Problems []error  // what was passed over, as *DamageError
}

// maxBuckets bounds the memory of one answer.
const maxBuckets = 1 << 17

// Volume counts events over time. At whole hours it reads the segments' rollups,
// where the filter is about type, kind and severity only; else it looks at the
// columns. The error is of class event.ErrInvalid where Step gives too many
// buckets, else it means that ctx has ended. The caller holds a reference to
// every Reader until Volume returns.
func Volume(ctx context.Context, sources []Source, q *VolumeQuery) (Counts, error) {
	t := tally{counting: newCounting(q.normal()), q: q, keys: make(map[string]int), buckets: make(map[int64]*[]int64)}
	t.query.Ascending = true
	err := t.each(ctx, sources, func(src Source) error {
		if t.tooMany() {
			return nil
		}
		return t.source(ctx, src)
	})
	if err != nil {
		return Counts{}, err
	}
	if t.tooMany() {
		return Counts{}, event.Invalidf("a step of %s gives more than %d counts: make it longer, or the range shorter", q.Step, maxBuckets)
	}
	return t.counts(), nil
}

// tally adds up counts.
type tally struct {
	counting
	q       *VolumeQuery
	keys    map[string]int
	buckets map[int64]*[]int64 // by start; counts by key

	last   int64 // the bucket that was counted in last
	recent *[]int64
}

func (t *tally) tooMany() bool { return len(t.buckets) > maxBuckets }

// bucket gives the start of the step that holds an instant.
func (t *tally) bucket(at int64) int64 {
	step := int64(t.q.Step)
	if step <= 0 {
		return t.query.Since
	}
	return start(floorDiv(at, step), step)
}

func (t *tally) add(bucket int64, key int, n int64) {
	if t.recent == nil || t.last != bucket {
		t.last, t.recent = bucket, t.buckets[bucket]
		if t.recent == nil {
			t.recent = new([]int64)
			t.buckets[bucket] = t.recent
		}
	}
	if missing := len(t.keys) - len(*t.recent); missing > 0 {
		*t.recent = append(*t.recent, make([]int64, missing)...)
	}
	(*t.recent)[key] += n
}

func (t *tally) key(name string) int {
	k, ok := t.keys[name]
	if !ok {
		k = len(t.keys)
		t.keys[name] = k
	}
	return k
}

func (t *tally) counts() Counts {
	out := Counts{Partial: t.partial, Problems: t.problems}
	names := make([]string, len(t.keys))
	for name, k := range t.keys {
		names[k] = name
	}
	for start, counts := range t.buckets {
		size := 0
		for _, n := range *counts {
			if n > 0 {
				size++
			}
		}
		b := Bucket{Start: start, Counts: make(map[string]int64, size)}
		for k, n := range *counts {
			if n > 0 {
				b.Counts[names[k]] = n
			}
		}
		out.Buckets = append(out.Buckets, b)
	}
	slices.SortFunc(out.Buckets, func(x, y Bucket) int { return cmp.Compare(x.Start, y.Start) })
	return out
}

// source counts one source: what its rollup can tell from there, the rest (the
// parts of hours at the ends) from its columns.
func (t *tally) source(ctx context.Context, src Source) error {
	v, err := src.open()
	if err != nil {
		return err
	}
	c := v.cols()
	keys, err := t.codeKeys(c)
	if err != nil {
		return err
	}
	since, until := t.query.Since, t.query.Until
	r, ok := v.(*readerView)
	if !ok || !t.wholeHours(c) {
		return t.scan(ctx, src, keys, since, until)
	}
	ok, err = t.rollup(r, keys)
	if err != nil {
		return err
	}
	if !ok {
		return t.scan(ctx, src, keys, since, until)
	}
	low, high := hoursWithin(since, until)
	if low >= high {
		return t.scan(ctx, src, keys, since, until)
	}
	if from := start(low, hour); from > since && c.minTime < from {
		err = t.scan(ctx, src, keys, since, from)
	}
	if to := start(high, hour); err == nil && to < until && c.maxTime >= to {
		err = t.scan(ctx, src, keys, to, until)
	}
	return err
}

// hoursWithin gives the hours (since 1970) low..high-1 that lie in a range of
// time as a whole.
func hoursWithin(since, until int64) (low, high int64) {
	low, high = floorDiv(since, hour), floorDiv(until, hour)
	if since != math.MinInt64 && start(low, hour) != since {
		low++
	}
	if until == math.MaxInt64 {
		high++
	}
	return low, high
}

// wholeHours reports that the hours of a segment's rollup count as a whole.
func (t *tally) wholeHours(c *columns) bool {
	q := t.query
	return int64(t.q.Step)%hour == 0 &&
		(c.minExpiry == 0 || c.minExpiry > q.Now) &&
		q.Above < c.first && (q.Below == 0 || q.Below > c.last)
}

// codeKeys gives the key under which each code counts.
func (t *tally) codeKeys(c *columns) ([]int, error) {
	keys := make([]int, c.codeCount)
	for code := range keys {
		switch t.q.By {
		case ByNone:
			keys[code] = t.key("")
		case BySeverity:
			keys[code] = t.key(c.severity(code).String())
		}
	}
	switch t.q.By {
	case ByType:
		return keys, t.valueKeys(c.types, &c.codeType, keys)
	case ByKind:
		return keys, t.valueKeys(c.kinds, &c.codeKind, keys)
	case ByAll:
		return keys, t.allKeys(c, keys)
	default:
		return keys, nil
	}
}

// valueKeys asks the dictionary once for each value, which many codes share.
func (t *tally) valueKeys(d dictionary, of *column, keys []int) error {
	known := make(map[int64]int, len(keys))
	for code := range keys {
		v := of.value(code)
		key, ok := known[v]
		if !ok {
			name, err := d.at(uint32(v))
			if err != nil {
				return err
			}
			key = t.key(name)
			known[v] = key
		}
		keys[code] = key
	}
	return nil
}

// allKeys gives each code, which stands for type, kind and severity, its own key.
func (t *tally) allKeys(c *columns, keys []int) error {
	for code := range keys {
		typ, err := c.types.at(uint32(c.codeType.value(code)))
		if err != nil {
			return err
		}
		kind, err := c.kinds.at(uint32(c.codeKind.value(code)))
		if err != nil {
			return err
		}
		keys[code] = t.key(typ + "\x00" + kind + "\x00" + c.severity(code).String())
	}
	return nil
}

// rollup counts the whole hours of a segment; it is false when the filter needs
// more than the rollup has.
func (t *tally) rollup(v *readerView, keys []int) (bool, error) {
	id := secHours
	var counted []bool // the codes that match
	if t.q.Plan == nil && (t.q.By == ByNone || t.q.By == BySeverity) {
		id = secSeverities
	} else {
		b := binder{v: v}
		plan := fixed(filter.CanBeTrue)
		if t.q.Plan != nil {
			var err error
			if plan, err = b.bind(t.q.Plan); err != nil {
				return false, err
			}
		}
		var ok bool
		if counted, ok = plan.codes(v.cols()); !ok {
			return false, nil
		}
	}
	section, err := v.r.section(id)
	if err != nil {
		return false, err
	}
	low, high := hoursWithin(t.query.Since, t.query.Until)
	return true, eachHour(section, func(h int64, counts []byte) error {
		if h < low || h >= high {
			return nil
		}
		bucket := t.bucket(start(h, hour))
		return eachCount(counts, func(code, n uint64) error {
			switch {
			case id == secSeverities:
				key := ""
				if t.q.By == BySeverity {
					key = event.Severity(int32(uint32(code))).String()
				}
				t.add(bucket, t.key(key), int64(n))
			case code >= uint64(len(keys)):
				return errSection
			case counted[code]:
				t.add(bucket, keys[code], int64(n))
			}
			return nil
		})
	})
}

// codes gives the codes for which a plan is true; false where it depends on
// anything else.
func (n *bound) codes(c *columns) ([]bool, bool) {
	match := make([]bool, c.codeCount)
	for code := range match {
		o, ok := n.ofCode(c, code)
		if !ok || o.t != 0 && o.f|o.x != 0 {
			return nil, false
		}
		match[code] = o.t != 0
	}
	return match, true
}

func (n *bound) ofCode(c *columns, code int) (outcomes, bool) {
	switch n.op {
	case filter.OpConst:
		return broadcast(n.fixed, 1), true
	case filter.OpIn:
		if n.col != &c.code {
			return outcomes{}, false
		}
		return broadcast(fixedBool(n.table[code]).fixed, 1), true
	case filter.OpNot:
		o, ok := n.kids[0].ofCode(c, code)
		return o.not(), ok
	case filter.OpAnd, filter.OpOr:
		all := outcomes{t: 1}
		for i := range n.kids {
			o, ok := n.kids[i].ofCode(c, code)
			if !ok {
				return outcomes{}, false
			}
			if n.op == filter.OpOr {
				o = o.not()
			}
			all = all.and(o)
		}
		if n.op == filter.OpOr {
			all = all.not()
		}
		return all, true
	default:
		return outcomes{}, false
	}
}

// scan counts what lies in a range of time event by event.
func (t *tally) scan(ctx context.Context, src Source, keys []int, since, until int64) error {
	q := *t.query
	q.Since, q.Until = since, until
	v := visit{
		walk: t.walk, problem: t.problem,
		stop: func() bool { return t.late() || t.tooMany() }, // too many are refused by Volume
		sure: func(c *cursor) { t.sure(c, keys) },
		row:  func(c *cursor, row int) { t.row(c, keys, row) },
	}
	return v.run(ctx, src, &q)
}

// sure counts the rows of a block that need no further look; most blocks lie in
// one bucket.
func (t *tally) sure(c *cursor, keys []int) {
	rows := c.rows & c.sure
	c.rows &^= c.sure
	if rows == 0 {
		return
	}
	low, high := c.v.times(c.block)
	low, high = max(low, c.q.Since), min(high, c.q.Until)
	bucket := t.bucket(low)
	if bucket != t.bucket(high) {
		for ; rows != 0; rows &= rows - 1 {
			t.row(c, keys, c.base+bits.TrailingZeros64(rows))
		}
		return
	}
	t.add(bucket, 0, 0) // makes room for every key
	counts := *t.recent
	for ; rows != 0; rows &= rows - 1 {
		if key, ok := codeKey(c, keys, c.base+bits.TrailingZeros64(rows)); ok {
			counts[key]++
		}
	}
}

func (t *tally) row(c *cursor, keys []int, row int) {
	if key, ok := codeKey(c, keys, row); ok {
		t.add(t.bucket(c.c.time.value(row)), key, 1)
	}
}

// codeKey is false for a code that no event can have: the bytes are damaged, and
// their base or unit may well be negative.
func codeKey(c *cursor, keys []int, row int) (key int, ok bool) {
	code := uint64(c.c.code.value(row))
	if code >= uint64(len(keys)) {
		return 0, false
	}
	return keys[code], true
}
