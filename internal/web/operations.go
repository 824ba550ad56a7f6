package web

import (
	"maps"
	"slices"
	"strings"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/event"
)

// operations are what the routes are for, in the words of /openapi.json.
type operations struct {
	health, ready, metrics, openAPI, signIn, renew, emit, handshake, search, volume, tail, event, immutable, catalog, oneType, addType, tokens, addToken, token, putToken, patchToken, dropToken, sources, settings, patchSettings, reload, journal, heads, verify, export, imports operation
	searchOperations
}

func describe() (o operations) {
	filterParam := param("filter", object{"type": "string", "maxLength": 16384}, "CEL expression; see the documentation of filters.")
	transientParam := param("transient", object{"type": "boolean"}, "Include events that are gone after an hour.")
	viewParam := param("view", object{"type": "string", "enum": []string{"cloudevents", "audit", "significant"}}, "Form of the events.")
	sinceParam := param("since", object{"type": "string"}, "Earliest time: RFC 3339, or a duration back from now.")
	untilParam := param("until", object{"type": "string"}, "Time before which events lie: RFC 3339, or a duration back from now.")
	limitParam := param("limit", object{"type": "integer", "minimum": 1, "maximum": 1000}, "Most items on a page.")
	cursorParam := param("cursor", object{"type": "string", "pattern": seqPattern}, "The next of the page before.")

	o.health = operation{summary: "The process answers.", answers: ok("200", "It does.", object{"type": "object"})}
	o.ready = operation{summary: "Events can be taken.", answers: map[string]answerDoc{
		"200": {"They can.", "application/json", object{"type": "object"}},
		"507": {"The disk is full.", "application/problem+json", ref("Problem")},
	}}
	o.metrics = operation{summary: "Metrics for Prometheus; without a token for direct callers on this machine only.", answers: map[string]answerDoc{
		"200": {"Prometheus text format.", "text/plain", object{"type": "string"}},
	}}
	o.openAPI = operation{summary: "This description.", answers: ok("200", "OpenAPI 3.1.", object{"type": "object"})}

	o.signIn = operation{summary: "Exchange a name and password for a token.", body: jsonBody(ref("SignIn")), answers: ok("200", "A token.", ref("Session"))}
	o.renew = operation{summary: "Exchange a token from signing in for a fresh one.", answers: ok("200", "A token.", ref("Session"))}

	o.emit = operation{
		summary: "Record events. The answer comes when they are durable. Binary mode: attributes as ce- headers.",
		params:  []parameter{param("access_token", object{"type": "string"}, "A token, for senders that can set no header.")},
		body: map[string]object{
			event.JSONMedia: ref("Event"), event.BatchMedia: {"type": "array", "minItems": 1, "items": ref("Event")}, ndjsonMedia: {"type": "string"},
		},
		answers: ok("202", "At least one is recorded, or was before.", ref("Answer")),
	}
	o.handshake = operation{summary: "Handshake of webhook senders (CloudEvents HTTP 1.1 Web Hooks, 4).", answers: map[string]answerDoc{"200": {doc: "They may send."}}}
	o.search = operation{
		summary: "Find events.", params: []parameter{
			filterParam, sinceParam, untilParam, limitParam, cursorParam, viewParam, transientParam,
			param("order", object{"type": "string", "enum": []string{"asc", "desc"}}, "By sequence; newest first unless asc."),
		}, answers: ok("200", "A page of events.", ref("EventPage")),
	}
	o.volume = operation{
		summary: "Count events over time.", params: []parameter{
			filterParam, sinceParam, untilParam, transientParam,
			param("step", object{"type": "string"}, "Length of a bucket, such as 1h."),
			param("by", object{"type": "string", "enum": []string{"type", "severity", "kind"}}, "What is told apart."),
		}, answers: ok("200", "A bucket for every step.", ref("Volume")),
	}
	o.tail = operation{
		summary: "Events as they are recorded (server-sent events). Last-Event-ID resumes.", params: []parameter{
			filterParam, viewParam, transientParam, param("after", object{"type": "string", "pattern": seqPattern}, "Sequence to begin behind."),
		}, answers: map[string]answerDoc{"200": {"A stream.", "text/event-stream", object{"type": "string"}}},
	}
	o.event = operation{summary: "One event.", params: []parameter{viewParam}, answers: map[string]answerDoc{
		"200": {"The event; in another view as application/json.", event.JSONMedia, ref("Event")},
	}}
	o.immutable = operation{hidden: true}

	o.catalog = operation{summary: "Every type of event.", answers: ok("200", "All types.", list("Type"))}
	o.oneType = operation{summary: "One type of event.", answers: ok("200", "The type.", ref("Type"))}
	o.addType = operation{summary: "Add a type of your own, or a new version of one.", body: jsonBody(ref("NewType")), answers: ok("201", "The type.", ref("Type"))}

	o.tokens = operation{summary: "API tokens.", params: []parameter{limitParam, cursorParam}, answers: ok("200", "A page of tokens.", list("Token"))}
	o.addToken = operation{summary: "Make an API token. Its secret is shown once.", body: jsonBody(ref("NewToken")), answers: ok("201", "The token, with its secret.", ref("Token"))}
	o.token = operation{summary: "One API token.", answers: ok("200", "The token.", ref("Token"))}
	o.putToken = operation{summary: "Replace an API token's properties.", body: jsonBody(ref("NewToken")), answers: ok("200", "The token.", ref("Token"))}
	o.patchToken = operation{summary: "Change an API token's properties (merge patch).", body: jsonBody(ref("TokenPatch")), answers: ok("200", "The token.", ref("Token"))}
	o.dropToken = operation{summary: "Revoke an API token.", answers: map[string]answerDoc{"204": {doc: "It is revoked."}}}

	o.sources = operation{summary: "The sources, and how they fare.", answers: ok("200", "All sources.", list("Source"))}
	o.settings = operation{summary: "What can be changed while the server runs.", answers: ok("200", "The settings.", ref("Settings"))}
	o.patchSettings = operation{summary: "Change settings (merge patch).", body: jsonBody(ref("SettingsPatch")), answers: ok("200", "The settings.", ref("Settings"))}
	o.reload = operation{summary: "Read the configuration anew.", answers: ok("200", "It is read.", object{"type": "object"})}

	o.journal = operation{summary: "How much is recorded.", answers: ok("200", "Figures.", object{"type": "object"})}
	o.heads = operation{summary: "Signed ends of the hash chains, to be kept elsewhere.", answers: ok("200", "The heads.", object{"type": "object"})}
	o.verify = operation{
		summary: "Prove that nothing was altered or removed.", body: jsonBody(ref("Verify")), optional: true,
		answers: ok("200", "What was found.", ref("Report")),
	}
	o.export = operation{summary: "Every event as NDJSON.", params: []parameter{
		param("from", object{"type": "string", "pattern": seqPattern}, "First sequence."), param("to", object{"type": "string", "pattern": seqPattern}, "Last sequence."),
	}, answers: map[string]answerDoc{"200": {"A stream of events.", ndjsonMedia, object{"type": "string"}}}}
	o.searchOperations = describeSearches(filterParam, sinceParam, untilParam, transientParam, limitParam, cursorParam)
	o.imports = operation{summary: "Take events as they were exported.", body: map[string]object{ndjsonMedia: {"type": "string"}}, optional: true, answers: ok("200", "What became of them.", object{"type": "object"})}
	return o
}

// describeCRUD says what the routes are for that all objects have; patch is
// empty where they can't be changed.
func describeCRUD(path, one, many, schema, create, patch string) map[string]operation {
	limit := param("limit", object{"type": "integer", "minimum": 1, "maximum": maxPage}, "Most items on a page.")
	cursor := param("cursor", object{"type": "string", "pattern": seqPattern}, "The next of the page before.")
	docs := map[string]operation{
		"GET " + path:              {summary: "All " + many + ".", params: []parameter{limit, cursor}, answers: ok("200", "A page of "+many+".", list(schema))},
		"POST " + path:             {summary: "Make a " + one + ".", body: jsonBody(ref(create)), answers: ok("201", "The "+one+".", ref(schema))},
		"GET " + path + "/{id}":    {summary: "One " + one + ".", answers: ok("200", "The "+one+".", ref(schema))},
		"DELETE " + path + "/{id}": {summary: "Remove a " + one + ".", answers: map[string]answerDoc{"204": {doc: "It is removed."}}},
	}
	if patch != "" {
		docs["PUT "+path+"/{id}"] = operation{summary: "Replace what is said of a " + one + ".", body: jsonBody(ref(create)), answers: ok("200", "The "+one+".", ref(schema))}
		docs["PATCH "+path+"/{id}"] = operation{summary: "Change a " + one + " (merge patch).", body: jsonBody(ref(patch)), answers: ok("200", "The "+one+".", ref(schema))}
	}
	return docs
}

func list(item string) object {
	return object{"type": "object", "required": []string{"items", "next"}, "properties": object{
		"items": object{"type": "array", "items": ref(item)}, "next": object{"type": []string{"string", "null"}},
	}}
}

func record(required string, properties object) object {
	o := object{"type": "object", "properties": properties}
	if required != "" {
		o["required"] = strings.Fields(required)
	}
	return o
}

// input is a record that knows no other members.
func input(required string, properties object) object {
	o := sent(required, properties)
	o["additionalProperties"] = false
	return o
}

// sent is a record that clients send: null is the same as absent.
func sent(required string, properties object) object {
	nullable := object{}
	for name, schema := range properties {
		nullable[name] = schema
		if s, ok := schema.(object); ok && !slices.Contains(strings.Fields(required), name) && len(s) > 0 {
			nullable[name] = orNull(s)
		}
	}
	return record(required, nullable)
}

func orNull(schema object) object {
	if kinds, ok := schema["type"].([]string); ok && slices.Contains(kinds, "null") {
		return schema
	}
	return object{"anyOf": []object{schema, {"type": "null"}}}
}

func schemas() object {
	str, integer, boolean := object{"type": "string"}, object{"type": "integer"}, object{"type": "boolean"}
	some := object{"type": "string", "minLength": 1}
	severity := object{"type": "string", "enum": []string{"info", "notice", "warn", "error", "critical"}}
	when := object{"type": []string{"string", "null"}, "format": "date-time"}
	scopes := object{"type": "array", "minItems": 1, "items": object{"type": "string", "enum": []string{"read", "emit", "forward", "admin"}}}
	result := record("index", object{"index": integer, "id": str, "sequence": str, "duplicate": boolean, "conflict": boolean, "error": str})
	newToken := object{"name": object{"type": "string", "minLength": 1, "maxLength": 128}, "scopes": scopes, "expires_at": when}
	retention := record("", object{"default": str, "long": str, "short": str, "max_bytes": integer})
	duration := object{"type": "string", "pattern": `^[0-9]+(ms|s|m|h|d)$`}
	retentionPatch := input("", object{"default": duration, "long": duration, "short": duration, "max_bytes": object{"type": "integer", "minimum": 0}})
	field := input("name type", object{"name": object{"type": "string", "minLength": 1}, "type": object{"type": "string", "enum": catalog.FieldTypes()}, "required": boolean, "secret": boolean, "doc": str})
	all := object{
		"Problem": record("type title status detail", object{
			"type": str, "title": str, "status": integer, "detail": str, "line": integer, "column": integer,
			"accepted": integer, "duplicates": integer, "rejected": integer, "results": object{"type": "array", "items": result},
		}),
		"Event": sent("specversion id source type", object{
			"specversion": object{"const": "1.0"}, "id": object{"type": "string", "minLength": 1}, "source": object{"type": "string", "minLength": 1},
			"type": object{"type": "string", "minLength": 1}, "subject": str, "time": object{"type": "string", "format": "date-time"},
			"severitytext": severity, "data": object{},
		}),
		"EventPage": record("events next", object{
			"events": object{"type": "array", "items": object{"type": "object"}}, "next": object{"type": []string{"string", "null"}},
			"partial": boolean, "warnings": object{"type": "array", "items": str},
		}),
		"Answer": record("accepted duplicates rejected results", object{
			"accepted": integer, "duplicates": integer, "rejected": integer, "results": object{"type": "array", "items": result},
		}),
		"Volume": record("buckets", object{"partial": boolean, "buckets": object{"type": "array", "items": record("time counts", object{
			"time": object{"type": "string", "format": "date-time"}, "counts": object{"type": "object", "additionalProperties": integer},
		})}}),
		"SignIn":     input("username password", object{"username": some, "password": some, "otp": str}),
		"Session":    record("token token_type expires_at", object{"token": str, "token_type": str, "expires_at": str}),
		"NewToken":   input("name scopes", newToken),
		"TokenPatch": input("", newToken),
		"Token": record("id name scopes", object{
			"id": str, "name": str, "scopes": scopes, "expires_at": when, "owner": str, "created": str, "token": str,
		}),
		"NewType": input("type description", object{
			"type": object{"type": "string", "pattern": typePattern, "maxLength": 128}, "severity": severity, "description": object{"type": "string", "minLength": 1},
			"fires": str, "message": str, "fields": object{"type": "array", "items": field},
		}),
		"Type": record("type kind description severity producer fields schema routes wired transient last_24h", object{
			"type": str, "kind": str, "description": str, "severity": severity, "producer": str, "wired": boolean, "transient": boolean,
			"fields": object{"type": "array"}, "routes": object{"type": "array", "items": str}, "last_24h": integer, "schema": object{"type": "object"},
		}),
		"Source": record("name status last_event last_error lacks options types last_24h", object{
			"name": str, "status": str, "last_event": when, "last_error": str, "lacks": str, "options": object{"type": "array"},
			"types": object{"type": "array", "items": str}, "last_24h": integer,
		}),
		"Settings":      record("retention public_url smtp configured after_restart", settingsShown(retention)),
		"SettingsPatch": input("", settingsTaken(retentionPatch)),
		"Verify":        input("", object{"against": object{"type": []string{"object", "null"}}, "public_key": object{"type": []string{"string", "null"}}}),
		"Report": record("ok events problems", object{
			"ok": boolean, "events": integer, "removed": integer, "lost": integer, "segments": integer, "last": str,
			"problems": object{"type": "array", "items": str}, "unproven": object{"type": "array", "items": str},
		}),
	}
	maps.Copy(all, searchSchemas())
	maps.Copy(all, brandSchemas())
	maps.Copy(all, notifySchemas())
	maps.Copy(all, routingSchemas())
	maps.Copy(all, flowSchemas())
	return all
}

// seqPattern is a sequence, with or without its zeros.
const seqPattern = `^(0?[0-9]{1,19})?$`

const typePattern = `^[a-z][a-z0-9_]*([.-][a-z0-9_]+)*$`
