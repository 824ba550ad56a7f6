package web

import (
	"context"
	"net/http"
	"strings"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
	"github.com/tocsin-events/tocsin/internal/state"
)

// wordsView is in which words a type of event is told.
type wordsView struct {
	Said        string
	Problem     *problem
	Type        string
	Usual       string // the catalog's text
	Title, Text string // what stands in their place
	Own         bool   // something does
	Version     int64
	IsAdmin     bool
	Fields      []pair
	Preview     wordsPreview
}

// wordsPreview is an event as it would be told.
type wordsPreview struct {
	Title, Text, Severity string
	Event                 string // the page of the event; empty where none was recorded yet
}

// entryOf is the entry of the catalog that the path names.
func (s *Server) entryOf(r *http.Request) (catalog.Entry, error) {
	e, ok := s.Catalog.Get(event.Type(r.PathValue("type")))
	if !ok {
		return e, event.NotFoundf("there is no type %q in the catalog", clipTo(r.PathValue("type"), 128))
	}
	return e, nil
}

// getWordsPage shows the words of a type, and how its newest event is told. Those
// in the address, which are being written, go before those that are stored.
func (s *Server) getWordsPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "title", "text", "version", "said")
	v := wordsView{Said: told(q, map[string]string{"saved": "Events of this type are told in these words from now on.", "reset": "The catalog's words are back."})}
	if q.err != nil {
		return q.err
	}
	var typed *notify.Template
	if q.values.Has("title") || q.values.Has("text") {
		typed = &notify.Template{Title: q.text("title"), Text: q.text("text")}
	}
	return s.showWords(w, r, v, typed, nil)
}

func (s *Server) showWords(w http.ResponseWriter, r *http.Request, v wordsView, typed *notify.Template, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	e, err := s.entryOf(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	stored, found, err := s.Notify.TemplateOf(ctx, e.Type)
	if err != nil {
		return err
	}
	shown := stored.Value
	if typed != nil {
		shown = *typed
	}
	v.Type, v.Usual, v.Title, v.Text, v.Own, v.Version = string(e.Type), s.catalogRow(e, nil).Message, shown.Title, shown.Text, found, stored.Version
	v.IsAdmin = callerOf(r).principal.Can(identity.Admin)
	for _, f := range e.Fields {
		v.Fields = append(v.Fields, pair{"{data." + f.Name + "}", f.Doc})
	}
	if v.Preview, err = s.previewWords(ctx, &e, shown); err != nil {
		return err
	}
	return s.renderStatus(w, r, status, "words", pageView{
		Title: "Words of " + string(e.Type), Says: "How an event of this type is told: title and text of the message.", Docs: "deliveries", Active: "/catalog",
		Command: "tocsin templates create template.yaml", Body: v,
	})
}

// previewWords tells the newest event of a type in the words of a template; where
// none was recorded yet, one that is made from the fields.
func (s *Server) previewWords(ctx context.Context, entry *catalog.Entry, t notify.Template) (wordsPreview, error) {
	hit, err := s.newest(ctx, entry.Type)
	if err != nil {
		return wordsPreview{}, err
	}
	var p wordsPreview
	var e event.Event
	if hit != nil {
		if e, err = event.Decode(hit.Body); err != nil {
			return p, err
		}
		e.Sequence = hit.Seq
		p.Event = "/events/" + seqText(hit.Seq)
	} else if e, err = s.madeUp(entry); err != nil {
		return p, err
	}
	t.Type = string(entry.Type)
	title, text, severity := s.Notify.Preview(t, &e)
	p.Title, p.Text, p.Severity = line(title), plain(text), severity.String()
	return p, nil
}

// postWordsPage stores words in place of the catalog's.
func (s *Server) postWordsPage(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "title", "text", "version")
	if err != nil {
		return err
	}
	e, err := s.entryOf(r)
	if err != nil {
		return err
	}
	t := notify.Template{Type: string(e.Type), Title: strings.TrimSpace(form.Get("title")), Text: strings.TrimSpace(strings.ReplaceAll(form.Get("text"), "\r\n", "\n"))}
	if err := s.storeWords(r, t, form.Get("version")); err != nil {
		return s.showWords(w, r, wordsView{}, &t, err)
	}
	http.Redirect(w, r, "/catalog/"+string(e.Type)+"/words?said=saved", http.StatusSeeOther)
	return nil
}

// storeWords makes the template of a type, or changes the one that its form was
// made from.
func (s *Server) storeWords(r *http.Request, t notify.Template, version string) error {
	ctx := r.Context()
	stored, found, err := s.Notify.TemplateOf(ctx, event.Type(t.Type))
	if err != nil {
		return err
	}
	if !found {
		_, err = s.Notify.CreateTemplate(ctx, cause(r), t)
		return err
	}
	seen, err := formVersion(version)
	if err != nil {
		return event.Conflictf("somebody has written words for this type meanwhile: look at them first")
	}
	_, err = s.Notify.UpdateTemplate(ctx, cause(r), stored.ID, seen, func(now *notify.Template) error { *now = t; return nil })
	return err
}

// postResetWords goes back to the catalog's words.
func (s *Server) postResetWords(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	e, err := s.entryOf(r)
	if err != nil {
		return err
	}
	stored, found, err := s.Notify.TemplateOf(r.Context(), e.Type)
	if err != nil {
		return err
	}
	if found {
		if err := s.Notify.DeleteTemplate(r.Context(), cause(r), stored.ID, state.AnyVersion); err != nil {
			return s.showWords(w, r, wordsView{}, nil, err)
		}
	}
	http.Redirect(w, r, "/catalog/"+string(e.Type)+"/words?said=reset", http.StatusSeeOther)
	return nil
}
