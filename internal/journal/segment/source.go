package segment

import "github.com/tocsin-events/tocsin/internal/event"

// blockRows is the number of events that are compressed, checked and filtered
// together. 64 is also the number of bits with which a filter is evaluated.
const blockRows = 64

// Source is a set of events that can be searched: a *Table, as it is published
// at that moment, or a *Reader, of which the caller holds a reference.
type Source interface {
	// First and Last bound the sequences; both are 0 when there is none.
	First() event.Seq
	Last() event.Seq
	open() (view, error)
}

// columns are the attributes of a source's events that filters ask about.
type columns struct {
	n           int
	first, last event.Seq

	minTime, maxTime int64
	minExpiry        int64 // the earliest one; 0 when no event expires

	seq, time, expiry, class column
	code, source, actor, ip  column // codes

	codeType, codeKind, codeSeverity   column // of each code
	types, kinds, sources, actors, ips dictionary
}

func (c *columns) severity(code int) event.Severity {
	return event.Severity(int32(c.codeSeverity.value(code)))
}

// view is a source as it is read by one search.
type view interface {
	cols() *columns
	// times gives the least and the greatest time in a block.
	times(block int) (low, high int64)
	// check makes sure that the block's columns are what was written.
	check(block int) error
	// pairs and text narrow the blocks that can hold a value at a path of data,
	// and a lower-cased text; nil means every block.
	pairs(hashes ...uint64) (blockSet, error)
	text(needle []byte) (blockSet, error)
	// bodies reads a block's events.
	bodies(block int) (bodies, error)
}
