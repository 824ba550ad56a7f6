package web

import (
	"maps"

	"github.com/tocsin-events/tocsin/internal/flow"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/identity"
)

// flowTable is every route about what is done: flows, triggers, runs and secrets.
func (s *Server) flowTable() []route {
	const read, emit, admin = identity.Read, identity.Emit, identity.Admin
	table := []route{
		{pattern: "GET /v1/flows", scope: read, handler: s.getFlows},
		{pattern: "POST /v1/flows", scope: admin, handler: s.postFlows},
		{pattern: "POST /v1/flows/validate", scope: read, handler: s.postValidate},
		{pattern: "GET /v1/flows/{id}", scope: read, handler: s.getFlow},
		{pattern: "PUT /v1/flows/{id}", scope: admin, handler: s.putFlow},
		{pattern: "DELETE /v1/flows/{id}", scope: admin, handler: s.deleteFlow},
		{pattern: "POST /v1/flows/{id}/runs", scope: emit, handler: s.postRuns},
		{pattern: "POST /v1/flows/{id}/dry-run", scope: emit, handler: s.postDryRun},
		{pattern: "GET /v1/flows/{id}/diagram", scope: read, handler: s.getDiagram},

		{pattern: "GET /v1/runs", scope: read, handler: s.getRuns},
		{pattern: "GET /v1/runs/{id}", scope: read, handler: s.getRun},
		{pattern: "POST /v1/runs/{id}/cancel", scope: emit, handler: s.postCancelRun},
		{pattern: "POST /v1/runs/{id}/retry", scope: emit, handler: s.postRetryRun},

		{pattern: "GET /v1/triggers", scope: read, handler: s.getTriggers},
		{pattern: "POST /v1/triggers", scope: admin, handler: s.postTriggers},
		{pattern: "GET /v1/triggers/explain", scope: read, handler: s.getTriggerExplain},
		{pattern: "GET /v1/triggers/{id}", scope: read, handler: s.getTrigger},
		{pattern: "PUT /v1/triggers/{id}", scope: admin, handler: s.putTrigger},
		{pattern: "PATCH /v1/triggers/{id}", scope: admin, handler: s.putTrigger},
		{pattern: "DELETE /v1/triggers/{id}", scope: admin, handler: s.deleteTrigger},
		{pattern: "GET /v1/triggers/{id}/next", scope: read, handler: s.getNext},

		{pattern: "GET /v1/secrets", scope: admin, handler: s.getSecrets},
		{pattern: "POST /v1/secrets", scope: admin, handler: s.postSecrets},
		{pattern: "GET /v1/secrets/{id}", scope: admin, handler: s.getSecret},
		{pattern: "PUT /v1/secrets/{id}", scope: admin, handler: s.putSecret},
		{pattern: "PATCH /v1/secrets/{id}", scope: admin, handler: s.putSecret},
		{pattern: "DELETE /v1/secrets/{id}", scope: admin, handler: s.deleteSecret},
		{pattern: "POST /v1/secrets/{id}/reveal", scope: admin, handler: s.revealSecret},
	}
	docs := describeFlows()
	for i := range table {
		table[i].doc = docs[table[i].pattern]
	}
	return table
}

func describeFlows() map[string]operation {
	docs := describeCRUD("/v1/triggers", "trigger", "triggers", "Trigger", "NewTrigger", "TriggerPatch")
	maps.Copy(docs, describeCRUD("/v1/secrets", "secret", "secrets", "Secret", "NewSecret", "SecretPatch"))
	maps.Copy(docs, describeCRUD("/v1/flows", "flow", "flows", "Flow", "FlowDocument", ""))
	document := map[string]object{yamlMedia: {}, "application/json": ref("FlowDocument")}
	text := func(o operation, doc string) operation {
		o.body, o.summary = document, doc
		return o
	}
	docs["GET /v1/flows"] = operation{summary: "All flows, without their documents.", params: docs["GET /v1/flows"].params, answers: docs["GET /v1/flows"].answers}
	docs["POST /v1/flows"] = text(docs["POST /v1/flows"], "Store a flow, also an invalid one: state and reason say so.")
	docs["PUT /v1/flows/{id}"] = operation{summary: "Give a flow a new version. Runs that have begun go on with theirs.", body: document, answers: ok("200", "The flow.", ref("Flow"))}
	docs["POST /v1/flows/validate"] = operation{summary: "What is wrong with a document. Stores nothing.", body: document, answers: ok("200", "All problems, with line and column, and what to write instead.", ref("Validation"))}
	docs["POST /v1/flows/{id}/runs"] = operation{
		summary: "Start a run by hand, with the body as input. The same Idempotency-Key finds the same run.", body: jsonBody(object{}), optional: true, answers: ok("201", "The run.", ref("Run")),
	}
	docs["POST /v1/flows/{id}/dry-run"] = operation{
		summary: "Run a flow without doing anything outside.", body: jsonBody(ref("DryRun")), answers: ok("200", "Every step with its input and output, and what a run would do.", ref("Rehearsal")),
	}
	docs["GET /v1/flows/{id}/diagram"] = operation{summary: "A picture of a flow.", answers: map[string]answerDoc{
		"200": {"The picture.", "image/svg+xml", object{"type": "string"}}, "409": {"An invalid flow has none.", "application/problem+json", ref("Problem")},
	}}
	limit := param("limit", object{"type": "integer", "minimum": 1, "maximum": maxPage}, "Most items on a page.")
	optional := object{"type": "string", "pattern": "^([1-9][0-9]{0,17})?$"}
	states := []string{""}
	for _, s := range runStates() {
		states = append(states, string(s))
	}
	docs["GET /v1/runs"] = operation{summary: "Runs, the newest first, without their steps and without large values.", params: []parameter{
		param("flow", optional, "Of this flow."), param("trigger", optional, "Started by this trigger."), param("state", object{"type": "string", "enum": states}, "In this state."),
		limit, param("cursor", object{"type": "string", "pattern": "^([1-9][0-9]{0,18}-[0-9a-f]{1,64})?$"}, "The next of the page before."),
	}, answers: ok("200", "A page of runs.", list("Run"))}
	docs["GET /v1/runs/{id}"] = operation{summary: "One run with its steps.", answers: ok("200", "The run.", ref("Run"))}
	docs["POST /v1/runs/{id}/cancel"] = operation{summary: "End a run. What it has done outside stays done.", answers: ok("200", "The run.", ref("Run"))}
	docs["POST /v1/runs/{id}/retry"] = operation{summary: "Run once more what has failed, from where it failed.", answers: ok("201", "The new run.", ref("Run"))}
	docs["GET /v1/triggers/{id}/next"] = operation{summary: "When a schedule runs next.", params: []parameter{
		param("count", object{"type": "integer", "minimum": 1, "maximum": maxSlots}, "How many times."), param("from", object{"type": "string"}, "Behind this time; now unless it is given."),
	}, answers: ok("200", "Times.", object{"type": "object"})}
	docs["GET /v1/triggers/explain"] = operation{summary: "What each trigger makes of an event, and why it does not run.", params: []parameter{
		{name: "sequence", doc: "Of the event.", schema: object{"type": "string", "pattern": seqPattern}},
	}, answers: map[string]answerDoc{"200": {"A verdict for each trigger.", "application/json", object{"type": "object"}}, "404": {"There is no such event.", "application/problem+json", ref("Problem")}}}
	docs["POST /v1/secrets/{id}/reveal"] = operation{summary: "Show the value, to those who give their password again.", body: jsonBody(ref("PasswordOnly")), answers: ok("200", "The value.", object{"type": "object"})}
	return docs
}

func flowSchemas() object {
	fault := object{"type": []string{"object", "null"}, "properties": object{"type": object{"type": "string"}, "status": object{"type": "integer"}, "title": object{"type": "string"}, "detail": object{"type": "string"}, "instance": object{"type": "string"}, "message": object{"type": "string"}}}
	str, boolean, integer, free := object{"type": "string"}, object{"type": "boolean"}, object{"type": "integer"}, object{}
	id := object{"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}
	texts := object{"type": "array", "items": object{"type": "string", "minLength": 1}}
	name := object{"type": "string", "minLength": 1, "maxLength": 120, "pattern": `^[^\s\x00-\x1f\x7f-\x9f]+( [^\s\x00-\x1f\x7f-\x9f]+)*$`}
	duration := object{"type": "string", "pattern": `^([1-9][0-9]{0,2}(s|m|h)|0s)$`}
	positive := object{"type": "string", "pattern": `^[1-9][0-9]{0,2}(s|m|h)$`}
	when := object{"type": []string{"string", "null"}, "format": "date-time"}
	word := func(words ...string) object { return object{"type": "string", "enum": words} }
	trigger := object{
		"name": name, "kind": word(string(flow.OnEvent), string(flow.OnSchedule)), "flow": id, "enabled": boolean, "priority": integer, "input": str,
		"concurrency": input("limit when_full", object{"limit": object{"type": "integer", "minimum": 1, "maximum": 1000}, "when_full": word(flow.FullQueue, flow.FullSkip, flow.FullCancelOldest)}),
		"emit":        input("", object{"ok": boolean, "error": boolean, "expires": duration}),
		"types":       texts, "filter": str, "throttle": input("", object{
			"once_within": positive, "accumulate": input("within count", object{"within": positive, "count": object{"type": "integer", "minimum": 1, "maximum": 1000}}), "group_by": texts,
		}),
		"cron": str, "every": duration, "at": when, "expires_after": duration, "timezone": str, "missed": word(flow.MissedSkip, flow.MissedLast, flow.MissedAll), "catchup_window": duration,
		"overlap": word(flow.OverlapSkip, flow.OverlapBufferOne, flow.OverlapBufferAll, flow.OverlapCancel, flow.OverlapAllow), "jitter": duration, "data": free,
	}
	value := object{"anyOf": []object{{"type": "string", "minLength": 1}, {"type": "object", "minProperties": 1, "additionalProperties": object{"type": "string", "minLength": 1}}}}
	secret := object{"name": object{"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$"}, "value": value}
	shown := func(in object) object {
		out := object{"id": id, "created": str, "updated": str}
		for name := range in { // what is answered is not bounded
			out[name] = object{}
		}
		return out
	}
	triggerShown := shown(trigger)
	triggerShown["skips"] = object{"type": "object", "additionalProperties": integer}
	step := record("task kind state started_at duration_ms input output error effect", object{
		"task": str, "name": str, "kind": str, "state": str, "started_at": str, "duration_ms": object{"type": "number"}, "input": free, "output": free, "error": fault, "effect": str,
		"replayed": boolean, "path": object{"type": "array", "items": integer}, "attempt": integer,
	})
	steps := object{"type": "array", "items": step}
	problem := record("path line column problem", object{"path": str, "line": integer, "column": integer, "problem": str, "instead": str})
	problems := object{"type": "array", "items": problem}
	states := []string{}
	for _, s := range runStates() {
		states = append(states, string(s))
	}
	orNone := object{"type": []string{"string", "null"}}
	return object{
		"Flow": record("id name version state reason", object{
			"id": id, "name": str, "namespace": str, "version": str, "state": word(string(flow.Valid), string(flow.Invalid)), "reason": str, "document": str,
			"scopes": texts, "source": str, "source_version": str, "drifted": boolean, "created": str, "updated": str,
		}),
		"FlowDocument": object{"description": "A document of the Open Workflow Specification (DSL 1.0). Anything else is stored as invalid."},
		"Validation":   record("valid state problems", object{"valid": boolean, "state": word(string(flow.Valid), string(flow.Invalid)), "problems": problems}),
		"DryRun":       sent("", object{"input": free, "sequence": object{"anyOf": []object{{"type": "string", "pattern": seqPattern}, {"type": "integer", "minimum": 0}}}, "trigger": id}),
		"Rehearsal": record("state input output error steps effects problems", object{
			"state": word("", string(program.Completed), string(program.Faulted), string(program.Cancelled), string(program.Suspended)), "input": free, "output": free, "error": str,
			"status": str, "status_msg": str, "steps": steps, "effects": object{"type": "array", "items": object{"type": "object"}}, "problems": problems,
		}),
		"Run": record("id flow_id state input output error status status_msg steps trigger_id slot event_sequence", object{
			"id": str, "flow_id": str, "flow": str, "version": str, "state": word(states...), "trigger_id": orNone, "slot": when, "event_sequence": orNone,
			"input": free, "output": free, "error": fault, "status": str, "status_msg": str, "steps": steps, "priority": integer, "by": str, "parent": str,
			"retry_of": str, "recoveries": integer, "queued_at": str, "started_at": when, "finished_at": when, "duration_ms": integer, "due": when,
		}),
		"Trigger": record("id name kind flow enabled", triggerShown), "NewTrigger": input("name kind flow", trigger), "TriggerPatch": input("", trigger),
		"Secret": record("id name created updated", object{"id": id, "name": str, "created": str, "updated": str}), "NewSecret": input("name value", secret), "SecretPatch": input("", secret),
	}
}
