package segment

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

// Query says which events are wanted. Times are nanoseconds since 1970.
type Query struct {
	// Plan narrows, and decides where it can; nil is true of every event. Match
	// decides about the rest; an error means that the event does not match.
	// Where Match is nil, only what Plan alone decides is a hit.
	Plan  *filter.Node
	Match func(*event.Event) (bool, error)

	// Since and Until bound the event's time; Until is exclusive. The least and
	// the greatest int64, or 0 for both, leave it open.
	Since, Until int64
	// Above and Below bound the sequence, both exclusive; 0 leaves it open.
	Above, Below event.Seq

	Ascending bool      // oldest first instead of newest first
	Limit     int       // hits on a page; 0 is no limit
	MaxBytes  int       // bytes of bodies on a page, which always takes one event; 0 is no limit
	Transient bool      // include the class Transient
	Now       int64     // events that expired until now are hidden
	Deadline  time.Time // zero: none
}

// Page is one answer. The caller looks at Partial first: when it is true, the
// deadline came before the page was full.
type Page struct {
	Hits []Hit
	// Next goes on where this page ends, as Below, or as Above when Ascending; 0
	// when nothing is left.
	Next    event.Seq
	Partial bool
	// Problems are the damaged blocks that were passed over.
	Problems []error
	Scanned  struct{ Segments, Blocks, Events int }
}

// Search finds events by sequence, newest first unless q.Ascending. An error
// means that ctx has ended, damage is reported in Page.Problems.
func Search(ctx context.Context, sources []Source, q *Query) (Page, error) {
	return Page{}, errors.ErrUnsupported
}

// Get finds one event. The error is of class event.ErrNotFound when no source
// holds it, or it has expired.
func Get(sources []Source, seq event.Seq) (Hit, error) { return Hit{}, errors.ErrUnsupported }

// After reads on from a sequence, in order and over all classes, leaving out
// only what has expired. It may return fewer than limit events before the end,
// which is reached when it returns none. When the error is (or joins)
// *DamageError, the hits are valid and lack only what it names.
func After(ctx context.Context, sources []Source, seq event.Seq, limit int) ([]Hit, error) {
	return nil, errors.ErrUnsupported
}
