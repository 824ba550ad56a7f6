package web

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/tocsin-events/tocsin/internal/event"
)

// maxForm is the largest form, in bytes.
const maxForm = 64 << 10

// readForm reads a form, and refuses fields that it is not asked for.
func readForm(w http.ResponseWriter, r *http.Request, known ...string) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, event.Invalidf("form: %w", err)
	}
	for name := range r.PostForm {
		if !slices.Contains(known, name) {
			return nil, event.Invalidf("form: unknown field %q", name)
		}
	}
	return r.PostForm, nil
}
