package program

import (
	"fmt"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
)

// A Problem is one thing that is wrong with a document.
type Problem struct {
	Path    string `json:"path"` // JSON pointer into the document (RFC 6901)
	Line    int    `json:"line"` // from 1; 0 where unknown
	Column  int    `json:"column"`
	Problem string `json:"problem"`
	Instead string `json:"instead,omitempty"` // what to write instead
}

func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d, column %d: ", p.Line, p.Column)
	}
	b.WriteString(p.Problem)
	if p.Path != "" {
		b.WriteString(" at " + p.Path)
	}
	if p.Instead != "" {
		b.WriteString(": " + p.Instead)
	}
	return b.String()
}

// InvalidError is a document that can't be compiled, with all that is wrong with
// it in the order of the document. It is of class event.ErrInvalid.
type InvalidError struct{ Problems []Problem }

func (e *InvalidError) Error() string {
	first := e.Problems[0].String()
	if n := len(e.Problems) - 1; n > 0 {
		return fmt.Sprintf("%s (and %d more)", first, n)
	}
	return first
}

// Is makes the error one of class event.ErrInvalid.
func (e *InvalidError) Is(target error) bool { return target == event.ErrInvalid }
