package web

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/state"
)

// dryForm is what a dry run is given.
type dryForm struct {
	Sequence, Input, Trigger string
	Triggers                 []choice // whose mapping makes the input of the event
}

// dryView is what a dry run has come to.
type dryView struct {
	Problem string // why there was none
	Wrong   int    // problems of the document
	Badge   badge
	Error   string
	Status  string
	Message string
	Input   string
	Output  string
	Steps   []stepLine
	More    int
	Effects []effectLine
	States  map[string]string // of tasks, for the diagram
}

// completeDryForm offers the triggers of a flow.
func (s *Server) completeDryForm(r *http.Request, v *flowView) error {
	v.Form.Triggers = []choice{{"", "the event itself", v.Form.Trigger == ""}}
	if v.ID == "" {
		return nil
	}
	return s.eachTrigger(r.Context(), func(t state.Record[flow.Trigger]) {
		if id := t.ID.String(); t.Value.Flow == v.ID {
			v.Form.Triggers = append(v.Form.Triggers, choice{id, "as " + line(t.Value.Name) + " makes it", id == v.Form.Trigger})
		}
	})
}

// postFlowDry tries what is being written.
func (s *Server) postFlowDry(w http.ResponseWriter, r *http.Request) error {
	v, _, err := readFlowForm(w, r)
	if err != nil {
		return err
	}
	dry, err := s.dryRun(r, v.Document, &v.Form)
	if err != nil {
		return err
	}
	return s.render(w, r, "flowdry", pageView{Title: "Dry run", Says: "What the flow would do.", Active: "/flows", Body: dry})
}

// dryRun runs a document without doing anything outside. What is wrong with it, or
// with its input, is in the view.
func (s *Server) dryRun(r *http.Request, document string, form *dryForm) (*dryView, error) {
	x := flow.DryRun{Document: document}
	err := form.into(&x)
	if err == nil {
		x.Trigger, err = s.dryTrigger(r, form.Trigger)
	}
	var got flow.Rehearsal
	if err == nil {
		got, err = s.Flow.Rehearse(r.Context(), x)
	}
	if err != nil {
		p, _, unknown := refusal(err)
		if unknown != nil {
			return nil, unknown
		}
		return &dryView{Problem: p.Detail}, nil
	}
	return newDryView(&got), nil
}

func (f *dryForm) into(x *flow.DryRun) (err error) {
	if f.Sequence != "" && f.Input != "" {
		return event.Invalidf("give an event or an input, not both")
	}
	if f.Sequence != "" {
		if x.Sequence, err = event.ParseSeq(f.Sequence); err != nil {
			return event.Invalidf("event: %w", err)
		}
	}
	if f.Input != "" {
		if err := checkValue([]byte(f.Input)); err != nil {
			return event.Invalidf("input: %w", err)
		}
		x.Input = json.RawMessage(f.Input)
	}
	return nil
}

// effectLine is something that a real run would do.
type effectLine struct{ Task, Kind, Does string }

func newDryView(x *flow.Rehearsal) *dryView {
	v := &dryView{Wrong: len(x.Problems), Error: plain(clipTo(x.Error, clipValue)), Status: line(x.Status), Message: line(x.Message), Input: pretty(x.Input), States: stateOfSteps(x.Steps)}
	tones := map[program.State]string{program.Completed: "good", program.Faulted: "bad", program.Suspended: "wait"}
	v.Badge = badge{cmp.Or(tones[x.State], "plain"), string(x.State)}
	if x.State == program.Completed {
		v.Output = pretty(x.Output)
	}
	v.Steps, v.More = newStepLines(x.Steps)
	for i := range v.Steps { // there is no journal: rounds of the rehearsal are no restarts
		v.Steps[i].Replayed, v.Steps[i].Effect = false, ""
	}
	for i := range x.Effects {
		if i == stepsShown {
			break
		}
		f := &x.Effects[i]
		l := effectLine{Task: line(f.Task), Kind: string(f.Kind)}
		switch {
		case f.HTTP != nil:
			l.Does = requestText(f.HTTP)
		case f.OpenAPI != nil:
			l.Does = pretty(f.OpenAPI)
		case f.Workflow != nil:
			l.Does = pretty(f.Workflow)
		case f.Listen != nil:
			l.Does = pretty(f.Listen)
		case f.Kind == program.EffectWait:
			l.Does = "until " + f.Until.UTC().Format(time.RFC3339)
		case f.Function != "":
			l.Does = line(f.Function) + " " + pretty(f.Arguments)
		default:
			l.Does = pretty(f.Arguments)
		}
		v.Effects = append(v.Effects, l)
	}
	return v
}

// requestText is a request as people read it. How it signs in is not in it.
func requestText(x *program.Request) string {
	lines := []string{line(x.Method + " " + x.URI)}
	for _, name := range slices.Sorted(maps.Keys(x.Headers)) {
		lines = append(lines, line(name+": "+x.Headers[name]))
	}
	if len(x.Body) > 0 {
		lines = append(lines, "", plain(clipTo(string(x.Body), valueShown)))
	}
	return strings.Join(lines, "\n")
}

// stateOfSteps is what has become of each task; of what ran several times the worst
// that has happened.
func stateOfSteps(steps []program.Step) map[string]string {
	worse := map[program.StepState]int{program.StepSkipped: 1, program.StepCompleted: 2, program.StepCancelled: 3, program.StepWaiting: 4, program.StepFaulted: 5}
	states := map[string]string{}
	for i := range steps {
		s := &steps[i]
		if worse[s.State] >= worse[program.StepState(states[s.Task])] {
			states[s.Task] = string(s.State)
		}
	}
	return states
}
