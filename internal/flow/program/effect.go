package program

import (
	"context"
	"time"
)

// EffectKind says what is to be done.
type EffectKind string

// The kinds of effects, and what of an Effect is set besides the common fields.
const (
	EffectHTTP     EffectKind = "http"     // HTTP: send a request
	EffectOpenAPI  EffectKind = "openapi"  // OpenAPI: fetch the document, make the request of it, send that
	EffectEmit     EffectKind = "emit"     // Arguments: the event, a CloudEvent in JSON
	EffectCall     EffectKind = "call"     // Function and Arguments: one of Options.Functions
	EffectWorkflow EffectKind = "workflow" // Workflow: run another flow
	EffectDecide   EffectKind = "decide"   // Arguments: what a fork came to. Do nothing, answer Arguments
	EffectWait     EffectKind = "wait"     // only in Result.Waits; over at Until
	EffectListen   EffectKind = "listen"   // only in Result.Waits; Listen says what for, Until (if any) when it is over
)

// An Effect is something that a run wants done outside of it.
type Effect struct {
	// Key names the effect in its run. A replay asks for the same thing under the
	// same key. It holds the task's reference, and after # the numbers of the
	// iterations, attempts and jumps around it where these are not all 0.
	Key  string     `json:"key"`
	Kind EffectKind `json:"kind"`
	Task string     `json:"task"` // the task's reference, such as /do/2/notify
	// Attempt counts the retries of the try around the task, from 0.
	Attempt   int        `json:"attempt,omitempty"`
	Function  string     `json:"function,omitempty"`
	Arguments any        `json:"arguments,omitempty"`
	HTTP      *Request   `json:"http,omitempty"`
	OpenAPI   *Operation `json:"openapi,omitempty"`
	Workflow  *Subflow   `json:"workflow,omitempty"`
	Listen    *Listen    `json:"listen,omitempty"`
	// Until is when a wait is over, and for the others when a timeout around them
	// strikes; zero where nothing limits them.
	Until time.Time `json:"until,omitzero"`
}

// An Answer is what came of an effect. It is journalled as it is.
type Answer struct {
	// Output is a JSON value as jq.Decode makes it: nil, bool, int, float64, string,
	// []any, map[string]any.
	Output any       `json:"output,omitempty"`
	Err    *Error    `json:"error,omitempty"` // the effect failed
	At     time.Time `json:"at"`              // when the answer came
}

// Effects does what a run wants done. It is declared here and implemented by the
// engine. Branches of a fork call it at the same time.
type Effects interface {
	// Do does an effect that has no answer in Run.Answers, journals the answer under
	// the effect's key and returns it. That the effect failed is an Answer, too.
	//
	// ErrSuspended says that the answer comes later: the run stops there, and is run
	// again when Run.Answers has it. Any other error is of the engine, not of the
	// flow: it ends Program.Run, which returns it, and the run can be tried again.
	// When ctx ends, because the run is cancelled or a timeout of the flow struck, Do
	// returns its error.
	Do(ctx context.Context, e Effect) (Answer, error)
}

// A Subflow is a flow that another one runs.
type Subflow struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Version   string `json:"version,omitempty"` // of its document; empty or "latest" for the newest
	Input     any    `json:"input,omitempty"`
	// Await makes the output of the other flow the task's; else its run is only
	// started, and the task's output is its input.
	Await bool `json:"await"`
}
