package notify

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
	"github.com/tocsin-events/tocsin/internal/filter"
)

// need is what an event must have for a filter to be true: one of values, at a
// place. Without a place nothing is known.
type need struct {
	place  string // an attribute, or data. and a path
	values []string
}

// needed finds a condition such as data.x == "text", host == "text" or source in
// ["a", "b"] without which a filter can't be true. Texts in data that could be
// another type's are left out: 5 may be written 5.0.
func needed(plan *filter.Node) (n need, ok bool) {
	switch plan.Op {
	case filter.OpAnd:
		for _, kid := range plan.Kids {
			if n, ok = needed(kid); ok {
				return n, true
			}
		}
	case filter.OpNeeds:
		return needed(plan.Kids[0])
	case filter.OpOr:
		return neededByAny(plan.Kids)
	case filter.OpIn:
		return need{plan.Column.Attribute(), plan.Values}, plan.Column != filter.ColumnType // by which rules are kept anyway
	case filter.OpAttribute:
		return need{plan.Path, plan.Values}, true
	case filter.OpData:
		return need{"data." + plan.Path, plan.Values}, isPlainText(plan.Values[0])
	}
	return need{}, false
}

// neededByAny is what one of several conditions needs, where all look at the same
// place.
func neededByAny(kids []*filter.Node) (all need, ok bool) {
	for i, kid := range kids {
		n, ok := needed(kid)
		if !ok || i > 0 && n.place != all.place {
			return need{}, false
		}
		all = need{n.place, append(slices.Clone(all.values), n.values...)}
	}
	return all, len(kids) > 0
}

// isPlainText reports whether a text in data can be only a string.
func isPlainText(v string) bool {
	_, err := strconv.ParseFloat(v, 64)
	return err != nil && v != "" && v != "true" && v != "false" && v != "null" && !strings.ContainsAny(v[:1], `[{"`)
}

// bucket is the rules that may fire for one type of event, and those that it may
// end.
type bucket struct {
	always []candidate
	places []place
	ends   []*rule
}

// candidate is a rule with what is asked of it first.
type candidate struct {
	least event.Severity
	rule  *rule
}

// place is where events differ: rules by the value that they need there.
type place struct {
	name  string
	path  []string // of a member of data; nil for an attribute
	rules map[string][]candidate
}

// maxBuckets bounds the memory for types that strangers invent.
const maxBuckets = 5000

func (s *set) bucket(t event.Type) *bucket {
	if b := s.buckets[t]; b != nil {
		return b
	}
	b := &bucket{}
	transient := s.transient(t)
	for _, r := range s.rules {
		if transient && !slices.Contains(r.Types, string(t)) {
			continue
		}
		if r.resolve != nil && slices.ContainsFunc(r.Resolve.Types, func(p string) bool { return filter.Glob(p, string(t)) }) {
			b.ends = append(b.ends, r)
		}
		if len(r.Types) > 0 && !slices.ContainsFunc(r.Types, func(p string) bool { return filter.Glob(p, string(t)) }) {
			continue
		}
		b.add(r)
	}
	if len(s.buckets) >= maxBuckets {
		clear(s.buckets)
	}
	s.buckets[t] = b
	return b
}

func (b *bucket) add(r *rule) {
	c := candidate{r.least, r}
	if r.need.place == "" {
		b.always = append(b.always, c)
		return
	}
	i := slices.IndexFunc(b.places, func(p place) bool { return p.name == r.need.place })
	if i < 0 {
		i = len(b.places)
		p := place{name: r.need.place, rules: map[string][]candidate{}}
		if path, ok := strings.CutPrefix(p.name, "data."); ok {
			p.path = strings.Split(path, ".")
		}
		b.places = append(b.places, p)
	}
	of := b.places[i].rules
	for n, value := range r.need.values {
		if !slices.Contains(r.need.values[:n], value) {
			of[value] = append(of[value], c)
		}
	}
}

// candidates calls do with every rule that may fire for an event.
func (s *set) candidates(sub *subject, do func(*rule)) {
	b := s.bucket(sub.Type)
	for _, c := range b.always {
		if sub.Severity >= c.least {
			do(c.rule)
		}
	}
	for i := range b.places {
		for _, c := range b.places[i].of(sub.Event) {
			if sub.Severity >= c.least {
				do(c.rule)
			}
		}
	}
}

// of are the rules that need what an event has at the place.
func (p *place) of(e *event.Event) []candidate {
	if p.path == nil {
		return p.rules[e.Text(p.name)]
	}
	raw := member(e.Data, p.path)
	switch {
	case raw == nil:
		return nil
	case raw[0] != '"':
		return p.rules[string(raw)]
	case slices.Contains(raw, '\\'):
		return p.rules[string(scan.Unescape(nil, raw))]
	}
	return p.rules[string(raw[1:len(raw)-1])]
}

// member is the member of recorded data at a path, as it stands there; nil where
// there is none.
func member(data []byte, path []string) []byte {
	for _, name := range path {
		if data = memberOf(data, name); data == nil {
			return nil
		}
	}
	return data
}

func memberOf(object []byte, name string) []byte {
	if len(object) == 0 {
		return nil
	}
	sc := scan.GetValid(object)
	defer scan.Put(sc)
	if kind, err := sc.Next(); err != nil || kind != scan.ObjectStart {
		return nil
	}
	for {
		if kind, err := sc.Next(); err != nil || kind != scan.String {
			return nil
		}
		is := string(sc.Text()) == name
		raw, err := sc.Skip()
		if err != nil {
			return nil
		}
		if is {
			return raw
		}
	}
}
