package scan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tocsin-events/tocsin/internal/event/scan"
)

func TestAccepts(t *testing.T) {
	for _, in := range []string{
		`null`, ` true `, `"x"`, `0`, `-0.5e+10`, `[]`, `{}`, `[1,[2,{"a":[]}],"\u00e9\ud83d\ude00\n"]`,
		`{"a":{"a":{"a":1}},"b":{"a":2}}`, "\t{\r\n\"a\" : 1 }\n", `"é日本"`, `"\u0000"`,
		strings.Repeat("[", scan.MaxDepth) + strings.Repeat("]", scan.MaxDepth),
		"{" + many(100, func(i int) string { return `"k` + string(rune('a'+i%26)) + strings.Repeat("x", i) + `":1` }) + "}",
	} {
		if err := scan.Valid([]byte(in)); err != nil {
			t.Errorf("Valid(%.60q) = %v", in, err)
		}
	}
}

func many(n int, one func(int) string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = one(i)
	}
	return strings.Join(all, ",")
}

func TestRefuses(t *testing.T) {
	tests := []struct {
		in           string
		line, column int
		says         string
	}{
		{``, 1, 1, "ends where a JSON value should follow"},
		{`{"a":1`, 1, 7, "ends where"},
		{`{"a" 1}`, 1, 6, "':' after the key"},
		{`{"a":1,}`, 1, 8, "a key in double quotes"},
		{`[1 2]`, 1, 4, "',' or ']'"},
		{`[1]]`, 1, 4, "more after the end"},
		{"{\n \"a\": tru}", 2, 7, "expected true"},
		{`01`, 1, 1, "not a JSON number"},
		{`1.`, 1, 1, "digit must follow"},
		{`1e`, 1, 1, "exponent has no digits"},
		{`+1`, 1, 1, "a JSON value"},
		{`1e999`, 1, 1, "too large for a 64-bit float"},
		{strings.Repeat("9", 200), 1, 1, "longer than 128"},
		{"\"a\x00b\"", 1, 3, "control character U+0000"},
		{"\"a\xffb\"", 1, 3, "byte 0xff is not valid UTF-8"},
		{"\"\xc0\xaf\"", 1, 2, "not valid UTF-8"},
		{`"\x"`, 1, 2, "unknown escape"},
		{`"\u12g4"`, 1, 2, "four hexadecimal digits"},
		{`"\ud800"`, 1, 2, "lone surrogate"},
		{`"\ud800\u0041"`, 1, 2, "lone surrogate"},
		{`"\udc00"`, 1, 2, "lone surrogate"},
		{`"abc`, 1, 5, "ends inside a string"},
		{`{"a":1,"a":2}`, 1, 8, `key "a" is there twice`},
		{`{"a":1,"\u0061":2}`, 1, 8, `is there twice`},
		{`{"\u0061":1,"a":2}`, 1, 13, `is there twice`},
		{`{"o":{"x":1,"y":[{"z":0}],"x":2}}`, 1, 27, `key "x" is there twice`},
		{"{" + many(60, func(i int) string { return `"k` + strings.Repeat("x", i) + `":[{"k":1}]` }) + `,"k":1}`, 1, 0, `key "k" is there twice`},
		{strings.Repeat("[", 100_000), 1, scan.MaxDepth + 1, "nested deeper than 128"},
		{"\"\u00e9\" x", 1, 5, "more after the end"},
	}
	for _, tt := range tests {
		err := scan.Valid([]byte(tt.in))
		bad, ok := errors.AsType[*scan.Error](err)
		if !ok {
			t.Errorf("Valid(%.60q) = %v, want an error", tt.in, err)
			continue
		}
		if bad.Line != tt.line || tt.column > 0 && bad.Column != tt.column || !strings.Contains(bad.Msg, tt.says) {
			t.Errorf("Valid(%.60q) = %v, want line %d, column %d, %q", tt.in, err, tt.line, tt.column, tt.says)
		}
	}
}

func TestSkip(t *testing.T) {
	var s scan.Scanner
	s.Reset([]byte(`{"a":{"deep":[1,{"x":[]}]},"b":2,"c":"\u0041"}`))
	if kind, err := s.Next(); kind != scan.ObjectStart || err != nil {
		t.Fatal(kind, err)
	}
	want := map[string]string{"a": `{"deep":[1,{"x":[]}]}`, "b": `2`, "c": `"\u0041"`}
	for range want {
		if kind, err := s.Next(); kind != scan.String || !s.IsKey() || err != nil {
			t.Fatal(kind, s.IsKey(), err)
		}
		name := string(s.Text())
		value, err := s.Skip()
		if err != nil || string(value) != want[name] {
			t.Errorf("Skip at %q = %s, %v, want %s", name, value, err, want[name])
		}
	}
	if kind, err := s.Next(); kind != scan.ObjectEnd || err != nil || s.Depth() != 1 {
		t.Errorf("after the members: %c, depth %d, %v", kind, s.Depth(), err)
	}
	if kind, err := s.Next(); kind != scan.End || err != nil {
		t.Errorf("at the end: %c, %v", kind, err)
	}
}

// A hostile object must not cost more than linear time.
func TestManyKeys(t *testing.T) {
	in := "{" + many(50_000, func(i int) string { return `"` + strings.Repeat("k", i%7) + strconv.Itoa(i) + `":{"a":1}` }) + "}"
	if err := scan.Valid([]byte(in)); err != nil {
		t.Fatal(err)
	}
}

// FuzzScan holds the scanner against encoding/json, which accepts more: the same
// key twice, broken UTF-8, lone surrogates, greater depth and length.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e-3,"\ud83d\ude00",null,true]}`, `[{"x":{}}]`, `"\\\"/"`, `{"a":1,"a":2}`, "\"\xff\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		err := scan.Valid(in)
		if err == nil {
			if !json.Valid(in) || !utf8.Valid(in) {
				t.Fatalf("accepts %q, which is no JSON in UTF-8", in)
			}
			roundTrip(t, in)
			return
		}
		bad, ok := errors.AsType[*scan.Error](err)
		if !ok || bad.Offset < 0 || bad.Offset > len(in) || bad.Line < 1 || bad.Column < 1 {
			t.Fatalf("error %#v for %q", err, in)
		}
		if json.Valid(in) && !stricter(bad.Msg) {
			t.Fatalf("refuses %q: %v", in, err)
		}
	})
}

func stricter(msg string) bool {
	for _, reason := range []string{"twice", "UTF-8", "surrogate", "deeper", "longer", "too large"} {
		if strings.Contains(msg, reason) {
			return true
		}
	}
	return false
}

// roundTrip compares every string with what encoding/json makes of it.
func roundTrip(t *testing.T, in []byte) {
	t.Helper()
	var s scan.Scanner
	s.Reset(in)
	for {
		kind, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if kind == scan.End {
			return
		}
		if kind != scan.String {
			continue
		}
		var want string
		if err := json.Unmarshal(s.Raw(), &want); err != nil {
			t.Fatal(err)
		}
		if got := string(s.Text()); got != want {
			t.Fatalf("Text of %s = %q, want %q", s.Raw(), got, want)
		}
		var again string
		if err := json.Unmarshal(scan.AppendString(nil, want), &again); err != nil || again != want {
			t.Fatalf("AppendString(%q) reads as %q, %v", want, again, err)
		}
	}
}

func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{
		"plain": `"plain"`, "a\"b\\c\n\r\t\x01": `"a\"b\\c\n\r\t\u0001"`, "é\xffü": `"é` + "\uFFFD" + `ü"`, "": `""`, "\u2028": "\"\u2028\"",
	} {
		if got := scan.AppendString(nil, in); !bytes.Equal(got, []byte(want)) {
			t.Errorf("AppendString(%q) = %s, want %s", in, got, want)
		}
	}
}
