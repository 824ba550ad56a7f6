package journal

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// The table of keys agrees with a map of the newest window events.
func TestDedupeAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.IntRange(1, 3000).Draw(t, "window")
		d, err := newDedupe(window)
		if err != nil {
			t.Fatal(err)
		}
		defer d.close()
		model := map[segment.Key]event.Seq{}
		at := map[event.Seq]segment.Key{}
		seq := event.Seq(0)
		for range rapid.IntRange(1, 60).Draw(t, "runs") {
			seq += event.Seq(rapid.SampledFrom([]int{0, 0, 0, 1, 7, 500, 4000}).Draw(t, "lost"))
			// Few homes, so that runs of slots grow and wrap around.
			homes := rapid.SampledFrom([]uint64{4, 1000, 1 << 40}).Draw(t, "homes")
			for i := range rapid.IntRange(1, 200).Draw(t, "n") {
				seq++
				var k segment.Key
				binary.LittleEndian.PutUint64(k[:], ^uint64(i)%homes)
				binary.LittleEndian.PutUint64(k[8:], uint64(seq))
				if err := d.add(seq, k); err != nil {
					t.Fatal(err)
				}
				model[k], at[seq] = seq, k
			}
		}
		for s, k := range at {
			got, ok := d.find(k)
			want := uint64(seq-s) < uint64(window)
			if ok != want || ok && got != s {
				t.Fatalf("sequence %d of %d, window %d: found %v as %d, want %v", s, seq, window, ok, got, want)
			}
		}
	})
}
