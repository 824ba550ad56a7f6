package ingest_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// hidden is the secret that is planted.
const hidden = "N33dl3inTheHay5tack0"

// places are where secrets are found in the wild. Each takes the text that stands
// around them, which never touches the credential itself.
func places() []func(around string) (typ string, data any) {
	type object = map[string]any
	text := func(credential string) func(string) (string, any) {
		return func(around string) (string, any) {
			return "app.log", object{"line": around + "\n" + credential + "\n" + around, "list": []string{around, credential}}
		}
	}
	return []func(string) (string, any){
		func(a string) (string, any) { return "app", object{"password": hidden, "other": a} },
		func(a string) (string, any) {
			return "app", object{"around": a, "deep": []any{object{"apiKeys": []any{hidden, "", object{"x": hidden}}}}}
		},
		func(a string) (string, any) {
			return "app", object{"headers": object{"Authorization": a + hidden, "Set-Cookie": "sid=" + hidden, "X-Api-Key": hidden}, "a": a}
		},
		func(a string) (string, any) {
			return "model_updated", object{"model": object{"app": "a", "model_name": "m", "pk": "1", "name": "n"}, "diff": object{
				"client_secret": object{"previous_value": hidden, "new_value": hidden + "2"}, "name": object{"previous_value": a, "new_value": "b"},
			}}
		},
		func(a string) (string, any) {
			return "system_exception", object{"message": a, "exception": object{
				"type": "E", "message": "dial postgres://app:" + hidden + "@db/x: refused", "frames": []object{{"file": "a.go", "line": 1, "function": "f"}},
				"cause": object{"type": "E", "message": "Authorization: Bearer " + hidden, "frames": []object{}},
			}}
		},
		func(a string) (string, any) {
			return "email_sent", object{"subject": "s", "to": []string{"a@example.com"}, "body": a + "\nYour link: https://t.example/reset?token=" + hidden + "\n" + a}
		},
		text("Authorization: Bearer " + hidden),
		text("Authorization: Basic dXNlcjpwYXNz" + hidden),
		text("Cookie: sid=" + hidden),
		text("https://ann:" + hidden + "@example.com/x"),
		text("GET https://example.com/?page=2&access_token=" + hidden + " HTTP/1.1"),
		text("-----BEGIN PRIVATE KEY-----\n" + hidden + "\n-----END PRIVATE KEY-----"),
		text("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ" + hidden + "zIn0.c2lnbmF0dXJl" + hidden),
		text("password=" + hidden),
	}
}

// FuzzRedaction plants a secret in one of the places, with arbitrary text around
// it, and finds it neither in the journal, nor in what is logged, nor in a
// message or view of the event.
func FuzzRedaction(f *testing.F) {
	for n := range places() {
		f.Add(uint8(n), "nothing special", "urn:test")
		f.Add(uint8(n), "\"quoted\" {\"password\": 1} https://x:y@z/?a=b&token=", "a")
	}
	j, err := journal.Open(f.Context(), journal.Options{Dir: f.TempDir(), Window: 1000})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := j.Close(); err != nil {
			f.Error(err)
		}
	})
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	c := catalog.New()
	i := ingest.New(ingest.Options{
		Journal: j, Catalog: c, Unknown: func() ingest.Policy { return ingest.AcceptUnknown }, Enrich: func(*event.Event) {},
		Count: func(event.Type, ingest.Outcome, string) {}, Log: func() *slog.Logger { return log },
	})
	n := 0
	f.Fuzz(func(t *testing.T, place uint8, around, source string) {
		if strings.Contains(around, "N33d") || strings.Contains(source, "N33d") {
			return
		}
		all := places()
		typ, data := all[int(place)%len(all)](around)
		n++
		raw, err := json.Marshal(map[string]any{"specversion": "1.0", "id": "f" + strconv.Itoa(n), "source": source, "type": typ, "data": data})
		if err != nil {
			t.Fatal(err)
		}
		in := (&ingest.Limits{Event: 1 << 20, Batch: 16 << 20}).DecodeOne(raw)
		logged.Reset()
		answer, err := i.Accept(t.Context(), ingest.Sender{Name: "fuzz"}, []ingest.Incoming{in})
		if err != nil || answer.Results[0].Err != nil {
			return // refused, and nothing is kept
		}
		hit, err := j.Get(answer.Results[0].Sequence)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := event.Decode(hit.Body)
		if err != nil {
			t.Fatalf("what is kept can't be read: %v", err)
		}
		seen := map[string]string{"the journal": string(hit.Body), "the log": logged.String(), "the message": c.Message(&kept)}
		for _, view := range []catalog.View{catalog.CloudEvents, catalog.Audit, catalog.Significant} {
			if text, err := catalog.AppendView(nil, &kept, view); err == nil {
				seen["the view "+string(view)] = string(text)
			}
		}
		for where, text := range seen {
			if strings.Contains(text, hidden) {
				t.Errorf("place %d: the secret is in %s: %s", int(place)%len(all), where, text)
			}
		}
		if !strings.Contains(string(hit.Body), redact.Mask) {
			t.Errorf("place %d: nothing is masked: %s", int(place)%len(all), hit.Body)
		}
	})
}
