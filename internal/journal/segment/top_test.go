package segment

import (
	"context"
	"errors"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

// TestTopAgrees compares the most frequent values with a count by hand, for any
// filter over tables and segments.
func TestTopAgrees(t *testing.T) {
	records, sources := stores(t, 12)
	columns := []filter.Column{filter.ColumnType, filter.ColumnKind, filter.ColumnSource, filter.ColumnActor, filter.ColumnClientIP}
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.IntRange(0, len(records)-1).Draw(t, "store")
		q := &TopQuery{Query: *drawQuery(t, records[k]), Columns: columns, Most: rapid.IntRange(1, 5).Draw(t, "most")}
		var want [][]ValueCount
		for _, c := range columns {
			sum := make(map[string]int64)
			for _, r := range records[k] {
				if v := c.Value(&r.event); v != "" && r.matches(&q.Query) {
					sum[v]++
				}
			}
			want = append(want, mostFrequent(sum, q.Most))
		}
		got, err := TopValues(context.Background(), sources[k], q)
		if err != nil || got.Partial || len(got.Problems) > 0 {
			t.Fatalf("top: %v %v", err, got)
		}
		if diff := gocmp.Diff(want, got.Values); diff != "" {
			t.Fatalf("plan %s (-want +got):\n%s", show(q.Plan), diff)
		}
	})
	if _, err := TopValues(t.Context(), sources[0], &TopQuery{Columns: []filter.Column{filter.ColumnID}}); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("ids are counted: %v", err)
	}
}
