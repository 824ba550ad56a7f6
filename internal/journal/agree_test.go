package journal_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// TestFiltersAgree compares the index with a brute-force scan on 10,000 random
// filters, over sealed segments and the table in memory.
func TestFiltersAgree(t *testing.T) {
	const events = 500
	filters := 10_000
	if testing.Short() {
		filters = 500
	}
	j, err := journal.Open(t.Context(), journal.Options{Dir: t.TempDir(), MemEvents: 150, Window: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}()
	rnd := rand.New(rand.NewPCG(20261121, 7))
	all := make([]event.Event, events)
	for i := range all {
		all[i] = randomEvent(rnd, i)
		got, err := j.Append(t.Context(), all[i:i+1])
		if err != nil {
			t.Fatal(err)
		}
		all[i].Sequence = got[0].Seq
	}
	inputs := make([]*filter.Input, events)
	for i := range all {
		inputs[i] = filter.NewInput(&all[i])
	}
	env, err := filter.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	some := 0
	for range filters {
		source := randomFilter(rnd, 3)
		f, err := env.Compile(source)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		page, err := j.Search(t.Context(), &segment.Query{Plan: f.Plan(), Match: f.MatchEvent, Ascending: true, Transient: true})
		if err != nil || len(page.Problems) > 0 {
			t.Fatal(err, page.Problems)
		}
		var got, want []event.Seq
		for _, h := range page.Hits {
			got = append(got, h.Seq)
		}
		for i := range all {
			if ok, err := f.Match(inputs[i]); err == nil && ok {
				want = append(want, all[i].Sequence)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s: brute force and index differ: %s", source, diff)
		}
		if len(want) > 0 && len(want) < events {
			some++
		}
	}
	if some < filters/4 {
		t.Errorf("only %d of %d filters tell events apart: the generator is too dull", some, filters)
	}
}

func pick[T any](rnd *rand.Rand, from ...T) T { return from[rnd.IntN(len(from))] }

var start = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func randomEvent(rnd *rand.Rand, n int) event.Event {
	e := event.Event{
		ID: event.ID(strconv.Itoa(n)), Source: pick(rnd, "/a", "/b", "urn:c"), Type: pick[event.Type](rnd, "disk_full", "backup_failed", "auth.ok", "x.y"),
		Kind: pick(rnd, event.Kinds()...), Severity: pick(rnd, event.Severities()...), AuthID: pick(rnd, "", "1", "ann"),
		ClientIP: pick(rnd, "", "192.0.2.1", "198.51.100.7", "2001:db8::1"), Time: start.Add(time.Duration(rnd.IntN(1e6)) * time.Second),
	}
	switch rnd.IntN(8) {
	case 0: // no data at all
	case 1:
		e.Data = []byte(pick(rnd, `"Needle in text"`, `[1,"two"]`, `null`, `7`))
	default:
		members := []string{}
		for _, name := range []string{"n", "s", "b", "o", "l"} {
			if rnd.IntN(3) == 0 {
				continue
			}
			members = append(members, fmt.Sprintf("%q:%s", name, randomValue(rnd, name)))
		}
		e.Data = []byte("{" + strings.Join(members, ",") + "}")
	}
	return e
}

func randomValue(rnd *rand.Rand, name string) string {
	switch name {
	case "n":
		return pick(rnd, "0", "1", "1.0", "10e-1", "2.5", "-3", "null", `"1"`)
	case "s":
		return pick(rnd, `"red"`, `"Red"`, `"a needle here"`, `"NEEDLE"`, `""`, `"\u0072ed"`, "1")
	case "b":
		return pick(rnd, "true", "false", `"true"`, "null")
	case "o":
		return pick(rnd, `{"s":"red"}`, `{"s":"blue","n":1}`, `{}`, `"flat"`)
	default:
		return pick(rnd, `[]`, `["red","blue"]`, `[1,2]`, `[{"s":"red"}]`)
	}
}

func randomFilter(rnd *rand.Rand, depth int) string {
	if depth > 0 && rnd.IntN(3) > 0 {
		a := randomFilter(rnd, depth-1)
		switch rnd.IntN(3) {
		case 0:
			return "!(" + a + ")"
		case 1:
			return "(" + a + ") && (" + randomFilter(rnd, depth-1) + ")"
		default:
			return "(" + a + ") || (" + randomFilter(rnd, depth-1) + ")"
		}
	}
	return pick(rnd, []func() string{
		func() string {
			return "type " + pick(rnd, "==", "!=") + pick(rnd, ` "disk_full"`, ` "auth.ok"`, ` "none"`)
		},
		func() string { return `type in ["disk_full", "x.y"]` },
		func() string { return "kind == " + pick(rnd, `"host"`, `"audit"`, `"none"`) },
		func() string {
			return "severity " + pick(rnd, "<", "<=", "==", "!=", ">", ">=") + pick(rnd, " info", " warn", " 13", " critical")
		},
		func() string { return pick(rnd, "warn", "17") + pick(rnd, " < ", " >= ", " == ") + "severity" },
		func() string { return "severitytext == " + pick(rnd, `"warn"`, `"loud"`) },
		func() string {
			return "time " + pick(rnd, "<", "<=", ">", ">=", "==") + fmt.Sprintf(" timestamp(%q)", start.Add(time.Duration(rnd.IntN(1e6))*time.Second).Format(time.RFC3339))
		},
		func() string { return "authid == " + pick(rnd, `""`, `"ann"`, `"zoe"`) },
		func() string { return `actor.id == "1"` },
		func() string { return "source.startsWith(" + pick(rnd, `"/"`, `"urn"`) + ")" },
		func() string { return "glob(type, " + pick(rnd, `"*.*"`, `"disk_????"`, `"*"`, `"b*"`) + ")" },
		func() string { return "id == " + pick(rnd, `"7"`, `"450"`, `"x"`) },
		func() string { return "inCIDR(clientip, " + pick(rnd, `"192.0.2.0/24"`, `"::/0"`) + ")" },
		func() string {
			return "data.n " + pick(rnd, "==", "!=", "<", ">=") + pick(rnd, " 1", " 1.0", " 0", " 2.5", " -3")
		},
		func() string {
			return "data.s " + pick(rnd, "==", "!=") + pick(rnd, ` "red"`, ` "Red"`, ` ""`, ` "none"`)
		},
		func() string { return `data.s in ["red", "NEEDLE"]` },
		func() string { return "data.b == " + pick(rnd, "true", "false", `"true"`) },
		func() string {
			return pick(rnd, `data.o.s == "red"`, `data["o"]["n"] == 1`, `has(data.o) && has(data.o.s)`)
		},
		func() string { return "has(data." + pick(rnd, "n", "s", "l", "none") + ")" },
		func() string { return `data.l.exists(x, x == "red")` },
		func() string { return "data.s.contains(" + pick(rnd, `"needle"`, `"e"`, `"none at all"`) + ")" },
		func() string {
			return "text(" + pick(rnd, `"needle"`, `"RED"`, `"e"`, `"none at all"`, `"needle here"`) + ")"
		},
		func() string { return pick(rnd, "true", "false") },
	}...)()
}
