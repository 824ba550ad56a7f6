package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/state"
)

type bench struct {
	*ingest.Ingest
	t       *testing.T
	counted map[string]int
}

func open(t *testing.T, policy ingest.Policy) *bench {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{Dir: t.TempDir(), Window: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{t: t, counted: map[string]int{}}
	b.Ingest = ingest.New(ingest.Options{
		Journal: j, Catalog: catalog.New(), Unknown: func() ingest.Policy { return policy }, Bases: []string{"https://t.example", ""},
		Enrich: func(e *event.Event) {
			if e.ClientIP != "" {
				e.GeoCountry = "DE"
			}
		},
		Count: func(_ event.Type, o ingest.Outcome, reason string) { b.counted[string(o)+" "+reason]++ },
	})
	return b
}

func (b *bench) accept(from ingest.Sender, docs ...string) ingest.Answer {
	b.t.Helper()
	limits := ingest.Limits{Event: 1 << 20, Batch: 16 << 20}
	in := make([]ingest.Incoming, len(docs))
	for i, d := range docs {
		in[i] = limits.DecodeOne([]byte(d))
	}
	a, err := b.Accept(b.t.Context(), from, in)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

func (b *bench) stored(seq event.Seq) event.Event {
	b.t.Helper()
	hit, err := b.Journal.Get(seq)
	if err != nil {
		b.t.Fatal(err)
	}
	e, err := event.Decode(hit.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return e
}

func doc(rest string) string { return `{"specversion":"1.0","source":"/s",` + rest + `}` }

func TestAcceptCompletes(t *testing.T) {
	b := open(t, ingest.AcceptUnknown)
	a := b.accept(ingest.Sender{Name: "ci"}, doc(`"id":"1","type":"disk_full","clientip":"192.0.2.1","sequence":"99","recordedtime":"2020-01-01T00:00:00Z",
		"recordedby":"me","brand":"x","geocountry":"XX","asn":"1","causationdepth":7,"kind":"audit","data":{"path":"/","api_key":"k"}`))
	if a.Accepted != 1 || a.Results[0].Sequence != 1 {
		t.Fatalf("answer %+v", a)
	}
	e := b.stored(1)
	if e.Time.IsZero() {
		t.Error("no time was stamped")
	}
	got := []any{e.Kind, e.Severity, e.RecordedBy, e.Brand, e.GeoCountry, e.ASN, e.CausationDepth, string(e.Data)}
	want := []any{event.KindHost, event.Warn, "ci", "", "DE", "", int32(0), `{"path":"/","api_key":"` + redact.Mask + `"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTrustedSenderKeeps(t *testing.T) {
	b := open(t, ingest.AcceptUnknown)
	b.accept(ingest.Sender{Name: "edge", Trusted: true}, `{"specversion":"1.0","id":"1","source":"https://t.example/disk","type":"disk_full","brand":"x","geocountry":"FR","causationdepth":3,"data":{"path":"/"}}`)
	if e := b.stored(1); e.Brand != "x" || e.GeoCountry != "FR" || e.CausationDepth != 3 || e.RecordedBy != "edge" {
		t.Errorf("forwarded: %+v", e)
	}
}

func TestMixedBatch(t *testing.T) {
	b := open(t, ingest.AcceptUnknown)
	a := b.accept(ingest.Sender{Name: "ci"},
		doc(`"id":"1","type":"t"`), doc(`"id":"","type":"t"`), `{"id":`, doc(`"id":"1","type":"t"`), doc(`"id":"1","type":"other"`),
		`{"specversion":"1.0","id":"9","source":"https://t.example/server","type":"server.ready"}`, `{"specversion":"1.0","id":"9","source":"https://t.example.evil/x","type":"t"}`, doc(`"id":"2","type":"t"`))
	if a.Accepted != 3 || a.Duplicates != 2 || a.Rejected != 3 {
		t.Errorf("answer %+v", a)
	}
	type fate struct {
		Seq                 event.Seq
		Duplicate, Conflict bool
		Err                 string
	}
	var got []fate
	for _, r := range a.Results {
		f := fate{r.Sequence, r.Duplicate, r.Conflict, ""}
		if r.Err != nil {
			f.Err, _, _ = strings.Cut(r.Err.Error(), ":")
		}
		got = append(got, f)
	}
	want := []fate{
		{1, false, false, ""},
		{0, false, false, "id is missing or empty"},
		{0, false, false, "line 1, column 7"},
		{1, true, false, ""},
		{1, true, true, ""},
		{0, false, false, `source "https`},
		{2, false, false, ""},
		{3, false, false, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !errors.Is(a.Results[5].Err, event.ErrDenied) {
		t.Errorf("own source: %v", a.Results[5].Err)
	}
	wantCounts := map[string]int{"recorded ": 3, "duplicate ": 2, "rejected malformed": 2, "rejected own_source": 1}
	if diff := cmp.Diff(wantCounts, b.counted); diff != "" {
		t.Error(diff)
	}
}

func TestPolicies(t *testing.T) {
	unknown, misfit := doc(`"id":"1","type":"made_up"`), doc(`"id":"2","type":"disk_full","data":{"path":7}`)
	for policy, want := range map[ingest.Policy][]string{
		ingest.AcceptUnknown:     {"custom  ", "custom data.path must be of type string "},
		ingest.QuarantineUnknown: {`custom type "made_up" is not in the catalog true`, "custom data.path must be of type string true"},
		ingest.RejectUnknown:     {`rejected type "made_up" is not in the catalog; add`, "rejected data.path must be of type string; add"},
	} {
		b := open(t, policy)
		a := b.accept(ingest.Sender{Name: "ci"}, unknown, misfit)
		for i, r := range a.Results {
			var got string
			if r.Err != nil {
				got = "rejected " + r.Err.Error()
			} else {
				e := b.stored(r.Sequence)
				got = string(e.Kind) + " " + e.Text(ingest.MisfitAttribute) + " " + e.Text(ingest.QuarantineAttribute)
			}
			if !strings.HasPrefix(got, want[i]) {
				t.Errorf("%s: %q, want %q", policy, got, want[i])
			}
		}
	}
}

// A chain of causes ends, and what has none is not looked up.
func TestCausationDepth(t *testing.T) {
	b := open(t, ingest.AcceptUnknown)
	b.accept(ingest.Sender{Name: "ci"}, doc(`"id":"0","type":"t"`))
	for n := 1; n <= ingest.MaxDepth+1; n++ {
		id, cause := string(rune('0'+n)), string(rune('0'+n-1))
		a := b.accept(ingest.Sender{Name: "ci"}, doc(`"id":"`+id+`","type":"t","causationid":"`+cause+`"`))
		r := a.Results[0]
		if n <= ingest.MaxDepth {
			if r.Err != nil || b.stored(r.Sequence).CausationDepth != int32(n) {
				t.Errorf("event %d of the chain: %v", n, r.Err)
			}
		} else if !errors.Is(r.Err, event.ErrDenied) {
			t.Errorf("event %d of the chain is accepted: %v", n, r.Err)
		}
	}
}

func TestReadLines(t *testing.T) {
	l := ingest.Limits{Event: 200, Batch: 1 << 20}
	good := doc(`"id":"1","type":"t"`)
	in := good + "\n\n  \r\n{bad}\n" + strings.Repeat("x", 5000) + "\n" + good + "\n" + good
	var got []string
	err := l.ReadLines(strings.NewReader(in), func(index int, group []ingest.Incoming) error {
		if index != len(got) {
			t.Errorf("index %d behind %d events", index, len(got))
		}
		for _, one := range group {
			if one.Err != nil {
				got = append(got, one.Err.Error())
			} else {
				got = append(got, string(one.Event.ID))
			}
		}
		return nil
	})
	want := []string{"1", "line 1, column 2: not JSON: expected a key in double quotes", "the event has 5001 bytes; at most 200 are accepted (ingest.max_event)", "1", "1"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	boom := errors.New("boom")
	if err := l.ReadLines(strings.NewReader(in), func(int, []ingest.Incoming) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("ReadLines = %v", err)
	}
}

func TestDecodeBatch(t *testing.T) {
	l := ingest.Limits{Event: 1 << 10, Batch: 1 << 20}
	good := doc(`"id":"1","type":"t"`)
	in, err := l.DecodeBatch([]byte("[" + good + ", 5 ,{}," + good + "]"))
	if err != nil || len(in) != 4 || in[0].Err != nil || in[1].Err == nil || in[2].Err == nil || in[3].Err != nil {
		t.Errorf("DecodeBatch = %v, %v", in, err)
	}
	in, err = l.DecodeBatch([]byte("[" + good + `,{"id":"tr`))
	if err != nil || len(in) != 2 || in[0].Err != nil || in[1].Err == nil {
		t.Errorf("a batch that breaks off: %v, %v", in, err)
	}
	for _, bad := range []string{"", "{}", "[", `[{"a"`, "[] x"} {
		if in, err := l.DecodeBatch([]byte(bad)); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("DecodeBatch(%q) = %v, %v", bad, in, err)
		}
	}
}

// The outbox carries what a transaction said, also what a crash left behind, and
// each event once.
func TestOutbox(t *testing.T) {
	b, dir := open(t, ingest.AcceptUnknown), t.TempDir()
	first := openState(t, dir)
	raise := func(s *state.State, typ event.Type) error {
		return s.Write(t.Context(), state.System(), func(tx *state.Tx) error {
			return tx.Raise("server", typ, "", map[string]any{"reason": "test", "msg": "x"})
		})
	}
	if err := raise(first, "license.valid"); err != nil { // nobody carries it: as if the server had crashed
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	s := openState(t, dir)
	defer s.Close()
	lag := uint64(99)
	for round := range 2 { // the second outbox begins at 0 again: the journal knows the ids
		o := ingest.NewOutbox(b.Ingest, s, slog.New(slog.DiscardHandler), func(n uint64) { lag = n })
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- o.Run(ctx) }()
		s.SetRecorder(o.Record)
		if err := raise(s, "license.invalid"); err != nil {
			t.Fatal(err)
		}
		if last := b.Journal.Last(); last != event.Seq(round+2) {
			t.Errorf("round %d: %d events are recorded when the write returns", round, last)
		}
		stop()
		if err := <-done; err != nil || lag != 0 {
			t.Errorf("the outbox ended with %v, %d behind", err, lag)
		}
	}
	if e := b.stored(1); e.Type != "license.valid" || e.Kind != event.KindSys || e.RecordedBy != "tocsin" {
		t.Errorf("left behind: %+v", e)
	}
}

func openState(t *testing.T, dir string) *state.State {
	t.Helper()
	s, err := state.Open(t.Context(), state.Options{Dir: dir, Source: "https://t.example"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add([]byte("[" + doc(`"id":"1","type":"t"`) + "]"))
	f.Add([]byte(`[{},5,"x",[`))
	l := ingest.Limits{Event: 1 << 10, Batch: 1 << 20}
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, err := l.DecodeBatch(raw)
		if err != nil && !errors.Is(err, event.ErrInvalid) {
			t.Fatalf("error %v is of no class", err)
		}
		for _, one := range in {
			if one.Err == nil && one.Event.Validate() != nil {
				t.Fatalf("accepted %+v", one.Event)
			}
		}
	})
}

func FuzzReadLines(f *testing.F) {
	f.Add([]byte(doc(`"id":"1","type":"t"`) + "\n\n{}\n"))
	l := ingest.Limits{Event: 256, Batch: 1 << 20}
	f.Fuzz(func(t *testing.T, raw []byte) {
		lines := 0
		for line := range bytes.SplitSeq(raw, []byte("\n")) {
			if len(bytes.TrimSpace(line)) > 0 {
				lines++
			}
		}
		given := 0
		if err := l.ReadLines(bytes.NewReader(raw), func(_ int, group []ingest.Incoming) error { given += len(group); return nil }); err != nil {
			t.Fatal(err)
		}
		if given < lines {
			t.Fatalf("%d of %d lines are answered", given, lines)
		}
	})
}
