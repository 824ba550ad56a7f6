package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
)

// sink is an HTTP server on a loopback address that takes what is told. Below
// /hang it answers nothing until it is closed.
type sink struct {
	url    string
	server *http.Server
	ended  chan error
	quit   chan struct{}
	mark   string // in a body, what stands before the text by which it is known

	mu     sync.Mutex // guards all below
	got    map[event.ID]time.Time
	bodies [][]byte // where they are kept
	keep   bool
}

func startSink(ctx context.Context) (*sink, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{url: "http://" + l.Addr().String(), ended: make(chan error, 1), quit: make(chan struct{}), mark: eventMark, got: map[event.ID]time.Time{}}
	s.server = &http.Server{Handler: http.HandlerFunc(s.take), ReadHeaderTimeout: time.Minute}
	go func() { s.ended <- s.server.Serve(l) }()
	return s, nil
}

func (s *sink) take(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.URL.Path == "/hang" {
		select {
		case <-s.quit:
		case <-r.Context().Done():
		}
		return
	}
	id := after(body, s.mark)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.got[id]; !known {
		s.got[id] = at
	}
	if s.keep {
		s.bodies = append(s.bodies, body)
	}
}

// eventMark is the mark of an event in the CloudEvents format.
const eventMark = `"id":"`

// after finds the text behind a mark, up to the next quote.
func after(body []byte, mark string) event.ID {
	_, rest, _ := bytes.Cut(body, []byte(mark))
	id, _, _ := bytes.Cut(rest, []byte(`"`))
	return event.ID(id)
}

// count is how many different events have come.
func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

// delays waits until all that was acknowledged has come, and gives how long each
// took from its acknowledgement, in milliseconds.
func (s *sink) delays(ctx context.Context, acked map[event.ID]time.Time) (took samples, err error) {
	if err := waitFor(ctx, time.Minute, func() (bool, error) { return s.count() >= len(acked), nil }); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, at := range acked {
		took = append(took, float64(max(0, s.got[id].Sub(at)))/float64(time.Millisecond))
	}
	return took, nil
}

// begin forgets what came; keep says whether bodies are kept from now on.
func (s *sink) begin(keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.got)
	s.bodies, s.keep = nil, keep
}

func (s *sink) stop() error {
	close(s.quit)
	err := s.server.Close()
	if end := <-s.ended; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}
