package web

import (
	"errors"
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/source"
)

// postHook takes a request for a source to which others send. Where the source
// has a secret, the request must prove that its sender knows it; else it must
// carry a token with the scope emit. All of its events are recorded, or none.
func (s *Server) postHook(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	in, err := s.Hook(name)
	if err != nil {
		return err
	}
	terms := in.Terms()
	from, room := ingest.Sender{Name: "source/" + name, Brand: callerOf(r).brand, Own: !terms.Foreign}, s.hooks
	if !terms.Signed {
		if err := s.authenticate(r, callerOf(r), identity.Emit); err != nil {
			return err
		}
		from.Name, room = callerOf(r).principal.Name, s.gate
	}
	if err := s.Ready(); err != nil {
		return err
	}
	limit := s.Limits().Event
	if terms.Many {
		limit = s.Limits().Batch
	}
	body, leave, err := readHook(w, r, room, limit)
	if err != nil {
		s.countBusy(err)
		return err
	}
	defer leave()
	a := &answer{Results: []result{}}
	err = in.Receive(&source.Request{Header: r.Header, Body: body, Received: time.Now()}, func(events []event.Event) error {
		return s.record(r, a, from, events)
	})
	if refused, ok := errors.AsType[*source.RefusedError](err); ok {
		return s.refuseHook(r, name, refused)
	}
	if err != nil {
		if errors.Is(err, event.ErrInvalid) {
			s.Metrics.CountRejected("malformed")
		}
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(a.appendJSON(nil)) // fails only where the client has gone
	return nil
}

// readHook reads the body of a request, where there is room: for who may be a
// stranger there is a gate of its own, so that they keep nobody else waiting.
func readHook(w http.ResponseWriter, r *http.Request, room *gate, limit int64) (body []byte, leave func(), err error) {
	length := r.ContentLength
	if length < 0 {
		length = limit
	}
	if length > limit {
		return nil, nil, &http.MaxBytesError{Limit: limit}
	}
	if leave, err = room.enter(length); err != nil {
		return nil, nil, err
	}
	if body, err = readBody(w, r, limit); err != nil {
		leave()
		return nil, nil, err
	}
	return body, leave, nil
}

// countBusy counts a request for which there was no room.
func (s *Server) countBusy(err error) {
	if p, ok := errors.AsType[*problem](err); ok && p.Status == http.StatusTooManyRequests {
		s.Metrics.CountRejected("busy")
	}
}

// record hands the events of one request in. Where one of them is too large for
// the journal, none is recorded.
func (s *Server) record(r *http.Request, a *answer, from ingest.Sender, events []event.Event) error {
	in := make([]ingest.Incoming, len(events))
	for n := range events {
		if size := int64(len(events[n].Data)); size > s.Limits().Event {
			return newProblem(http.StatusRequestEntityTooLarge, "too-large", "an event of the request is larger than ingest.max_event allows; none was recorded")
		}
		if from.Own {
			events[n].Brand = from.Brand
		}
		in[n].Event = events[n]
	}
	if len(in) == 0 {
		return nil
	}
	answered, err := s.Ingest.Accept(r.Context(), from, in)
	if err != nil {
		return err
	}
	a.add(answered)
	switch {
	case a.Accepted+a.Duplicates > 0:
		return nil
	case a.denied:
		return event.Deniedf("nothing was recorded: %s", a.first)
	default:
		return event.Invalidf("nothing was recorded: %s", a.first)
	}
}

// refuseHook answers a request that does not come from who shares the secret, and
// records it.
func (s *Server) refuseHook(r *http.Request, name string, why *source.RefusedError) error {
	p := newProblem(http.StatusForbidden, "signature", why.Why)
	if why.Missing {
		p = problemOf(unauthorized(why.Why))
	}
	return errors.Join(p, s.suspicious(r, "source/"+name, "a request to the source "+name+" was refused: "+why.Why))
}
