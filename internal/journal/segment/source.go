package segment

import (
	"sort"

	"github.com/tocsin-events/tocsin/internal/event"
)

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

	codeCount                          int
	codeType, codeKind, codeSeverity   column // of each code
	types, kinds, sources, actors, ips dictionary
}

func (c *columns) severity(code int) event.Severity {
	return event.Severity(int32(c.codeSeverity.value(code)))
}

func (c *columns) seqAt(i int) event.Seq {
	if c.seq.width == 0 { // no gap
		return c.first + event.Seq(i)
	}
	return event.Seq(c.seq.value(i))
}

func (c *columns) blocks() int { return (c.n + blockRows - 1) / blockRows }

// from gives the first row whose sequence is seq or greater.
func (c *columns) from(seq event.Seq) int {
	return sort.Search(c.n, func(i int) bool { return c.seqAt(i) >= seq })
}

// view is a source as one search reads it.
type view interface {
	index
	reading
	cols() *columns
	// times gives bounds of the times in a block.
	times(block int) (low, high int64)
	// check makes sure that the block's columns are what was written.
	check(block int) error
}

// index is how a view narrows conditions on data.
type index interface {
	// pairs and text narrow the blocks that can hold a value at a path of data,
	// or a lower-cased text.
	pairs(hashes ...uint64) (blockSet, error)
	text(needle []byte) (blockSet, error)
	// anyBody asks about the bodies of some rows at once, or of any of them,
	// where they lie in memory; elsewhere it is true.
	anyBody(from, to int, holds func(bodies []byte) bool) bool
}

// reading is how a view gives bodies.
type reading interface {
	// load reads a block's bodies.
	load(block int, b *bodies) error
	// body gives one event of the block that was loaded last, until the next call.
	body(row int, b *bodies) (recorded int64, body []byte, err error)
	// data gives the end of the body that body would give, from data on or from
	// further ahead; it is quicker.
	data(row int, b *bodies) ([]byte, error)
}

// bodies is a decompressed block, with the buffers that the next one uses again.
type bodies struct {
	block     packedBlock
	text, ids []byte
	buf       []byte
}
