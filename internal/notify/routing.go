package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/state"
)

// Routing is the rules, seen as a matrix of types and transports. It is no second
// system: each cell is a rule, or what rules make of it.
type Routing struct {
	Transports []RoutingTransport `json:"transports"`
	Rows       []RoutingRow       `json:"items"`
}

// RoutingTransport is a column.
type RoutingTransport struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Mode string `json:"mode"`
}

// RoutingRow is a type of event, or a pattern of types, with a cell for each
// transport.
type RoutingRow struct {
	Type     string        `json:"type"`
	Kind     string        `json:"kind"`     // empty where it is of none, or of several
	Producer string        `json:"producer"` // empty for a pattern
	Cells    []RoutingCell `json:"cells"`
}

// RoutingCell says from which severity on a type is told by a transport.
type RoutingCell struct {
	Transport string `json:"transport"`
	// Severity is the threshold that is set here, by a rule of this cell alone;
	// empty where none is.
	Severity string `json:"severity"`
	Rule     string `json:"rule"` // id of that rule
	// Effective is the threshold that holds, whichever rule it comes from; empty
	// where nothing is told but by rules with conditions.
	Effective string `json:"effective"`
	By        string `json:"effective_rule"`
	// Conditional are the rules that tell some of these events: a filter,
	// policies or a count decide. Ids.
	Conditional []string `json:"conditional"`
}

// Everything is the pattern of all types.
const Everything = "*"

// Routing reads the rules as a matrix: a row for all types, for each family of
// types that begin with the same word, for each type of the catalog, and for each
// other pattern that a rule of the matrix has.
func (n *Notify) Routing(ctx context.Context) (Routing, error) {
	var m Routing
	db := n.o.State.Reader()
	if err := eachOf(ctx, db, &transports, func(t state.Record[Transport]) error {
		m.Transports = append(m.Transports, RoutingTransport{t.ID.String(), t.Value.Name, t.Value.Mode})
		return nil
	}); err != nil {
		return m, err
	}
	var all []state.Record[Rule]
	if err := eachOf(ctx, db, &rules, func(r state.Record[Rule]) error {
		all = append(all, r)
		return nil
	}); err != nil {
		return m, err
	}
	m.Rows = routingRows(n.o.Catalog.All(), all)
	x := indexRouting(all)
	for i := range m.Rows {
		m.Rows[i].Cells = x.cells(m.Rows[i].Type, m.Transports)
	}
	if m.Transports == nil {
		m.Transports = []RoutingTransport{}
	}
	return m, nil
}

// RoutingRow is one row of the matrix.
func (n *Notify) RoutingRow(ctx context.Context, pattern string) (RoutingRow, error) {
	m, err := n.Routing(ctx)
	if err != nil {
		return RoutingRow{}, err
	}
	if i := slices.IndexFunc(m.Rows, func(r RoutingRow) bool { return r.Type == pattern }); i >= 0 {
		return m.Rows[i], nil
	}
	return RoutingRow{Type: pattern, Cells: indexRouting(nil).cells(pattern, m.Transports)}, nil // what was its only rule has gone
}

// routingRows are the patterns of the matrix, in its order.
func routingRows(entries []catalog.Entry, all []state.Record[Rule]) []RoutingRow {
	rows := []RoutingRow{{Type: Everything}}
	known := map[string]bool{Everything: true}
	add := func(pattern, kind, producer string) {
		if !known[pattern] {
			known[pattern] = true
			rows = append(rows, RoutingRow{Type: pattern, Kind: kind, Producer: producer})
		}
	}
	var others []string
	for i := range all {
		if r := &all[i].Value; isRoute(r) && !slices.Contains(others, r.Types[0]) {
			others = append(others, r.Types[0])
		}
	}
	slices.Sort(others)
	for i := range entries {
		e := &entries[i]
		if glob := familyGlob(e, entries); glob != "" {
			add(glob, string(e.Kind), "")
		}
		for _, pattern := range others { // before the first type that it stands for
			if isPattern(pattern) && filter.Glob(pattern, string(e.Type)) && !slices.ContainsFunc(entries, func(other catalog.Entry) bool {
				return other.Kind != e.Kind && filter.Glob(pattern, string(other.Type))
			}) {
				add(pattern, string(e.Kind), "")
			}
		}
		add(string(e.Type), string(e.Kind), e.Producer)
	}
	for _, pattern := range others {
		add(pattern, "", "")
	}
	return rows
}

// familyGlob is the pattern of the types that begin with the same word as one
// does; empty where these are fewer than two, or of several kinds.
func familyGlob(of *catalog.Entry, entries []catalog.Entry) string {
	word := string(of.Type)
	word = word[:strings.IndexAny(word, "._-")+1]
	if word == "" {
		return ""
	}
	prefix, count := string(of.Type), 0
	for i := range entries {
		t := string(entries[i].Type)
		if !strings.HasPrefix(t, word) {
			continue
		}
		if entries[i].Kind != of.Kind {
			return ""
		}
		for count++; !strings.HasPrefix(t, prefix); {
			prefix = prefix[:len(prefix)-1]
		}
	}
	if count < 2 {
		return ""
	}
	return prefix[:strings.LastIndexAny(prefix, "._-")+1] + "*"
}

func isPattern(text string) bool { return strings.ContainsAny(text, "*?") }

// isRoute reports whether a rule is one of the matrix: its cells are its one type
// by each of its transports.
func isRoute(r *Rule) bool { return r.Routing && len(r.Types) == 1 && !isConditional(r) }

// isConditional reports whether a rule tells some events of its types and
// severity, and others not. One that waits or tells together tells all.
func isConditional(r *Rule) bool {
	return strings.TrimSpace(r.Filter) != "" || len(r.Policies) > 0 || r.Threshold != nil || r.Absence != nil
}

// routingIndex finds the rules that touch a pattern without a look at all of
// them: most name their types.
type routingIndex struct {
	rules  []state.Record[Rule]
	named  map[string][]int // by a type that they name
	others []int            // with patterns, or for all types
}

func indexRouting(all []state.Record[Rule]) *routingIndex {
	x := &routingIndex{rules: all, named: map[string][]int{}}
	for i := range all {
		r := &all[i].Value
		if !r.Enabled {
			continue
		}
		if len(r.Types) == 0 || slices.ContainsFunc(r.Types, isPattern) {
			x.others = append(x.others, i)
			continue
		}
		for _, t := range r.Types {
			x.named[t] = append(x.named[t], i)
		}
	}
	return x
}

// touching are the rules that may tell of a pattern, in the order of their ids.
func (x *routingIndex) touching(pattern string) []int {
	var found []int
	for _, i := range x.others {
		types := x.rules[i].Value.Types
		if len(types) == 0 || slices.ContainsFunc(types, func(t string) bool { return Overlap(t, pattern) }) {
			found = append(found, i)
		}
	}
	if !isPattern(pattern) {
		found = append(found, x.named[pattern]...)
	} else {
		for t, list := range x.named {
			if filter.Glob(pattern, t) {
				found = append(found, list...)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func (x *routingIndex) cells(pattern string, ways []RoutingTransport) []RoutingCell {
	cells := make([]RoutingCell, len(ways))
	at := map[string]*RoutingCell{}
	for i := range ways {
		cells[i] = RoutingCell{Transport: ways[i].ID, Conditional: []string{}}
		at[ways[i].ID] = &cells[i]
	}
	for _, i := range x.touching(pattern) {
		r, id := &x.rules[i].Value, x.rules[i].ID.String()
		covered := len(r.Types) == 0 || slices.ContainsFunc(r.Types, func(t string) bool { return covers(t, pattern) })
		for _, way := range r.Transports {
			c := at[way]
			switch {
			case c == nil:
			case isConditional(r):
				if !slices.Contains(c.Conditional, id) {
					c.Conditional = append(c.Conditional, id)
				}
			case covered:
				c.put(r, id, pattern)
			}
		}
	}
	return cells
}

// put notes a rule that tells all of a cell's events from a severity on.
func (c *RoutingCell) put(r *Rule, id, pattern string) {
	least := cmp.Or(r.Severity, event.Info.String())
	if isRoute(r) && r.Types[0] == pattern && (c.Severity == "" || milder(least, c.Severity)) {
		c.Severity, c.Rule = least, id
	}
	if c.Effective == "" || milder(least, c.Effective) || least == c.Effective && c.Rule == id {
		c.Effective, c.By = least, id
	}
}

func milder(a, b string) bool {
	one, _ := event.ParseSeverity(a)
	other, _ := event.ParseSeverity(b)
	return one < other
}

// covers reports whether a pattern matches all that another one matches. A star
// of the other stands for anything, so it is tried as nothing, one and two
// characters; both are literal otherwise.
func covers(pattern, other string) bool {
	if pattern == other || strings.Trim(pattern, "*") == "" && pattern != "" {
		return true
	}
	other = strings.ReplaceAll(other, "?", "\x00")
	for _, stars := range []string{"", "\x00", "\x00\x01"} {
		if !filter.Glob(pattern, strings.ReplaceAll(other, "*", stars)) {
			return false
		}
	}
	return true
}

// Overlap reports whether a text can match both patterns.
func Overlap(a, b string) bool {
	if !isPattern(a) {
		return filter.Glob(b, a)
	}
	if !isPattern(b) {
		return filter.Glob(a, b)
	}
	// can[j] says whether the rest of a and b[j:] have a text in common.
	can := make([]bool, len(b)+1)
	can[len(b)] = true
	for j := len(b) - 1; j >= 0 && b[j] == '*'; j-- {
		can[j] = true
	}
	for i := len(a) - 1; i >= 0; i-- {
		next := make([]bool, len(b)+1) // of a[i:]
		next[len(b)] = a[i] == '*' && can[len(b)]
		for j := len(b) - 1; j >= 0; j-- {
			switch {
			case a[i] == '*':
				next[j] = can[j] || next[j+1]
			case b[j] == '*':
				next[j] = next[j+1] || can[j]
			default:
				next[j] = can[j+1] && (a[i] == '?' || b[j] == '?' || a[i] == b[j])
			}
		}
		can = next
	}
	return can[0]
}

var routedType = regexp.MustCompile(`^[a-z0-9*?][a-z0-9_.*?-]{0,127}$`)

// SetRoute sets the cell of a type, or of a pattern, and a transport to a
// severity; empty makes it tell nothing. The rule of the cell is made, changed or
// removed, in one write. A rule that has more cells than this one keeps the rest.
func (n *Notify) SetRoute(ctx context.Context, by state.Cause, pattern string, transport state.ObjectID, severity string) error {
	if !routedType.MatchString(pattern) {
		return event.Invalidf("type: %q is neither a type such as disk_full nor a pattern such as backup_*", clipText(pattern))
	}
	if severity != "" {
		if _, err := event.ParseSeverity(severity); err != nil {
			return event.Invalidf("severity: %q is none of info, notice, warn, error, critical; empty for none", clipText(severity))
		}
	}
	return n.o.State.Write(ctx, by, func(tx *state.Tx) error {
		to, err := transports.Get(ctx, tx, transport)
		if errors.Is(err, event.ErrNotFound) {
			return event.Invalidf("transport: there is no transport %s", transport)
		}
		if err != nil {
			return err
		}
		return n.setRoute(tx, pattern, &to, severity)
	})
}

func (n *Notify) setRoute(tx *state.Tx, pattern string, to *state.Record[Transport], severity string) error {
	id := to.ID.String()
	var own []state.Record[Rule]
	err := eachOf(tx.Context(), tx, &rules, func(r state.Record[Rule]) error {
		if isRoute(&r.Value) && r.Value.Types[0] == pattern && slices.Contains(r.Value.Transports, id) {
			own = append(own, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	// What is there already stays, also where it has other cells beside this one.
	keep := slices.IndexFunc(own, func(r state.Record[Rule]) bool {
		return severity != "" && (len(r.Value.Transports) == 1 || r.Value.Enabled && cmp.Or(r.Value.Severity, event.Info.String()) == severity)
	})
	made := newRoute(pattern, to, severity)
	for i := range own {
		if i == keep {
			continue
		}
		if i == 0 && keep < 0 { // who it tells, and when, goes on
			made = own[0].Value
			made.Enabled, made.Severity, made.Transports = true, severity, []string{id}
		}
		if err := withoutWay(tx, &own[i], id); err != nil {
			return err
		}
	}
	if severity == "" {
		return nil
	}
	if keep >= 0 {
		_, err := rules.Update(tx, own[keep].ID, state.AnyVersion, func(r *Rule) error {
			r.Enabled = true
			if cmp.Or(r.Severity, event.Info.String()) != severity {
				r.Severity = severity
			}
			return nil
		})
		return err
	}
	if made.Name, err = freeName(tx, pattern, to.Value.Name); err != nil {
		return err
	}
	made.fill()
	if err := n.compiles(tx, &made, made.people()); err != nil {
		return err
	}
	_, err = rules.Insert(tx, made)
	return err
}

// newRoute is the rule of a cell. Administrators are told by ways that need
// somebody.
func newRoute(pattern string, to *state.Record[Transport], severity string) Rule {
	r := NewRule()
	r.Routing, r.Types, r.Severity, r.Transports = true, []string{pattern}, severity, []string{to.ID.String()}
	if isPersonal(to.Value.Mode) {
		r.Recipients.AccessLevels = []string{"admin"}
	}
	return r
}

// withoutWay takes a transport from a rule; one that would have none is removed.
func withoutWay(tx *state.Tx, r *state.Record[Rule], way string) error {
	if len(r.Value.Transports) == 1 {
		_, err := rules.Delete(tx, r.ID, state.AnyVersion)
		return err
	}
	_, err := rules.Update(tx, r.ID, state.AnyVersion, func(r *Rule) error {
		r.Transports = slices.DeleteFunc(r.Transports, func(t string) bool { return t == way })
		return nil
	})
	return err
}

// freeName is what the rule of a cell is called.
func freeName(tx *state.Tx, pattern, way string) (string, error) {
	base := "Route " + pattern + " to " + way
	for i := 1; ; i++ {
		name, end := base, ""
		if i > 1 {
			end = fmt.Sprintf(" %d", i)
		}
		if len(name)+len(end) > maxName {
			name = strings.TrimSpace(strings.ToValidUTF8(name[:maxName-len(end)], ""))
		}
		name += end
		_, err := rules.Find(tx.Context(), tx, "name", strings.ToLower(name))
		if errors.Is(err, event.ErrNotFound) {
			return name, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// clipText is a text for an error.
func clipText(text string) string {
	const most = 60
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
