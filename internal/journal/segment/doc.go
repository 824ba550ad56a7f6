// Package segment is the read side of the journal: the table in memory that
// takes new events, the immutable file (segment) that a full table becomes, and
// search, volume and reading in order over a set of both.
//
// It promises: an event that a Table has published, or that a segment holds, is
// found by every filter that is true of it, and by no other; an index narrows
// and never decides what it does not know. What fails its checksum is reported
// and passed over, never served. Readers never hold up the one writer of a
// Table. A segment file appears under its name only when it is complete and
// durable, and is never changed afterwards; whoever holds a reference to a
// Reader may go on reading after the file was unlinked. Memory is bounded by
// the blocks that are being looked at, not by the size of the journal.
package segment
