package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// form is what a value must look like, where nobody knows it beforehand.
type form struct{ *regexp.Regexp }

func looks(pattern string) form { return form{regexp.MustCompile(`^(?:` + pattern + `)$`)} }

// The forms of the seeds' values.
var (
	anID      = looks(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	microTime = looks(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z`) // seed 003's
	milliTime = looks(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`) // seed 002's
	something = looks(`(?s).+`)
)

// aNumber is any whole number.
type aNumber struct{}

// each is a list of which every item looks alike, and of which there is at least
// one.
type each struct{ item any }

// jsonNumber is an id, which is text in the API, as the number that seed 003 has.
func jsonNumber(id any) json.Number { return json.Number(text(id)) }

// unlike says, place by place, how a JSON value differs from what it must be:
// objects have exactly the members wanted, values are of the same type and
// equal, or look as a form says.
func unlike(path string, want, got any) (all []string) {
	differs := func() []string { return []string{fmt.Sprintf("%s is %#v, want %v", path, got, want)} }
	switch want := want.(type) {
	case form:
		if text, ok := got.(string); !ok || !want.MatchString(text) {
			return differs()
		}
	case aNumber:
		if n, ok := got.(json.Number); !ok || strings.ContainsAny(string(n), ".eE") {
			return differs()
		}
	case each:
		list, ok := got.([]any)
		if !ok || len(list) == 0 {
			return differs()
		}
		for i, item := range list {
			all = append(all, unlike(fmt.Sprintf("%s[%d]", path, i), want.item, item)...)
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return differs()
		}
		for i := range want {
			all = append(all, unlike(fmt.Sprintf("%s[%d]", path, i), want[i], list[i])...)
		}
	case object:
		is, ok := got.(object)
		if !ok {
			return differs()
		}
		names := maps.Clone(want)
		maps.Copy(names, is)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			below := strings.TrimPrefix(path+"."+name, ".")
			if _, wanted := want[name]; !wanted {
				all = append(all, fmt.Sprintf("%s is too much: %#v", below, is[name]))
			} else if _, has := is[name]; !has {
				all = append(all, below+" is missing")
			} else {
				all = append(all, unlike(below, want[name], is[name])...)
			}
		}
	case int:
		if got != json.Number(itoa(want)) {
			return differs()
		}
	default:
		if got != want {
			return differs()
		}
	}
	return all
}
