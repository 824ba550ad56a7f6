package web

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// flowView is the editor of one flow.
type flowView struct {
	Tabs            []link
	ID, Name        string // empty for a new one
	Version         string
	Said            string
	Problem         *problem
	Document        string
	Kept            string // the file in which it is kept
	Drifted         bool   // it is no longer what the file has
	Check           *checkView
	Templates       []templateLine
	Functions       []functionLine
	IsAdmin, MayRun bool
	Form            dryForm
	Dry             *dryView
	Triggers        []link
	Off             int
	Scopes          string
	Runs            []runLine
	Input           string // to start it with
	Key             string // of the run that the form starts: sent twice, it starts one
	Curl            string
}

// templateLine is a flow to start from.
type templateLine struct {
	Name, Title, Says string
	On                bool
}

// functionLine is a function that flows may call.
type functionLine struct {
	Name, Doc string
	With      []pair
}

// checkView is what the compiler says of a document, and the picture of it.
type checkView struct {
	Problems []problemLine
	More     int
	Diagram  *diagram
	Empty    bool
}

// problemLine is one problem where it stands.
type problemLine struct {
	Line, Column           int
	Path, Problem, Instead string
	Source, Pointer        string
}

// blankFlow is what a new flow begins with.
const blankFlow = `document:
  dsl: '1.0.3'
  namespace: default
  name: my-flow
  version: '1.0.0'
do:
  - look:
      set:
        text: ${ "an event of the type " + .type }
`

// problemsMost is how many problems a page shows.
const problemsMost = 20

// checkDocument compiles a document and draws it. states is what has become of its
// tasks.
func (s *Server) checkDocument(document string, states map[string]string) *checkView {
	v := &checkView{Empty: strings.TrimSpace(document) == ""}
	if v.Empty {
		return v
	}
	problems := s.Flow.Problems(document)
	lines := strings.Split(document, "\n")
	for i := range problems {
		if i == problemsMost {
			v.More = len(problems) - i
			break
		}
		v.Problems = append(v.Problems, newProblemLine(&problems[i], lines))
	}
	if g, err := s.Flow.Graph(document); err == nil {
		v.Diagram = drawFlow(&g, states)
	}
	return v
}

func newProblemLine(p *program.Problem, lines []string) problemLine {
	out := problemLine{Line: p.Line, Column: p.Column, Path: line(p.Path), Problem: line(p.Problem), Instead: line(p.Instead)}
	if p.Line < 1 || p.Line > len(lines) {
		return out
	}
	// Columns are characters, as YAML counts them.
	source := []rune(strings.ReplaceAll(strings.TrimRight(lines[p.Line-1], "\r"), "\t", " "))
	at := min(max(p.Column-1, 0), len(source))
	const around = 60 // a document in JSON may be one long line
	begin := max(0, at-around)
	out.Source = plain(string(source[begin:min(len(source), at+around)]))
	out.Pointer = strings.Repeat(" ", len([]rune(plain(string(source[begin:at]))))) + "^"
	return out
}

// getNewFlow shows the editor with a template, or with next to nothing.
func (s *Server) getNewFlow(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "template")
	if q.err != nil {
		return q.err
	}
	v := flowView{Document: blankFlow}
	all, err := flow.Templates()
	if err != nil {
		return err
	}
	known := q.text("template") == ""
	for _, t := range all {
		on := t.Name == q.text("template")
		v.Templates = append(v.Templates, templateLine{t.Name, t.Title, t.Summary, on})
		if on {
			known, v.Document = true, t.Document
		}
	}
	if !known {
		return event.NotFoundf("there is no template %q", clipTo(q.text("template"), 64))
	}
	return s.showFlow(w, r, v, nil)
}

// getFlowPage shows one flow.
func (s *Server) getFlowPage(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "said", "sequence")
	said := told(q, map[string]string{"made": "The flow is stored. Try it on an event, then make a trigger for it.", "saved": "The new version is stored. Runs that have begun go on with the version that they began with."})
	if q.err != nil {
		return q.err
	}
	v, err := s.openFlow(r)
	if err != nil {
		return err
	}
	v.Said, v.Form.Sequence = said, q.text("sequence")
	return s.showFlow(w, r, v, nil)
}

// openFlow is the editor of the flow that the path names.
func (s *Server) openFlow(r *http.Request) (v flowView, err error) {
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return v, err
	}
	f, err := s.Flow.GetFlow(r.Context(), id)
	return flowView{ID: id.String(), Version: strconv.FormatInt(f.Version, 10), Document: f.Value.Document}, err
}

// maxFlowForm is the largest form with a document: written as a form, one has up to
// three times its bytes.
const maxFlowForm = 4 << 20

// readFlowForm reads the form of the editor, and the act that its button asks for.
func readFlowForm(w http.ResponseWriter, r *http.Request) (v flowView, act string, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxFlowForm)
	if err := r.ParseForm(); err != nil {
		return v, "", event.Invalidf("form: %w", err)
	}
	f := formReader{values: r.PostForm, used: map[string]bool{"document": true}}
	v = flowView{
		ID: r.PathValue("id"), Version: f.one("version"), Document: strings.ReplaceAll(r.PostForm.Get("document"), "\r\n", "\n"),
		Form: dryForm{Sequence: f.one("dry.sequence"), Input: f.one("dry.input"), Trigger: f.one("dry.trigger")},
	}
	act = f.one("act")
	return v, act, f.unknown()
}

// postFlowPage saves a flow, or tries it where another button asks for that.
func (s *Server) postFlowPage(w http.ResponseWriter, r *http.Request) error {
	v, act, err := readFlowForm(w, r)
	if err != nil {
		return err
	}
	if act == "dry" {
		if v.Dry, err = s.dryRun(r, v.Document, &v.Form); err != nil {
			return err
		}
		return s.showFlow(w, r, v, nil)
	}
	ctx, by := r.Context(), cause(r)
	if v.ID == "" {
		made, err := s.Flow.CreateFlow(ctx, by, v.Document, "")
		if err != nil {
			return s.showFlow(w, r, v, err)
		}
		http.Redirect(w, r, "/flows/"+made.ID.String()+"?said=made", http.StatusSeeOther)
		return nil
	}
	id, err := state.ParseID(v.ID)
	if err != nil {
		return err
	}
	version, err := formVersion(v.Version)
	if err != nil {
		return err
	}
	if _, err := s.Flow.UpdateFlow(ctx, by, id, version, v.Document); err != nil {
		return s.showFlow(w, r, v, err)
	}
	http.Redirect(w, r, "/flows/"+v.ID+"?said=saved", http.StatusSeeOther)
	return nil
}

// postFlowCheck checks and draws what is being written.
func (s *Server) postFlowCheck(w http.ResponseWriter, r *http.Request) error {
	v, _, err := readFlowForm(w, r)
	if err != nil {
		return err
	}
	return s.render(w, r, "flowcheck", pageView{Title: "Check", Says: "What the compiler says.", Active: "/flows", Body: s.checkDocument(v.Document, nil)})
}

func (s *Server) showFlow(w http.ResponseWriter, r *http.Request, v flowView, failed error) error {
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	p := callerOf(r).principal
	v.Key = string(event.NewID())
	v.Tabs, v.IsAdmin, v.MayRun = flowTabs(r, "/flows"), p.Can(identity.Admin), p.Can(identity.Emit)
	var states map[string]string
	if v.Dry != nil {
		states = v.Dry.States
	}
	v.Check = s.checkDocument(v.Document, states)
	v.Functions = functionLines()
	title, command := "New flow", "tocsin flows apply flow.yaml"
	method, path := http.MethodPost, "/v1/flows"
	if v.ID != "" {
		if err := s.completeFlow(r, &v); err != nil {
			return err
		}
		title, command = v.Name, "tocsin flows show "+v.ID
		method, path = http.MethodPut, "/v1/flows/"+v.ID
	}
	v.Curl = "curl -X " + method + ` -H "Authorization: Bearer $TOCSIN_TOKEN" -H "Content-Type: application/yaml" --data-binary @flow.yaml ` + s.Base + path
	if err := s.completeDryForm(r, &v); err != nil {
		return err
	}
	return s.renderStatus(w, r, status, "flow", pageView{
		Title: title, Says: "A document of the Open Workflow Specification: what is done, step by step.", Docs: "flows", Active: "/flows", Command: command, Body: v,
	})
}

// completeFlow adds what is stored of a flow, and around it.
func (s *Server) completeFlow(r *http.Request, v *flowView) error {
	id, err := state.ParseID(v.ID)
	if err != nil {
		return err
	}
	ctx := r.Context()
	f, err := s.Flow.GetFlow(ctx, id)
	if err != nil {
		return err
	}
	v.Name, v.Kept = cmp.Or(line(f.Value.Name), "Flow "+v.ID), line(f.Value.Source)
	v.Drifted = f.Value.Drifted()
	v.Scopes = line(strings.Join(f.Value.Scopes, ", "))
	v.MayRun = v.MayRun && mayRun(r, f.Value.Scopes) == nil && f.Value.State == flow.Valid
	if err := s.eachTrigger(ctx, func(t state.Record[flow.Trigger]) {
		if t.Value.Flow != v.ID {
			return
		}
		v.Triggers = append(v.Triggers, link{Text: line(t.Value.Name), Href: "/triggers/" + t.ID.String(), On: t.Value.Enabled})
	}); err != nil {
		return err
	}
	runs, err := s.Flow.RunsBehind(ctx, flow.RunQuery{Flow: id, Limit: lastRuns}, flow.RunPlace{})
	for i := range runs {
		v.Runs = append(v.Runs, newRunLineView(&runs[i]))
	}
	return err
}

// functionLines are the functions that flows may call.
func functionLines() []functionLine {
	all := flow.Functions()
	var out []functionLine
	for _, name := range slices.Sorted(maps.Keys(all)) {
		l := functionLine{Name: name, Doc: all[name].Doc}
		for _, p := range all[name].Parameters {
			doc := p.Doc
			if p.Required {
				doc += " Required."
			}
			l.With = append(l.With, pair{p.Name, doc})
		}
		out = append(out, l)
	}
	return out
}

// postDeleteFlow removes a flow.
func (s *Server) postDeleteFlow(w http.ResponseWriter, r *http.Request) error {
	id, err := formTarget(w, r)
	if err != nil {
		return err
	}
	if err := s.Flow.DeleteFlow(r.Context(), cause(r), id, state.AnyVersion); err != nil {
		v, e := s.openFlow(r)
		if e != nil {
			return e
		}
		return s.showFlow(w, r, v, err)
	}
	http.Redirect(w, r, "/flows?said=deleted", http.StatusSeeOther)
	return nil
}

// postRunFlow starts a run by hand.
func (s *Server) postRunFlow(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxFlowForm)
	if err := r.ParseForm(); err != nil {
		return event.Invalidf("form: %w", err)
	}
	f := formReader{values: r.PostForm, used: map[string]bool{}}
	input, key := f.one("input"), f.one("key")
	if err := f.unknown(); err != nil {
		return err
	}
	id, err := state.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	var run flow.Run
	if input != "" {
		err = checkValue([]byte(input))
	}
	if err == nil {
		run, err = s.startRun(r, id, []byte(input), clipTo(key, maxKey/4))
	}
	if err != nil {
		v, e := s.openFlow(r)
		if e != nil {
			return e
		}
		v.Input = input
		return s.showFlow(w, r, v, err)
	}
	http.Redirect(w, r, "/runs/"+url.PathEscape(string(run.ID)), http.StatusSeeOther)
	return nil
}
