package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// bomb is a YAML document that unfolds to a billion texts.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String() + "document: {dsl: '1.0.3', namespace: evil, name: bomb, version: '1.0.0'}\ndo: [{a: {set: {b: *a9}}}]\n"
}

// TestHostileFlows runs flows that want all there is, many at a time. Each is stopped
// within its budget, and meanwhile the server records events and answers.
func TestHostileFlows(t *testing.T) {
	s := start(t, "flows: {max_time: 3s}")
	flow := func(name, tasks string) string {
		stored := s.post("/v1/flows", "application/yaml", "document: {dsl: '1.0.3', namespace: evil, name: "+name+", version: '1.0.0'}\ndo:\n"+tasks).want(t, http.StatusCreated)
		if stored["state"] != "valid" {
			t.Fatalf("%s: %v", name, stored["reason"])
		}
		return text(stored["id"])
	}
	flows := map[string]string{
		"recursion": flow("recursion", `- a: {set: {b: "${ def f: [f]; f }"}}`),
		"endless":   flow("endless", `- a: {set: {b: "${ last(repeat(1)) }"}}`),
		"array":     flow("array", `- a: {set: {b: "${ [range(3000000)] }"}}`),
		"loops": flow("loops", `
- a:
    for: {each: x, in: "${ [range(1000)] }"}
    do:
    - b:
        for: {each: y, in: "${ [range(1000)] }"}
        do:
        - c: {set: {n: "${ $x + $y }"}}
`),
		"jump":  flow("jump", "- a: {set: {b: 1}}\n- c: {set: {b: 1}, then: a}\n"),
		"grows": flow("grows", "- a: {set: {b: \"${ (.b // \\\"x\\\") + (.b // \\\"x\\\") }\"}, then: a}\n"),
	}
	if stored := s.post("/v1/flows", "application/yaml", bomb()).want(t, http.StatusCreated); stored["state"] != "invalid" {
		t.Errorf("the bomb is %v", stored["state"])
	}
	var runs []string
	for range 8 {
		for _, id := range flows {
			runs = append(runs, text(s.post("/v1/flows/"+id+"/runs", jsonMedia, "{}").want(t, http.StatusCreated)["id"]))
		}
	}
	slowest := time.Duration(0)
	over := func() bool {
		began := time.Now()
		s.emit(eventMedia, anEvent(fmt.Sprint("meanwhile-", began.UnixNano())))
		slowest = max(slowest, time.Since(began))
		for _, id := range runs {
			if state := text(parse[object](t, s.get("/v1/runs/"+id).body)["state"]); state != "faulted" {
				return false
			}
		}
		return true
	}
	eventually(t, "every run is stopped", over)
	for _, id := range runs {
		r := parse[object](t, s.get("/v1/runs/"+id).body)
		if message := text(dig(r, "error.message")); message == "" || r["status"] != "unknown" {
			t.Errorf("%v: %q", r["flow"], message)
		}
	}
	if slowest > patience/6 {
		t.Errorf("an event took %s", slowest)
	}
	usage := usageOf(t, s.cmd.Process.Pid)
	t.Logf("%d runs were stopped; the slowest event took %s; %d MB", len(runs), slowest.Round(time.Millisecond), usage.rss>>20)
	if usage.rss > 1<<30 {
		t.Errorf("the server has %d MB", usage.rss>>20)
	}
}
