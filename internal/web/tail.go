package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/journal/segment"
)

// Pace of live tails.
const (
	tailHeartbeat = 15 * time.Second
	tailBatch     = 500
	tailBytes     = 4 << 20
	tailPause     = 25 * time.Millisecond // between two reads while events keep coming
	tailWrite     = 30 * time.Second      // how long a client may refuse to read
	tailCheck     = time.Second           // how soon a tail ends whose session or token does
)

// tail is one open live tail.
type tail struct {
	w     http.ResponseWriter
	out   *http.ResponseController
	query segment.Query                        // what is wanted
	draw  func(h *segment.Hit) ([]byte, error) // an event, on one line
	may   func(context.Context) error          // whether its reader still may
	at    event.Seq                            // everything up to here was looked at
	buf   []byte

	checked   time.Time // when its reader was last looked at …
	checkedAt event.Seq // … and what was the newest event then
}

// getTail streams events as they are recorded (server-sent events, HTML living
// standard, 9.2). Each message's id is the sequence, so that Last-Event-ID
// resumes with neither a gap nor a double; heartbeats carry the id of the last
// event that was looked at, also where the filter let none pass.
func (s *Server) getTail(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "filter", "view", "transient", "after")
	query := s.compile(q)
	view := catalog.View(q.text("view"))
	if _, err := catalog.AppendView(nil, &event.Event{}, view); err != nil {
		q.fail("query: %v", err)
	}
	return s.stream(w, r, q, query, func(h *segment.Hit) ([]byte, error) { return renderHit(h, view) })
}

// stream sends the events of a query as they are recorded, drawn by draw.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, q *query, query segment.Query, draw func(*segment.Hit) ([]byte, error)) error {
	at := s.Journal.Last()
	for _, text := range []string{q.text("after"), r.Header.Get("Last-Event-ID")} {
		if text == "" {
			continue
		}
		seq, err := event.ParseSeq(text)
		if err != nil {
			q.fail("Last-Event-ID: %q was not given by this server", text)
		}
		at = min(seq, s.Journal.Last())
	}
	if q.err != nil {
		return q.err
	}
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("Cache-Control", "no-store, no-transform")
	head.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s.Metrics.Tail(1)
	defer s.Metrics.Tail(-1)
	query.Ascending, query.Limit, query.MaxBytes = true, tailBatch, tailBytes
	t := &tail{w: w, out: http.NewResponseController(w), query: query, draw: draw, at: at, may: stillMay(callerOf(r).principal, identity.Read)}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.stop, cancel)()
	t.run(ctx, s)
	return nil // the stream has begun: an error can only end it
}

// stillMay asks whether somebody who was let in would be so again.
func stillMay(p *identity.Principal, scope identity.Scope) func(context.Context) error {
	return func(ctx context.Context) error {
		now, err := p.Again(ctx)
		if err == nil && !now.Can(scope) {
			err = event.Deniedf("this needs the scope %q, which you do not have any more", scope)
		}
		return err
	}
}

func (t *tail) run(ctx context.Context, s *Server) {
	t.heartbeat()
	if t.flush() != nil {
		return
	}
	beat, check := time.NewTicker(tailHeartbeat), time.NewTicker(tailCheck)
	defer beat.Stop()
	defer check.Stop()
	for {
		if !t.allowed(ctx, s.Journal.Last()) {
			return
		}
		grown := s.Journal.Grown()
		more, err := t.read(ctx, s)
		if err != nil {
			return
		}
		if more {
			continue
		}
		select {
		case <-grown:
			// Many commits a second wake a tail once: it reads what has come in the
			// meantime in one go.
			select {
			case <-time.After(tailPause):
			case <-ctx.Done():
				return
			}
		case <-check.C:
		case <-beat.C:
			t.checkedAt = 0 // the session may have expired, which is no event
			t.heartbeat()
			if t.flush() != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// allowed reports whether the reader still may. What ends a session or a token is
// itself an event, so nobody is looked at where nothing has happened.
func (t *tail) allowed(ctx context.Context, newest event.Seq) bool {
	if newest == t.checkedAt || time.Since(t.checked) < tailCheck {
		return true
	}
	t.checked, t.checkedAt = time.Now(), newest
	return t.may(ctx) == nil
}

// read sends the next events; more is true where others wait behind them.
func (t *tail) read(ctx context.Context, s *Server) (more bool, err error) {
	if first := s.Journal.First(); first > t.at+1 {
		t.gap(t.at+1, first-1)
		t.at = first - 1
	}
	last := s.Journal.Last() // before the search, which may then see more, but never less
	t.query.Above = t.at
	page, err := s.Journal.Search(ctx, &t.query)
	if err != nil {
		return false, err
	}
	for i := range page.Hits {
		if err := t.event(&page.Hits[i]); err != nil {
			return false, err
		}
		last = max(last, page.Hits[i].Seq)
	}
	t.at = last
	if page.Next != 0 {
		t.at = page.Next
	}
	if len(t.buf) > 0 {
		err = t.flush()
	}
	return page.Next != 0, err
}

// event appends one event.
func (t *tail) event(h *segment.Hit) error {
	body, err := t.draw(h)
	if err != nil {
		return err
	}
	t.buf = append(t.buf, "id: "...)
	t.buf = append(t.buf, seqText(h.Seq)...)
	t.buf = append(t.buf, "\ndata: "...)
	t.buf = append(t.buf, body...)
	t.buf = append(t.buf, "\n\n"...)
	return nil
}

func (t *tail) heartbeat() {
	t.buf = append(t.buf, "id: "...)
	t.buf = append(t.buf, seqText(t.at)...)
	t.buf = append(t.buf, "\n\n"...)
}

// gap tells that retention has taken events that were asked for.
func (t *tail) gap(from, to event.Seq) {
	data, err := json.Marshal(map[string]string{"from": from.String(), "to": to.String(), "reason": "retention has removed these events"})
	if err != nil {
		return // a map of strings always marshals
	}
	t.buf = append(t.buf, "event: gap\nid: "...)
	t.buf = append(t.buf, seqText(to)...)
	t.buf = append(t.buf, "\ndata: "...)
	t.buf = append(append(t.buf, data...), "\n\n"...)
}

func (t *tail) flush() error {
	err := t.out.SetWriteDeadline(time.Now().Add(tailWrite))
	if errors.Is(err, http.ErrNotSupported) {
		err = nil
	}
	if err == nil {
		_, err = t.w.Write(t.buf)
	}
	t.buf = t.buf[:0]
	if err != nil {
		return err
	}
	return t.out.Flush()
}
