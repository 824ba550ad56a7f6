package web

import (
	"maps"

	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/notify"
)

// notifyTable is every route about who is told of what.
func (s *Server) notifyTable() []route {
	const read, emit, admin = identity.Read, identity.Emit, identity.Admin
	table := []route{
		{pattern: "GET /v1/rules", scope: read, handler: s.getRules},
		{pattern: "POST /v1/rules", scope: admin, handler: s.postRules},
		{pattern: "POST /v1/rules/explain", scope: read, handler: s.postExplain},
		{pattern: "POST /v1/rules/backtest", scope: read, handler: s.postBackTest},
		{pattern: "GET /v1/rules/{id}", scope: read, handler: s.getRule},
		{pattern: "PUT /v1/rules/{id}", scope: admin, handler: s.putRule},
		{pattern: "PATCH /v1/rules/{id}", scope: admin, handler: s.putRule},
		{pattern: "DELETE /v1/rules/{id}", scope: admin, handler: s.deleteRule},

		{pattern: "GET /v1/policies", scope: read, handler: s.getPolicies},
		{pattern: "POST /v1/policies", scope: admin, handler: s.postPolicies},
		{pattern: "GET /v1/policies/{id}", scope: read, handler: s.getPolicy},
		{pattern: "PUT /v1/policies/{id}", scope: admin, handler: s.putPolicy},
		{pattern: "PATCH /v1/policies/{id}", scope: admin, handler: s.putPolicy},
		{pattern: "DELETE /v1/policies/{id}", scope: admin, handler: s.deletePolicy},

		{pattern: "GET /v1/transports", scope: read, handler: s.getTransports},
		{pattern: "POST /v1/transports", scope: admin, handler: s.postTransports},
		{pattern: "GET /v1/transports/modes", scope: read, handler: s.getModes},
		{pattern: "GET /v1/transports/{id}", scope: read, handler: s.getTransport},
		{pattern: "PUT /v1/transports/{id}", scope: admin, handler: s.putTransport},
		{pattern: "PATCH /v1/transports/{id}", scope: admin, handler: s.putTransport},
		{pattern: "DELETE /v1/transports/{id}", scope: admin, handler: s.deleteTransport},
		{pattern: "POST /v1/transports/{id}/test", scope: admin, handler: s.postTestTransport},
		{pattern: "POST /v1/transports/{id}/reveal", scope: admin, handler: s.revealTransport},

		{pattern: "GET /v1/silences", scope: read, handler: s.getSilences},
		{pattern: "POST /v1/silences", scope: emit, handler: s.postSilences},
		{pattern: "GET /v1/silences/{id}", scope: read, handler: s.getSilence},
		{pattern: "PUT /v1/silences/{id}", scope: emit, handler: s.putSilence},
		{pattern: "PATCH /v1/silences/{id}", scope: emit, handler: s.putSilence},
		{pattern: "DELETE /v1/silences/{id}", scope: emit, handler: s.deleteSilence},

		{pattern: "GET /v1/templates", scope: read, handler: s.getTemplates},
		{pattern: "POST /v1/templates", scope: admin, handler: s.postTemplates},
		{pattern: "POST /v1/templates/preview", scope: read, handler: s.postPreview},
		{pattern: "GET /v1/templates/{id}", scope: read, handler: s.getTemplate},
		{pattern: "PUT /v1/templates/{id}", scope: admin, handler: s.putTemplate},
		{pattern: "PATCH /v1/templates/{id}", scope: admin, handler: s.putTemplate},
		{pattern: "DELETE /v1/templates/{id}", scope: admin, handler: s.deleteTemplate},

		{pattern: "GET /v1/deliveries", scope: read, handler: s.getDeliveries},
		{pattern: "POST /v1/deliveries/replay", scope: admin, handler: s.postReplayAll},
		{pattern: "GET /v1/deliveries/{id}", scope: read, handler: s.getDelivery},
		{pattern: "POST /v1/deliveries/{id}/replay", scope: admin, handler: s.postReplay},
		{pattern: "POST /v1/deliveries/{id}/acknowledge", scope: emit, handler: s.postAcknowledge},

		{pattern: "GET /v1/inbox", scope: known, handler: s.getInbox},
		{pattern: "POST /v1/inbox/seen", scope: known, handler: s.postAllSeen},
		{pattern: "POST /v1/inbox/{id}/seen", scope: known, handler: s.postSeen},
	}
	docs := describeNotify()
	for i := range table {
		table[i].doc = docs[table[i].pattern]
	}
	return table
}

func describeNotify() map[string]operation {
	docs := map[string]operation{}
	for _, o := range []struct{ path, what, schema string }{
		{"rules", "rule", "Rule"},
		{"policies", "policy", "Policy"},
		{"transports", "transport", "Transport"},
		{"silences", "silence", "Silence"},
		{"templates", "template", "Template"},
	} {
		maps.Copy(docs, describeCRUD("/v1/"+o.path, o.what, o.path, o.schema, "New"+o.schema, o.schema+"Patch"))
	}
	free := object{"type": "object"}
	limit := param("limit", object{"type": "integer", "minimum": 1, "maximum": maxPage}, "Most items on a page.")
	cursor := param("cursor", object{"type": "string", "pattern": seqPattern}, "The next of the page before.")
	missing := func(answers map[string]answerDoc) map[string]answerDoc { // what the body names
		answers["404"] = answerDoc{"There is no such rule or event.", "application/problem+json", ref("Problem")}
		return answers
	}
	optional := object{"type": "string", "pattern": "^([1-9][0-9]{0,17})?$"}
	docs["POST /v1/rules/explain"] = operation{summary: "Why a rule fires for an event, or not. Records nothing.", body: jsonBody(ref("Explain")), answers: missing(ok("200", "Each condition with its values.", free))}
	docs["POST /v1/rules/backtest"] = operation{summary: "What a rule would have told. Sends and records nothing.", body: jsonBody(ref("BackTest")), answers: missing(ok("200", "Counts, and the first tellings.", free))}
	docs["GET /v1/transports/modes"] = operation{summary: "The ways of telling, with their settings.", answers: ok("200", "All modes.", free)}
	docs["POST /v1/transports/{id}/test"] = operation{summary: "Send a real message, now.", answers: ok("200", "What the other side answered.", free)}
	docs["POST /v1/transports/{id}/reveal"] = operation{summary: "Show the settings with their secrets, to those who give their password again.", body: jsonBody(ref("PasswordOnly")), answers: ok("200", "The settings.", free)}
	docs["POST /v1/templates/preview"] = operation{summary: "How an event would be told in the words of a template.", body: jsonBody(ref("TemplatePreview")), answers: missing(ok("200", "Title, text and severity.", free))}
	docs["GET /v1/deliveries"] = operation{summary: "The ledger: what was told, by which way, and what came of it; newest first.", params: []parameter{
		param("rule", optional, "Of this rule."), param("transport", optional, "By this transport."), param("state", object{"type": "string", "enum": append([]string{""}, deliveryStates()...)}, "In this state."),
		param("sequence", object{"type": "string", "pattern": seqPattern}, "About this event."), limit, cursor,
	}, answers: ok("200", "A page of deliveries.", list("Delivery"))}
	docs["GET /v1/deliveries/{id}"] = operation{summary: "One delivery with its attempts.", answers: ok("200", "The delivery.", ref("Delivery"))}
	docs["POST /v1/deliveries/{id}/replay"] = operation{summary: "Send one again, under the key that it has.", answers: ok("202", "It is queued.", ref("Delivery"))}
	docs["POST /v1/deliveries/replay"] = operation{summary: "Send all again that are over and that the body names.", body: jsonBody(ref("Replay")), answers: ok("202", "How many are queued.", free)}
	docs["POST /v1/deliveries/{id}/acknowledge"] = operation{summary: "Say that somebody looks after it: its escalation ends.", answers: ok("200", "The delivery.", ref("Delivery"))}
	docs["GET /v1/inbox"] = operation{summary: "Messages to the caller, newest first.", params: []parameter{
		param("unseen", object{"type": "boolean"}, "New ones alone."), limit, cursor,
	}, answers: ok("200", "A page of messages, and how many are new.", list("InboxItem"))}
	seen := jsonBody(ref("Seen"))
	docs["POST /v1/inbox/seen"] = operation{summary: "All messages were seen.", body: seen, optional: true, answers: ok("200", "How many have changed.", free)}
	docs["POST /v1/inbox/{id}/seen"] = operation{summary: "A message was seen, or is new again.", body: seen, optional: true, answers: ok("200", "How many have changed.", free)}
	return docs
}

func notifySchemas() object {
	str, boolean, integer := object{"type": "string"}, object{"type": "boolean"}, object{"type": "integer"}
	id := object{"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}
	ids, texts := object{"type": "array", "items": id}, object{"type": "array", "items": object{"type": "string", "minLength": 1}}
	name := object{"type": "string", "minLength": 1, "maxLength": 120, "pattern": `^[^\s\x00-\x1f\x7f-\x9f]+( [^\s\x00-\x1f\x7f-\x9f]+)*$`}
	duration := object{"type": "string", "pattern": `^([1-9][0-9]{0,2}(s|m|h)|0s)$`}
	positive := object{"type": "string", "pattern": `^[1-9][0-9]{0,2}(s|m|h)$`}
	severity := object{"type": "string", "enum": []string{"", "info", "notice", "warn", "error", "critical"}}
	when := object{"type": []string{"string", "null"}, "format": "date-time"}
	free := object{"type": "object"}
	matcher := sent("", object{"type": str, "kind": str, "producer": str, "model": str, "client_ip": str, "brand": str})
	recipients := input("", object{"groups": ids, "users": ids, "access_levels": texts, "actor": boolean, "subject": boolean, "expression": str})
	binding := input("", object{
		"policy": str, "group": str, "user": str, "matcher": matcher, "expression": str, "negate": boolean, "order": integer, "timeout": duration,
		"on_failure": object{"type": "string", "enum": []string{"fail", "pass"}},
	})
	rule := object{
		"name": name, "enabled": boolean, "severity": severity, "types": texts, "filter": str, "mode": object{"type": "string", "enum": []string{notify.All, notify.Any, notify.None}},
		"policies": object{"type": "array", "items": binding}, "recipients": recipients, "transports": ids, "group_by": texts,
		"threshold": input("count within", object{"count": object{"type": "integer", "minimum": 1, "maximum": 10000}, "within": positive, "group_by": texts}),
		"absence":   input("within", object{"within": positive, "group_by": texts}), "resolve": input("types", object{"types": texts, "filter": str}), "repeat_every": duration, "digest_every": duration,
		"quiet_hours":    input("from to", object{"timezone": str, "from": str, "to": str, "days": texts, "except": severity}),
		"escalate":       object{"type": "array", "items": input("after", object{"after": positive, "recipients": recipients, "transports": ids})},
		"log_executions": boolean, "routing": boolean,
	}
	policy := object{"name": name, "matcher": matcher, "expression": str, "log_executions": boolean}
	rate := input("count within", object{"count": object{"type": "integer", "minimum": 1, "maximum": 100000}, "within": positive})
	retry := input("attempts first most", object{"attempts": object{"type": "integer", "minimum": 1, "maximum": 100}, "first": positive, "most": positive})
	transport := object{"name": name, "mode": object{"type": "string", "minLength": 1}, "settings": free, "rate": rate, "retry": retry}
	silence := object{"filter": object{"type": "string", "minLength": 1}, "rules": ids, "starts_at": when, "expires_at": object{"type": "string", "format": "date-time"}, "comment": str}
	template := object{"type": object{"type": "string", "minLength": 1, "maxLength": 128}, "title": str, "text": str}
	stored := func(in object) object {
		out := maps.Clone(in)
		out["id"], out["created"], out["updated"] = id, str, str
		for name := range in { // what is answered is not bounded
			out[name] = object{}
		}
		return record("id created updated", out)
	}
	attempt := record("number time status latency_ms", object{"number": integer, "time": str, "status": integer, "latency_ms": object{"type": "number"}, "answer": str, "error": str})
	seq := object{"anyOf": []object{{"type": "string", "pattern": seqPattern}, {"type": "integer", "minimum": 0}}}
	return object{
		"Rule": stored(rule), "NewRule": input("name", rule), "RulePatch": input("", rule),
		"Policy": stored(policy), "NewPolicy": input("name", policy), "PolicyPatch": input("", policy),
		"Transport": stored(transport), "NewTransport": input("name mode", transport), "TransportPatch": input("", transport),
		"Silence": stored(silence), "NewSilence": input("filter expires_at", silence), "SilencePatch": input("", silence),
		"Template": stored(template), "NewTemplate": input("type", template), "TemplatePatch": input("", template),
		"TemplatePreview": input("type sequence", object{"type": str, "title": str, "text": str, "sequence": seq}),
		"Delivery": record("id idempotency_key rule transport recipient sequence why state reason count attempts created", object{
			"id": str, "idempotency_key": str, "rule": str, "transport": str, "recipient": str, "sequence": str, "why": str, "group": str, "title": str, "text": str,
			"state": object{"type": "string", "enum": deliveryStates()}, "reason": str, "count": integer, "attempts": integer, "due": when, "created": str, "finished": when,
			"tries": object{"type": "array", "items": attempt},
		}),
		"Replay":   input("", object{"rule": str, "transport": str, "state": object{"type": "string", "enum": []string{notify.Dead, notify.Delivered}}, "sequence": seq}),
		"Explain":  input("rule sequence", object{"rule": object{"anyOf": []object{id, input("", rule)}}, "sequence": seq}),
		"BackTest": input("rule", object{"rule": object{"anyOf": []object{id, input("", rule)}}, "since": str}),
		"InboxItem": record("id severity title text created seen", object{
			"id": str, "rule": str, "delivery": str, "sequence": str, "severity": str, "title": str, "text": str, "created": str, "seen": when,
		}),
		"Seen": input("", object{"seen": boolean}),
	}
}
