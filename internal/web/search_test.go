package web

import (
	"fmt"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

func TestConjuncts(t *testing.T) {
	for source, want := range map[string][]string{
		"":                                    nil,
		`type == "a"`:                         {`type == "a"`},
		`type == "a && b" && severity > warn`: {`type == "a && b"`, "severity > warn"},
		`(a && b) && c[0 && 1]`:               {"(a && b)", "c[0 && 1]"},
		`a && b || c`:                         {"a && b || c"},
		`x == 'it\'s && so' && y`:             {`x == 'it\'s && so'`, "y"},
		`a ? b : c`:                           {"a ? b : c"},
		`data.items.exists(i, i.a && i.b)`:    {`data.items.exists(i, i.a && i.b)`},
	} {
		if diff := cmp.Diff(want, conjuncts(source)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", source, diff)
		}
	}
}

// TestToggled adds a condition and takes it away again; what comes out compiles.
func TestToggled(t *testing.T) {
	env, err := filter.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	term := equals("source", `/a "b" <c>`)
	for _, source := range []string{"", "severity >= warn", `"disk full"`, `type == "a" || type == "b"`} {
		href, on := search{Filter: source}.toggled(term)
		if on {
			t.Errorf("%q has the condition already", source)
		}
		narrow := parsed(t, href)
		if _, err := env.Compile(narrow); err != nil || !strings.Contains(narrow, term) {
			t.Errorf("%q becomes %q: %v", source, narrow, err)
		}
		href, on = search{Filter: narrow}.toggled(term)
		wide := parsed(t, href)
		if _, err := env.Compile(wide); err != nil || !on || strings.Contains(wide, term) {
			t.Errorf("%q becomes %q: %v", narrow, wide, err)
		}
	}
}

func FuzzToggled(f *testing.F) {
	f.Add(`a && "b`, "x")
	f.Add(`'\`, "\x00")
	f.Fuzz(func(t *testing.T, source, value string) {
		term := equals("type", value)
		for _, c := range conjuncts(source) {
			if c == "" && strings.Count(source, "&&") == 0 {
				t.Errorf("an empty condition in %q", source)
			}
		}
		href, _ := search{Filter: source}.toggled(term)
		if !strings.HasPrefix(href, "/events?") {
			t.Errorf("leads to %q", href)
		}
	})
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"ordinary ünïcode 漢字\n\ttwo lines": "ordinary ünïcode 漢字\n\ttwo lines",
		"\u202egnp.exe":                    "⟨U+202E⟩gnp.exe",
		"\x1b[31mred\x00":                  "⟨U+001B⟩[31mred⟨U+0000⟩",
		"bro\xffken":                       "bro\ufffdken",
		"zero\u200bwidth":                  "zero⟨U+200B⟩width",
	} {
		if got := plain(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	if got := line(strings.Repeat("ä ", 1000)); len([]rune(got)) != clipLine+1 || !strings.HasSuffix(got, "…") {
		t.Errorf("a line of %d characters", len([]rune(got)))
	}
}

func TestHarmlessCell(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "text": "text", "-1": "'-1", "=HYPERLINK(1)": "'=HYPERLINK(1)", "+1": "'+1", "@SUM(A1)": "'@SUM(A1)", "\tx": "'\tx", "a=b": "a=b",
	} {
		if got := harmlessCell(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestGraph(t *testing.T) {
	from := time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC)
	until := from.Add(24 * time.Hour)
	step := graphStep(until.Sub(from))
	if step != time.Hour {
		t.Fatalf("a day has steps of %s", step)
	}
	var c segment.Counts
	first := from.Truncate(step)
	for i := range 25 {
		n := int64(3 + i%3)
		if i == 12 {
			n = 90
		}
		c.Buckets = append(c.Buckets, segment.Bucket{Start: first.Add(time.Duration(i) * step).UnixNano(), Counts: map[string]int64{"info": n, "": 1}})
	}
	g := drawGraph(&c, from, until, step, segment.BySeverity)
	if g.Width != 25*barWidth || g.Most != 91 || g.First != first.UnixMilli() {
		t.Errorf("width %d, highest %d, from %d", g.Width, g.Most, g.First)
	}
	if len(g.Spikes) != 1 || g.Spikes[0].When != "2026-11-20 22:00 UTC" {
		t.Errorf("spikes %+v", g.Spikes)
	}
	if diff := cmp.Diff([]legendEntry{{"series-rest", "none", 25}, {"sev-info", "info", 186}}, g.Legend); diff != "" {
		t.Errorf("legend (-want +got):\n%s", diff)
	}
	for _, d := range []time.Duration{0, time.Minute, time.Hour, 24 * time.Hour, 365 * 24 * time.Hour, 20000 * 24 * time.Hour} {
		if bars := d / graphStep(d); bars > 62 {
			t.Errorf("%s has %d bars", d, bars)
		}
	}
	if empty := drawGraph(&segment.Counts{}, from, until, step, segment.ByType); empty.Total != 0 || len(empty.Bars) != 0 {
		t.Errorf("an empty graph has %d events", empty.Total)
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[int64]string{1 << 30: "1GiB", 50 << 30: "50GiB", 1<<30 + 1: "1073741825", 100 << 20: "100MiB", 5 << 40: "5TiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
		back, err := retentionForm{"1d", "1d", "1d", sizeText(n)}.parse()
		if err != nil || int64(back.MaxBytes) != n {
			t.Errorf("%q is read back as %d: %v", sizeText(n), back.MaxBytes, err)
		}
	}
}

// TestComplete shows what is suggested where; values that were seen need a
// journal, see the browser's tests.
func TestComplete(t *testing.T) {
	s := &Server{Options: Options{Catalog: catalog.New()}}
	for before, want := range map[string]string{
		"sever":                          "severity",
		"severity >= wa":                 "warn",
		"data.threshold_p":               "data.threshold_percent",
		`type == "disk_full" && data.fi`: "data.filesystem",
		"!gl":                            "glob(",
	} {
		got := s.complete(t.Context(), before)
		if len(got.Items) == 0 || got.Items[0].Text != want || !strings.HasSuffix(before, got.Token) {
			t.Errorf("%s goes on as %+v", before, got)
		}
	}
	for _, before := range []string{`"words in quo`, "1.5", `type == "a" ` + "\\"} {
		if got := s.complete(t.Context(), before); len(got.Items) != 0 {
			t.Errorf("%s goes on as %+v", before, got)
		}
	}
}

func parsed(t *testing.T, href string) string {
	t.Helper()
	u, err := url.Parse(href)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("q")
}

// TestWorld draws rings that stay on the map.
func TestWorld(t *testing.T) {
	path, err := worldPath()
	if err != nil || len(path) < 20_000 || path[0] != 'M' {
		t.Fatalf("a path of %d characters: %v", len(path), err)
	}
	for ring := range strings.SplitSeq(strings.TrimSuffix(path, "Z"), "Z") {
		was := -1
		for i, point := range strings.Split(strings.TrimPrefix(ring, "M"), "L") {
			var x, y int
			if _, err := fmt.Sscanf(point, "%d %d", &x, &y); err == nil && was >= 0 && (x-was > worldWidth/2 || was-x > worldWidth/2) {
				t.Fatalf("a line goes across the map to %q", point)
			}
			if was = x; point == "" || x < 0 || x > worldWidth || y < 0 || y > worldHeight+60 {
				t.Fatalf("point %d, %q, is off the map", i, point)
			}
		}
	}
	for _, place := range []struct{ lat, lon, x, y float64 }{{52.5, 13.4, 386.8, 63}, {-33.9, 151.2, 662.4, 235.8}, {84, -180, 0, 0}} {
		if x, y := project(place.lat, place.lon); math.Abs(x-place.x) > 0.01 || math.Abs(y-place.y) > 0.01 {
			t.Errorf("%g %g is at %g %g", place.lat, place.lon, x, y)
		}
	}
}
