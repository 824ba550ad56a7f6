package catalog

import "github.com/tocsin-events/tocsin/internal/event"

// Seed 001: schedule triggers and event triggers. The two families differ in
// their fields, and in which failure disables a trigger.
func init() {
	flow := []Field{
		req("flow_id", String, "The flow that ran."),
		req("flow_name", String, "Its name."),
		req("inputs", Integer, "Number of input data items."),
		req("outputs", Integer, "Number of output data items."),
		req("duration_ms", Integer, "How long it ran, in milliseconds."),
		req("ok", Boolean, "Whether it ran without errors."),
		opt("error", String, "Where and why it failed; only if ok is false."),
	}
	status := []Field{
		req("status", String, "As set by the status task, else unknown."),
		req("status_msg", String, "As set by the status task, else empty."),
	}
	schedule := fields([]Field{
		req("schedule_id", String, "The schedule trigger."),
		req("schedule_name", String, "Its name."),
	}, flow, status)
	onEvent := fields([]Field{
		req("trigger_id", String, "The event trigger."),
		req("trigger_name", String, "Its name."),
		req("trigger_priority", Integer, "Its priority; greater runs first."),
	}, flow, []Field{
		req("event_id", String, "Id of the event that started it."),
		req("event_type", String, "Type of that event."),
	}, status)
	trigger := req("trigger_id", String, "The trigger.")
	target := req("flow_id", String, "Its target flow.")
	failure := req("error", String, "Why, beginning with one of the documented prefixes.")
	reason := req("reason", String, "Why, beginning with one of the documented prefixes.")

	register(Family{Kind: event.KindSys, Producer: "flow", Entries: []Entry{{
		Type: "trigger.schedule.sync", Transient: true, Wired: true,
		Description: "The scheduler has read its schedule triggers from the database.",
		Fires:       "After each synchronisation.",
		Message:     "schedule triggers synchronised",
		Fields:      []Field{opt("triggers", Integer, "How many are enabled.")},
	}, {
		Type: "trigger.schedule.ok", Wired: true,
		Description: "A schedule ran its flow without an error.",
		Fires:       "When the flow has completed.",
		Message:     "{data.schedule_name} ran {data.flow_name}: {data.status}", Fields: schedule,
	}, {
		Type: "trigger.schedule.error", Severity: event.Error, Wired: true,
		Description: "A schedule ran its flow, and the flow ended with an error.",
		Fires:       "When the flow has faulted after it began.",
		Message:     "{data.schedule_name} ran {data.flow_name}: {data.error}", Fields: schedule, Routes: []string{"inbox"},
	}, {
		Type: "trigger.schedule.failed", Severity: event.Error, Wired: true,
		Description: "A schedule could not run its flow at all.",
		Fires:       "When the flow can't be fetched, is not valid, or can't be given its input.",
		Message:     "schedule {data.trigger_id} could not run {data.flow_id}: {data.error}",
		Fields:      []Field{trigger, target, failure}, Routes: []string{"inbox"},
	}, {
		Type: "trigger.schedule.disabled", Severity: event.Warn, Wired: true,
		Description: "A schedule was disabled because it can't work.",
		Fires:       "After its failure, once the disabling is written.",
		Message:     "schedule {data.trigger_id} was disabled: {data.reason}",
		Fields:      []Field{trigger, target, reason}, Routes: []string{"inbox"},
	}, {
		Type: "trigger.event.sync", Transient: true, Wired: true,
		Description: "The dispatcher has read its event triggers from the database.",
		Fires:       "After each synchronisation.",
		Message:     "event triggers synchronised",
		Fields:      []Field{opt("triggers", Integer, "How many are enabled.")},
	}, {
		Type: "trigger.event.ok", Wired: true,
		Description: "An event trigger ran its flow without an error.",
		Fires:       "When the flow has completed.",
		Message:     "{data.trigger_name} ran {data.flow_name} for {data.event_type}: {data.status}", Fields: onEvent,
	}, {
		Type: "trigger.event.error", Severity: event.Error, Wired: true,
		Description: "An event trigger ran its flow, and the flow ended with an error.",
		Fires:       "When the flow has faulted after it began.",
		Message:     "{data.trigger_name} ran {data.flow_name} for {data.event_type}: {data.error}", Fields: onEvent, Routes: []string{"inbox"},
	}, {
		Type: "trigger.event.failed", Severity: event.Error, Wired: true,
		Description: "An event trigger could not run its flow at all.",
		Fires:       "When the flow can't be fetched, is not valid, or can't be given its input.",
		Message:     "trigger {data.trigger_id} could not run {data.flow_id}: {data.error}",
		Fields:      []Field{trigger, target, req("event_id", String, "Id of the event."), failure}, Routes: []string{"inbox"},
	}, {
		Type: "trigger.event.disabled", Severity: event.Warn, Wired: true,
		Description: "An event trigger was disabled because it can't work.",
		Fires:       "After its failure, once the disabling is written.",
		Message:     "trigger {data.trigger_id} was disabled: {data.reason}",
		Fields:      []Field{trigger, target, reason}, Routes: []string{"inbox"},
	}}})
}
