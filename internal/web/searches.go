package web

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// savedSearch is a search that somebody keeps.
type savedSearch struct {
	Name   string `json:"name"`
	Filter string `json:"filter"`
	Since  string `json:"since"`
	By     string `json:"by"`
	Shared bool   `json:"shared"` // everybody sees it
	Owner  string `json:"owner"`  // id of a user
}

var savedSearches = state.Collection[savedSearch]{ //nolint:gochecknoglobals // a description of the model, without state
	App: "search", Model: "search",
	Name: func(s *savedSearch) string { return s.Name },
	Keys: func(s *savedSearch) map[string]string { return map[string]string{"name": s.Owner + "/" + s.Name} },
	Check: func(s *savedSearch) error {
		if s.Name == "" || len(s.Name) > 80 || strings.ContainsFunc(s.Name, deceives) {
			return event.Invalidf("name: must have 1 to 80 characters, none of them a control character")
		}
		if s.By != "" && s.By != "type" {
			return event.Invalidf("by: must be type, or left out for severity")
		}
		if _, err := event.ParseDuration(s.Since); err != nil {
			if _, err := event.ParseTime(s.Since); err != nil {
				return event.Invalidf("since: %q is neither a duration such as 24h nor a time", s.Since)
			}
		}
		return nil
	},
}

// savedInput is what a caller may say of a saved search.
type savedInput struct {
	Name   string `json:"name"`
	Filter string `json:"filter"`
	Since  string `json:"since"`
	By     string `json:"by"`
	Shared bool   `json:"shared"`
}

// savedRow is a saved search as the API and the pages show it.
type savedRow struct {
	ID string `json:"id"`
	savedSearch
	Created time.Time `json:"created"`
	Mine    bool      `json:"mine"`

	Href string `json:"-"`
	On   bool   `json:"-"`
}

func newSavedRow(r state.Record[savedSearch], p *identity.Principal) savedRow {
	return savedRow{ID: r.ID.String(), savedSearch: r.Value, Created: r.Created, Mine: r.Value.Owner == p.ID}
}

// visibleSearches are the caller's own searches and those that are shared.
func (s *Server) visibleSearches(ctx context.Context, p *identity.Principal, after state.ObjectID, limit int) ([]savedRow, error) {
	var rows []savedRow
	for len(rows) < limit {
		found, err := savedSearches.List(ctx, s.State.Reader(), after, maxPage)
		if err != nil || len(found) == 0 {
			return rows, err
		}
		for _, r := range found {
			after = r.ID
			if (r.Value.Shared || r.Value.Owner == p.ID) && len(rows) < limit {
				rows = append(rows, newSavedRow(r, p))
			}
		}
	}
	return rows, nil
}

func (s *Server) savedRows(ctx context.Context, p *identity.Principal, now *search) ([]savedRow, error) {
	rows, err := s.visibleSearches(ctx, p, 0, 50)
	for i := range rows {
		r := &rows[i]
		r.Href = search{Filter: r.Filter, Since: r.Since, By: r.By}.href("/events")
		r.On = r.Filter == now.Filter && r.Since == now.Since && r.By == now.By && now.Until == ""
	}
	return rows, err
}

// saveSearch keeps a search for its owner. The filter must compile.
func (s *Server) saveSearch(r *http.Request, in savedInput) (state.Record[savedSearch], error) {
	var made state.Record[savedSearch]
	value := savedSearch{Name: strings.TrimSpace(in.Name), Filter: in.Filter, Since: cmp.Or(in.Since, defaultSince), By: in.By, Shared: in.Shared, Owner: callerOf(r).principal.ID}
	if _, err := s.Filters.Compile(filter.FromSearchBox(value.Filter)); err != nil {
		return made, err
	}
	err := s.State.Write(r.Context(), cause(r), func(tx *state.Tx) (err error) {
		made, err = savedSearches.Insert(tx, value)
		return err
	})
	return made, err
}

// ownSearch refuses to touch what belongs to somebody else.
func ownSearch(r *http.Request, v *savedSearch) error {
	if p := callerOf(r).principal; v.Owner != p.ID && !p.Can(identity.Admin) {
		if v.Shared {
			return event.Deniedf("the search %q belongs to somebody else", v.Name)
		}
		return event.NotFoundf("there is no such search")
	}
	return nil
}

func (s *Server) getSearches(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "limit", "cursor")
	after, limit := listPage(q)
	if q.err != nil {
		return q.err
	}
	rows, err := s.visibleSearches(r.Context(), callerOf(r).principal, after, limit+1)
	if err != nil {
		return err
	}
	out := page[savedRow]{Items: []savedRow{}}
	if len(rows) > limit {
		rows = rows[:limit]
		out.Next = &rows[limit-1].ID
	}
	out.Items = append(out.Items, rows...)
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) postSearches(w http.ResponseWriter, r *http.Request) error {
	var in savedInput
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	made, err := s.saveSearch(r, in)
	if err != nil {
		return err
	}
	return answerCreated(w, r, made.ID, made.Version, newSavedRow(made, callerOf(r).principal))
}

func (s *Server) getSearch(w http.ResponseWriter, r *http.Request) error {
	return answerOne(w, r, func(ctx context.Context, id state.ObjectID) (state.Record[savedSearch], error) {
		found, err := savedSearches.Get(ctx, s.State.Reader(), id)
		if err == nil && !found.Value.Shared {
			err = ownSearch(r, &found.Value)
		}
		return found, err
	}, s.savedRowOf(r))
}

// putSearch replaces (PUT) or patches (PATCH) a saved search.
func (s *Server) putSearch(w http.ResponseWriter, r *http.Request) error {
	id, version, raw, err := changeOf(w, r)
	if err != nil {
		return err
	}
	var changed state.Record[savedSearch]
	err = s.State.Write(r.Context(), cause(r), func(tx *state.Tx) (err error) {
		changed, err = savedSearches.Update(tx, id, version, func(v *savedSearch) error {
			if err := ownSearch(r, v); err != nil {
				return err
			}
			in, err := merge(r, raw, savedInput{v.Name, v.Filter, v.Since, v.By, v.Shared})
			if err != nil {
				return err
			}
			v.Name, v.Filter, v.Since, v.By, v.Shared = in.Name, in.Filter, cmp.Or(in.Since, defaultSince), in.By, in.Shared
			_, err = s.Filters.Compile(filter.FromSearchBox(v.Filter))
			return err
		})
		return err
	})
	return answerChanged(w, r, changed, s.savedRowOf(r), err)
}

func (s *Server) deleteSearch(w http.ResponseWriter, r *http.Request) error {
	return answerDeleted(w, r, func(_ context.Context, _ state.Cause, id state.ObjectID, version int64) error {
		return s.removeSearch(r, id, version)
	})
}

func (s *Server) savedRowOf(r *http.Request) func(state.Record[savedSearch]) savedRow {
	p := callerOf(r).principal
	return func(found state.Record[savedSearch]) savedRow { return newSavedRow(found, p) }
}

func (s *Server) removeSearch(r *http.Request, id state.ObjectID, version int64) error {
	return s.State.Write(r.Context(), cause(r), func(tx *state.Tx) error {
		found, err := savedSearches.Get(r.Context(), tx, id)
		if err == nil {
			err = ownSearch(r, &found.Value)
		}
		if err == nil {
			_, err = savedSearches.Delete(tx, id, version)
		}
		return err
	})
}

// postSearchPage saves the search of the page.
func (s *Server) postSearchPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "name", "q", "since", "by", "shared")
	if err != nil {
		return err
	}
	made, err := s.saveSearch(r, savedInput{form.Get("name"), form.Get("q"), form.Get("since"), form.Get("by"), form.Get("shared") == "true"})
	if err != nil {
		return err
	}
	v := made.Value
	http.Redirect(w, r, search{Filter: v.Filter, Since: v.Since, By: v.By}.href("/events"), http.StatusSeeOther)
	return nil
}

// deleteSearchPage removes a saved search.
func (s *Server) deleteSearchPage(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := s.removeSearch(r, id, state.AnyVersion); err != nil {
		return err
	}
	http.Redirect(w, r, "/events", http.StatusSeeOther)
	return nil
}
