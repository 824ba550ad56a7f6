package notify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

// midnight is when the days of these tests begin, a Monday.
var midnight = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func dur(text string) config.Duration {
	d, err := event.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return config.Duration(d)
}

// ready compiles what a cell needs of a rule.
func ready(r Rule) *rule {
	r.fill()
	if err := checkRule(&r); err != nil {
		panic(err)
	}
	c := &rule{Rule: r, id: 1, print: printOf(&r)}
	if r.Resolve != nil {
		c.resolve = &filter.Filter{}
	}
	for _, s := range r.Escalate {
		c.steps = append(c.steps, step{after: time.Duration(s.After)})
	}
	return c
}

// played runs a cell over events, given as "10m" or "10m critical", looking at it
// whenever it is due, and at the end. It gives lines such as "10m event 1".
func played(r *rule, events []string, end string, between func(*cell)) []string {
	var c cell
	var out []string
	say := func(all []told) {
		for _, t := range all {
			out = append(out, fmt.Sprintf("%s %s %d", event.FormatDuration(time.Duration(t.at-midnight.UnixNano())), t.why, t.count))
		}
	}
	ticks := func(until int64) {
		for {
			due := r.due(&c)
			if due == 0 || due > until {
				return
			}
			say(r.step(&c, nil, due))
			between(&c)
		}
	}
	for i, text := range events {
		at, severity, _ := strings.Cut(text, " ")
		s := event.Warn
		switch severity {
		case "":
		case "end":
			ticks(midnight.Add(time.Duration(dur(at))).UnixNano())
			now := midnight.Add(time.Duration(dur(at))).UnixNano()
			say(r.resolved(&c, &line{Seq: event.Seq(i + 1), At: now, Type: "over", Text: "text"}, now))
			between(&c)
			continue
		case "ack":
			ticks(midnight.Add(time.Duration(dur(at))).UnixNano())
			c.acknowledge()
			continue
		default:
			s, _ = event.ParseSeverity(severity)
		}
		now := midnight.Add(time.Duration(dur(at))).UnixNano()
		ticks(now)
		say(r.step(&c, &line{Seq: event.Seq(i + 1), At: now, Type: "disk_full", Severity: s, Text: "text"}, now))
		between(&c)
	}
	ticks(midnight.Add(time.Duration(dur(end))).UnixNano())
	return out
}

func memories() map[string]struct {
	rule   Rule
	events []string
	end    string
	want   []string
} {
	night := &QuietHours{From: "22:00", To: "07:00", Except: "critical"}
	return map[string]struct {
		rule   Rule
		events []string
		end    string
		want   []string
	}{
		"threshold": {
			Rule{Threshold: &Threshold{Count: 3, Within: dur("10m")}},
			[]string{"1m", "5m", "12m", "13m", "14m", "15m", "16m", "17m", "30m"},
			"1h",
			[]string{"13m threshold 3", "16m threshold 3"},
		},
		"absence": {
			Rule{Absence: &Absence{Within: dur("26h")}},
			[]string{"1h", "25h", "26h", "80h", "81h"},
			"120h",
			[]string{"52h absence 1", "80h resolved 1", "107h absence 1"},
		},
		"first, then every hour": {
			Rule{RepeatEvery: dur("1h")},
			[]string{"1m", "2m", "50m", "90m", "5h", "5h1m"},
			"10h",
			[]string{"1m event 1", "1h1m digest 2", "2h1m digest 1", "5h event 1", "6h digest 1"},
		},
		"digest": {
			Rule{DigestEvery: dur("30m")},
			[]string{"1m", "2m", "31m", "40m", "2h"},
			"4h",
			[]string{"31m digest 2", "1h1m digest 2", "2h30m digest 1"},
		},
		"quiet hours": {
			Rule{QuietHours: night},
			[]string{"1h", "2h critical", "6h59m", "7h", "23h", "30h"},
			"48h",
			[]string{"2h event 1", "7h digest 2", "7h event 1", "31h digest 2"},
		},
		"a digest that falls into quiet hours": {
			Rule{QuietHours: night, DigestEvery: dur("1h")},
			[]string{"21h30m", "21h40m"},
			"48h",
			[]string{"31h digest 2"},
		},
		"escalation": {
			Rule{Escalate: []Step{{After: dur("10m")}, {After: dur("20m")}}},
			[]string{"1h", "1h5m"},
			"5h",
			[]string{"1h event 1", "1h5m event 1", "1h10m escalation 1", "1h30m escalation 1"},
		},
		"escalation that is acknowledged": {
			Rule{Escalate: []Step{{After: dur("10m")}, {After: dur("20m")}}},
			[]string{"1h", "1h15m ack", "3h"},
			"3h5m",
			[]string{"1h event 1", "1h10m escalation 1", "3h event 1"},
		},
		"resolved": {
			Rule{Resolve: &Resolve{Types: []string{"over"}}, RepeatEvery: dur("1h"), Escalate: []Step{{After: dur("30m")}}},
			[]string{"1m end", "2m", "3m", "4m end", "5m end", "6m", "40m end"},
			"5h",
			[]string{"2m event 1", "4m resolved 1", "6m event 1", "36m escalation 1", "40m resolved 1"},
		},
		"resolved before anybody heard of it": {
			Rule{Resolve: &Resolve{Types: []string{"over"}}, DigestEvery: dur("1h")},
			[]string{"1m", "2m end", "3m", "70m end"},
			"5h",
			[]string{"2m digest 2", "1h3m digest 1", "1h10m resolved 1"},
		},
		"threshold, then every hour": {
			Rule{Threshold: &Threshold{Count: 2, Within: dur("10m")}, RepeatEvery: dur("1h")},
			[]string{"1m", "2m", "3m", "4m", "5m", "6m"},
			"5h",
			[]string{"2m threshold 2", "1h2m digest 4"},
		},
	}
}

// Each way of remembering tells when it should, and nothing else.
func TestCells(t *testing.T) {
	for name, tt := range memories() {
		tt.rule.Name, tt.rule.Mode = name, Any
		got := played(ready(tt.rule), tt.events, tt.end, func(*cell) { /* nothing between */ })
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// A restart between any two steps changes nothing: the cell is all that counts.
func TestRestart(t *testing.T) {
	for name, tt := range memories() {
		tt.rule.Name, tt.rule.Mode = name, Any
		got := played(ready(tt.rule), tt.events, tt.end, func(c *cell) {
			doc, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			*c = cell{}
			if err := json.Unmarshal(doc, c); err != nil {
				t.Fatal(err)
			}
		})
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// Whatever happens: a cell that nothing touches comes to rest, every event that
// is not counted towards a threshold is told or waits, and none is told twice.
func TestCellProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rule{Name: "any", Mode: Any}
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			r.RepeatEvery = config.Duration(rapid.Int64Range(int64(time.Second), int64(48*time.Hour)).Draw(t, "every"))
		case 1:
			r.DigestEvery = config.Duration(rapid.Int64Range(int64(time.Second), int64(48*time.Hour)).Draw(t, "every"))
		}
		if rapid.Bool().Draw(t, "quiet") {
			r.QuietHours = &QuietHours{From: "22:00", To: "07:00", Timezone: rapid.SampledFrom([]string{"", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"}).Draw(t, "zone")}
			if rapid.Bool().Draw(t, "days") {
				r.QuietHours.Days = []string{"sat", "sun"}
			}
		}
		c, rr := cell{}, ready(r)
		var seen int
		count := func(all []told) {
			for _, x := range all {
				if x.count < len(x.lines) || x.count == 0 {
					t.Fatalf("%+v counts less than it shows", x)
				}
				seen += x.count
			}
		}
		at := midnight.UnixNano()
		gaps := rapid.SliceOfN(rapid.Int64Range(0, int64(12*time.Hour)), 1, 60).Draw(t, "gaps")
		for i, gap := range gaps {
			at += gap
			count(rr.step(&c, &line{Seq: event.Seq(i + 1), At: at, Type: "x", Severity: event.Warn}, at))
			if seen+c.Count != i+1 {
				t.Fatalf("after %d events %d are told and %d wait", i+1, seen, c.Count)
			}
		}
		for range 20 {
			due := rr.due(&c)
			if due == 0 {
				break
			}
			if due < at {
				t.Fatalf("due at %d, which is over", due)
			}
			at = due
			count(rr.step(&c, nil, due))
		}
		if !c.empty() || seen != len(gaps) {
			t.Fatalf("%d of %d told; left: %+v", seen, len(gaps), c)
		}
	})
}

// Quiet hours follow the clocks of their zone.
func TestQuietHours(t *testing.T) {
	berlin := QuietHours{Timezone: "Europe/Berlin", From: "22:00", To: "07:00", Days: []string{"sat"}}
	for _, tt := range []struct{ now, until string }{
		{"2026-03-28T20:59:59Z", ""},                     // Saturday, 21:59 in Berlin
		{"2026-03-28T21:00:00Z", "2026-03-29T05:00:00Z"}, // the clocks go forward that night
		{"2026-03-29T04:59:59Z", "2026-03-29T05:00:00Z"},
		{"2026-03-29T05:00:00Z", ""},
		{"2026-03-29T21:00:00Z", ""},                     // Sunday is not one of the days
		{"2026-10-24T20:00:00Z", "2026-10-25T06:00:00Z"}, // back again
	} {
		now, _ := time.Parse(time.RFC3339, tt.now)
		until, quiet := berlin.until(now, event.Error)
		got := ""
		if quiet {
			got = until.Format(time.RFC3339)
		}
		if got != tt.until {
			t.Errorf("%s: quiet until %q, want %q", tt.now, got, tt.until)
		}
	}
	for _, q := range []QuietHours{{From: "22", To: "07:00"}, {From: "22:00", To: "25:00"}, {From: "07:00", To: "07:00"}, {From: "1:00", To: "2:00", Timezone: "Mars"}, {From: "01:00", To: "02:00", Days: []string{"Sunday"}}, {From: "01:00", To: "02:00", Except: "high"}} {
		if q.check() == nil {
			t.Errorf("%+v is taken", q)
		}
	}
}

// What can't be meant is refused, with the name of the field.
func TestRuleProblems(t *testing.T) {
	for field, change := range map[string]func(*Rule){
		"name":             func(r *Rule) { r.Name = "a\nb" },
		"severity":         func(r *Rule) { r.Severity = "high" },
		"mode":             func(r *Rule) { r.Mode = "some" },
		"types":            func(r *Rule) { r.Types = []string{""} },
		"threshold.count":  func(r *Rule) { r.Threshold = &Threshold{Within: dur("1m")} },
		"threshold.within": func(r *Rule) { r.Threshold = &Threshold{Count: 1} },
		"absence.within":   func(r *Rule) { r.Absence = &Absence{} },
		"absence": func(r *Rule) {
			r.Absence, r.Threshold = &Absence{Within: dur("1m")}, &Threshold{Count: 1, Within: dur("1m")}
		},
		"repeat_every":           func(r *Rule) { r.RepeatEvery = dur("1ms") },
		"digest_every":           func(r *Rule) { r.DigestEvery, r.RepeatEvery = dur("1h"), dur("1h") },
		"quiet_hours.to":         func(r *Rule) { r.QuietHours = &QuietHours{From: "01:00"} },
		"resolve.types":          func(r *Rule) { r.Resolve = &Resolve{} },
		"resolve":                func(r *Rule) { r.Resolve, r.Absence = &Resolve{Types: []string{"x"}}, &Absence{Within: dur("1m")} },
		"escalate[0].after":      func(r *Rule) { r.Escalate = []Step{{}} },
		"escalate[0].recipients": func(r *Rule) { r.Escalate = []Step{{After: dur("1m"), Recipients: Recipients{Actor: true}}} },
	} {
		r := NewRule()
		r.Name = "good"
		if err := checkRule(&r); err != nil {
			t.Fatal(err)
		}
		change(&r)
		if err := checkRule(&r); err == nil || !slices.ContainsFunc(strings.Split(err.Error(), "\n"), func(l string) bool { return strings.HasPrefix(l, field+":") }) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
