package filter

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Each condition is told with its result and what stood in the event.
func TestExplain(t *testing.T) {
	env, err := NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	e := event.Event{Type: "disk_full", Severity: event.Warn, Host: "web1", Data: []byte(`{"path":"/var","used":91,"tags":["a"]}`)}
	got, err := env.Explain(`severity >= error && (data.path == "/var" || host.startsWith("db")) && data.user == "ann" && glob(type, "disk_*") && 1/(data.used-91) > 0`, NewInput(&e))
	if err != nil {
		t.Fatal(err)
	}
	want := []Part{
		{`severity >= error`, "false", []Value{{"severity", "13"}}},
		{`data.path == "/var"`, "true", []Value{{"data.path", `"/var"`}}},
		{`host.startsWith("db")`, "false", []Value{{"host", `"web1"`}}},
		{`data.user == "ann"`, "absent", []Value{{"data.user", "absent"}}},
		{`glob(type, "disk_*")`, "true", []Value{{"type", `"disk_full"`}}},
		{`1 / (data.used - 91) > 0`, "division by zero", []Value{{"data.used", "91"}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if parts, err := env.Explain("", NewInput(&e)); err != nil || len(parts) != 0 {
		t.Errorf("everything: %v, %v", parts, err)
	}
	if _, err := env.Explain("severity >", NewInput(&e)); err == nil {
		t.Error("a broken filter is explained")
	}
}
