package flow

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/state"
)

// A secret is used by its name, and neither the database, nor the record, nor a
// list shows it.
func TestSecrets(t *testing.T) {
	k := newKit(t)
	ctx, by := t.Context(), state.System()
	id := k.secretOf("api", `"hunter2hunter2"`)
	k.secretOf("login", `{"username":"robot","password":"hunter2hunter3"}`)
	if v, err := k.secret(ctx, aRun(), "api"); v != "hunter2hunter2" || err != nil {
		t.Errorf("%v, %v", v, err)
	}
	if v, err := k.secret(ctx, aRun(), "login"); !cmp.Equal(v, map[string]any{"username": "robot", "password": "hunter2hunter3"}) || err != nil {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := k.secret(ctx, aRun(), "other"); !errors.Is(err, event.ErrNotFound) {
		t.Errorf("%v", err)
	}
	same, err := k.UpdateSecret(ctx, by, id, 1, "", json.RawMessage(`"hunter2hunter2"`))
	if err != nil || same.Version != 1 {
		t.Errorf("the same value again is no change: %+v, %v", same, err)
	}
	if _, err := k.UpdateSecret(ctx, by, id, 1, "api2", json.RawMessage(`"hunter2hunter4"`)); err != nil {
		t.Fatal(err)
	}
	if v, err := k.secret(ctx, aRun(), "api2"); v != "hunter2hunter4" || err != nil {
		t.Errorf("%v, %v", v, err)
	}
	viewed := ""
	shown, err := k.RevealSecret(ctx, by, id, func(_ *state.Tx, app, model, pk, name string) error {
		viewed = strings.Join([]string{app, model, pk, name}, " ")
		return nil
	})
	if err != nil || string(shown) != `"hunter2hunter4"` || viewed != "flow secret "+id.String()+" api2" {
		t.Errorf("%s, %v, %s", shown, err, viewed)
	}
	if shown, err := k.RevealSecret(ctx, by, id, func(*state.Tx, string, string, string, string) error { return event.Deniedf("no") }); err == nil {
		t.Errorf("shown without a record: %s", shown)
	}
	list, err := k.ListSecrets(ctx, 0, 10)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, s := range list {
		if strings.Contains(s.Value.Sealed, "hunter") {
			t.Errorf("%s lies open", s.Value.Name)
		}
	}
	for _, e := range k.all("model_") {
		if text := string(e.Data); strings.Contains(text, "hunter") || strings.Contains(text, list[0].Value.Sealed) {
			t.Errorf("the record shows %s", text)
		}
	}
	if err := k.DeleteSecret(ctx, by, id, state.AnyVersion); err != nil {
		t.Fatal(err)
	}
	if _, err := k.secret(ctx, aRun(), "api2"); !errors.Is(err, event.ErrNotFound) {
		t.Errorf("after its end: %v", err)
	}
}

func TestSecretMistakes(t *testing.T) {
	k := newKit(t)
	k.secretOf("taken", `"x"`)
	for name, value := range map[string]string{
		"a-b": `"x"`, "1a": `"x"`, "": `"x"`, "taken": `"x"`, "n1": `""`, "n2": `{}`, "n3": `{"a":1}`, "n4": `["hunter2"]`, "n5": `hunter2`, "n6": `null`,
		"n7": `"` + strings.Repeat("x", maxSecret) + `"`,
	} {
		_, err := k.CreateSecret(t.Context(), state.System(), name, json.RawMessage(value))
		if !errors.Is(err, event.ErrInvalid) && !errors.Is(err, event.ErrConflict) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s %.20s: %v", name, value, err)
		}
	}
}

func TestConceal(t *testing.T) {
	c := conceal([]string{"abcdef", "abcdefgh", "a/b c&d", "tiny"})
	got := c.value(map[string]any{"k": []any{"x abcdefgh y", "abcdef", 1, nil, true}, "u": "a%2Fb%20c&d a%2Fb+c%26d", "tiny": "tiny"})
	want := map[string]any{"k": []any{"x " + redact.Mask + " y", redact.Mask, 1, nil, true}, "u": redact.Mask + " " + redact.Mask, "tiny": "tiny"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := c.text("Bearer abcdef https://u:p@x/"); strings.Contains(got, "abcdef") || strings.Contains(got, "u:p") {
		t.Error(got)
	}
}

// What a flow hands on is recorded, and seen by many: its secrets are not.
func TestSecretsHandedOn(t *testing.T) {
	k := newKit(t)
	k.secretOf("token", `"hunter2hunter4"`)
	k.flow(named("sub", "- it: {set: {got: '${ .token }'}}\n"))
	id := k.flow(strings.Replace(named("leaky", `- tell: {emit: {event: {with: {type: told, data: {token: '${ $secrets.token }'}}}}}
- plan: {call: schedule, with: {flow: sub, delay: 1h, input: {token: '${ $secrets.token }'}}}
- ask: {run: {workflow: {namespace: test, name: sub, version: '1.0.0', input: {token: '${ "x " + $secrets.token }'}}}}
`), "do:\n", "use: {secrets: [token]}\ndo:\n", 1))
	r, err := k.StartRun(t.Context(), state.System(), id, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if r = k.ends(r.ID, Completed, Faulted); r.State != Completed {
		t.Fatal(r.Error)
	}
	told := k.comes("told", 1)
	if want := `{"token":"` + redact.Mask + `"}`; string(told[0].Data) != want {
		t.Errorf("recorded %s, want %s", told[0].Data, want)
	}
	for _, table := range []string{"runs", "objects", "run_answers"} {
		var n int
		if err := k.state.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM `+table+` WHERE doc LIKE '%hunter2hunter4%'`).Scan(&n); err != nil || n > 0 {
			t.Errorf("%s keeps it %d times, %v", table, n, err)
		}
	}
}
