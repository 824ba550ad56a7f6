package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/state"
)

// What all objects of the API have in common (DESIGN 8): lists by cursor, the
// whole object as the answer to a write, entity tags against lost updates, and
// merge patches. A resource is its input, its row, and a line for each handler.

// answerList answers with a page of a list.
func answerList[T, R any](w http.ResponseWriter, r *http.Request, list func(context.Context, state.ObjectID, int) ([]state.Record[T], error), row func(state.Record[T]) R) error {
	q := readQuery(r, "limit", "cursor")
	after, limit := listPage(q)
	if q.err != nil {
		return q.err
	}
	found, err := list(r.Context(), after, limit+1)
	if err != nil {
		return err
	}
	out := page[R]{Items: []R{}}
	for i, t := range found {
		if i == limit {
			next := found[i-1].ID.String()
			out.Next = &next
			break
		}
		out.Items = append(out.Items, row(t))
	}
	return writeJSON(w, http.StatusOK, out)
}

// answerAll answers with a list that is short by its nature, in one page.
func answerAll[T, R any](w http.ResponseWriter, r *http.Request, all []T, row func(T) R) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	out := page[R]{Items: []R{}}
	for _, t := range all {
		out.Items = append(out.Items, row(t))
	}
	return writeJSON(w, http.StatusOK, out)
}

// answerOne answers with the object that the path names.
func answerOne[T, R any](w http.ResponseWriter, r *http.Request, get func(context.Context, state.ObjectID) (state.Record[T], error), row func(state.Record[T]) R) error {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	found, err := get(r.Context(), id)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(found.Version))
	return writeJSON(w, http.StatusOK, row(found))
}

// answerCreated answers with an object that was just made, below the path of
// the request.
func answerCreated(w http.ResponseWriter, r *http.Request, id state.ObjectID, version int64, row any) error {
	w.Header().Set("Location", r.URL.Path+"/"+id.String())
	w.Header().Set("ETag", etag(version))
	return writeJSON(w, http.StatusCreated, row)
}

// changeOf reads what a PUT or PATCH wants to change, and to what.
func changeOf(w http.ResponseWriter, r *http.Request) (id state.ObjectID, version int64, raw json.RawMessage, err error) {
	if id, version, err = target(r); err != nil {
		return 0, 0, nil, err
	}
	raw, err = readRaw(w, r)
	return id, version, raw, err
}

// merge is the input that a request makes of what there was: all of it for PUT;
// for PATCH a merge patch (RFC 7396). null takes away what can be absent (a
// pointer of the input), and is the same as absent for all else. Inputs must
// write all their members.
func merge[In any](r *http.Request, raw json.RawMessage, was In) (In, error) {
	var in In
	if err := decodeStrict(raw, &in); err != nil || r.Method != http.MethodPatch { // unknown members are refused by name
		return in, err
	}
	// Nothing is decoded into the old lists: an element that is null would keep
	// what stood there.
	old, err := members(was)
	if err != nil {
		return in, err
	}
	patch, err := members(raw)
	if err != nil {
		return in, err
	}
	optional := pointers(reflect.TypeFor[In]())
	for name, value := range patch {
		if _, known := old[name]; !known { // in other letters
			return in, event.Invalidf("body: unknown field %q", name)
		}
		if string(value) == "null" && !optional[name] {
			continue
		}
		if old[name], err = mergePatch(old[name], value); err != nil {
			return in, err
		}
	}
	whole, err := json.Marshal(old)
	if err != nil {
		return in, err
	}
	var out In
	err = json.Unmarshal(whole, &out)
	return out, err
}

// mergePatch is the algorithm of RFC 7396, section 2, below the first level.
func mergePatch(target, patch json.RawMessage) (json.RawMessage, error) {
	var changes map[string]json.RawMessage
	if json.Unmarshal(patch, &changes) != nil || changes == nil {
		return patch, nil //nolint:nilerr // all that is no object replaces what was there
	}
	var into map[string]json.RawMessage
	if json.Unmarshal(target, &into) != nil || into == nil {
		into = map[string]json.RawMessage{}
	}
	for name, value := range changes {
		if string(value) == "null" {
			delete(into, name)
			continue
		}
		merged, err := mergePatch(into[name], value)
		if err != nil {
			return nil, err
		}
		into[name] = merged
	}
	return json.Marshal(into)
}

// pointers are the members of an input that can be null, by their JSON names.
func pointers(t reflect.Type) map[string]bool {
	found := map[string]bool{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		found[name] = f.Type.Kind() == reflect.Pointer
	}
	return found
}

func members(v any) (map[string]json.RawMessage, error) {
	doc, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var m map[string]json.RawMessage
	err = json.Unmarshal(doc, &m)
	return m, err
}

// answerChanged answers with an object that was changed, or says why it was not.
func answerChanged[T, R any](w http.ResponseWriter, r *http.Request, changed state.Record[T], row func(state.Record[T]) R, err error) error {
	if err != nil {
		return preconditionOf(r, err)
	}
	w.Header().Set("ETag", etag(changed.Version))
	return writeJSON(w, http.StatusOK, row(changed))
}

// answerDeleted removes the object that the path names.
func answerDeleted(w http.ResponseWriter, r *http.Request, remove func(context.Context, state.Cause, state.ObjectID, int64) error) error {
	id, version, err := target(r)
	if err != nil {
		return err
	}
	if err := remove(r.Context(), cause(r), id, version); err != nil {
		return preconditionOf(r, err)
	}
	return noContent(w)
}

// revealOf reads whose secret is to be shown, and the password that was given
// again for it.
func revealOf(w http.ResponseWriter, r *http.Request) (id state.ObjectID, password string, err error) {
	if id, err = state.ParseID(r.PathValue("id")); err != nil {
		return 0, "", err
	}
	var in struct {
		Password string `json:"password"`
	}
	err = readJSON(w, r, &in)
	return id, in.Password, err
}

func noContent(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// preconditionOf tells a lost update apart from other conflicts: a conflict
// under If-Match is 412 (RFC 9110, 13.1.1).
func preconditionOf(r *http.Request, err error) error {
	if errors.Is(err, event.ErrConflict) && r.Header.Get("If-Match") != "" {
		return newProblem(http.StatusPreconditionFailed, "precondition", err.Error())
	}
	return err
}
