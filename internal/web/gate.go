package web

import (
	"net/http"
	"sync"
)

// gate bounds what ingest holds in memory at once, in requests and in bytes.
// Beyond that, senders are asked to come back: back-pressure that they see.
type gate struct {
	mu       sync.Mutex // guards both
	requests int
	bytes    int64
}

const (
	gateRequests = 1024
	gateBytes    = 128 << 20
	unknownBody  = 1 << 20 // what a body of unknown length is taken for
)

func newGate() *gate { return &gate{} }

// enter takes room for a body; the returned function gives it back.
func (g *gate) enter(length int64) (leave func(), err error) {
	if length < 0 {
		length = unknownBody
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.requests >= gateRequests || g.bytes > 0 && g.bytes+length > gateBytes {
		return nil, retryLater(http.StatusTooManyRequests, "busy", "too many events are waiting to be recorded: send the same again in a second", 1)
	}
	g.requests++
	g.bytes += length
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.requests--
		g.bytes -= length
	}, nil
}
