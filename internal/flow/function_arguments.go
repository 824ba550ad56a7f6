package flow

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
)

// arguments reads what a flow gives a function ("with"). It keeps the first mistake.
type arguments struct {
	with map[string]any
	err  error
}

func argumentsOf(f *program.Effect) *arguments {
	with, ok := f.Arguments.(map[string]any)
	a := &arguments{with: with}
	if !ok && f.Arguments != nil {
		a.err = event.Invalidf("with: is an object of arguments")
	}
	return a
}

func (a *arguments) wrong(format string, args ...any) {
	if a.err == nil {
		a.err = event.Invalidf(format, args...)
	}
}

// text is an argument that is a text; numbers and booleans are written as such.
func (a *arguments) text(name string) string {
	text, ok := plainText(a.with[name])
	if !ok {
		a.wrong("%s: is a text", name)
	}
	return text
}

func plainText(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int, float64:
		return fmt.Sprint(v), true
	}
	return "", false
}

// texts is a list of texts, or one.
func (a *arguments) texts(name string) []string {
	list, ok := a.with[name].([]any)
	if !ok {
		list = []any{a.with[name]}
	}
	var all []string
	for _, one := range list {
		text, ok := plainText(one)
		if !ok {
			a.wrong("%s: is a list of texts", name)
		}
		if text != "" {
			all = append(all, text)
		}
	}
	return all
}

func (a *arguments) boolean(name string) bool {
	yes, ok := a.with[name].(bool)
	if !ok && a.with[name] != nil {
		a.wrong("%s: is true or false", name)
	}
	return yes
}

// duration is an argument such as 30m; otherwise where it is not given.
func (a *arguments) duration(name string, otherwise, most time.Duration) time.Duration {
	text := a.text(name)
	if text == "" {
		return otherwise
	}
	d, err := event.ParseDuration(text)
	if err != nil || d <= 0 || d > most {
		a.wrong("%s: %q is no duration such as 30m, of at most %s", name, text, event.FormatDuration(most))
	}
	return d
}

// refused is the outcome of a refusal that the flow can catch; any other error is
// the engine's, and the effect is tried again.
func refused(err error) (outcome, error) {
	switch {
	case errors.Is(err, event.ErrInvalid):
		return failed(program.Failure(program.TypeValidation, http.StatusBadRequest, "%v", err)), nil
	case errors.Is(err, event.ErrNotFound):
		return failed(program.Failure(program.TypeValidation, http.StatusNotFound, "%v", err)), nil
	case errors.Is(err, event.ErrDenied):
		return failed(program.Failure(program.TypeAuthorization, http.StatusForbidden, "%v", err)), nil
	case errors.Is(err, event.ErrConflict):
		return failed(program.Failure(program.TypeRuntime, http.StatusConflict, "%v", err)), nil
	}
	return outcome{}, err
}
