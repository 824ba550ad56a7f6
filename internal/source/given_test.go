package source

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Whatever a program or a file gives: it is refused, or it is an event that can be
// recorded, and never one of this server's own.
func FuzzGiven(f *testing.F) {
	for _, seed := range []string{
		`{"type":"a.b","severity":"warn","subject":"x/1","time":"2026-11-21T10:00:00Z","id":"1","data":{"a":[1,2]}}`,
		`{"specversion":"1.0","id":"1","source":"urn:x","type":"a.b"}`, `{"specversion":"1.0","id":"1","source":"https://t.example/server","type":"a.b"}`,
		`[{"type":"a"},{"type":"b"}]`, "{\"type\":\"a\"}\n\n{\"type\":\"b\"}", `{"type":"disk_full","data":{"path":"/"}}`, "\xef\xbb\xbf{}", `{"type":"a","data":null}`,
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	give := newGiver(&newStage().Env, "folder")
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, content []byte, lines bool) {
		events, err := give.all(content, lines, "id", at)
		if err != nil {
			if !errors.Is(err, event.ErrInvalid) || len(events) != 0 {
				t.Fatalf("%v, %d events", err, len(events))
			}
			return
		}
		again, err := give.all(content, lines, "id", at)
		if err != nil || len(again) != len(events) || len(events) == 0 {
			t.Fatalf("%d events, then %d, %v", len(events), len(again), err)
		}
		for i, e := range events {
			if _, err := event.Decode(e.AppendJSON(nil)); err != nil {
				t.Fatalf("%v: %s", err, e.AppendJSON(nil))
			}
			if e.ID != again[i].ID || e.Host == "" || e.Source != give.source && strings.HasPrefix(e.Source, "https://t.example/") {
				t.Fatalf("%s, then %s", e.AppendJSON(nil), again[i].AppendJSON(nil))
			}
		}
	})
}

// Logs of ACME clients hold what authorities say, and so what anybody says.
func FuzzAcmeLog(f *testing.F) {
	f.Add(certbotFailure)
	f.Add(certbotRenewal)
	f.Add("[x] acme: error: 400\n" + `{"level":"error","ts":1e99,"logger":"tls.obtain","msg":"will retry","error":"[x] y"}`)
	f.Fuzz(func(t *testing.T, text string) {
		clients := opens(t, "cert_renew", "").source.(*acme).clients
		for _, c := range clients {
			log := c.failures()
			for line := range strings.Lines(text) {
				for _, one := range log.line(strings.TrimSuffix(line, "\n")) {
					finding := c.failed(&newStage().Env, one)
					if e, err := finding.event(&newStage().Env); err != nil || len(e.Data) > 1<<20 {
						t.Fatalf("%v, %d bytes", err, len(e.Data))
					}
				}
			}
		}
	})
}

// A report of AIDE holds names that anybody may give to files.
func FuzzAideReport(f *testing.F) {
	f.Add([]byte(aideReportText))
	f.Add([]byte(`{"outline":"x","changed":{"/a\n\u0000b":"f"},"details":{"/a":{"size":{}}}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := newStage()
		a := opens(t, "aide_diff", "").source.(*aide)
		if err := a.judge(t.Context(), &s.Env, content, "/r", nil); err != nil && !errors.Is(err, event.ErrInvalid) {
			t.Fatal(err)
		}
		s.take(t)
	})
}
