package event

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// The classes of failure. An error belongs to one when errors.Is says so; web
// turns the class into a status and cli into an exit code, each in one table.
var (
	ErrInvalid     = errors.New("invalid")     // the caller sent something wrong: 400, exit 2
	ErrNotFound    = errors.New("not found")   // no such thing: 404, exit 3
	ErrConflict    = errors.New("conflict")    // the thing has changed, or exists: 409
	ErrDenied      = errors.New("denied")      // the caller may not: 403, exit 4
	ErrUnavailable = errors.New("unavailable") // not now, try again later: 503, exit 5
)

// classed is an error with a message for people and a class for machines. The
// class's own word is left out of the message.
type classed struct {
	error
	class error
}

func (e *classed) Unwrap() []error { return []error{e.class, e.error} }

func newClassed(class error, format string, args []any) error {
	return &classed{error: fmt.Errorf(format, args...), class: class}
}

// Invalidf makes an error of class ErrInvalid; %w works as in fmt.Errorf.
func Invalidf(format string, args ...any) error { return newClassed(ErrInvalid, format, args) }

// NotFoundf makes an error of class ErrNotFound.
func NotFoundf(format string, args ...any) error { return newClassed(ErrNotFound, format, args) }

// Conflictf makes an error of class ErrConflict.
func Conflictf(format string, args ...any) error { return newClassed(ErrConflict, format, args) }

// Deniedf makes an error of class ErrDenied.
func Deniedf(format string, args ...any) error { return newClassed(ErrDenied, format, args) }

// Unavailablef makes an error of class ErrUnavailable.
func Unavailablef(format string, args ...any) error { return newClassed(ErrUnavailable, format, args) }

// clip shortens a stranger's text before it is quoted in a message.
func clip(text string) string {
	const most = 64
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
