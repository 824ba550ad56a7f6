package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Remote hosts that report here, and this one where it reports elsewhere. No seed
// has these.
func init() {
	fields := []Field{
		req("name", String, "Host name of the agent."), opt("version", String, "Its version of this program."), opt("token", String, "Name of the token that it shows."),
		opt("last_seen", Timestamp, "When it reported last."),
	}
	register(Family{Kind: event.KindCustom, Producer: "agent", Entries: []Entry{{
		Type: "agent.joined", Severity: event.Info, Wired: true, Description: "A remote host reports here for the first time.",
		Fires: "When an agent sends its first report.", Message: "the agent {data.name} has joined", Fields: fields, Routes: []string{"inbox"},
	}, {
		Type: "agent.silent", Severity: event.Error, Wired: true, Description: "A remote host does not report any more.",
		Fires: "When an agent has sent no report for agents.silent_after; once, until it is back.", Message: "the agent {data.name} is silent since {data.last_seen}",
		Fields: fields, Routes: []string{"inbox", "email"},
	}, {
		Type: "agent.returned", Severity: event.Notice, Wired: true, Description: "A remote host reports again.",
		Fires: "When an agent that was silent sends a report.", Message: "the agent {data.name} is back", Fields: fields, Routes: []string{"inbox"},
	}, {
		Type: "agent.refused", Severity: event.Error, Wired: true, Description: "The server to which this host reports did not take an event.",
		Fires:   "When it refuses one for good; the event remains in this host's journal. Many are folded into one.",
		Message: "{data.server} did not take {data.count} events: {data.reason}", Routes: []string{"inbox"},
		Fields: []Field{
			req("server", String, "Address of the server."), req("count", Integer, "How many."), req("reason", String, "Its words about the first."),
			opt("first", String, "Sequence of the first here."), opt("last", String, "Sequence of the last here."),
		},
	}}})
}
