package segment

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

func writeAll(tb testing.TB, dir string, t *Table) []Source {
	tb.Helper()
	var out []Source
	var chain [classes]Hash
	for _, p := range t.Parts() {
		path, err := Write(vfs.OS{}, dir, t, p, chain[p.Class])
		if err != nil {
			tb.Fatal(err)
		}
		r, err := Open(vfs.OS{}, path)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(r.Release)
		chain[p.Class] = r.Info().Out
		out = append(out, r)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	table := newGenerator(1, time.Second).table(t, 5000)
	sources := writeAll(t, t.TempDir(), table)
	want, err := After(context.Background(), []Source{table}, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := After(context.Background(), sources, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 5000 || len(want) != 5000 {
		t.Fatalf("got %d and %d events, want 5000", len(got), len(want))
	}
	for i := range got {
		if got[i].Seq != want[i].Seq || got[i].Recorded != want[i].Recorded || !bytes.Equal(got[i].Body, want[i].Body) {
			t.Fatalf("event %d differs:\n%s\n%s", i, got[i].Body, want[i].Body)
		}
	}
	for _, s := range sources {
		if err := s.(*Reader).Verify(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

func TestSizes(t *testing.T) {
	g := newGenerator(2, 2600*time.Millisecond)
	table := g.table(t, 16384)
	b := new(builder)
	p := table.Parts()[0]
	v := table.view.Load()
	for i := range v.rows { // one segment, whatever the day
		v.rows[i].day = p.Day
	}
	if err := b.build(v, p, Hash{}); err != nil {
		t.Fatal(err)
	}
	n := float64(len(b.rows))
	t.Logf("bodies raw %.1f B/event, file %.1f B/event", float64(v.bytes)/n, float64(len(b.out))/n)
	text, ids := 0, 0
	for _, e := range b.index {
		text += int(e.text)
		ids += int(e.ids)
	}
	t.Logf("text %.1f ids %.1f", float64(text)/n, float64(ids)/n)
	width := 0
	for k := range eventColumns {
		width += b.foot.columns[k].width
	}
	t.Logf("columns %d, footer %.2f", width, float64(len(b.foot.append(nil)))/n)
	names := []string{"index", "keys", "codes", "types", "kinds", "sources", "actors", "addresses", "pairs", "text", "hours", "severities"}
	for i, s := range b.foot.sections {
		t.Logf("%-10s %6.2f", names[i], float64(s.length)/n)
	}
	if size := float64(len(b.out)) / n; size > 200 {
		t.Errorf("%.1f bytes an event, at most 200 are allowed", size)
	}
}

func BenchmarkWrite(b *testing.B) {
	g := newGenerator(3, 10*time.Millisecond)
	table := g.table(b, 16384)
	v := table.view.Load()
	p := table.Parts()[0]
	bu := new(builder)
	b.ReportAllocs()
	for b.Loop() {
		if err := bu.build(v, p, Hash{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(bu.rows)), "ns/event")
}

// TestOpenMemory opens what five million events come to: memory holds footers.
func TestOpenMemory(t *testing.T) {
	sources := writeAll(t, t.TempDir(), newGenerator(1, time.Millisecond).table(t, 16384))
	path := sources[0].(*Reader).Info().Path
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	readers := make([]*Reader, 305)
	for i := range readers {
		r, err := Open(vfs.OS{}, path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Release()
		readers[i] = r
	}
	if grown := int64(heap() - before); grown > 4<<20 {
		t.Errorf("%d bytes for %d segments", grown, len(readers))
	}
	runtime.KeepAlive(readers)
}
