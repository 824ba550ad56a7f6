package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
	"github.com/tocsin-events/tocsin/internal/state"
)

// maxJSON is the largest body of a request that is no event, in bytes.
const maxJSON = 1 << 20

// bodyDeadline is how long a client may take to send a body.
const bodyDeadline = 30 * time.Second

// readJSON decodes a request's JSON body, strictly: unknown members, the same
// member twice and text behind the value are refused by name or place.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" && media != "application/merge-patch+json" {
		return newProblem(http.StatusUnsupportedMediaType, "media-type", "send the body as application/json")
	}
	raw, err := readBody(w, r, maxJSON)
	if err != nil {
		return err
	}
	return decodeStrict(raw, into)
}

func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyDeadline)) // unsupported only in tests without a connection
	var buf bytes.Buffer
	if r.ContentLength > 0 && r.ContentLength <= limit {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return nil, bodyError(err)
	}
	return buf.Bytes(), nil
}

// bodyError tells a body that is too large or too slow from one that broke off.
func bodyError(err error) error {
	var tooBig *http.MaxBytesError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &tooBig), errors.Is(err, event.ErrDenied):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return newProblem(http.StatusRequestTimeout, "timeout", "the body took longer than "+bodyDeadline.String())
	default:
		return event.Invalidf("the body broke off: %w", err)
	}
}

func decodeStrict(raw []byte, into any) error {
	var sc scan.Scanner
	sc.Reset(raw)
	for first := true; ; first = false {
		kind, err := sc.Next()
		if err != nil {
			return event.Invalidf("body: %w", err)
		}
		if first && kind != scan.ObjectStart {
			return event.Invalidf("body: must be a JSON object")
		}
		if kind == scan.End {
			break
		}
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		if errors.Is(err, event.ErrInvalid) {
			return err
		}
		return event.Invalidf("body: %s", strings.TrimPrefix(plainJSON(err), "json: "))
	}
	return nil
}

func plainJSON(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return "member " + strconv.Quote(wrong.Field) + " must be of another type than " + wrong.Value
	}
	return err.Error()
}

// query reads the parameters of a request and refuses those that it is not
// asked for, by name, so that a misspelt one is never ignored.
type query struct {
	values url.Values
	err    error
}

func readQuery(r *http.Request, known ...string) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.fail("query: %v", err)
	}
	for name, list := range values {
		if !slices.Contains(known, name) {
			q.fail("query: unknown parameter %q; this request knows %s", name, strings.Join(known, ", "))
		} else if len(list) > 1 {
			q.fail("query: parameter %q is there %d times", name, len(list))
		}
	}
	return q
}

func (q *query) fail(format string, args ...any) {
	if q.err == nil {
		q.err = event.Invalidf(format, args...)
	}
}

func (q *query) text(name string) string { return q.values.Get(name) }

// number reads a whole number between least and most.
func (q *query) number(name string, otherwise, least, most int) int {
	text := q.text(name)
	if !q.values.Has(name) {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		q.fail("query: %s must be a whole number from %d to %d", name, least, most)
	}
	return n
}

func (q *query) flag(name string) bool {
	if !q.values.Has(name) {
		return false
	}
	b, err := strconv.ParseBool(q.text(name))
	if err != nil {
		q.fail("query: %s must be true or false", name)
	}
	return b
}

// instant reads an RFC 3339 time, or a duration back from now.
func (q *query) instant(name string, now, otherwise time.Time) time.Time {
	text := q.text(name)
	if text == "" {
		return otherwise
	}
	if d, err := event.ParseDuration(text); err == nil {
		return now.Add(-d)
	}
	t, err := event.ParseTime(text)
	if err != nil {
		q.fail("query: %s: %q is neither a time such as 2026-11-21T10:00:00Z nor a duration back from now such as 24h", name, text)
	}
	return t
}

// page is one page of a list.
type page[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"`
}

// maxPage is the most objects on one page of a list.
const maxPage = 1000

// listPage reads the parameters of a list of objects.
func listPage(q *query) (after state.ObjectID, limit int) {
	limit = q.number("limit", 100, 1, maxPage)
	if text := q.text("cursor"); text != "" {
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			q.fail("query: cursor %q was not given by this server", text)
		}
		after = state.ObjectID(n)
	}
	return after, limit
}

// etag is the entity tag of a version (RFC 9110, 8.8.3).
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// ifMatch is the version that a request wants to change; any where it does not
// say.
func ifMatch(r *http.Request) (int64, error) {
	text := r.Header.Get("If-Match")
	if text == "" || text == "*" {
		return state.AnyVersion, nil
	}
	n, err := strconv.ParseInt(strings.Trim(strings.TrimPrefix(text, "W/"), `"`), 10, 64)
	if err != nil || n < 1 {
		return 0, newProblem(http.StatusPreconditionFailed, "precondition", "If-Match: "+text+" is no entity tag of this server")
	}
	return n, nil
}

// readRaw reads a JSON body without decoding it.
func readRaw(w http.ResponseWriter, r *http.Request) (json.RawMessage, error) {
	var raw json.RawMessage
	err := readJSON(w, r, &raw)
	return raw, err
}

// target is the object that a request wants to change, and the version of it
// that its sender has seen.
func target(r *http.Request) (id state.ObjectID, version int64, err error) {
	if id, err = state.ParseID(r.PathValue("id")); err != nil {
		return 0, 0, err
	}
	version, err = ifMatch(r)
	return id, version, err
}
