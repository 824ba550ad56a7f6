package source

import (
	"net/http"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// Push is a source that watches nothing: others send to it, by POST to
// /v1/hooks/ and its name. It is used by several requests at once.
type Push interface {
	// Terms say which requests are taken. They never change.
	Terms() Terms
	// Verify makes sure, where Terms say Signed, that a request comes from who
	// shares the secret. It looks at the body as it came, and at the whole of it,
	// before anybody reads it; what is compared is compared in constant time. An
	// error is a *RefusedError.
	Verify(r *Request) error
	// Decode makes events of a request. Their source may be left empty for the
	// usual one, the time for the present. The same request must give the same ids, so
	// that what is sent again is known. An error is of class event.ErrInvalid. No
	// events mean a request that says nothing, such as a test.
	Decode(r *Request) ([]event.Event, error)
}

// Terms say how a source takes requests.
type Terms struct {
	Signed  bool // a secret was given; without one, a request needs a token of this server
	Many    bool // a request may hold many events, and be as large as ingest.max_batch
	Foreign bool // its events are of whoever sends, and have no right that he does not have
}

// Request is one request to a Push.
type Request struct {
	Header   http.Header
	Body     []byte
	Received time.Time

	// Nonce is set by Verify where the sender says that no two requests are alike:
	// the same one again is a replay.
	Nonce string
}

// RefusedError says that a request does not come from who shares the secret. It
// is of class event.ErrDenied.
type RefusedError struct {
	Missing bool   // there is no signature or secret at all
	Why     string // without anything that the sender has chosen
}

func (r *RefusedError) Error() string { return r.Why }

// Unwrap gives the class.
func (r *RefusedError) Unwrap() error { return event.ErrDenied }

const (
	hookPath = "/v1/hooks/"
	noSecret = "no secret: only requests with a token of the scope emit are taken; give secret_file or secret_env"
)

// Inlet is the way into one source.
type Inlet struct {
	m    *member
	base string
}

// Inlet finds the source of a name. An error is of class event.ErrNotFound.
func (s *Set) Inlet(name string) (*Inlet, error) {
	for _, m := range s.members {
		if m.row.Name != name || m.row.Path == "" {
			continue
		}
		if m.push == nil {
			return nil, event.NotFoundf("the source %s is disabled: set sources.%s.enabled", name, name)
		}
		return &Inlet{m, s.env.Base}, nil
	}
	return nil, event.NotFoundf("there is no source of this name that takes requests; GET /v1/sources lists them")
}

// Terms are those of the source.
func (i *Inlet) Terms() Terms { return i.m.push.Terms() }

// Receive verifies and decodes a request and hands its events to record, which
// returns when they are durable. Where the source has no secret, the caller has
// made sure who sends. Errors are *RefusedError, of class event.ErrInvalid, or
// what record returns.
func (i *Inlet) Receive(r *Request, record func([]event.Event) error) (err error) {
	told := false
	defer func() { i.note(told, err) }()
	if i.Terms().Signed {
		if err := i.m.push.Verify(r); err != nil {
			return err
		}
	}
	if r.Nonce != "" {
		if !i.m.seen.claim(r.Nonce, r.Received) {
			return &RefusedError{Why: "the signature was used before: this is a replay"}
		}
		defer func() {
			if !told { // the sender may try the same again, also behind a panic
				i.m.seen.release(r.Nonce)
			}
		}()
	}
	events, err := i.m.push.Decode(r)
	if err != nil {
		return err
	}
	for n := range events {
		if err := i.complete(&events[n]); err != nil {
			return event.Invalidf("event %d of the request: %w", n, err)
		}
	}
	if err := record(events); err != nil {
		return err
	}
	told = true
	return nil
}

// complete gives an event its source, and makes sure that it can be written and
// read again.
func (i *Inlet) complete(e *event.Event) error {
	if e.Source == "" {
		e.Source = i.base + "/" + i.m.row.Name
	}
	if e.ID == "" {
		e.ID = event.NewID()
	}
	if e.DataContentType == "" && e.Data != nil {
		e.DataContentType = "application/json"
	}
	_, err := event.Decode(e.AppendJSON(nil))
	return err
}

// note enters how a request went into the source's row.
func (i *Inlet) note(told bool, err error) {
	switch {
	case err != nil:
		i.m.set(func(r *Row) { r.LastError = redact.Text(err.Error()) })
	case told:
		i.m.told()
		i.m.set(func(r *Row) { r.LastError = "" })
	}
}
