package segment

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

// stores are made once and asked often.
func stores(t *testing.T, n int) (records [][]*record, sources [][]Source) {
	t.Helper()
	for seed := range n {
		r, s := someStore(t, uint64(seed))
		records, sources = append(records, r), append(sources, s)
	}
	return records, sources
}

// TestSearchAgrees compares the index with a look at every event: each page of
// a walk in either direction, over segments and tables, under random plans.
func TestSearchAgrees(t *testing.T) {
	records, sources := stores(t, 12)
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.IntRange(0, len(records)-1).Draw(t, "store")
		for range 25 {
			q := drawQuery(t, records[k])
			q.Limit = rapid.SampledFrom([]int{0, 1, 7, 50}).Draw(t, "limit")
			if rapid.IntRange(0, 4).Draw(t, "bytes") == 0 {
				q.MaxBytes = 2000
			}
			var want []event.Seq
			for _, r := range records[k] {
				if r.matches(q) {
					want = append(want, r.entry.Seq)
				}
			}
			if !q.Ascending {
				slices.Reverse(want)
			}
			if diff := gocmp.Diff(want, walkPages(t, records[k], sources[k], *q)); diff != "" {
				t.Fatalf("plan %s (-want +got):\n%s", show(q.Plan), diff)
			}
		}
	})
}

// walkPages follows the cursors to the end, and checks each body.
func walkPages(t *rapid.T, records []*record, sources []Source, q Query) (got []event.Seq) {
	for {
		page, err := Search(context.Background(), sources, &q)
		if err != nil || len(page.Problems) > 0 || page.Partial {
			t.Fatalf("search: %v %v %v", err, page.Problems, page.Partial)
		}
		if q.Limit > 0 && len(page.Hits) > q.Limit {
			t.Fatalf("%d hits, limit %d", len(page.Hits), q.Limit)
		}
		for _, h := range page.Hits {
			r := records[h.Seq-1]
			if string(h.Body) != string(r.entry.Body) || h.Recorded != r.entry.Recorded {
				t.Fatalf("event %d is\n%s\nnot\n%s", h.Seq, h.Body, r.entry.Body)
			}
			got = append(got, h.Seq)
		}
		if page.Next == 0 {
			return got
		}
		if q.Ascending {
			q.Above = page.Next
		} else {
			q.Below = page.Next
		}
	}
}

func show(n *filter.Node) string {
	if n == nil {
		return "all"
	}
	kids := make([]string, len(n.Kids))
	for i, kid := range n.Kids {
		kids[i] = show(kid)
	}
	return fmt.Sprintf("{%d %d %q %d..%d %q %v}", n.Op, n.Column, n.Values, n.Min, n.Max, n.Path, kids)
}

// TestVolumeAgrees does the same for counts over time.
func TestVolumeAgrees(t *testing.T) {
	records, sources := stores(t, 12)
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.IntRange(0, len(records)-1).Draw(t, "store")
		for range 10 {
			q := &VolumeQuery{Query: *drawQuery(t, records[k]), By: By(rapid.IntRange(0, 4).Draw(t, "by"))}
			q.Step = rapid.SampledFrom([]time.Duration{0, time.Hour, 24 * time.Hour, 7 * time.Minute, 90 * time.Minute, 5 * time.Hour}).Draw(t, "step")
			if rapid.Bool().Draw(t, "narrow") { // plans that rollups can answer are rare among random ones
				q.Plan = &filter.Node{Op: filter.OpNot, Kids: []*filter.Node{{Op: filter.OpIn, Values: someTypes[:2]}}}
			}
			want := make(map[int64]map[string]int64)
			for _, r := range records[k] {
				if r.matches(&q.Query) {
					b := bucketOf(r.entry.Time, q)
					if want[b] == nil {
						want[b] = make(map[string]int64)
					}
					want[b][keyOf(r, q.By)]++
				}
			}
			got, err := Volume(context.Background(), sources[k], q)
			if err != nil || got.Partial || len(got.Problems) > 0 {
				t.Fatalf("volume: %v %v", err, got)
			}
			counts := make(map[int64]map[string]int64)
			for i, b := range got.Buckets {
				if i > 0 && b.Start <= got.Buckets[i-1].Start {
					t.Fatal("buckets are not in order")
				}
				counts[b.Start] = b.Counts
			}
			if diff := gocmp.Diff(want, counts); diff != "" {
				t.Fatalf("plan %s step %s by %d (-want +got):\n%s", show(q.Plan), q.Step, q.By, diff)
			}
		}
	})
}

func bucketOf(at int64, q *VolumeQuery) int64 {
	step := int64(q.Step)
	if step == 0 {
		if q.Since == 0 && q.Until == 0 {
			return math.MinInt64
		}
		return q.Since
	}
	b := at - (at%step+step)%step
	if b > at { // before the earliest instant
		return math.MinInt64
	}
	return b
}

func keyOf(r *record, by By) string {
	switch by {
	case ByType:
		return r.entry.Type
	case BySeverity:
		return r.event.Severity.String()
	case ByKind:
		return r.entry.Kind
	case ByAll:
		return r.entry.Type + "\x00" + r.entry.Kind + "\x00" + r.event.Severity.String()
	default:
		return ""
	}
}

// TestAfter reads every event once, over classes whose segments interleave.
func TestAfter(t *testing.T) {
	records, sources := stores(t, 6)
	now := time.Now().UnixNano()
	for k := range records {
		for _, limit := range []int{1, 3, 64, 1000} {
			var want, got []event.Seq
			for _, r := range records[k] {
				if r.entry.Expiry == 0 || r.entry.Expiry > now {
					want = append(want, r.entry.Seq)
				}
			}
			for at := event.Seq(0); ; {
				hits, err := After(context.Background(), sources[k], at, limit)
				if err != nil {
					t.Fatal(err)
				}
				if len(hits) == 0 {
					break
				}
				for _, h := range hits {
					got = append(got, h.Seq)
				}
				at = hits[len(hits)-1].Seq
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("limit %d (-want +got):\n%s", limit, diff)
			}
		}
	}
}

func TestGet(t *testing.T) {
	records, sources := someStore(t, 99)
	now := time.Now().UnixNano()
	for _, r := range records {
		hit, err := Get(sources, r.entry.Seq)
		if r.entry.Expiry != 0 && r.entry.Expiry <= now {
			if !errors.Is(err, event.ErrNotFound) {
				t.Fatalf("expired event %d: %v", r.entry.Seq, err)
			}
			continue
		}
		if err != nil || string(hit.Body) != string(r.entry.Body) {
			t.Fatalf("event %d: %v %s", r.entry.Seq, err, hit.Body)
		}
	}
	for _, seq := range []event.Seq{0, event.Seq(len(records) + 1), math.MaxUint64} {
		if _, err := Get(sources, seq); !errors.Is(err, event.ErrNotFound) {
			t.Errorf("event %d: %v", seq, err)
		}
	}
}

func TestDeadline(t *testing.T) {
	table := newGenerator(5, time.Second).table(t, 2000)
	for _, ascending := range []bool{false, true} {
		q := Query{
			Plan: &filter.Node{Op: filter.OpUnknown}, Match: func(*event.Event) (bool, error) { return true, nil },
			Ascending: ascending, Deadline: time.Now().Add(-time.Second),
		}
		seen := 0
		for pages := 1; ; pages++ {
			page, err := Search(context.Background(), []Source{table}, &q)
			if err != nil {
				t.Fatal(err)
			}
			seen += len(page.Hits)
			if !page.Partial {
				if pages < 10 {
					t.Errorf("the deadline stopped only %d times", pages)
				}
				break
			}
			if ascending {
				q.Above = page.Next
			} else {
				q.Below = page.Next
			}
		}
		if seen != 2000 {
			t.Errorf("%d events over all partial pages, want 2000", seen)
		}
	}
}
