package journal

import (
	"context"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// committer makes groups durable and puts them in order. The journal has one;
// files is the embedded one. One for PostgreSQL keeps the log in a database that
// several nodes share: commit order is sequence order, and the groups of other
// nodes reach the sink by tailing the log.
//
// Commit and Release may be called at the same time, each from one goroutine.
type committer interface {
	// Commit finds the duplicates in the group and gives every other event the
	// next sequence and a time of recording that is not before the last one's.
	// It returns nil when the results are filled in, the events are durable, and
	// the sink has published them and everything before them. An error that is
	// ErrFull has recorded nothing; after any other one nothing is known, and
	// the committer takes no further group.
	Commit(ctx context.Context, g *group) error
	// Release says that all events up to seq are durable in segments, so that
	// the log need not replay them here again.
	Release(seq event.Seq) error
	// Close frees what the committer holds. No other method is running.
	Close() error
}

// sink is where a committer puts what it commits: the journal's memory. Its
// methods are called from one goroutine at a time, in the order of sequences.
type sink interface {
	// room waits until the sink can take more events; ErrFull when that needs
	// disk space which isn't there.
	room(ctx context.Context) error
	// heads are the hash chains after everything that was added.
	heads() [classes]Head
	// add takes events that nobody may see yet. It copies what it keeps.
	add(entries []*segment.Entry)
	// publish shows everything that was added to readers: it is durable.
	publish()
}

// lookup finds an event that was recorded, for the committer's duplicates.
type lookup func(seq event.Seq) (segment.Hit, error)

// commitLoop is the one goroutine that commits. It ends when the queue is closed
// and empty.
func (j *Journal) commitLoop() {
	ctx := context.Background() // a caller who leaves does not end a group of others
	var requests []*request
	for {
		var open bool
		if requests, open = j.queue.take(requests); !open {
			return
		}
		err := j.stopReason()
		switch {
		case err != nil:
		case requests[0].errand != nil:
			err = requests[0].errand()
		default:
			err = j.commit(ctx, requests)
		}
		for i, r := range requests {
			r.err = err
			r.done <- struct{}{}
			requests[i] = nil
		}
	}
}
