package segment

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

// benchTables is how many full tables the benchmarks search: 61 are a million
// events, 305 are five.
var benchTables = flag.Int("segment.tables", 8, "full tables in the benchmarks")

func benchStore(b *testing.B) (sources []Source, g *generator) {
	b.Helper()
	const rows = 16384
	g = newGenerator(7, 30*24*time.Hour/time.Duration(*benchTables*rows))
	dir := b.TempDir()
	var chain Hash
	var size int64
	for range *benchTables {
		t := g.table(b, rows)
		for _, p := range t.Parts() {
			path, err := Write(vfs.OS{}, dir, t, p, chain)
			if err != nil {
				b.Fatal(err)
			}
			r, err := Open(vfs.OS{}, path)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(r.Release)
			chain = r.Info().Out
			size += r.Info().Bytes
			sources = append(sources, r)
		}
	}
	sources = append(sources, g.table(b, rows/2)) // the memtable
	b.Logf("%d segments, %.1f B/event", len(sources)-1, float64(size)/float64(*benchTables*rows))
	return sources, g
}

func in(c filter.Column, values ...string) *filter.Node {
	return &filter.Node{Op: filter.OpIn, Column: c, Values: values}
}

func both(kids ...*filter.Node) *filter.Node { return &filter.Node{Op: filter.OpAnd, Kids: kids} }

func textOf(needle string) (*filter.Node, func(*event.Event) (bool, error)) {
	return &filter.Node{Op: filter.OpText, Values: []string{needle}}, func(e *event.Event) (bool, error) {
		return bytes.Contains(bytes.ToLower(e.Data), []byte(needle)), nil
	}
}

func BenchmarkSearch(b *testing.B) {
	sources, _ := benchStore(b)
	rare, matchRare := textOf("zyxwvut needle")
	absent, matchAbsent := textOf("xylophone quartz")
	common, matchCommon := textOf("lock")
	for _, bench := range []struct {
		name  string
		plan  *filter.Node
		match func(*event.Event) (bool, error)
	}{
		{"rare", rare, matchRare},
		{"absent", absent, matchAbsent},
		{"data", &filter.Node{Op: filter.OpData, Path: "ticket", Values: []string{"T-777"}}, func(e *event.Event) (bool, error) {
			return bytes.Contains(e.Data, []byte(`"ticket":"T-777"`)), nil
		}},
		{"types", in(filter.ColumnType, "family_3.happened", "family_7.happened", "family_11.happened"), nil},
		{"newest", nil, nil},
		{"severity+actor", both(&filter.Node{Op: filter.OpSeverity, Min: 17, Max: 18}, in(filter.ColumnActor, "actor-0040")), nil},
		{"type+text", both(in(filter.ColumnType, "family_40.happened"), common), matchCommon},
		{"address", in(filter.ColumnClientIP, address(4000)), nil},
	} {
		b.Run(bench.name, func(b *testing.B) {
			q := Query{Plan: bench.plan, Match: bench.match, Limit: 50}
			var page Page
			for b.Loop() {
				var err error
				if page, err = Search(context.Background(), sources, &q); err != nil || len(page.Problems) > 0 {
					b.Fatal(err, page.Problems)
				}
			}
			b.ReportMetric(float64(len(page.Hits)), "hits")
			b.ReportMetric(float64(page.Scanned.Blocks), "blocks")
		})
	}
}

func BenchmarkVolume(b *testing.B) {
	sources, g := benchStore(b)
	now := g.at.UnixNano() / hour * hour
	for _, bench := range []struct {
		days int64
		by   By
		step time.Duration
	}{{7, ByType, time.Hour}, {30, ByType, time.Hour}, {30, BySeverity, time.Hour}, {1, ByType, 0}} {
		b.Run(fmt.Sprintf("%dd/by%d", bench.days, bench.by), func(b *testing.B) {
			q := VolumeQuery{Query: Query{Since: now - bench.days*24*hour, Until: math.MaxInt64, Now: now}, By: bench.by, Step: bench.step}
			for b.Loop() {
				if c, err := Volume(context.Background(), sources, &q); err != nil || len(c.Problems) > 0 {
					b.Fatal(err, c.Problems)
				}
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	sources, _ := benchStore(b)
	path := sources[0].(*Reader).Info().Path
	b.ReportAllocs()
	for b.Loop() {
		r, err := Open(vfs.OS{}, path)
		if err != nil {
			b.Fatal(err)
		}
		r.Release()
	}
}

func BenchmarkKeys(b *testing.B) {
	sources, _ := benchStore(b)
	r := sources[0].(*Reader)
	for b.Loop() {
		if err := r.Keys(func(event.Seq, Key) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(r.Info().Count), "ns/event")
}
