package web

import (
	"context"
	"time"

	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// tallied are counts over time, told apart by type, kind and severity in one
// pass.
type tallied struct {
	types, kinds, severities map[string]int64
	byType, bySeverity       segment.Counts
	partial                  bool
}

func (s *Server) tally(ctx context.Context, q segment.Query, step time.Duration) (*tallied, error) {
	counted, err := s.Journal.Volume(ctx, &segment.VolumeQuery{Query: q, Step: step, By: segment.ByAll})
	if err != nil {
		return nil, err
	}
	t := &tallied{types: map[string]int64{}, kinds: map[string]int64{}, severities: map[string]int64{}, partial: counted.Partial}
	for _, b := range counted.Buckets {
		types := segment.Bucket{Start: b.Start, Counts: map[string]int64{}}
		severities := segment.Bucket{Start: b.Start, Counts: map[string]int64{}}
		for key, n := range b.Counts {
			typ, kind, severity := segment.SplitKey(key)
			t.types[typ] += n
			t.kinds[kind] += n
			t.severities[severity] += n
			types.Counts[typ] += n
			severities.Counts[severity] += n
		}
		t.byType.Buckets = append(t.byType.Buckets, types)
		t.bySeverity.Buckets = append(t.bySeverity.Buckets, severities)
	}
	return t, nil
}
