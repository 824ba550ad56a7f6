package web

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/state"
)

// runRow is a run as the API shows it.
type runRow struct {
	ID         flow.RunID      `json:"id"`
	FlowID     string          `json:"flow_id"`
	Flow       string          `json:"flow"`
	Version    string          `json:"version"` // of the flow
	State      flow.RunState   `json:"state"`
	Trigger    *string         `json:"trigger_id"` // null where somebody has started it
	Slot       *time.Time      `json:"slot"`
	Event      *string         `json:"event_sequence"`
	Input      json.RawMessage `json:"input"`
	Output     json.RawMessage `json:"output"`
	Error      *runError       `json:"error"` // null while there is none
	Status     string          `json:"status"`
	StatusMsg  string          `json:"status_msg"`
	Steps      []stepRow       `json:"steps"`
	Priority   int             `json:"priority"`
	By         string          `json:"by"`
	Parent     flow.RunID      `json:"parent"`
	RetryOf    flow.RunID      `json:"retry_of"`
	Recoveries int             `json:"recoveries"`
	Queued     time.Time       `json:"queued_at"`
	Started    *time.Time      `json:"started_at"`
	Finished   *time.Time      `json:"finished_at"`
	DurationMS int64           `json:"duration_ms"`
	Due        *time.Time      `json:"due"` // when it is looked at next
}

// stepRow is one task that ran.
type stepRow struct {
	Task       string            `json:"task"`
	Name       string            `json:"name"`
	Kind       string            `json:"kind"`
	State      program.StepState `json:"state"`
	StartedAt  time.Time         `json:"started_at"`
	DurationMS float64           `json:"duration_ms"`
	Input      any               `json:"input"`
	Output     any               `json:"output"`
	Error      *runError         `json:"error"`
	Effect     string            `json:"effect"` // its key in the run's journal
	Replayed   bool              `json:"replayed"`
	Path       []int             `json:"path"`
	Attempt    int               `json:"attempt"`
}

// runError is why a run or a task failed: an error of the specification (RFC 9457),
// with all of it in one line, as events tell it.
type runError struct {
	Type     string `json:"type"`
	Status   int    `json:"status"`
	Title    string `json:"title"`
	Detail   string `json:"detail,omitempty"`
	Instance string `json:"instance,omitempty"` // the task's path
	Message  string `json:"message"`
}

// newRunError is nil where there is no error.
func newRunError(fault *program.Error, message string) *runError {
	switch {
	case fault != nil:
		return &runError{fault.Type, fault.Status, fault.Title, fault.Detail, fault.Instance, message}
	case message != "": // the flow could not begin, or was ended
		return &runError{Type: program.TypeRuntime, Status: http.StatusInternalServerError, Title: "Not Run To Its End", Detail: message, Message: message}
	}
	return nil
}

func newStepRows(steps []program.Step) []stepRow {
	all := make([]stepRow, 0, len(steps))
	for i := range steps {
		s := &steps[i]
		row := stepRow{
			Task: s.Task, Name: s.Name, Kind: s.Kind, State: s.State, StartedAt: s.StartedAt, DurationMS: float64(s.Duration.Microseconds()) / 1000,
			Input: s.Input, Output: s.Output, Effect: s.Effect, Replayed: s.Replayed, Path: s.Path, Attempt: s.Attempt,
		}
		if row.Path == nil {
			row.Path = []int{}
		}
		if s.Err != nil {
			row.Error = newRunError(s.Err, s.Err.Error())
		}
		all = append(all, row)
	}
	return all
}

// newRunRow is all of a run.
func newRunRow(r *flow.Run) runRow {
	row := newRunLine(r)
	row.Input, row.Output, row.Steps = orNullJSON(r.Input), orNullJSON(r.Output), newStepRows(r.Steps)
	return row
}

// smallValue is the largest value, in bytes, that a list of runs shows.
const smallValue = 4 << 10

// newRunLine is a run in a list: without its steps, and without large values.
func newRunLine(r *flow.Run) runRow {
	row := runRow{
		ID: r.ID, FlowID: r.Flow.String(), Flow: r.FlowName, Version: r.Hash, State: r.State, Slot: r.Slot, Error: newRunError(r.Fault, cmp.Or(r.Error, r.Failure)),
		Status: r.Status, StatusMsg: r.StatusMsg, Steps: []stepRow{}, Priority: r.Priority, By: r.By, Parent: r.Parent, RetryOf: r.RetryOf,
		Recoveries: r.Recovers, Queued: r.Queued, Started: someTime(r.Started), Finished: someTime(r.Finished), DurationMS: r.Millis,
	}
	if !r.State.Over() {
		row.Due = someTime(r.Due)
	}
	if r.Trigger != 0 {
		id := r.Trigger.String()
		row.Trigger = &id
	}
	if r.Event != nil {
		sequence := r.Event.Sequence.String()
		row.Event = &sequence
	}
	for to, value := range map[*json.RawMessage]json.RawMessage{&row.Input: r.Input, &row.Output: r.Output} {
		if *to = orNullJSON(value); len(value) > smallValue {
			*to = json.RawMessage("null")
		}
	}
	return row
}

func orNullJSON(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}

func someTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// runStates are all states of runs.
func runStates() []flow.RunState {
	return []flow.RunState{flow.Queued, flow.Running, flow.Waiting, flow.Completed, flow.Faulted, flow.Cancelled}
}

// readRunQuery reads which runs are wanted, and behind which one. Empty fields of
// a form ask for nothing.
func readRunQuery(q *query) (x flow.RunQuery, behind flow.RunPlace) {
	for name, into := range map[string]*state.ObjectID{"flow": &x.Flow, "trigger": &x.Trigger} {
		if text := q.text(name); text != "" {
			id, err := state.ParseID(text)
			if err != nil {
				q.fail("query: %s: %s", name, err)
			}
			*into = id
		}
	}
	x.State = flow.RunState(q.text("state"))
	known := x.State == ""
	for _, s := range runStates() {
		known = known || s == x.State
	}
	if !known {
		q.fail("query: state: %q is no state of a run", clipTo(string(x.State), 64))
	}
	at, id, found := strings.Cut(q.text("cursor"), "-")
	if !found {
		if at != "" {
			q.fail("query: cursor %q was not given by this server", clipTo(at, 64))
		}
		return x, behind
	}
	n, err := strconv.ParseInt(at, 10, 64)
	if err != nil || n <= 0 {
		q.fail("query: cursor %q was not given by this server", clipTo(at, 64))
	}
	return x, flow.RunPlace{Queued: time.Unix(0, n), ID: flow.RunID(id)}
}

// runCursor is a place as clients know it.
func runCursor(at flow.RunPlace) string {
	return strconv.FormatInt(at.Queued.UnixNano(), 10) + "-" + string(at.ID)
}

// runsAtOnce is how many runs are in memory while a list is made: one can have some
// megabytes.
const runsAtOnce = 50

// getRuns lists runs, the newest first.
func (s *Server) getRuns(w http.ResponseWriter, r *http.Request) error {
	q := readQuery(r, "flow", "trigger", "state", "limit", "cursor")
	wanted, behind := readRunQuery(q)
	limit := q.number("limit", 100, 1, maxPage)
	if q.err != nil {
		return q.err
	}
	out := page[runRow]{Items: []runRow{}}
	for more := true; more && out.Next == nil; {
		wanted.Limit = min(runsAtOnce, limit+1-len(out.Items))
		found, err := s.Flow.RunsBehind(r.Context(), wanted, behind)
		if err != nil {
			return err
		}
		for i := range found {
			if len(out.Items) == limit {
				next := runCursor(behind)
				out.Next = &next
				break
			}
			out.Items = append(out.Items, newRunLine(&found[i]))
			behind = flow.RunPlace{Queued: found[i].Queued, ID: found[i].ID}
		}
		more = len(found) == wanted.Limit
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) getRun(w http.ResponseWriter, r *http.Request) error {
	if q := readQuery(r); q.err != nil {
		return q.err
	}
	run, err := s.Flow.GetRun(r.Context(), runID(r))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, newRunRow(&run))
}

// runID is the run that the path names.
func runID(r *http.Request) flow.RunID { return flow.RunID(clipTo(r.PathValue("id"), 64)) }

// postCancelRun ends a run that is not over.
func (s *Server) postCancelRun(w http.ResponseWriter, r *http.Request) error {
	run, err := s.Flow.CancelRun(r.Context(), cause(r), runID(r))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, newRunRow(&run))
}

// postRetryRun runs once more what has failed.
func (s *Server) postRetryRun(w http.ResponseWriter, r *http.Request) error {
	run, err := s.retryRun(r)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/runs/"+string(run.ID))
	return writeJSON(w, http.StatusCreated, newRunRow(&run))
}

func (s *Server) retryRun(r *http.Request) (flow.Run, error) {
	was, err := s.Flow.GetRun(r.Context(), runID(r))
	if err != nil {
		return was, err
	}
	if err := mayRun(r, was.Scopes); err != nil {
		return was, err
	}
	return s.Flow.RetryRun(r.Context(), cause(r), was.ID)
}

// rehearsalRow is what a dry run has come to.
type rehearsalRow struct {
	flow.Rehearsal
	Steps []stepRow `json:"steps"`
}

func newRehearsalRow(x *flow.Rehearsal) rehearsalRow {
	x.Input = orNullJSON(x.Input)
	return rehearsalRow{*x, newStepRows(x.Steps)}
}
