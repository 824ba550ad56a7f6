package ingest

import (
	"sync"

	"github.com/tocsin-events/tocsin/internal/event"
)

// depths remembers how deep in a chain of causes the newest events are, so that
// the depth of an event can be looked up from its causationid. Only events that
// have a cause are kept: for all others the depth is 0.
type depths struct {
	mu         sync.Mutex // guards young and old
	young, old map[event.ID]int32
}

// depthMemory is how many events each half remembers.
const depthMemory = 32_768

func newDepths() *depths { return &depths{young: map[event.ID]int32{}} }

func (d *depths) of(id event.ID) int32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, ok := d.young[id]; ok {
		return n
	}
	return d.old[id]
}

func (d *depths) add(id event.ID, depth int32) {
	if depth == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.young) >= depthMemory {
		d.old, d.young = d.young, map[event.ID]int32{}
	}
	d.young[id] = depth
}
