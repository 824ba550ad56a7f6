package web

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/ingest"
	"github.com/tocsin-events/tocsin/internal/redact"
)

const ndjsonMedia = "application/x-ndjson"

// eventsAllow are the methods of /v1/events that do something.
const eventsAllow = "GET, POST, OPTIONS"

// answer is the fate of the events of one request.
type answer struct {
	Accepted   int      `json:"accepted"`
	Duplicates int      `json:"duplicates"`
	Rejected   int      `json:"rejected"`
	Results    []result `json:"results"`

	denied bool // the first rejection was a matter of rights
	first  string
}

// result is the fate of one event: recorded, or refused with a reason.
type result struct {
	Index     int    `json:"index"`
	ID        string `json:"id,omitempty"`
	Sequence  string `json:"sequence,omitempty"`
	Duplicate *bool  `json:"duplicate,omitempty"`
	Conflict  bool   `json:"conflict,omitempty"`
	Error     string `json:"error,omitempty"`
}

func (a *answer) add(from ingest.Answer) {
	a.Results = slices.Grow(a.Results, len(from.Results))
	no, yes := false, true
	for _, r := range from.Results {
		out := result{Index: len(a.Results), ID: string(r.ID)}
		if r.Err != nil {
			out.Error = redact.Text(r.Err.Error())
			if a.first == "" {
				a.first, a.denied = out.Error, errors.Is(r.Err, event.ErrDenied)
			}
		} else {
			out.Sequence, out.Duplicate, out.Conflict = r.Sequence.String(), &no, r.Conflict
			if r.Duplicate {
				out.Duplicate = &yes
			}
		}
		a.Results = append(a.Results, out)
	}
	a.Accepted += from.Accepted
	a.Duplicates += from.Duplicates
	a.Rejected += from.Rejected
}

// appendJSON writes the same as encoding/json does, which took longer for this
// than the journal for recording the events. It is no MarshalJSON: a problem
// embeds an answer.
func (a *answer) appendJSON(dst []byte) []byte {
	dst = slices.Grow(dst, 64+128*len(a.Results))
	dst = strconv.AppendInt(append(dst, `{"accepted":`...), int64(a.Accepted), 10)
	dst = strconv.AppendInt(append(dst, `,"duplicates":`...), int64(a.Duplicates), 10)
	dst = strconv.AppendInt(append(dst, `,"rejected":`...), int64(a.Rejected), 10)
	dst = append(dst, `,"results":[`...)
	for i := range a.Results {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = a.Results[i].appendJSON(dst)
	}
	return append(dst, "]}\n"...)
}

func (r *result) appendJSON(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"index":`...), int64(r.Index), 10)
	for _, text := range [...]struct{ name, value string }{{`,"id":`, r.ID}, {`,"sequence":`, r.Sequence}} {
		if text.value != "" {
			dst = scan.AppendString(append(dst, text.name...), text.value)
		}
	}
	if r.Duplicate != nil {
		dst = strconv.AppendBool(append(dst, `,"duplicate":`...), *r.Duplicate)
	}
	if r.Conflict {
		dst = append(dst, `,"conflict":true`...)
	}
	if r.Error != "" {
		dst = scan.AppendString(append(dst, `,"error":`...), r.Error)
	}
	return append(dst, '}')
}

// postEvents takes events in every mode of the CloudEvents HTTP binding:
// structured, batched, binary, and one JSON object a line.
func (s *Server) postEvents(w http.ResponseWriter, r *http.Request) error {
	if err := s.Ready(); err != nil {
		return err
	}
	leave, err := s.gate.enter(r.ContentLength)
	if err != nil {
		s.Metrics.CountRejected("busy")
		return err
	}
	defer leave()
	if q := readQuery(r, "access_token"); q.err != nil {
		return q.err
	}
	p := callerOf(r).principal
	from := ingest.Sender{Name: p.Name, Brand: callerOf(r).brand, Trusted: p.Can(identity.Forward)}
	a, err := s.takeEvents(w, r, from)
	if err != nil {
		if errors.Is(err, event.ErrInvalid) {
			s.Metrics.CountRejected("malformed")
		}
		return err
	}
	if a.Accepted+a.Duplicates > 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(a.appendJSON(nil)) // fails only where the client has gone
		return nil
	}
	p400 := newProblem(http.StatusBadRequest, "invalid", "no event was recorded: "+a.first)
	if a.denied {
		p400 = newProblem(http.StatusForbidden, "denied", "no event was recorded: "+a.first)
	}
	p400.answer = a
	return p400
}

func (s *Server) takeEvents(w http.ResponseWriter, r *http.Request, from ingest.Sender) (*answer, error) {
	a := &answer{Results: []result{}}
	media, err := mediaOf(r)
	if err != nil {
		return nil, err
	}
	if err := whole(w, r, s.Limits().Batch); err != nil {
		return nil, err
	}
	if media == ndjsonMedia {
		return a, s.takeLines(w, r, from, a)
	}
	body, err := readBody(w, r, s.Limits().Batch)
	if err != nil {
		return nil, err
	}
	var in []ingest.Incoming
	switch media {
	case event.BatchMedia:
		if in, err = s.Limits().DecodeBatch(body); err != nil {
			return nil, err
		}
		if len(in) == 0 {
			return nil, event.Invalidf("the batch holds no event")
		}
	case event.JSONMedia:
		in = []ingest.Incoming{s.Limits().DecodeOne(body)}
	default: // binary mode
		in = []ingest.Incoming{s.decodeBinary(r, media, body)}
	}
	answered, err := s.Ingest.Accept(r.Context(), from, in)
	if err != nil {
		return nil, err
	}
	a.add(answered)
	return a, nil
}

// mediaOf tells the mode of a request (CloudEvents HTTP binding, 3): by its
// media type, or by the header ce-specversion for binary mode.
func mediaOf(r *http.Request) (string, error) {
	text := r.Header.Get("Content-Type")
	media, parameters, err := mime.ParseMediaType(text)
	if err != nil && text != "" {
		return "", newProblem(http.StatusUnsupportedMediaType, "media-type", "Content-Type: "+text+" is not a media type")
	}
	switch media {
	case event.JSONMedia, event.BatchMedia, ndjsonMedia:
		if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
			return "", newProblem(http.StatusUnsupportedMediaType, "media-type", "events must be in UTF-8, not in "+charset)
		}
		return media, nil
	}
	if strings.HasPrefix(media, "application/cloudevents") {
		return "", newProblem(http.StatusUnsupportedMediaType, "media-type", "of the CloudEvents formats, "+event.JSONMedia+" and "+event.BatchMedia+" are understood")
	}
	if r.Header.Get("Ce-Specversion") != "" {
		return media, nil
	}
	return "", newProblem(http.StatusUnsupportedMediaType, "media-type",
		"send one event as "+event.JSONMedia+", several as "+event.BatchMedia+" or "+ndjsonMedia+", or the attributes as ce- headers")
}

func (s *Server) takeLines(w http.ResponseWriter, r *http.Request, from ingest.Sender, a *answer) error {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyDeadline))
	body := http.MaxBytesReader(w, r.Body, s.Limits().Batch)
	err := s.Limits().ReadLines(body, func(_ int, group []ingest.Incoming) error {
		answered, err := s.Ingest.Accept(r.Context(), from, group)
		if err == nil {
			a.add(answered)
		}
		return err
	})
	switch {
	case err != nil && len(a.Results) > 0:
		// Some lines are recorded already: tell which, and why the rest is not.
		broken := ingest.Answer{Rejected: 1, Results: []ingest.Result{{Err: event.Invalidf("nothing behind this line was read: %w", lineError(err))}}}
		a.add(broken)
		return nil
	case err != nil:
		return lineError(err)
	case len(a.Results) == 0:
		return event.Invalidf("the body holds no event")
	}
	return nil
}

// lineError explains an error of the body; one of the journal explains itself.
func lineError(err error) error {
	if errors.Is(err, event.ErrUnavailable) || errors.Is(err, event.ErrInvalid) {
		return err
	}
	return bodyError(err)
}

// decodeBinary reads an event whose attributes are headers (HTTP binding, 3.1).
func (s *Server) decodeBinary(r *http.Request, media string, body []byte) ingest.Incoming {
	attributes := map[string]string{}
	for name, values := range r.Header {
		short, isAttribute := strings.CutPrefix(strings.ToLower(name), "ce-")
		if !isAttribute {
			continue
		}
		text, err := url.PathUnescape(values[0]) // HTTP binding, 3.1.3.2
		if err != nil || len(values) > 1 {
			return ingest.Incoming{Err: event.Invalidf("header %s: not one percent-encoded text", name)}
		}
		attributes[short] = text
	}
	if text := r.Header.Get("Content-Type"); text != "" {
		attributes["datacontenttype"] = text
	}
	e, err := event.FromText(attributes)
	if err != nil {
		return ingest.Incoming{Event: e, Err: err}
	}
	if int64(len(body)) > s.Limits().Event {
		return ingest.Incoming{Event: e, Err: event.Invalidf("the data has %d bytes; at most %d are accepted (ingest.max_event)", len(body), s.Limits().Event)}
	}
	err = setBody(&e, media, body)
	return ingest.Incoming{Event: e, Err: err}
}

// setBody keeps JSON as JSON, other text as a string, and all else as bytes.
func setBody(e *event.Event, media string, body []byte) error {
	switch {
	case len(body) == 0:
		return nil
	case media == "" || media == "application/json" || strings.HasSuffix(media, "+json"):
		if err := scan.Valid(body); err != nil {
			return event.Invalidf("data: %w", err)
		}
		e.Data = body
	case strings.HasPrefix(media, "text/") && scan.ValidText(body):
		e.Data = scan.AppendString(nil, body)
	default:
		e.Binary = body
	}
	return nil
}

// optionsEvents answers the handshake of webhook senders (CloudEvents HTTP 1.1
// Web Hooks, 4): every origin may send, at any rate, to those who have a token.
func (s *Server) optionsEvents(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Allow", eventsAllow)
	if origin := r.Header.Get("WebHook-Request-Origin"); origin != "" {
		w.Header().Set("WebHook-Allowed-Origin", origin)
		w.Header().Set("WebHook-Allowed-Rate", "*")
		if rate, err := strconv.Atoi(r.Header.Get("WebHook-Request-Rate")); err == nil && rate > 0 {
			w.Header().Set("WebHook-Allowed-Rate", strconv.Itoa(rate))
		}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// refuseChange answers an attempt to change or delete what is recorded, and
// records the attempt.
func (s *Server) refuseChange(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Allow", eventsAllow)
	if r.PathValue("sequence") != "" {
		w.Header().Set("Allow", http.MethodGet)
	}
	if err := s.suspicious(r, "event/"+r.PathValue("sequence"), "an attempt to change a recorded event"); err != nil {
		return err
	}
	return newProblem(http.StatusMethodNotAllowed, "immutable", "recorded events are never changed or deleted; retention removes them when their time has come")
}
