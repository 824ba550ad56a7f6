package program

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The standard types of errors (DSL reference, "Standard Error Types").
const (
	errorBase          = "https://serverlessworkflow.io/spec/1.0.0/errors/"
	TypeConfiguration  = errorBase + "configuration"
	TypeValidation     = errorBase + "validation"
	TypeExpression     = errorBase + "expression"
	TypeAuthentication = errorBase + "authentication"
	TypeAuthorization  = errorBase + "authorization"
	TypeTimeout        = errorBase + "timeout"
	TypeCommunication  = errorBase + "communication"
	TypeRuntime        = errorBase + "runtime"
)

// Error is what a task fails with: an error of the specification, in the terms of
// RFC 9457. A task can catch it unless Final.
type Error struct {
	Type     string `json:"type"`
	Status   int    `json:"status"`
	Title    string `json:"title,omitempty"`
	Detail   string `json:"detail,omitempty"`
	Instance string `json:"instance,omitempty"` // the task's reference, such as /do/2/notify
	Final    bool   `json:"final,omitempty"`    // a limit was reached: nothing catches it
}

// Failure makes an Error of a standard type. Its instance is set by who runs the
// task that failed.
func Failure(kind string, status int, format string, args ...any) *Error {
	title := map[string]string{
		TypeConfiguration: "Configuration Error", TypeValidation: "Validation Error", TypeExpression: "Expression Error",
		TypeAuthentication: "Authentication Error", TypeAuthorization: "Authorization Error", TypeTimeout: "Timeout Error",
		TypeCommunication: "Communication Error", TypeRuntime: "Runtime Error",
	}[kind]
	return &Error{Type: kind, Status: status, Title: title, Detail: fmt.Sprintf(format, args...)}
}

// Error reads as  [status] title at /do/2/x: detail.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%d] %s", e.Status, e.Title)
	if e.Title == "" {
		b.WriteString(e.Type)
	}
	if e.Instance != "" {
		b.WriteString(" at " + e.Instance)
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	return b.String()
}

// value is the error as expressions see it.
func (e *Error) value() map[string]any {
	m := map[string]any{"type": e.Type, "status": e.Status}
	for name, text := range map[string]string{"title": e.Title, "detail": e.Detail, "instance": e.Instance} {
		if text != "" {
			m[name] = text
		}
	}
	return m
}

// at is the error with its place, unless it has one.
func (e *Error) at(reference string) *Error {
	if e.Instance != "" {
		return e
	}
	placed := *e
	placed.Instance = reference
	return &placed
}

// standard finds the name of a standard type in the forms that documents use: the
// specification has moved between two hosts and several paths.
var standard = regexp.MustCompile(`^(?:https?://(?:www\.)?(?:serverlessworkflow\.io|open-workflow-specification\.org)/(?:(?:spec|dsl)/)?(?:\d+\.\d+\.\d+/)?errors/(?:types/)?)?` +
	`(configuration|validation|expression|authentication|authorization|timeout|communication|runtime)/?$`)

// canonical makes the forms of a standard type equal.
func canonical(kind string) string {
	if m := standard.FindStringSubmatch(kind); m != nil {
		return errorBase + m[1]
	}
	return kind
}

// What ends a run without being an error of the flow.
var (
	// ErrSuspended is what Effects.Do returns for an effect whose answer comes later.
	ErrSuspended = errors.New("suspended")

	errEnd = errors.New("end") // then: end
)

// expiredError is a timeout on its way to the task that set it.
type expiredError struct{ owner *deadline }

func (e *expiredError) Error() string { return "timeout" }
