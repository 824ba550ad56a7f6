package event

import (
	"errors"
	"fmt"
	"runtime"
)

// Exception is a failure as data.exception holds it: a structure, never one
// long string. Its one-line text goes into data.message.
type Exception struct {
	Type    string     `json:"type"`
	Message string     `json:"message"`
	Frames  []Frame    `json:"frames"` // the innermost call first
	Cause   *Exception `json:"cause,omitempty"`
}

// Frame is one call of a stack.
type Frame struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Function string `json:"function"`
}

const (
	maxFrames = 64
	maxCauses = 16
)

// NewException describes an error with its chain of causes, and the stack of the
// caller. skip is how many callers to leave out.
func NewException(err error, skip int) Exception {
	x := describe(err, maxCauses)
	x.Frames = stack(skip + 1)
	return x
}

// NewPanic describes a recovered panic, and the stack on which it happened. It
// must be called by the deferred function itself.
func NewPanic(recovered any) Exception {
	if err, ok := recovered.(error); ok {
		return NewException(err, 2)
	}
	return Exception{Type: "panic", Message: fmt.Sprint(recovered), Frames: stack(2)}
}

func describe(err error, deepest int) Exception {
	x := Exception{Type: fmt.Sprintf("%T", err), Message: err.Error(), Frames: []Frame{}}
	if cause := errors.Unwrap(err); cause != nil && deepest > 0 {
		c := describe(cause, deepest-1)
		x.Cause = &c
	}
	return x
}

func stack(skip int) []Frame {
	var pcs [maxFrames]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(skip+2, pcs[:])])
	all := []Frame{}
	for {
		f, more := frames.Next()
		if f.Function != "" {
			all = append(all, Frame{File: f.File, Line: f.Line, Function: f.Function})
		}
		if !more {
			return all
		}
	}
}
