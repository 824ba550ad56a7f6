package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// stepLine is one task that ran, as a page shows it.
type stepLine struct {
	ID                      string
	Name, Task, Kind, Where string // where: the iterations and attempts around it
	Depth                   int
	Badge                   badge
	Took                    string
	From, Width             float64 // of its bar, in percent of the run's time
	Started                 time.Time
	Input, Output, Error    string
	Effect                  string
	Replayed                bool
}

type runView struct {
	Tabs            []link
	Problem         *problem
	Row             runLine
	State           flow.RunState
	Facts           []pair
	Links           []link
	Input, Output   string
	Fault           *program.Error
	Failed          bool // the flow could not run at all
	Steps           []stepLine
	More            int
	Next            *time.Time
	Over            bool
	MayStop, MayTry bool
	Diagram         *diagram
	Changes         string
}

// stepsShown is how many steps a page shows.
const stepsShown = 300

// valueShown is how much of a value a page shows, in characters.
const valueShown = 20_000

// pretty is a JSON value as people read it.
func pretty(v any) string {
	raw, ok := v.(json.RawMessage)
	if !ok {
		if v == nil {
			return "null"
		}
		var err error
		if raw, err = json.Marshal(v); err != nil {
			return "a value that can't be shown: " + err.Error()
		}
	}
	if len(raw) == 0 {
		return ""
	}
	var out bytes.Buffer
	if json.Indent(&out, raw, "", "  ") != nil {
		return plain(clipTo(string(raw), valueShown))
	}
	return plain(clipTo(unescapeHTML.Replace(out.String()), valueShown))
}

func stepBadge(s program.StepState) badge {
	tones := map[program.StepState]string{program.StepCompleted: "good", program.StepFaulted: "bad", program.StepWaiting: "wait"}
	return badge{cmp.Or(tones[s], "plain"), string(s)}
}

// newStepLines puts steps on a line of time.
func newStepLines(steps []program.Step) (all []stepLine, more int) {
	if len(steps) == 0 {
		return nil, 0
	}
	first, last := steps[0].StartedAt, steps[0].StartedAt
	for i := range steps {
		s := &steps[i]
		if s.StartedAt.Before(first) {
			first = s.StartedAt
		}
		if end := s.StartedAt.Add(s.Duration); end.After(last) {
			last = end
		}
	}
	whole := max(float64(last.Sub(first)), 1)
	for i := range steps {
		if i == stepsShown {
			return all, len(steps) - i
		}
		s := &steps[i]
		l := stepLine{
			ID: "step-" + strconv.Itoa(i), Name: line(s.Name), Task: line(s.Task), Kind: s.Kind, Depth: min(max(strings.Count(s.Task, "/")/3-1, 0), 8), Badge: stepBadge(s.State),
			Took: stepTime(s.Duration), Started: s.StartedAt, Input: pretty(s.Input), Effect: line(s.Effect), Replayed: s.Replayed, Where: whereText(s),
			From: 100 * float64(s.StartedAt.Sub(first)) / whole, Width: max(0.6, 100*float64(s.Duration)/whole),
		}
		l.From = min(l.From, 100-0.6)
		l.Width = min(l.Width, 100-l.From)
		if s.State == program.StepCompleted {
			l.Output = pretty(s.Output)
		}
		if s.Err != nil {
			l.Error = plain(clipTo(s.Err.Error(), clipValue))
		}
		all = append(all, l)
	}
	return all, 0
}

// stepTime is how long a task took; most that only compute take next to nothing.
func stepTime(d time.Duration) string {
	if d < 10*time.Microsecond {
		return "< 0.01 ms"
	}
	return latencyText(d)
}

// whereText says which of several times a task ran.
func whereText(s *program.Step) string {
	var parts []string
	var rounds []string // of what runs several times; most levels run once
	for _, n := range s.Path {
		if n > 0 {
			rounds = append(rounds, strconv.Itoa(n+1))
		}
	}
	if len(rounds) > 0 {
		parts = append(parts, "round "+strings.Join(rounds, "."))
	}
	if s.Attempt > 0 {
		parts = append(parts, fmt.Sprintf("attempt %d", s.Attempt+1))
	}
	return strings.Join(parts, ", ")
}

// getRunPage shows one run.
func (s *Server) getRunPage(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	return s.showRun(w, r, nil)
}

func (s *Server) showRun(w http.ResponseWriter, r *http.Request, failed error) error {
	var v runView
	var status int
	var err error
	if v.Problem, status, err = refusal(failed); err != nil {
		return err
	}
	run, err := s.Flow.GetRun(r.Context(), runID(r))
	if err != nil {
		return err
	}
	p := callerOf(r).principal
	v.Tabs, v.Row, v.State, v.Over = flowTabs(r, "/runs"), newRunLineView(&run), run.State, run.State.Over()
	v.Row.Error = plain(clipTo(cmp.Or(run.Error, run.Failure), clipValue))
	v.Input, v.Output, v.Fault, v.Failed = pretty(run.Input), pretty(run.Output), run.Fault, run.Failure != ""
	v.Steps, v.More = newStepLines(run.Steps)
	v.MayStop = !v.Over && p.Can(identity.Emit)
	v.MayTry = (run.State == flow.Faulted || run.State == flow.Cancelled) && p.Can(identity.Emit) && mayRun(r, run.Scopes) == nil
	if !v.Over {
		v.Changes, v.Next = "/runs/live", someTime(run.Due)
		if run.State != flow.Waiting {
			v.Next = nil
		}
	}
	v.Facts, v.Links = runFacts(&run)
	if g, err := s.Flow.GraphOf(r.Context(), run.Hash); err == nil {
		v.Diagram = drawFlow(&g, stateOfSteps(run.Steps))
	}
	return s.renderStatus(w, r, status, "run", pageView{
		Title: "Run " + v.Row.Short + " of " + v.Row.Flow.Text, Says: "What one run of a flow did, step by step.", Docs: "flows", Active: "/flows",
		Command: "tocsin runs show " + v.Row.ID, Body: v,
	})
}

// runFacts is what else is known of a run.
func runFacts(r *flow.Run) (facts []pair, links []link) {
	facts = []pair{{"Run", string(r.ID)}, {"Version", shortHash(r.Hash)}, {"Status", line(r.Status)}, {"Message", line(r.StatusMsg)}, {"Scopes", line(strings.Join(r.Scopes, ", "))}}
	if r.Priority != 0 {
		facts = append(facts, pair{"Priority", strconv.Itoa(r.Priority)})
	}
	if r.Recovers > 0 {
		facts = append(facts, pair{"Recovered", strconv.Itoa(r.Recovers) + " times: the server had ended while it was under way"})
	}
	for _, other := range []struct {
		what string
		id   flow.RunID
	}{{"The run that started it", r.Parent}, {"It tries again", r.RetryOf}} {
		if other.id != "" {
			links = append(links, link{Text: other.what, Href: "/runs/" + url.PathEscape(string(other.id))})
		}
	}
	return facts, links
}

// postCancelRunPage ends a run.
func (s *Server) postCancelRunPage(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	if _, err := s.Flow.CancelRun(r.Context(), cause(r), runID(r)); err != nil {
		return s.showRun(w, r, err)
	}
	http.Redirect(w, r, "/runs/"+url.PathEscape(string(runID(r))), http.StatusSeeOther)
	return nil
}

// postRetryRunPage runs what has failed once more.
func (s *Server) postRetryRunPage(w http.ResponseWriter, r *http.Request) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	run, err := s.retryRun(r)
	if err != nil {
		return s.showRun(w, r, err)
	}
	http.Redirect(w, r, "/runs/"+url.PathEscape(string(run.ID)), http.StatusSeeOther)
	return nil
}
