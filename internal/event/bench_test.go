package event_test

import (
	"testing"

	"github.com/tocsin-events/tocsin/internal/event"
)

const sample = `{"specversion":"1.0","id":"0b9c7a52-9a0e-7c7e-b5a7-1f2e3d4c5b6a","source":"https://tocsin.example/host/web-17","type":"backup_failed","subject":"backup/nightly","time":"2026-11-21T10:46:42.123Z","severitytext":"error","severitynumber":17,"authtype":"service_account","authid":"actor-0117","clientip":"192.0.2.17","host":"web-17","data":{"name":"nightly","tool":"restic","exit_status":3,"duration_ms":48211,"bytes":1073741824,"files":20311,"snapshot":"4f1d2c3b4a5968778695a4b3c2d1e0ff","error":"repository is already locked by process 4711 on web-17 by root","output":"open repository\nlock repository\nunable to create lock in backend: repository is already locked","labels":["nightly","offsite"]}}`

func BenchmarkDecode(b *testing.B) {
	b.SetBytes(int64(len(sample)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.Decode([]byte(sample)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendStored(b *testing.B) {
	e, err := event.Decode([]byte(sample))
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	b.SetBytes(int64(len(sample)))
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendStored(buf[:0])
	}
}
