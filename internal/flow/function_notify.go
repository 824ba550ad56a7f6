package flow

import (
	"cmp"
	"context"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// notify tells people, by the transports of a rule or by others. It is told once,
// however often the task is tried: under the key of the effect.
func init() {
	registerFunction("notify", function{
		Function: program.Function{
			Doc: "Tell people, by the transports of a rule or by those that are named.",
			Parameters: []program.Parameter{
				{Name: "title", Required: true, Doc: "One line."},
				{Name: "text", Doc: "What else there is to say."},
				{Name: "severity", Doc: "info, notice, warn, error or critical; notice without it."},
				{Name: "rule", Doc: "Name or id of a rule, whose transports and recipients are told where those are not given."},
				{Name: "transports", Doc: "Names or ids of transports."},
				{Name: "recipients", Doc: "Names of users, or group/NAME; without transports and rule, they find it in their inbox."},
				{Name: "sequence", Doc: "The event that it is about; the one that started the run, without it. 0 for none."},
			},
			PassesInput: true,
		},
		scope: identity.Emit,
		do:    notify,
	})
}

// The longest texts that a flow may tell, in bytes.
const (
	maxTitle = 300
	maxText  = 64 << 10
)

func notify(ctx context.Context, e *Engine, r *Run, f *program.Effect) (outcome, error) {
	a := argumentsOf(f)
	to := Telling{Rule: a.text("rule"), Transports: a.texts("transports"), Recipients: a.texts("recipients"), Title: a.text("title"), Text: a.text("text")}
	var err error
	if to.Severity, err = event.ParseSeverity(cmp.Or(a.text("severity"), event.Notice.String())); err != nil {
		a.wrong("severity: %v", err)
	}
	switch sequence := a.text("sequence"); {
	case sequence != "":
		if to.Sequence, err = event.ParseSeq(sequence); err != nil {
			a.wrong("sequence: %v", err)
		}
	case r.Event != nil:
		to.Sequence = r.Event.Sequence
	}
	if len(to.Title) > maxTitle || len(to.Text) > maxText {
		a.wrong("title and text: at most %d and %d bytes", maxTitle, maxText)
	}
	if a.err != nil {
		return refused(a.err)
	}
	conceal, err := e.concealer(ctx)
	if err != nil {
		return outcome{}, err
	}
	to.Title, to.Text = conceal.text(to.Title), conceal.text(to.Text)
	if err := e.o.Notifier.Notify(ctx, r.cause(), r.key(f), to); err != nil {
		return refused(err)
	}
	return outcome{}, nil
}
