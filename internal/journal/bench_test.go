package journal_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal"
)

// benchEvent is about 660 bytes of JSON, with a random id and random hex.
func benchEvent(r *rand.Rand) event.Event {
	return event.Event{
		ID: event.ID(fmt.Sprintf("%016x-%016x", r.Uint64(), r.Uint64())), Source: "https://tocsin.example/host/web-17",
		Type: event.Type(fmt.Sprint("type_", r.IntN(150))), Kind: event.KindHost, Severity: event.Warn,
		Subject: "backup/nightly", Time: time.Now().UTC(), AuthType: "service_account", AuthID: fmt.Sprint("actor-", r.IntN(2000)),
		ClientIP: fmt.Sprintf("192.0.%d.%d", r.IntN(20), r.IntN(250)), Host: "web-17",
		Data: fmt.Appendf(nil, `{"name":"nightly","tool":"restic","exit_status":%d,"duration_ms":%d,"bytes":1073741824,"request":"%016x%016x","error":"repository is already locked by process %d on web-17 by root","output":"open repository\nlock repository\nunable to create lock in backend: repository is already locked","labels":["nightly","offsite"]}`,
			r.IntN(4), r.IntN(90000), r.Uint64(), r.Uint64(), r.IntN(30000)),
	}
}

type observed struct{ groups, events atomic.Int64 }

func (o *observed) Committed(s journal.GroupStats) {
	o.groups.Add(1)
	o.events.Add(int64(s.Events))
}

// load appends total events from producers in batches, and gives the rate in
// events a second and the mean size of a group in events.
func load(b *testing.B, dir string, producers, batch, total int) (rate, group float64) {
	b.Helper()
	var seen observed
	j, err := journal.Open(b.Context(), journal.Options{Dir: dir, Observer: &seen})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	var wg sync.WaitGroup
	prepared := make([][][]event.Event, producers)
	for p := range producers {
		r := rand.New(rand.NewPCG(uint64(p), uint64(time.Now().UnixNano())))
		for range total / producers / batch {
			events := make([]event.Event, batch)
			for i := range events {
				events[i] = benchEvent(r)
			}
			prepared[p] = append(prepared[p], events)
		}
	}
	start := time.Now()
	for p := range producers {
		wg.Go(func() {
			for _, events := range prepared[p] {
				if _, err := j.Append(b.Context(), events); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(seen.events.Load()) / time.Since(start).Seconds(), float64(seen.events.Load()) / float64(seen.groups.Load())
}

// bound writes the same bytes to a growing file, a write and an fdatasync for
// each group of the same size, and gives events a second.
func bound(b *testing.B, dir string, group float64, total int) float64 {
	b.Helper()
	f, err := os.Create(filepath.Join(dir, "bound"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	// Real events, and others in each group of a cycle: a virtual disk may have
	// a short way for zeros, or for what it has seen.
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	bufs := make([][]byte, 16)
	for i := range bufs {
		for range int(group) {
			e := benchEvent(r)
			bufs[i] = e.AppendStored(bufs[i])
		}
	}
	groups := int(float64(total) / group)
	start := time.Now()
	for i := range groups {
		if _, err := f.Write(bufs[i%len(bufs)]); err != nil {
			b.Fatal(err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	return float64(groups) * float64(int(group)) / time.Since(start).Seconds()
}

// BenchmarkAppend measures the journal and its bound in turns in one run, and
// reports the ratio: the goal is 0.9 for single events, and 0.5 for batches.
func BenchmarkAppend(b *testing.B) {
	for _, shape := range []struct {
		name                    string
		producers, batch, total int
	}{
		{"64x1", 64, 1, 128_000},
		{"4x500", 4, 500, 300_000},
	} {
		b.Run(shape.name, func(b *testing.B) {
			var rate, group, limit float64
			for i := range b.N {
				dir := filepath.Join(b.TempDir(), strconv.Itoa(i))
				r, g := load(b, dir, shape.producers, shape.batch, shape.total)
				l := bound(b, dir, g, shape.total)
				rate, group, limit = rate+r, group+g, limit+l
				b.Logf("round %d: %.0f events/s, bound %.0f, ratio %.2f", i, r, l, r/l)
			}
			b.ReportMetric(rate/float64(b.N), "events/s")
			b.ReportMetric(group/float64(b.N), "events/group")
			b.ReportMetric(limit/float64(b.N), "bound/s")
			b.ReportMetric(rate/limit, "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}
