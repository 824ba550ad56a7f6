package event_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tocsin-events/tocsin/internal/event"
)

const least = `"specversion":"1.0","id":"1","source":"/s","type":"t"`

func TestDecode(t *testing.T) {
	got, err := event.Decode([]byte(`{"specversion":"1.0","id":"A-1","source":"https://x.example/y?z=%20","type":"disk_full","subject":"user/42",
		"time":"2026-11-21t10:46:42.123456789+01:00","datacontenttype":"application/json","dataschema":"urn:x:y","kind":"host",
		"severitytext":"error","severitynumber":17,"authtype":"user","authid":"7","clientip":"192.0.2.1","causationdepth":2,
		"sequence":"00000000000000000042","expirytime":"2027-01-01T00:00:00Z","myint":-5,"mybool":true,"atext":"x","anull":null,
		"data":{"b":[1, 2],"a":"\u0000"}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := event.Event{
		ID: "A-1", Source: "https://x.example/y?z=%20", Type: "disk_full", Subject: "user/42",
		Time:            time.Date(2026, 11, 21, 9, 46, 42, 123456789, time.UTC),
		DataContentType: "application/json", DataSchema: "urn:x:y", Kind: event.KindHost, Severity: event.Error,
		AuthType: "user", AuthID: "7", ClientIP: "192.0.2.1", CausationDepth: 2, Sequence: 42,
		ExpiryTime: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		Extensions: []event.Attribute{{Name: "atext", Value: "x"}, {Name: "mybool", Value: true}, {Name: "myint", Value: int32(-5)}},
		Data:       []byte(`{"b":[1, 2],"a":"\u0000"}`),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	again, err := event.Decode(got.AppendJSON(nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("written and read again: %s", diff)
	}
}

func TestDecodeErrors(t *testing.T) {
	tests := []struct{ in, says string }{
		{``, "ends where a JSON value should follow"},
		{`[]`, "must be a JSON object"},
		{`{` + least, "ends where"},
		{`{` + least + `} x`, "more after the end"},
		{`{` + least + `,"id":"2"}`, `key "id" is there twice`},
		{`{"id":"1","source":"/s","type":"t"}`, "specversion is missing"},
		{`{"specversion":"0.3","id":"1","source":"/s","type":"t"}`, `specversion "0.3" is not supported`},
		{`{"specversion":1.0,"id":"1","source":"/s","type":"t"}`, "not a 32-bit whole number"},
		{`{"specversion":"1.0","id":"","source":"/s","type":"t"}`, "id is missing or empty"},
		{`{"specversion":"1.0","id":"1","type":"t"}`, "source is missing"},
		{`{"specversion":"1.0","id":"1","source":"/s"}`, "type is missing"},
		{`{"specversion":"1.0","id":5,"source":"/s","type":"t"}`, `"id" must be a string`},
		{`{"specversion":"1.0","id":"1","source":"a b","type":"t"}`, "not a URI"},
		{`{"specversion":"1.0","id":"1","source":"http://[::1","type":"t"}`, "not a URI"},
		{`{` + least + `,"time":"yesterday"}`, "not an RFC 3339 time"},
		{`{` + least + `,"time":"0001-01-01T00:00:00Z"}`, "out of range"},
		{`{` + least + `,"time":"9999-12-31T23:59:59Z"}`, "out of range"},
		{`{` + least + `,"My-Ext":"x"}`, "only a–z and 0–9"},
		{`{` + least + `,"":"x"}`, "name is empty"},
		{`{` + least + `,"` + strings.Repeat("a", 65) + `":"x"}`, "longer than 64"},
		{`{` + least + `,"ext":1.5}`, "not a 32-bit whole number"},
		{`{` + least + `,"ext":2147483648}`, "not a 32-bit whole number"},
		{`{` + least + `,"ext":{}}`, "only data may be one"},
		{`{` + least + `,"ext":"a\u0000b"}`, "control character U+0000"},
		{`{` + least + `,"ext":"a\ufffeb"}`, "no character"},
		{`{` + least + `,"subject":"` + strings.Repeat("x", event.MaxAttribute+1) + `"}`, "longer than"},
		{`{` + least + `,"severitytext":"fatal"}`, "use one of info, notice, warn, error, critical"},
		{`{` + least + `,"severitynumber":11}`, "severitynumber 11 is unknown"},
		{`{` + least + `,"severitytext":"info","severitynumber":17}`, "do not agree"},
		{`{` + least + `,"kind":"other"}`, "kind"},
		{`{` + least + `,"datacontenttype":"a b/c"}`, "not a media type"},
		{`{` + least + `,"dataschema":"relative"}`, "absolute URI"},
		{`{` + least + `,"sequence":"x"}`, "not a whole number"},
		{`{` + least + `,"data_base64":"!"}`, "not standard base64"},
		{`{` + least + `,"data_base64":"AA==","data":1}`, "both there"},
		{`{` + least + `,"data":1e999}`, "too large"},
		{`{` + least + `,"data":"` + "\xff" + `"}`, "not valid UTF-8"},
		{`{` + least + `,"data":` + strings.Repeat("[", 100_000) + `}`, "nested deeper"},
	}
	for _, tt := range tests {
		_, err := event.Decode([]byte(tt.in))
		if !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("Decode(%.80q) = %v, want %q", tt.in, err, tt.says)
		}
	}
}

func TestTooManyExtensions(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{` + least)
	for i := range event.MaxExtensions + 1 {
		b.WriteString(`,"e` + strings.Repeat("x", i%50) + string(rune('a'+i/50)) + `":1`)
	}
	b.WriteString(`}`)
	if _, err := event.Decode([]byte(b.String())); err == nil || !strings.Contains(err.Error(), "more than 64 extension") {
		t.Errorf("Decode = %v", err)
	}
}

func TestBinary(t *testing.T) {
	e, err := event.Decode([]byte(`{` + least + `,"datacontenttype":"image/png","data_base64":"iVBORw=="}`))
	if err != nil || !bytes.Equal(e.Binary, []byte("\x89PNG")) || e.Data != nil {
		t.Fatalf("Decode = %+v, %v", e, err)
	}
	if again, err := event.Decode(e.AppendJSON(nil)); err != nil || !cmp.Equal(e, again) {
		t.Errorf("written and read again: %s, %v", cmp.Diff(e, again), err)
	}
}

func TestInsertRecorded(t *testing.T) {
	e, err := event.Decode([]byte(`{` + least + `,"subject":"a","data":[1]}`))
	if err != nil {
		t.Fatal(err)
	}
	stored := e.AppendStored(nil)
	e.Sequence, e.RecordedTime = 7, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	got := event.InsertRecorded(nil, stored, e.Sequence, e.RecordedTime)
	if want := e.AppendJSON(nil); !bytes.Equal(got, want) {
		t.Errorf("InsertRecorded = %s, want %s", got, want)
	}
}

func TestFromText(t *testing.T) {
	e, err := event.FromText(map[string]string{
		"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "severitynumber": "13", "custom": "x", "time": "2026-01-01T00:00:00Z",
	})
	if err != nil || e.Severity != event.Warn || e.Text("custom") != "x" {
		t.Errorf("FromText = %+v, %v", e, err)
	}
	for says, attributes := range map[string]map[string]string{
		"only a–z":          {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "bad_name": "x"},
		"32-bit":            {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "severitynumber": "many"},
		"id is missing":     {"specversion": "1.0", "source": "/s", "type": "t"},
		"control character": {"specversion": "1.0", "id": "a\x7f", "source": "/s", "type": "t"},
	} {
		if _, err := event.FromText(attributes); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("FromText(%v) = %v, want %q", attributes, err, says)
		}
	}
}

func TestSeq(t *testing.T) {
	for seq, want := range map[event.Seq]string{0: "00000000000000000000", 42: "00000000000000000042", math.MaxUint64: "18446744073709551615"} {
		if got := seq.String(); got != want {
			t.Errorf("%d.String() = %s", uint64(seq), got)
		}
		if back, err := event.ParseSeq(want); err != nil || back != seq {
			t.Errorf("ParseSeq(%s) = %d, %v", want, back, err)
		}
	}
	if _, err := event.ParseSeq("-1"); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("ParseSeq(-1) = %v", err)
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"250ms": 250 * time.Millisecond, "5s": 5 * time.Second, "26h": 26 * time.Hour, "14d": 14 * 24 * time.Hour,
		"1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute, "0.5d": 12 * time.Hour,
	} {
		if got, err := event.ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%s) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "5", "1w", "yesterday", "1e300d", "5d5"} {
		if got, err := event.ParseDuration(text); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("ParseDuration(%q) = %v, %v, want an error", text, got, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(3000*24*time.Hour)).Draw(t, "d"))
		if got, err := event.ParseDuration(event.FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%v is written %s and read %v, %v", d, event.FormatDuration(d), got, err)
		}
	})
}

func TestNewID(t *testing.T) {
	a, b := event.NewID(), event.NewID()
	synctest.Test(t, func(t *testing.T) { // made a microsecond apart, they sort as they were made
		last := event.NewID()
		for range 5000 {
			time.Sleep(time.Microsecond)
			next := event.NewID()
			if next <= last {
				t.Fatalf("%s does not sort behind %s", next, last)
			}
			last = next
		}
	})
	if a == b || len(a) != 36 || a[14] != '7' || !strings.ContainsRune("89ab", rune(a[19])) {
		t.Errorf("NewID gives %s and %s", a, b)
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("cause")
	err := event.Unavailablef("later: %w", cause)
	if err.Error() != "later: cause" || !errors.Is(err, event.ErrUnavailable) || !errors.Is(err, cause) || errors.Is(err, event.ErrInvalid) {
		t.Errorf("Unavailablef = %v", err)
	}
}

// FuzzDecode: whatever is accepted is written and read again without loss, and
// what the journal stores becomes the same JSON as the event itself.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`{` + least + `,"data_base64":"AA=="}`))
	f.Add([]byte(`{` + least + `,"ext":1,"time":"2026-01-01T00:00:00.5+02:00","data":"\ud83d\ude00"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := event.Decode(in)
		if err != nil {
			if !errors.Is(err, event.ErrInvalid) {
				t.Fatalf("error %v is of no class", err)
			}
			return
		}
		written := e.AppendJSON(nil)
		again, err := event.Decode(written)
		if err != nil {
			t.Fatalf("%s does not read again: %v", written, err)
		}
		if diff := cmp.Diff(e, again); diff != "" {
			t.Fatalf("read again: %s", diff)
		}
		e.Sequence, e.RecordedTime = 0, time.Time{}
		stored, err := event.DecodeStored(e.AppendStored(nil))
		if diff := cmp.Diff(e, stored); diff != "" || err != nil {
			t.Fatalf("read from the journal: %v, %s", err, diff)
		}
		e.Sequence, e.RecordedTime = 9, time.Unix(0, 1)
		if got := event.InsertRecorded(nil, e.AppendStored(nil), 9, time.Unix(0, 1)); !bytes.Equal(got, e.AppendJSON(nil)) {
			t.Fatalf("InsertRecorded = %s", got)
		}
	})
}
