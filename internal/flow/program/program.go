package program

import (
	"slices"
	"time"
)

// A Program is a compiled flow. It never changes.
type Program struct {
	Namespace, Name, Version, Title, Summary string // of the document's header

	// Metadata is the header's, as it is written. It belongs to the document: don't change it.
	Metadata map[string]any

	hash         string
	definition   any
	inputSchema  *schema
	inputFrom    *template
	outputAs     *template
	outputSchema *schema
	timeout      *span
	schedule     *Schedule
	do           *list
	slots        int
	secrets      []string
	subflows     []Subflow
}

// Hash is the content hash of the document (SHA-256, hexadecimal): its version.
func (p *Program) Hash() string { return p.hash }

// Schedule is the document's schedule block; nil where it has none.
func (p *Program) Schedule() *Schedule { return p.schedule }

// Secrets are the names in use.secrets: the only ones that a run may ask for.
func (p *Program) Secrets() []string { return slices.Clone(p.secrets) }

// Subflows are the flows that this one runs, without their inputs. Who stores flows
// refuses one that comes back to itself.
func (p *Program) Subflows() []Subflow { return slices.Clone(p.subflows) }

// State is what a run has come to.
type State string

// The states of a Result.
const (
	Completed State = "completed"
	Faulted   State = "faulted"
	Cancelled State = "cancelled" // the context ended
	Suspended State = "suspended" // it waits: see Waits
)

// A Run is what one run of a program is given. Everything that a replay must find
// as it was is here.
type Run struct {
	ID        string
	Input     any       // a JSON value as jq.Decode makes it
	StartedAt time.Time // of the first attempt
	// Answers are the journalled answers by the keys of their effects. Nobody may
	// change it while the run runs.
	Answers map[string]Answer
	Effects Effects
	// Now is the clock that decides whether a wait is over; nil is time.Now. What
	// expressions see as now is the time of the last answer before them.
	Now func() time.Time
	// Secret answers names of Program.Secrets. Its error faults the task.
	Secret        func(name string) (any, error)
	Authorization any // $authorization
	Runtime       any // $runtime

	// OnStep is told each task that ended or waits, in the order of their ends; nil
	// costs nothing. It is called by one goroutine at a time and must be quick.
	OnStep func(Step)

	// Instant is for dry runs: waits are over at once, and timeouts never strike.
	Instant bool
	// Patience is the longest wait that the run sits out instead of suspending.
	Patience time.Duration
	MaxSteps int           // tasks that may start; 0 is 100,000
	MaxTime  time.Duration // of computing, without effects; 0 is one minute
	MaxEval  time.Duration // of one expression; 0 is 100 ms
}

// A Result is what a run has come to.
type Result struct {
	State  State
	Output any    // where completed
	Err    *Error // where faulted
	// Rejected says that the flow did not take its input: no task has run.
	Rejected bool
	// Status and StatusMessage are of the last status task, else "unknown" and "";
	// they are kept when the run faults.
	Status        string
	StatusMessage string
	// Waits are what a suspended run waits for. One answer, or one Until that has
	// passed, is enough to run it again.
	Waits []Effect
	Steps int // tasks that were started
}

// NextAt is when a suspended run must be run again even if no answer came; zero
// where only an answer helps.
func (r Result) NextAt() time.Time {
	var next time.Time
	for _, w := range r.Waits {
		if !w.Until.IsZero() && (next.IsZero() || w.Until.Before(next)) {
			next = w.Until
		}
	}
	return next
}

// A Step is one task that ran, for the page of a run and for dry runs.
type Step struct {
	Index     int       `json:"index"` // in the order of their starts, from 0
	Task      string    `json:"task"`  // reference: /do/2/notify
	Name      string    `json:"name"`
	Kind      string    `json:"kind"`
	Effect    string    `json:"effect,omitempty"` // key of the effect that the task did
	Path      []int     `json:"path,omitempty"`   // the iterations, attempts and jumps around it
	Attempt   int       `json:"attempt,omitempty"`
	State     StepState `json:"state"`
	Replayed  bool      `json:"replayed,omitempty"` // the effect was answered by the journal
	StartedAt time.Time `json:"started_at"`
	// Duration is by the run's clock where the task did effects, else what it took.
	Duration time.Duration `json:"duration"`
	Input    any           `json:"input"`
	Output   any           `json:"output,omitempty"`
	Err      *Error        `json:"error,omitempty"`
}

// StepState is what a task has come to.
type StepState string

// The states of a Step.
const (
	StepCompleted StepState = "completed"
	StepFaulted   StepState = "faulted"
	StepSkipped   StepState = "skipped"
	StepWaiting   StepState = "waiting"
	StepCancelled StepState = "cancelled"
)
