package web

import (
	"net/http"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/licence"
)

type licencesView struct {
	All []licence.Licence
	One *licence.Licence
}

// getLicences lists whose work the program holds; with a name, it shows the terms
// of that.
func (s *Server) getLicences(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "of")
	if q.err != nil {
		return q.err
	}
	all, err := licence.All()
	if err != nil {
		return err
	}
	v := licencesView{All: all}
	title := "Licences"
	if name := q.text("of"); name != "" {
		for i := range all {
			if all[i].Name == name {
				v.One = &all[i]
			}
		}
		if v.One == nil {
			return event.NotFoundf("nothing called %q is built in", name)
		}
		title = name
	}
	return s.render(w, r, "licences", pageView{Title: title, Says: "Whose work is built in, and under which terms.", Active: "/settings", Command: "tocsin version --licences", Body: v})
}
