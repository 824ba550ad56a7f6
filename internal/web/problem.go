package web

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/journal"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// problem is an error as clients see it (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`

	// SignIn is the page that would help, where signing in again does.
	SignIn string `json:"-"`

	header http.Header
	*answer
}

func (p *problem) Error() string { return p.Detail }

// newProblem makes a problem with a status of its own.
func newProblem(status int, slug, detail string) *problem {
	return &problem{Type: "urn:tocsin:problem:" + slug, Title: http.StatusText(status), Status: status, Detail: detail, header: http.Header{}}
}

// problemOf turns an error into what a client may know of it. This is the one
// table of classes and statuses.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if slow, ok := errors.AsType[*identity.SlowDown](err); ok {
		return retryLater(http.StatusTooManyRequests, "slow-down", slow.Error(), int(slow.Wait.Seconds())+1)
	}
	if tooBig, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return newProblem(http.StatusRequestEntityTooLarge, "too-large", "the body is larger than "+strconv.FormatInt(tooBig.Limit, 10)+" bytes")
	}
	detail := redact.Text(err.Error())
	switch {
	case errors.Is(err, event.ErrInvalid):
		p := newProblem(http.StatusBadRequest, "invalid", detail)
		if bad, ok := errors.AsType[*filter.Error](err); ok {
			p.Type, p.Line, p.Column = "urn:tocsin:problem:filter", bad.Line, bad.Column
		}
		return p
	case errors.Is(err, event.ErrNotFound):
		return newProblem(http.StatusNotFound, "not-found", detail)
	case errors.Is(err, event.ErrConflict):
		return newProblem(http.StatusConflict, "conflict", detail)
	case errors.Is(err, identity.ErrSignInAgain):
		p := newProblem(http.StatusForbidden, "sign-in-again", detail)
		p.SignIn = signInAgain("/profile")
		return p
	case errors.Is(err, event.ErrDenied):
		return newProblem(http.StatusForbidden, "denied", detail)
	case errors.Is(err, event.ErrUnavailable):
		if errors.Is(err, journal.ErrFull) {
			return retryLater(http.StatusInsufficientStorage, "disk-full", detail, 30)
		}
		return retryLater(http.StatusServiceUnavailable, "unavailable", detail, 5)
	}
	return newProblem(http.StatusInternalServerError, "internal", "something failed that should not have; it is recorded as a system_exception, and in the server's log")
}

// signInAgain is the page that signs somebody in who is, and leads back to a path.
func signInAgain(back string) string { return "/sign-in?again=1&next=" + url.QueryEscape(back) }

func retryLater(status int, slug, detail string, seconds int) *problem {
	p := newProblem(status, slug, detail)
	p.header.Set("Retry-After", strconv.Itoa(seconds))
	return p
}

// fail answers with a problem. What is the server's own fault is logged and
// recorded, once, here.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError {
		s.failed(r, err)
	}
	maps.Copy(w.Header(), p.header)
	w.Header().Set("Content-Type", "application/problem+json")
	writeBody(w, p.Status, p)
}

// writeJSON answers with a JSON body.
func writeJSON(w http.ResponseWriter, status int, body any) error {
	w.Header().Set("Content-Type", "application/json")
	writeBody(w, status, body)
	return nil
}

func writeBody(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(body) // fails only where the client has gone
}
