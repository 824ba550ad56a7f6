package segment

import (
	"context"
	"errors"
	"time"
)

// By is what Volume tells apart.
type By uint8

// What Volume can count by.
const (
	ByNone By = iota // everything under the key ""
	ByType
	BySeverity
	ByKind
)

// VolumeQuery asks how many events there were in each step of time. Of Query,
// the bounds of the sequence count, the order and the page's limits do not.
type VolumeQuery struct {
	Query
	Step time.Duration // buckets align to 1970-01-01 in UTC; 0 is one bucket for everything
	By   By
}

// Bucket holds the counts of one step.
type Bucket struct {
	Start  int64 // nanoseconds since 1970
	Counts map[string]int64
}

// Counts is the answer of Volume.
type Counts struct {
	Buckets  []Bucket // in order of time; empty ones are left out
	Partial  bool     // the deadline came first
	Problems []error  // what was passed over
}

// Volume counts events over time.
func Volume(ctx context.Context, sources []Source, q *VolumeQuery) (Counts, error) {
	return Counts{}, errors.ErrUnsupported
}
