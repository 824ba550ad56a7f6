package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-events/tocsin/internal/journal"
)

// diskRow says how many bytes of segments an event takes.
func (b *bench) diskRow(ctx context.Context, c *corpus) {
	stats := c.small.Stats()
	var bytes int64
	for _, n := range stats.SegmentBytes {
		bytes += n
	}
	const section = "Disk and memory"
	b.report.add(Row{
		Section: section, What: "bytes on disk an event, in segments", Ours: float64(bytes) / float64(max(stats.Events-stats.TableEvents, 1)), Theirs: 200, Unit: "B",
		Against: "the limit (aim: 150)", Sense: AtMost, Goal: 1,
	})
	if size, err := c.rival.size(ctx); err == nil {
		b.report.add(Row{
			Section: section, What: "the same", Ours: float64(bytes) / float64(max(stats.Events-stats.TableEvents, 1)), Theirs: float64(size) / float64(stats.Events), Unit: "B",
			Against: "SQLite", Sense: Less,
		})
	}
	b.report.note("The write-ahead log comes on top: %d MiB, whatever the number of events.", stats.LogBytes>>20)
}

func (r *rival) size(ctx context.Context) (bytes int64, err error) {
	err = r.db.QueryRowContext(ctx, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").Scan(&bytes)
	return bytes, err
}

// removal removes the oldest fifth on both sides.
func (b *bench) removal(ctx context.Context, c *corpus) (err error) {
	defer func() { err = errors.Join(err, c.small.Close(), c.rival.close()) }()
	b.o.Say("disk: remove the oldest fifth")
	before := c.small.Stats()
	var bytes int64
	for _, n := range before.SegmentBytes {
		bytes += n
	}
	var ours, theirs samples
	began := time.Now()
	removed, err := c.small.Retain(ctx, journal.Policy{MaxBytes: bytes * 4 / 5})
	if err != nil {
		return err
	}
	ours.took(began)
	gone := 0
	for i := range removed {
		gone += removed[i].Count
	}
	if gone == 0 {
		return errors.New("retention has removed nothing")
	}
	began = time.Now()
	if _, err := c.rival.db.ExecContext(ctx, "DELETE FROM events WHERE seq <= ?", gone); err != nil {
		return err
	}
	theirs.took(began)
	b.report.add(Row{
		Section: "Disk and memory", What: fmt.Sprintf("remove the oldest fifth (%d events)", gone), Ours: ours.median(), Theirs: theirs.median(), Unit: "ms",
		Against: "SQLite, one DELETE (measured once)", Sense: Less, Goal: 100,
	})
	return nil
}
