package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Programs that flows run on this host. No seed has it.
func init() {
	register(Family{Kind: event.KindCustom, Producer: "flow", Entries: []Entry{{
		Type: "flow.command", Severity: event.Notice, Wired: true, Description: "A flow has run a program.",
		Fires:   "When a program of flows.commands has ended, was ended, or could not be started.",
		Message: "{data.flow_name} has run {data.command}: status {data.exit_status}",
		Fields: []Field{
			req("command", String, "Its name in flows.commands."), opt("arguments", Strings, "Its arguments."),
			req("exit_status", Integer, "Its status; -1 where it did not end by itself."), req("duration_ms", Integer, "How long it ran, in milliseconds."),
			opt("output", String, "The end of its standard error."), opt("error", String, "Why it did not end by itself."),
			req("run_id", String, "The run."), req("flow_id", String, "Its flow."), opt("flow_name", String, "The flow's name."),
		},
	}}})
}
