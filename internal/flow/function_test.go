package flow

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/state"
)

// others stand at the borders to telling and to users.
type others struct {
	told     []Telling
	keys     []string
	silenced []string
	until    time.Time
	out      []string
	by       state.Cause
	err      error
}

func (o *others) Notify(_ context.Context, by state.Cause, key string, to Telling) error {
	o.by, o.keys, o.told = by, append(o.keys, key), append(o.told, to)
	return o.err
}

func (o *others) Silence(_ context.Context, by state.Cause, rule, filter, comment string, until time.Time) (string, error) {
	o.by, o.silenced, o.until = by, []string{rule, filter, comment}, until
	return "5", o.err
}

func (o *others) Suspend(_ context.Context, by state.Cause, user, reason string) error {
	o.by, o.out = by, []string{user, reason}
	return o.err
}

func (k *kit) others() *others {
	o := &others{}
	k.o.Notifier, k.o.Silencer, k.o.Suspender = o, o, o
	return o
}

func called(name string, with map[string]any) *program.Effect {
	return &program.Effect{Key: "/do/0/" + name, Kind: program.EffectCall, Function: name, Arguments: with}
}

func TestNotify(t *testing.T) {
	k := newKit(t)
	o := k.others()
	k.secretOf("pin", `"hunter2hunter2"`)
	r := aRun("emit")
	r.Event = &Cause{Sequence: 12, ID: "e", Type: "x"}
	a := k.does(r, called("notify", map[string]any{"title": "nginx: hunter2hunter2", "text": "it is down", "severity": "critical", "rule": "Admins", "transports": "chat", "recipients": []any{"ann", "group/ops"}}))
	want := Telling{Rule: "Admins", Transports: []string{"chat"}, Recipients: []string{"ann", "group/ops"}, Severity: event.Critical, Title: "nginx: ********************", Text: "it is down", Sequence: 12}
	if diff := cmp.Diff(want, o.told[0]); diff != "" || a.Err != nil {
		t.Error(diff, a.Err)
	}
	if o.keys[0] != "feed/do/0/notify" || o.by.AuthType != "service_account" || o.by.AuthID != "flow/7" || o.by.AuthName != "restart" || o.by.CausationID != "e" {
		t.Errorf("told under %v by %+v", o.keys, o.by)
	}
	k.does(r, called("notify", map[string]any{"title": "t", "sequence": 0}))
	if got := o.told[1]; got.Severity != event.Notice || got.Sequence != 0 {
		t.Errorf("without a severity and about no event: %+v", got)
	}
}

func TestSilence(t *testing.T) {
	k := newKit(t)
	o := k.others()
	a := k.does(aRun("emit"), called("silence", map[string]any{"rule": "Disk", "for": "2h"}))
	if diff := cmp.Diff([]string{"Disk", "true", "by the flow restart"}, o.silenced); diff != "" || a.Err != nil {
		t.Error(diff, a.Err)
	}
	if out := a.Output.(map[string]any); out["id"] != "5" || out["until"] != o.until.Format(time.RFC3339) || time.Until(o.until).Round(time.Minute) != 2*time.Hour {
		t.Errorf("%v, until %s", a.Output, o.until)
	}
}

func TestSuspendUser(t *testing.T) {
	k := newKit(t)
	o := k.others()
	if a := k.does(aRun("admin"), called("suspend_user", map[string]any{"user": "eve", "reason": "40 failed logins"})); a.Err != nil || !cmp.Equal(o.out, []string{"eve", "40 failed logins"}) {
		t.Errorf("%+v, %v", a, o.out)
	}
}

// Without its scope a flow does nothing; with a mistake it is told what is wrong,
// in a failure that it can catch; what can't be done now is tried again.
func TestFunctionRefusals(t *testing.T) {
	k := newKit(t)
	o := k.others()
	for name, scope := range map[string]string{"notify": "read", "silence": "read", "suspend_user": "emit", "command": "emit"} {
		if a := k.does(aRun(scope), &program.Effect{Key: "/scope/" + name, Kind: program.EffectCall, Function: name}); a.Err == nil || a.Err.Type != program.TypeAuthorization {
			t.Errorf("%s with the scope %s: %+v", name, scope, a)
		}
	}
	for says, f := range map[string]*program.Effect{
		"severity":            called("notify", map[string]any{"title": "x", "severity": "loud"}),
		"transports: is a":    called("notify", map[string]any{"title": "x", "transports": []any{map[string]any{}}}),
		"title and text":      called("notify", map[string]any{"title": strings.Repeat("x", 301)}),
		"sequence":            called("notify", map[string]any{"title": "x", "sequence": "soon"}),
		"for: say how long":   called("silence", map[string]any{"rule": "x"}),
		`for: "soon"`:         called("silence", map[string]any{"rule": "x", "for": "soon"}),
		`for: "91d"`:          called("silence", map[string]any{"rule": "x", "for": "91d"}),
		"filter: without":     called("silence", map[string]any{"for": "1h"}),
		"user: say who":       called("suspend_user", map[string]any{"user": ""}),
		"allow_failure":       called("command", map[string]any{"name": "x", "allow_failure": "yes"}),
		"no command \"rm\"":   called("command", map[string]any{"name": "rm"}),
		"with: is an object":  {Kind: program.EffectCall, Function: "suspend_user", Arguments: "x"},
		"no function nothing": called("nothing", nil),
	} {
		out, err := k.perform(t.Context(), aRun("admin", "emit"), f)
		if err != nil || out.answer.Err == nil || !strings.Contains(out.answer.Err.Detail, says) || out.answer.Err.Final {
			t.Errorf("%s: %+v, %v", says, out.answer.Err, err)
		}
	}
	if len(o.told)+len(o.silenced)+len(o.out) > 0 {
		t.Errorf("what was refused is done: %+v", o)
	}
	for _, tt := range []struct {
		err    error
		status int
	}{{event.Invalidf("x"), 400}, {event.NotFoundf("x"), 404}, {event.Deniedf("x"), 403}, {event.Conflictf("x"), 409}} {
		o.err = tt.err
		out, err := k.perform(t.Context(), aRun("admin"), called("suspend_user", map[string]any{"user": "eve"}))
		if err != nil || out.answer.Err == nil || out.answer.Err.Status != tt.status {
			t.Errorf("%v: %+v, %v", tt.err, out.answer.Err, err)
		}
	}
	o.err = event.Unavailablef("the disk is full")
	if _, err := k.perform(t.Context(), aRun("admin"), called("suspend_user", map[string]any{"user": "eve"})); !errors.Is(err, event.ErrUnavailable) {
		t.Errorf("what can't be done now: %v", err)
	}
}

// A program is run with its arguments as they are, in a clean environment, and
// leaves a record.
func TestCommand(t *testing.T) {
	t.Setenv("HUNTER", "hunter2")
	k := newKit(t)
	k.secretOf("pin", `"hunter2hunter2"`)
	k.commands(map[string][]string{
		"echo": {"/bin/sh", "-c", `printf '%s|' "$@"; env >&2`, "echo", "fixed", "{unit}", "{more}"},
		"fail": {"/bin/sh", "-c", "echo no such unit >&2; exit 5"},
		"gone": {"/nowhere/program"},
	})
	r := aRun("admin")
	unit := "a b; $(id) hunter2hunter2 'x'"
	a := k.does(r, called("command", map[string]any{"name": "echo", "arguments": map[string]any{"unit": unit, "more": 7}}))
	out, _ := a.Output.(map[string]any)
	if a.Err != nil || out["exit_status"] != 0 || out["stdout"] != "fixed|"+strings.Replace(unit, "hunter2hunter2", "********************", 1)+"|7|" {
		t.Errorf("%+v", a)
	}
	if env, _ := out["stderr"].(string); strings.Contains(env, "HUNTER") || !strings.Contains(env, "IDEMPOTENCY_KEY=feed/do/0/command") || !strings.Contains(env, "FLOW=restart") {
		t.Errorf("its environment is %q", env)
	}
	record := k.comes("flow.command", 1)[0]
	data := dataOf(t, &record)
	if record.AuthType != "service_account" || record.AuthID != "flow/7" || record.Subject != "flow/7" || data["command"] != "echo" || data["exit_status"] != 0.0 || strings.Contains(string(record.Data), "hunter2hunter2") {
		t.Errorf("the record is %s", record.AppendJSON(nil))
	}
	failing := called("command", map[string]any{"name": "fail"})
	if a := k.does(r, &program.Effect{Key: "/1", Kind: failing.Kind, Function: "command", Arguments: failing.Arguments}); a.Err == nil || a.Err.Type != program.TypeRuntime || !strings.Contains(a.Err.Detail, "status 5: no such unit") {
		t.Errorf("%+v", a)
	}
	if a := k.does(r, &program.Effect{Key: "/2", Kind: program.EffectCall, Function: "command", Arguments: map[string]any{"name": "fail", "allow_failure": true}}); a.Err != nil || a.Output.(map[string]any)["exit_status"] != 5 {
		t.Errorf("%+v", a)
	}
	if a := k.does(r, &program.Effect{Key: "/3", Kind: program.EffectCall, Function: "command", Arguments: map[string]any{"name": "gone"}}); a.Err == nil || !strings.Contains(a.Err.Detail, "no such file") {
		t.Errorf("%+v", a)
	}
	if got := k.comes("flow.command", 4); dataOf(t, &got[3])["exit_status"] != -1.0 {
		t.Errorf("%s", got[3].Data)
	}
}

func (k *kit) commands(all map[string][]string) {
	k.o.Limits = func() Limits { return Limits{Commands: all} }
}

// Whatever a flow gives stays one argument, and is no option.
func TestFill(t *testing.T) {
	template := []string{"/bin/x", "restart", "{unit}"}
	for _, tt := range []struct {
		template []string
		given    any
		want     []string
		says     string
	}{
		{template, map[string]any{"unit": "a b"}, []string{"/bin/x", "restart", "a b"}, ""},
		{[]string{"/bin/x", "--", "{unit}"}, map[string]any{"unit": "-rf"}, []string{"/bin/x", "--", "-rf"}, ""},
		{template, map[string]any{"unit": "--force"}, nil, "begins with -"},
		{template, nil, nil, "arguments.unit: is missing"},
		{template, map[string]any{"unit": ""}, nil, "arguments.unit: is missing"},
		{template, map[string]any{"unit": []any{"a"}}, nil, "no text"},
		{template, map[string]any{"unit": "a\x00b"}, nil, "NUL"},
		{template, map[string]any{"unit": strings.Repeat("x", 5000)}, nil, "4096"},
		{template, map[string]any{"unit": "a", "other": "b"}, nil, "no {other}"},
		{template, []any{"a"}, nil, "is an object"},
		{[]string{"/bin/x"}, nil, []string{"/bin/x"}, ""},
	} {
		got, err := fill(tt.template, tt.given)
		if diff := cmp.Diff(tt.want, got); diff != "" || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v: %v %s", tt.given, err, diff)
		}
	}
}

// A program that does not end is ended with all that it has started; one that
// prints without end is kept in bounds.
func TestCommandLimits(t *testing.T) {
	k := newKit(t)
	file := filepath.Join(t.TempDir(), "child")
	k.commands(map[string][]string{
		"hang":  {"/bin/sh", "-c", `sleep 300 & echo $! > "$1"; echo begun; wait`, "hang", "{file}"},
		"leave": {"/bin/sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!"},
		"spout": {"/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo end"},
	})
	r := aRun("admin")
	began := time.Now()
	a := k.does(r, &program.Effect{Key: "/1", Kind: program.EffectCall, Function: "command", Arguments: map[string]any{"name": "hang", "timeout": "500ms", "arguments": map[string]any{"file": file}}})
	if a.Err == nil || a.Err.Type != program.TypeTimeout || !strings.Contains(a.Err.Detail, "begun") || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %+v", time.Since(began), a)
	}
	child, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gone(t, string(child))
	a = k.does(r, &program.Effect{Key: "/2", Kind: program.EffectCall, Function: "command", Arguments: map[string]any{"name": "leave"}})
	if a.Err != nil {
		t.Fatalf("%+v", a)
	}
	gone(t, a.Output.(map[string]any)["stdout"].(string))
	a = k.does(r, &program.Effect{Key: "/3", Kind: program.EffectCall, Function: "command", Arguments: map[string]any{"name": "spout"}})
	if text, _ := a.Output.(map[string]any)["stdout"].(string); a.Err != nil || len(text) != maxCommandOutput || !strings.HasSuffix(text, "xxxend\n") {
		t.Errorf("%d bytes, %+v", len(text), a.Err)
	}
}

// gone waits until a process has ended: it was killed, which takes a moment.
func gone(t *testing.T, pid string) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); ; {
		state, err := os.ReadFile("/proc/" + strings.TrimSpace(pid) + "/stat")
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("process %s goes on", pid)
		}
		runtime.Gosched()
	}
}
