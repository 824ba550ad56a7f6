package filter_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

func TestExpression(t *testing.T) {
	env, err := filter.NewEnv()
	if err != nil {
		t.Fatal(err)
	}
	e := &event.Event{
		Type: "disk_full", Severity: event.Warn, Time: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC), AuthName: "ada",
		Data: []byte(`{"path":"/var","used":{"percent":97.5,"bytes":9007199254740993},"list":[1,"two",null,true]}`),
	}
	for _, tt := range []struct{ source, want string }{
		{`"full: " + data.path`, `"full: /var"`},
		{`{"a": data.used, "b": [type, severity >= warn], "c": message.user.name}`, `{"a":{"bytes":9007199254740993,"percent":97.5},"b":["disk_full",true],"c":"Grace"}`},
		{`data.list`, `[1,"two",null,true]`},
		{`data`, string(e.Data)},
		{`time`, `"2026-11-21T08:00:00Z"`},
		{`[actor.name, "root"]`, `["ada","root"]`},
		{`actor`, `{"email":"","id":"","name":"ada","on_behalf_of":"","type":""}`},
		{`duration("90s")`, `"1m30s"`},
		{`b"ab"`, `"YWI="`},
		{`has(data.missing) ? data.missing : null`, `null`},
		{`18446744073709551615u`, `18446744073709551615`},
	} {
		x, err := env.CompileExpression(tt.source, "message")
		if err != nil {
			t.Errorf("%s: %v", tt.source, err)
			continue
		}
		got, err := x.Eval(filter.NewInput(e), map[string]any{"message": map[string]any{"user": map[string]any{"name": "Grace"}}})
		if err != nil {
			t.Errorf("%s: %v", tt.source, err)
			continue
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(text, &a) != nil || json.Unmarshal([]byte(tt.want), &b) != nil || !cmp.Equal(a, b) || strings.Contains(string(text), "e+") {
			t.Errorf("%s = %s, want %s", tt.source, text, tt.want)
		}
	}
	for source, says := range map[string]string{
		`data.missing`: "no such key", `{1: 2}`: "not string", `1 / 0`: "division", `data.path + 1`: "no such overload", `type(data)`: "can't be written",
		many(6): "too large", "size(" + many(8) + ")": "limit",
	} {
		x, err := env.CompileExpression(source)
		if err == nil {
			_, err = x.Eval(filter.NewInput(e), nil)
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", source, err, says)
		}
	}
	for _, source := range []string{"", "  ", "nowhere", "data.", "message.title", strings.Repeat("x", filter.MaxSource+1)} {
		_, err := env.CompileExpression(source)
		if _, ok := errors.AsType[*filter.Error](err); !ok || !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%.20q: %v", source, err)
		}
	}
}

// many is an expression for a list of 8^n numbers.
func many(n int) string {
	const list = "[1,2,3,4,5,6,7,8]"
	if n == 1 {
		return list
	}
	return list + ".map(" + string(rune('a'+n)) + ", " + many(n-1) + ")"
}
