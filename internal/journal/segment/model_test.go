package segment

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

// The model answers every question by looking at every event, with nothing but
// encoding/json and the rules of CEL.

type record struct {
	entry Entry
	event event.Event
	data  any
	has   bool
}

var errAbsent = errors.New("no such member")

// truth is what a condition really is of an event.
func (r *record) truth(n *filter.Node) (bool, error) {
	switch n.Op {
	case filter.OpConst:
		return n.Min == 1, nil
	case filter.OpNot:
		ok, err := r.truth(n.Kids[0])
		return !ok, err
	case filter.OpAnd, filter.OpOr:
		decides := n.Op == filter.OpOr
		var failed error
		for _, kid := range n.Kids {
			ok, err := r.truth(kid)
			if err == nil && ok == decides {
				return decides, nil
			}
			failed = cmp.Or(failed, err)
		}
		return !decides, failed
	case filter.OpIn:
		return slices.Contains(n.Values, n.Column.Value(&r.event)), nil
	case filter.OpSeverity:
		return int64(r.event.Severity) >= n.Min && int64(r.event.Severity) <= n.Max, nil
	case filter.OpTime:
		return r.entry.Time >= n.Min && r.entry.Time <= n.Max, nil
	case filter.OpData:
		return r.member(n.Path, n.Values[0])
	case filter.OpText:
		return r.has && holds(r.data, strings.ToLower(n.Values[0])), nil
	default: // what no index knows: here, that the sequence is even
		return r.entry.Seq%2 == 0, nil
	}
}

func (r *record) member(path, value string) (bool, error) {
	at := r.data
	for name := range strings.SplitSeq(path, ".") {
		object, ok := at.(map[string]any)
		if !ok {
			return false, errAbsent
		}
		if at, ok = object[name]; !ok {
			return false, errAbsent
		}
	}
	switch at := at.(type) {
	case string:
		return at == value, nil
	case bool:
		return strconv.FormatBool(at) == value, nil
	case float64:
		f, err := strconv.ParseFloat(value, 64)
		return err == nil && f == at, nil
	default:
		return false, nil
	}
}

func holds(v any, needle string) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(strings.ToLower(v), needle)
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return holds(e, needle) })
	case map[string]any:
		for _, e := range v {
			if holds(e, needle) {
				return true
			}
		}
	}
	return false
}

var (
	someTypes   = []string{"a", "b", "disk_full", "server.registered"}
	someActors  = []string{"", "alice", "bob", "Zoë \"z\""}
	someIPs     = []string{"", "192.0.2.1", "192.0.2.17", "2001:db8::1"}
	someSources = []string{"/one", "https://two.example/"}
	somePaths   = []string{"a", "b", "a.b", "b.a", "list", "deep.er.still", "id", ""}
	someScalars = []string{
		`1`, `1.0`, `1e0`, `-0`, `0`, `1000000`, `1e6`, `12345678901234567890`, `0.1`, `true`, `false`, `null`, `"1"`, `"true"`, `""`,
		`"needle"`, `"NEEDLE in hay"`, `"a\nb needle"`, `"\u004eeedle"`, `"\u212aelvin"`, `"K\u00d6LN"`, `"köln"`, `"İstanbul"`,
		`"0123456789abcdef0123456789abcdef"`, `"6ba7b810-9dad-11d1-80b4-00c04fd430c8"`, `"x\"y\\z"`,
		`"` + strings.Repeat("long ", 30) + `"`,
	}
	someValues  = []string{"1", "1.0", "0", "1000000", "1e+06", "0.1", "true", "needle", "", "12345678901234567890", "x\"y\\z", "K\u212a", strings.Repeat("long ", 30), "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "absent"}
	someNeedles = []string{"needle", "NEEDLE", "ne", "kelvin", "köln", "KÖLN", "istanbul", "hay", "b n", "9dad-11d1", "def0123", "x\"y", "long long", "zzz", "", "true", "i̇stanbul"}
)

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

func someJSON(r *rand.Rand, depth int) string {
	switch n := r.IntN(8); {
	case depth > 0 && n < 3:
		var members []string
		for _, name := range []string{"a", "b", "list", "er", "still", "deep", "a.b", ""} {
			if r.IntN(3) == 0 {
				members = append(members, strconv.Quote(name)+":"+someJSON(r, depth-1))
			}
		}
		return "{ " + strings.Join(members, ",\n") + "}"
	case depth > 0 && n == 3:
		return "[" + someJSON(r, depth-1) + "," + someJSON(r, depth-1) + "]"
	default:
		return pick(r, someScalars)
	}
}

const (
	someStart = int64(1_790_000_000) * 1e9
	someNow   = someStart + 50*hour
)

// someRecord makes an event; its entry's body stays valid.
func someRecord(r *rand.Rand, seq event.Seq) *record {
	at := time.Unix(0, someStart+int64(seq)*hour/7)
	e := event.Event{
		ID: event.ID(fmt.Sprintf("id-%d", seq)), Source: pick(r, someSources), Type: event.Type(pick(r, someTypes)),
		Kind: event.Kinds()[r.IntN(5)], AuthID: pick(r, someActors), ClientIP: pick(r, someIPs),
		Time: at.Add(time.Duration(r.Int64N(5 * hour))).UTC(),
	}
	if r.IntN(20) == 0 {
		e.ID = event.ID(fmt.Sprintf("id\"%d", seq)) // written with an escape
	}
	if r.IntN(4) > 0 {
		e.Severity = event.Severities()[r.IntN(5)]
	}
	if r.IntN(30) == 0 {
		e.Time = time.Unix(0, []int64{math.MinInt64, math.MaxInt64, -1, 0}[r.IntN(4)]).UTC()
	}
	if r.IntN(10) == 0 {
		e.ExpiryTime = time.Unix(0, someNow+(r.Int64N(3)-1)*hour).UTC()
	}
	rec := new(record)
	switch r.IntN(8) {
	case 0:
	case 1:
		e.Binary = []byte("needle")
	default:
		e.Data = []byte(someJSON(r, 3))
		if json.Unmarshal(e.Data, &rec.data) == nil {
			rec.has = true
		}
	}
	g := generator{seq: seq, at: at}
	rec.entry, rec.event = *g.entry(&e), e
	if r.IntN(3) == 0 {
		rec.entry.Class = Class(r.IntN(4))
	}
	return rec
}

// someStore spreads events over segments and a table.
func someStore(tb testing.TB, seed uint64) ([]*record, []Source) {
	tb.Helper()
	r := rand.New(rand.NewPCG(seed, 2))
	var records []*record
	var sources []Source
	for range 1 + r.IntN(3) {
		table := NewTable()
		for range 1 + r.IntN(250) {
			rec := someRecord(r, event.Seq(len(records)+1))
			records = append(records, rec)
			table.Add(&rec.entry)
		}
		table.Publish()
		if r.IntN(4) == 0 {
			sources = append(sources, table)
		} else {
			sources = append(sources, writeAll(tb, tb.TempDir(), table)...)
		}
	}
	r.Shuffle(len(sources), func(i, j int) { sources[i], sources[j] = sources[j], sources[i] })
	return records, sources
}

func (r *record) shown(q *Query) bool {
	e := &r.entry
	return (q.Transient || e.Class != Transient) && (e.Expiry == 0 || e.Expiry > q.Now) &&
		e.Time >= q.Since && (e.Time < q.Until || q.Until == math.MaxInt64) && e.Seq > q.Above && (q.Below == 0 || e.Seq < q.Below)
}

func (r *record) matches(q *Query) bool {
	if !r.shown(q) {
		return false
	}
	if q.Plan == nil {
		return true
	}
	ok, err := r.truth(q.Plan)
	return ok && err == nil
}

func drawPlan(t *rapid.T, depth int) *filter.Node {
	from := func(values []string) string { return rapid.SampledFrom(values).Draw(t, "value") }
	op := filter.Op(rapid.IntRange(0, 9).Draw(t, "op"))
	if depth == 0 && op >= filter.OpAnd && op <= filter.OpNot {
		op = filter.OpText
	}
	n := &filter.Node{Op: op}
	switch op {
	case filter.OpConst:
		n.Min = rapid.Int64Range(0, 1).Draw(t, "const")
	case filter.OpAnd, filter.OpOr:
		for range rapid.IntRange(0, 3).Draw(t, "kids") {
			n.Kids = append(n.Kids, drawPlan(t, depth-1))
		}
	case filter.OpNot:
		n.Kids = []*filter.Node{drawPlan(t, depth-1)}
	case filter.OpIn:
		n.Column = filter.Column(rapid.IntRange(0, 5).Draw(t, "column"))
		values := [][]string{someTypes, {"host", "sys", "audit", "none"}, someSources, someActors, someIPs, {"id-1", "id-77", "id\"3", "id-5000"}}[n.Column]
		n.Values = rapid.SliceOfN(rapid.SampledFrom(values), 0, 3).Draw(t, "values")
	case filter.OpSeverity:
		n.Min, n.Max = rapid.Int64Range(-1, 18).Draw(t, "min"), rapid.Int64Range(0, 30).Draw(t, "max")
	case filter.OpTime:
		n.Min, n.Max = drawTime(t), drawTime(t)
	case filter.OpData:
		n.Path, n.Values = from(somePaths), []string{from(someValues)}
	case filter.OpText:
		n.Values = []string{from(someNeedles)}
	}
	return n
}

func drawTime(t *rapid.T) int64 {
	return rapid.OneOf(
		rapid.Just(int64(math.MinInt64)), rapid.Just(int64(math.MaxInt64)),
		rapid.Int64Range(someStart-hour, someStart+110*hour),
		rapid.Map(rapid.Int64Range(0, 110), func(h int64) int64 { return (someStart/hour + h) * hour }),
	).Draw(t, "time")
}

func drawQuery(t *rapid.T, records []*record) *Query {
	q := &Query{Plan: drawPlan(t, 3), Since: math.MinInt64, Until: math.MaxInt64, Now: someNow}
	switch rapid.IntRange(0, 3).Draw(t, "shape") {
	case 0:
		q.Plan = nil
	case 1:
		q.Since, q.Until = drawTime(t), drawTime(t)
	}
	q.Transient = rapid.Bool().Draw(t, "transient")
	q.Ascending = rapid.Bool().Draw(t, "ascending")
	q.Match = func(e *event.Event) (bool, error) { return records[e.Sequence-1].truth(q.Plan) }
	if q.Plan == nil {
		q.Match = nil
	}
	if rapid.IntRange(0, 3).Draw(t, "bounded") == 0 {
		q.Above = event.Seq(rapid.IntRange(0, len(records)+1).Draw(t, "above"))
		q.Below = event.Seq(rapid.IntRange(0, len(records)+1).Draw(t, "below"))
	}
	return q
}
