package flow

import (
	"cmp"
	"context"

	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// suspend_user keeps a user out. One who is suspended already stays so: tried
// again, it does nothing.
func init() {
	registerFunction("suspend_user", function{
		Function: program.Function{
			Doc: "Suspend a user's account and end their sessions, until somebody lets them in again.",
			Parameters: []program.Parameter{
				{Name: "user", Required: true, Doc: "Name or id of the user."},
				{Name: "reason", Doc: "Why; it is in the record."},
			},
			PassesInput: true,
		},
		scope: identity.Admin,
		do:    suspendUser,
	})
}

func suspendUser(ctx context.Context, e *Engine, r *Run, f *program.Effect) (outcome, error) {
	a := argumentsOf(f)
	user, reason := a.text("user"), cmp.Or(a.text("reason"), "the flow "+r.FlowName)
	if user == "" {
		a.wrong("user: say who")
	}
	if a.err != nil {
		return refused(a.err)
	}
	if err := e.o.Suspender.Suspend(ctx, r.cause(), user, reason); err != nil {
		return refused(err)
	}
	return outcome{}, nil
}
