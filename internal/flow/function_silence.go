package flow

import (
	"cmp"
	"context"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// silence keeps a rule, or all of them, quiet for a while. Tried again, or asked for
// again while it lasts, it is the same silence, which then lasts longer.
func init() {
	registerFunction("silence", function{
		Function: program.Function{
			Doc: "Keep a rule, or all rules, from telling what a filter matches, for a while. The output is {id, until}.",
			Parameters: []program.Parameter{
				{Name: "for", Required: true, Doc: "How long, such as 2h; at most 90d."},
				{Name: "rule", Doc: "Name or id of the rule; all of them without it."},
				{Name: "filter", Doc: "CEL: which events. Without it, all that the rule would tell; without a rule, it must be there."},
				{Name: "comment", Doc: "Why; for people."},
			},
		},
		scope: identity.Emit,
		do:    silence,
	})
}

const maxSilence = 90 * 24 * time.Hour

func silence(ctx context.Context, e *Engine, r *Run, f *program.Effect) (outcome, error) {
	a := argumentsOf(f)
	rule, filter := a.text("rule"), a.text("filter")
	comment := cmp.Or(a.text("comment"), "by the flow "+r.FlowName)
	lasts := a.duration("for", 0, maxSilence)
	if lasts == 0 {
		a.wrong("for: say how long, such as 2h")
	}
	if rule == "" && filter == "" {
		a.wrong("filter: without a rule, say which events are meant")
	}
	if a.err != nil {
		return refused(a.err)
	}
	if filter == "" {
		filter = "true" // all that the rule would tell
	}
	until := time.Now().UTC().Add(lasts)
	id, err := e.o.Silencer.Silence(ctx, r.cause(), rule, filter, comment, until)
	if err != nil {
		return refused(err)
	}
	return outcome{answer: program.Answer{Output: map[string]any{"id": id, "until": until.Format(time.RFC3339)}}}, nil
}
