package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Runs of flows that somebody starts or ends by hand. No seed has these.
func init() {
	run := []Field{
		req("run_id", String, "The run."), req("flow_id", String, "Its flow."), opt("flow_name", String, "The flow's name."),
	}
	register(Family{Kind: event.KindCustom, Producer: "flow", Entries: []Entry{{
		Type: "flow.run.started", Wired: true, Description: "Somebody has started a run of a flow by hand.", Fires: "When a run is asked for, or tried again.",
		Message: "{actor} has started {data.flow_name}", Fields: fields(run, []Field{opt("retry_of", String, "The run that is tried again; empty for none.")}),
	}, {
		Type: "flow.run.cancelled", Severity: event.Notice, Wired: true, Description: "Somebody has cancelled a run of a flow.", Fires: "When it is asked for.",
		Message: "{actor} has cancelled a run of {data.flow_name}", Fields: run,
	}}})
}
