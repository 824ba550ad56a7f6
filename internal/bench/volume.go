package bench

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// volumeQuestion is one diagram: how many events there were in each step.
type volumeQuestion struct {
	name string
	goal float64
	back time.Duration
	step time.Duration // 0 is one step
	by   segment.By
	key  string // SQLite's expression for by
}

// cell is one count of an answer.
type cell struct {
	start int64
	key   string
}

// volumes compares the counts of both sides, and how long they take.
func (b *bench) volumes(ctx context.Context, c *corpus) error {
	const day = 24 * time.Hour
	severities := "CASE severity WHEN 9 THEN 'info' WHEN 10 THEN 'notice' WHEN 13 THEN 'warn' WHEN 17 THEN 'error' ELSE 'critical' END"
	for _, q := range []volumeQuestion{
		{"7 days by type, hourly", 4, 7 * day, time.Hour, segment.ByType, "type"},
		{"30 days by severity, hourly", 15, 30 * day, time.Hour, segment.BySeverity, severities},
		{"24 h of every type", 5, day, 0, segment.ByType, "type"},
	} {
		b.o.Say("volume: " + q.name)
		if err := b.volume(ctx, c, &q); err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
	}
	return nil
}

func (b *bench) volume(ctx context.Context, c *corpus, q *volumeQuestion) error {
	since := c.end.Add(-q.back)
	query := segment.VolumeQuery{Query: segment.Query{Since: since.UnixNano(), Until: c.end.Add(time.Hour).UnixNano()}, Step: q.step, By: q.by}
	var small, large, rival samples
	for n := range b.s.searches {
		if n < 2*b.s.slow {
			began := time.Now()
			want, err := c.rival.count(ctx, q, since)
			if err != nil {
				return err
			}
			rival.took(began)
			if n == 0 {
				if err := agreeCounts(ctx, c.small, &query, want); err != nil {
					return err
				}
			}
		}
		for _, side := range []struct {
			of *journal.Journal
			to *samples
		}{{c.small, &small}, {c.large, &large}} {
			began := time.Now()
			if _, err := side.of.Volume(ctx, &query); err != nil {
				return err
			}
			side.to.took(began)
		}
	}
	b.report.add(Row{
		Section: "Volume, median", What: q.name, Ours: small.median(), Theirs: rival.median(), Unit: "ms",
		Against: "SQLite, the same counts", Sense: Less, Goal: q.goal,
	})
	b.report.add(b.grownRow(q.name, small, large))
	return nil
}

// count asks SQLite. To find the events of some days it goes through the index
// on (type, time) for each type, which it would not do by itself.
func (r *rival) count(ctx context.Context, q *volumeQuestion, since time.Time) (map[cell]int64, error) {
	step := "?1"
	if q.step > 0 {
		step = fmt.Sprintf("time / %d * %d", q.step, q.step)
	}
	rows, err := r.db.QueryContext(ctx, "SELECT "+step+", "+q.key+", count(*) FROM events WHERE type IN (SELECT DISTINCT type FROM events) AND time >= ?1 GROUP BY 1, 2", //nolint:gosec // constant texts of this package
		since.UnixNano())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := make(map[cell]int64)
	for rows.Next() {
		var at cell
		var n int64
		if err := rows.Scan(&at.start, &at.key, &n); err != nil {
			return nil, err
		}
		counts[at] = n
	}
	return counts, rows.Err()
}

func agreeCounts(ctx context.Context, j *journal.Journal, q *segment.VolumeQuery, want map[cell]int64) error {
	found, err := j.Volume(ctx, q)
	if err != nil {
		return err
	}
	got := make(map[cell]int64)
	for _, bucket := range found.Buckets {
		for key, n := range bucket.Counts {
			got[cell{bucket.Start, key}] = n
		}
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("the journal and SQLite do not agree: %d and %d counts", len(got), len(want))
	}
	return nil
}
