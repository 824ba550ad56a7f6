// Package publish hands what was recorded on to others.
//
// It promises: every event is sent in the order in which it was recorded; a
// receiver that is away delays and loses nothing; what was sent and not
// acknowledged is sent again under the same id, so that a receiver that knows it
// records it once; and what a receiver refuses for good keeps nothing else back,
// stays in the journal and is said.
package publish
