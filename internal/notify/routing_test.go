package notify

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/state"
)

// route sets a cell and gives it as the matrix has it then.
func (k *kit) route(pattern string, way state.ObjectID, severity string) RoutingCell {
	k.t.Helper()
	if err := k.SetRoute(k.t.Context(), state.System(), pattern, way, severity); err != nil {
		k.t.Fatal(err)
	}
	return k.cell(pattern, way)
}

func (k *kit) cell(pattern string, way state.ObjectID) RoutingCell {
	k.t.Helper()
	row, err := k.RoutingRow(k.t.Context(), pattern)
	if err != nil {
		k.t.Fatal(err)
	}
	i := slices.IndexFunc(row.Cells, func(c RoutingCell) bool { return c.Transport == way.String() })
	if i < 0 {
		k.t.Fatalf("%s has no cell of %s: %v", pattern, way, row)
	}
	return row.Cells[i]
}

func (k *kit) rules() []state.Record[Rule] {
	k.t.Helper()
	all, err := k.ListRules(k.t.Context(), 0, 1000)
	if err != nil {
		k.t.Fatal(err)
	}
	return all
}

// A cell is a rule: it is made, changed and removed with it.
func TestSetRoute(t *testing.T) {
	k := newKit(t)
	way := k.webhook("hook", "http://127.0.0.1:1")
	inbox, err := k.CreateTransport(t.Context(), state.System(), TransportInput{Name: "Inbox", Mode: Inbox})
	if err != nil {
		t.Fatal(err)
	}
	c := k.route("disk_full", way, "warn")
	id := c.Rule
	want := NewRule()
	want.Name, want.Routing, want.Severity, want.Types, want.Transports = "Route disk_full to hook", true, "warn", []string{"disk_full"}, []string{way.String()}
	want.fill()
	if diff := cmp.Diff(want, k.rules()[0].Value); diff != "" || c.Severity != "warn" || c.Effective != "warn" || c.By != id || id == "" {
		t.Errorf("made: %+v\n%s", c, diff)
	}
	if c = k.route("disk_full", way, "error"); c.Rule != id || c.Severity != "error" || len(k.rules()) != 1 {
		t.Errorf("changed: %+v", c)
	}
	k.route("disk_full", inbox.ID, "info")
	if got := k.rules()[1].Value.Recipients.AccessLevels; !slices.Equal(got, []string{"admin"}) {
		t.Errorf("who is told by the inbox: %v", got)
	}
	if c = k.route("disk_full", way, ""); c.Severity != "" || c.Effective != "" || len(k.rules()) != 1 {
		t.Errorf("removed: %+v", c)
	}
	if c = k.route("disk_full", way, ""); c.Severity != "" || len(k.rules()) != 1 {
		t.Errorf("removed twice: %+v", c)
	}
	for _, bad := range []struct {
		pattern, severity string
		way               state.ObjectID
	}{{"disk_full", "loud", way}, {"Disk full", "warn", way}, {"", "warn", way}, {"disk_full", "warn", 999}} {
		if err := k.SetRoute(t.Context(), state.System(), bad.pattern, bad.way, bad.severity); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// A rule with several transports keeps its other cells.
func TestSetRouteOfSharedRule(t *testing.T) {
	k := newKit(t)
	one, two := k.webhook("one", "http://127.0.0.1:1"), k.webhook("two", "http://127.0.0.1:2")
	shared := k.rule("Errors", one, func(r *Rule) {
		r.Types, r.Severity, r.Routing, r.Transports = []string{"*"}, "error", true, []string{one.String(), two.String()}
		r.Recipients.AccessLevels = []string{"operator"}
	})
	if c := k.cell("*", one); c.Severity != "error" || c.Rule != shared.String() {
		t.Errorf("before: %+v", c)
	}
	if c := k.route("*", one, "error"); c.Rule != shared.String() || len(k.rules()) != 1 {
		t.Errorf("set to what it is: %+v", c)
	}
	c := k.route("*", one, "warn")
	all := k.rules()
	if len(all) != 2 || c.Rule != all[1].ID.String() || !slices.Equal(all[1].Value.Recipients.AccessLevels, []string{"operator"}) || !slices.Equal(all[0].Value.Transports, []string{two.String()}) {
		t.Errorf("split: %+v %+v", c, all)
	}
	k.route("*", two, "")
	if c = k.cell("*", two); c.Effective != "" || len(k.rules()) != 1 {
		t.Errorf("the rest removed: %+v", c)
	}
}

// Rules of wider patterns hold, and those with conditions are counted.
func TestRoutingOfOtherRules(t *testing.T) {
	k := newKit(t)
	way := k.webhook("hook", "http://127.0.0.1:1")
	all := k.rule("all", way, func(r *Rule) { r.Severity = "error" })
	backups := k.rule("backups", way, func(r *Rule) { r.Types, r.Severity = []string{"backup_*", "cron_failed"}, "warn" })
	some := k.rule("some", way, func(r *Rule) { r.Types, r.Filter = []string{"*_failed"}, `host == "a"` })
	k.rule("off", way, func(r *Rule) { r.Types, r.Enabled = []string{"backup_failed"}, false })
	later := k.rule("digest", way, func(r *Rule) { r.Types, r.DigestEvery = []string{"disk_full"}, config.Duration(time.Minute) })
	none := []string{}
	for pattern, want := range map[string]RoutingCell{
		"*":             {Effective: "error", By: all.String(), Conditional: []string{some.String()}},
		"backup_*":      {Effective: "warn", By: backups.String(), Conditional: []string{some.String()}},
		"backup_failed": {Effective: "warn", By: backups.String(), Conditional: []string{some.String()}},
		"cron_failed":   {Effective: "warn", By: backups.String(), Conditional: []string{some.String()}},
		"disk_full":     {Effective: "info", By: later.String(), Conditional: none},
		"login":         {Effective: "error", By: all.String(), Conditional: none},
	} {
		want.Transport = way.String()
		if diff := cmp.Diff(want, k.cell(pattern, way)); diff != "" {
			t.Errorf("%s: %s", pattern, diff)
		}
	}
	c := k.route("backup_failed", way, "notice")
	if c.Effective != "notice" || c.By != c.Rule || k.route("backup_failed", way, "critical").Effective != "warn" {
		t.Errorf("an own cell beside a wider rule: %+v", c)
	}
}

// Every type of the catalog has its row, once, behind that of its family.
func TestRoutingRows(t *testing.T) {
	k := newKit(t)
	way := k.webhook("hook", "http://127.0.0.1:1")
	k.route("door_*", way, "info")
	k.route("backup_f*", way, "info")
	m, err := k.Routing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i, r := range m.Rows {
		if at[r.Type] != 0 || len(r.Cells) != 1 {
			t.Errorf("row %d: %+v", i, r)
		}
		at[r.Type] = i
	}
	for _, e := range catalog.New().All() {
		if at[string(e.Type)] == 0 {
			t.Errorf("%s has no row", e.Type)
		}
	}
	if at["*"] != 0 || at["backup_*"] >= at["backup_f*"] || at["backup_f*"] >= at["backup_failed"] || at["backup_*"] == 0 || at["door_*"] != len(m.Rows)-1 {
		t.Errorf("order: * %d, backup_* %d, backup_f* %d, backup_failed %d, door_* %d of %d", at["*"], at["backup_*"], at["backup_f*"], at["backup_failed"], at["door_*"], len(m.Rows))
	}
}

// covers and overlap agree with what texts match.
func TestPatterns(t *testing.T) {
	pattern := rapid.StringMatching(`[ab*?]{1,5}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b, text := pattern.Draw(t, "a"), pattern.Draw(t, "b"), rapid.StringMatching(`[ab]{0,6}`).Draw(t, "text")
		inA, inB := filter.Glob(a, text), filter.Glob(b, text)
		if inB && !inA && covers(a, b) {
			t.Fatalf("%q covers %q, and does not match %q", a, b, text)
		}
		if inA && inB && !Overlap(a, b) {
			t.Fatalf("%q matches both", text)
		}
	})
	for _, c := range []struct {
		a, b            string
		covers, overlap bool
	}{
		{"*", "x", true, true},
		{"backup_*", "backup_failed", true, true},
		{"backup_*", "backup_*", true, true},
		{"backup_failed", "backup_*", false, true},
		{"backup_?", "backup_*", false, true},
		{"backup_*", "backup_?", true, true},
		{"*_failed", "backup_*", false, true},
		{"a*", "b*", false, false},
		{"?", "??", false, false},
	} {
		if covers(c.a, c.b) != c.covers || Overlap(c.a, c.b) != c.overlap || Overlap(c.b, c.a) != c.overlap {
			t.Errorf("%s and %s: covers %v, overlap %v %v", c.a, c.b, covers(c.a, c.b), Overlap(c.a, c.b), Overlap(c.b, c.a))
		}
	}
}

// What every rule makes of one event, and what the ledger counts of each.
func TestExplainAll(t *testing.T) {
	k := newKit(t)
	way := k.webhook("hook", newSink(t, nil).URL)
	fires := k.rule("fires", way, func(r *Rule) { r.Types = []string{"disk_*"} })
	k.rule("other", way, func(r *Rule) { r.Types = []string{"login"} })
	k.rule("off", way, func(r *Rule) { r.Enabled = false })
	k.rule("severe", way, func(r *Rule) { r.Severity = "critical" })
	k.rule("data", way, func(r *Rule) { r.Filter = `data.path == "/srv"` })
	muted := k.rule("muted", way, func(r *Rule) { r.Types = []string{"disk_*"} })
	_, err := k.CreateSilence(t.Context(), state.System(), Silence{Filter: `type == "disk_full"`, Rules: []string{muted.String()}, ExpiresAt: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	k.start()
	seq := k.emit(event.Event{Type: "disk_full", Data: []byte(`{"path":"/var"}`)})
	k.until("it is told", func() bool {
		return len(k.ledger(DeliveryQuery{State: Suppressed})) == 1 && len(k.ledger(DeliveryQuery{State: Delivered})) == 1
	})
	all, err := k.ExplainAll(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range all {
		got[v.Rule.Value.Name] = v.Explanation.Reason
		if v.Explanation.Fires != (v.Rule.ID == fires) {
			t.Errorf("%s: fires %v", v.Rule.Value.Name, v.Explanation.Fires)
		}
	}
	want := map[string]string{
		"fires": "", "other": "the type does not fit", "off": "the rule is off", "severe": "the severity is too low", "data": "the filter does not match",
		"muted": `a silence covered it: type == "disk_full"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	counts, err := k.CountTold(t.Context(), time.Now().Add(-time.Hour))
	if err != nil || counts[fires] != (RuleCount{Told: 1}) || counts[muted] != (RuleCount{Suppressed: 1}) {
		t.Errorf("counts: %v %v", counts, err)
	}
	if counts, err = k.CountTold(t.Context(), time.Now().Add(time.Hour)); err != nil || len(counts) != 0 {
		t.Errorf("counts of the future: %v %v", counts, err)
	}
}

// A back-test begins at its time, counts over time, and says how far it came.
func TestBackTest(t *testing.T) {
	k := newKit(t)
	way := k.webhook("hook", "http://127.0.0.1:1")
	for range 3 {
		k.emit(event.Event{Type: "disk_full", Data: []byte(`{"path":"/old"}`)})
	}
	hit, err := k.journal.Get(k.journal.Last())
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		k.emit(event.Event{Type: "disk_full", Data: []byte(`{"path":"/var"}`)})
	}
	r := NewRule()
	r.Types, r.Transports = []string{"disk_full"}, []string{way.String()}
	test := func(since time.Time, most time.Duration) BackTest {
		t.Helper()
		b, err := k.TestRuleWithin(t.Context(), r, since, most)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := test(time.Unix(0, hit.Recorded+1), time.Minute)
	steps := 0
	for _, s := range b.Steps {
		steps += s.Matched
		if s.Matched != s.Tellings {
			t.Errorf("step %+v", s)
		}
	}
	if b.Events != 5 || b.Matched != 5 || b.Messages != 5 || steps != 5 || b.Partial || b.Step != time.Minute || len(b.First) != 5 {
		t.Errorf("of the new ones: %+v", b)
	}
	if b = test(time.Now().Add(-24*time.Hour), time.Minute); b.Matched != 8 || b.Step != 30*time.Minute {
		t.Errorf("of all: %d events in steps of %s", b.Matched, b.Step)
	}
	if b = test(time.Now().Add(time.Hour), time.Minute); b.Events != 0 || b.Partial {
		t.Errorf("of none: %+v", b)
	}
	k.emit(event.Event{Type: "backup_failed", Data: []byte(`{"name":"nightly"}`)})
	k.emit(event.Event{Type: "backup_succeeded", Data: []byte(`{"name":"nightly"}`)})
	ends := NewRule()
	ends.Types, ends.Transports, ends.Resolve, ends.GroupBy = []string{"backup_failed"}, r.Transports, &Resolve{Types: []string{"backup_succeeded"}}, []string{"data.name"}
	if b, err = k.TestRule(t.Context(), ends, time.Now().Add(-time.Hour)); err != nil || b.Tellings != 2 || b.First[1].Why != whyResolved {
		t.Errorf("of what ends: %+v %v", b, err)
	}
	many := make([]event.Event, 2*backTestPage)
	for i := range many {
		many[i] = event.Event{ID: event.NewID(), Source: "/test", Type: "disk_full", Time: time.Now(), Data: []byte(`{"path":"/var"}`)}
	}
	if _, err := k.journal.Append(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	if b = test(time.Now().Add(-time.Hour), 0); !b.Partial || b.Matched >= len(many) || b.Matched == 0 || !b.Until.Before(time.Now()) {
		t.Errorf("without time: %d matched until %s, partial %v", b.Matched, b.Until, b.Partial)
	}
}
