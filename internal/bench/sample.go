package bench

import (
	"math"
	"slices"
	"time"
)

// samples are measurements of one thing, in the unit of their row.
type samples []float64

func (s samples) median() float64 { return s.at(0.5) }

// at gives a quantile: the least sample that so many are not above (nearest rank).
func (s samples) at(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}

func (s *samples) took(since time.Time) {
	*s = append(*s, float64(time.Since(since))/float64(time.Millisecond))
}

// ratios are the ratios of samples that were taken in the same rounds: their
// median is less moved by a slow phase of the disk than that of the figures.
func ratios(x, y samples) samples {
	out := make(samples, min(len(x), len(y)))
	for i := range out {
		out[i] = x[i] / y[i]
	}
	return out
}
