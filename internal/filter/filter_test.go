package filter_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

func newEnv(tb testing.TB) *filter.Env {
	tb.Helper()
	env, err := filter.NewEnv()
	if err != nil {
		tb.Fatal(err)
	}
	return env
}

const backup = `{"specversion":"1.0","id":"1","source":"/host/web-17","type":"backup_failed","subject":"backup/nightly",
"time":"2026-11-21T10:46:42.123Z","kind":"host","severitytext":"error","authid":"actor-0117","authname":"Ann","clientip":"192.0.2.17",
"geocountry":"DE","asn":"64500","host":"web-17","ticket":"T-1","data":{"name":"nightly","exit_status":3,"ratio":1.0,"ok":false,"none":null,
"output":"Repository is already LOCKED","labels":["nightly","offsite"],"nested":{"deep":{"x":"y"}},"dotted.name":"z"}}`

func TestMatch(t *testing.T) {
	e, err := event.Decode([]byte(backup))
	if err != nil {
		t.Fatal(err)
	}
	env := newEnv(t)
	tests := []struct {
		filter string
		want   bool
	}{
		{``, true},
		{`true`, true},
		{`type == "backup_failed"`, true},
		{`glob(type, "backup_*")`, true},
		{`glob(type, "backup_?")`, false},
		{`type.startsWith("backup")`, true},
		{`severity >= warn`, true},
		{`severity > error`, false},
		{`severity == error && severitytext == "error"`, true},
		{`critical > severity`, true},
		{`kind in ["host", "sys"]`, true},
		{`inCIDR(clientip, "192.0.2.0/24")`, true},
		{`inCIDR(clientip, "2001:db8::/32")`, false},
		{`inCIDR(authemail, "192.0.2.0/24")`, false},
		{`text("already locked")`, true},
		{`text("exit_status")`, false},
		{`text("gone")`, false},
		{`data.exit_status == 3`, true},
		{`data.exit_status == 3.0`, true},
		{`data.exit_status > 2.5`, true},
		{`data.ratio == 1`, true},
		{`data.absent == 3`, false},
		{`!(data.absent == 3)`, false},
		{`data.absent == 3 || data.exit_status == 3`, true},
		{`has(data.absent)`, false},
		{`!has(data.absent) && has(data.name)`, true},
		{`data.nested.deep.x == "y"`, true},
		{`data["nested"]["deep"].x == "y"`, true},
		{`data["dotted.name"] == "z"`, true},
		{`data.none == null`, true},
		{`"offsite" in data.labels`, true},
		{`data.labels.exists(l, l.startsWith("night"))`, true},
		{`data.output.lowerAscii().contains("locked")`, true},
		{`actor.id == "actor-0117" && actor.name == "Ann" && actor.on_behalf_of == ""`, true},
		{`geo.country == "DE" && asn.number == "64500"`, true},
		{`onbehalfof == ""`, true},
		{`attribute("ticket") == "T-1"`, true},
		{`time > timestamp("2026-11-21T10:00:00Z")`, true},
		{`time < ago("1d") || time > ago("24h")`, true},
		{`subject.matches("^backup/")`, true},
		{`host == "web-17" && subject == "backup/nightly"`, true},
		{`host == "web-1" || onbehalfof == "x"`, false},
		{`"x" == brand`, false},
		{`data.name == "nightly" && data.ok == false && data.none == null && data.ratio == 1.0 && data.exit_status == 3 && !has(data.absent) && data.name != "" && data.labels[1] == "offsite"`, true},
		{`size(data) == 9 && "name" in data && !("absent" in data) && data == data && data.exists(k, k == "ratio")`, true},
		{`data.name == "nightly" && size(data) == 9 && data.map(k, data[k]).exists(v, v == "z")`, true},
		{`data[1] == 2`, false},
	}
	for _, tt := range tests {
		f, err := env.Compile(tt.filter)
		if err != nil {
			t.Errorf("Compile(%q): %v", tt.filter, err)
			continue
		}
		got, err := f.MatchEvent(&e)
		if err != nil || got != tt.want {
			t.Errorf("Match(%q) = %v, %v, want %v", tt.filter, got, err, tt.want)
		}
		if got && f.Plan().Eval(columns(&e)).Never() {
			t.Errorf("the plan of %q passes over an event that it matches", tt.filter)
		}
		if !got && f.Plan().Eval(columns(&e)).Always() {
			t.Errorf("the plan of %q takes an event that it does not match", tt.filter)
		}
	}
}

// columns answers leaves as an index does that knows the columns and nothing of
// the data.
func columns(e *event.Event) func(*filter.Node) filter.Outcome {
	is := func(b bool) filter.Outcome {
		if b {
			return filter.CanBeTrue
		}
		return filter.CanBeFalse
	}
	return func(n *filter.Node) filter.Outcome {
		switch n.Op {
		case filter.OpIn:
			for _, v := range n.Values {
				if n.Column.Value(e) == v {
					return filter.CanBeTrue
				}
			}
			return filter.CanBeFalse
		case filter.OpAttribute:
			return is(n.Values[0] == e.Text(n.Path))
		case filter.OpGlob:
			return is(filter.Glob(n.Values[0], n.Column.Value(e)))
		case filter.OpSeverity:
			return is(int64(e.Severity) >= n.Min && int64(e.Severity) <= n.Max)
		case filter.OpTime:
			return is(e.Time.UnixNano() >= n.Min && e.Time.UnixNano() <= n.Max)
		}
		return filter.Unknown
	}
}

func TestCompileErrors(t *testing.T) {
	env := newEnv(t)
	tests := []struct {
		filter       string
		line, column int
		says         string
	}{
		{`type = "x"`, 1, 6, "token recognition"},
		{`typ == "x"`, 1, 1, `unknown name "typ"`},
		{"type == \"x\" &&\n  foo", 2, 3, `unknown name "foo"`},
		{`severity >= "warn"`, 1, 10, "these types don't fit"},
		{`inCIDR(clientip, "10.0.0.0/33")`, 1, 18, "is not a network"},
		{`time > ago("yesterday")`, 1, 12, "is not a duration"},
		{`subject.matches("(")`, 1, 17, ""},
		{`actor.nickname == "x"`, 1, 6, `actor has no "nickname"`},
		{`"just words"`, 1, 1, "must be true or false"},
		{`disk is full`, 1, 6, ""},
		{strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100), 1, 0, ""},
		{strings.Repeat("true || ", 4000) + "true", 1, 1, "longer than"},
	}
	for _, tt := range tests {
		_, err := env.Compile(tt.filter)
		var bad *filter.Error
		if !errors.As(err, &bad) || !errors.Is(err, event.ErrInvalid) {
			t.Errorf("Compile(%.40q) = %v, want a filter error", tt.filter, err)
			continue
		}
		if bad.Line != tt.line || tt.column > 0 && bad.Column != tt.column || !strings.Contains(bad.Msg, tt.says) {
			t.Errorf("Compile(%.40q) = %v, want line %d, column %d, %q", tt.filter, err, tt.line, tt.column, tt.says)
		}
	}
}

func TestCostLimit(t *testing.T) {
	f, err := newEnv(t).Compile(`data.l.exists(a, data.l.exists(b, data.l.exists(c, a + b + c == 1)))`)
	if err != nil {
		t.Fatal(err)
	}
	e := event.Event{Data: []byte(`{"l":[` + strings.Repeat("7,", 500) + `7]}`)}
	if matched, err := f.MatchEvent(&e); matched || err == nil || !strings.Contains(err.Error(), "cost") {
		t.Errorf("Match = %v, %v, want an error about cost", matched, err)
	}
}

func TestFromSearchBox(t *testing.T) {
	for typed, want := range map[string]string{
		`"disk full"`:       `text("disk full")`,
		` 'a' `:             `text('a')`,
		`"a" == "b"`:        `"a" == "b"`,
		`severity >= warn`:  `severity >= warn`,
		`"say \"hi\" loud"`: `text("say \"hi\" loud")`,
		``:                  ``,
	} {
		if got := filter.FromSearchBox(typed); got != want {
			t.Errorf("FromSearchBox(%q) = %q, want %q", typed, got, want)
		}
	}
}

func TestGlob(t *testing.T) {
	tests := []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"a*c", "abbc", true},
		{"a*c", "abcd", false},
		{"*.ok", "trigger.event.ok", true},
		{"server.*", "server.health.state.improved", true},
		{"?", "", false},
		{"a?c", "abc", true},
		{"**a**", "xay", true},
		{"*aab", "aaaaaaab", true},
	}
	for _, tt := range tests {
		if got := filter.Glob(tt.pattern, tt.text); got != tt.want {
			t.Errorf("Glob(%q, %q) = %v, want %v", tt.pattern, tt.text, got, tt.want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	env := newEnv(f)
	f.Add(`type == "x" && data.a.b > 1 || text("y")`)
	f.Add(`!(severity >= warn) && time > ago("1h")`)
	e, err := event.Decode([]byte(backup))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, source string) {
		compiled, err := env.Compile(source)
		if err != nil {
			if !errors.Is(err, event.ErrInvalid) {
				t.Fatalf("Compile(%q) = %v, not of class ErrInvalid", source, err)
			}
			return
		}
		matched, err := compiled.MatchEvent(&e)
		outcome := compiled.Plan().Eval(columns(&e))
		if matched && outcome.Never() || !matched && err == nil && outcome.Always() {
			t.Fatalf("%q: matched %v, but the plan says %v", source, matched, outcome)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	env := newEnv(b)
	e, err := event.Decode([]byte(backup))
	if err != nil {
		b.Fatal(err)
	}
	for _, source := range []string{`type == "backup_failed" && severity >= warn`, `data.exit_status == 3`, `text("already locked")`} {
		f, err := env.Compile(source)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(source, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := f.MatchEvent(&e); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
