package web

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
)

// operation describes one route for /openapi.json.
type operation struct {
	summary  string
	params   []parameter
	body     map[string]object // by media type
	optional bool              // whether the body may be left out
	hidden   bool              // not told: no client should call it
	answers  map[string]answerDoc
}

type object = map[string]any

type parameter struct {
	name, doc string
	schema    object
}

type answerDoc struct {
	doc   string
	media string // media types, separated by spaces
	body  object
}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

func param(name string, schema object, doc string) parameter { return parameter{name, doc, schema} }

func jsonBody(schema object) map[string]object {
	return map[string]object{"application/json": schema}
}

func ok(status, doc string, schema object) map[string]answerDoc {
	return map[string]answerDoc{status: {doc, "application/json", schema}}
}

// openAPI writes the description of all routes (OpenAPI 3.1).
func openAPI(table []route, version string) []byte {
	paths := object{}
	for _, r := range table {
		if r.doc.hidden {
			continue
		}
		method, path, _ := strings.Cut(r.pattern, " ")
		item, _ := paths[path].(object)
		if item == nil {
			item = object{}
			paths[path] = item
		}
		item[strings.ToLower(method)] = r.describe(method, path)
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Tocsin", "version": version, "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "Records system events durably, and lets people find them.",
		},
		"servers":    []object{{"url": "/"}},
		"paths":      paths,
		"components": object{"schemas": allSchemas(), "securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer"}}},
	}
	out, err := json.Marshal(doc)
	if err != nil {
		panic("web: openapi: " + err.Error()) // maps of strings always marshal
	}
	return out
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

func (r *route) describe(method, path string) object {
	name := strings.NewReplacer("/", "_", "{", "", "}", "", ".", "_").Replace(strings.ToLower(method) + path)
	op := object{"operationId": name, "summary": r.doc.summary, "responses": r.responses(method, path)}
	params := []object{}
	for _, m := range pathParameter.FindAllStringSubmatch(path, -1) {
		params = append(params, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string", "minLength": 1}})
	}
	for _, p := range r.doc.params {
		params = append(params, object{"name": p.name, "in": "query", "description": p.doc, "schema": p.schema})
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	if r.doc.body != nil {
		content := object{}
		for media, schema := range r.doc.body {
			content[media] = object{"schema": schema}
		}
		op["requestBody"] = object{"required": !r.doc.optional, "content": content}
	}
	if r.scope != open {
		op["security"] = []object{{"bearer": []string{}}}
		op["description"] = "Needs the scope " + string(r.scope) + "."
		if r.scope == known {
			op["description"] = "Needs a token; of users, their own for their own account, else the scope admin."
		}
	}
	return op
}

// responses are the documented answers, and the problems that any request of
// this kind can meet.
func (r *route) responses(method, path string) object {
	out := object{}
	for status, a := range r.doc.answers {
		response := object{"description": a.doc}
		if a.media != "" {
			content := object{}
			for media := range strings.SplitSeq(a.media, " ") {
				content[media] = object{"schema": a.body}
			}
			if a.media == event.JSONMedia { // in another view
				content["application/json"] = object{"schema": object{"type": "object"}}
			}
			response["content"] = content
		}
		out[status] = response
	}
	problem := func(status, doc string) {
		if out[status] == nil {
			out[status] = object{"description": doc, "content": object{"application/problem+json": object{"schema": ref("Problem")}}}
		}
	}
	problem("400", "The request is wrong; the detail says what and where.")
	problem("500", "Something failed that should not have.")
	problem("503", "Not now; Retry-After says when.")
	if r.scope != open || path == "/v1/auth/token" || path == "/metrics" {
		problem("401", "No valid credentials.")
		problem("403", "The caller lacks a scope.")
	}
	if strings.Contains(path, "{") {
		problem("404", "There is no such thing.")
	}
	if r.doc.body != nil {
		problem("408", "The body took too long.")
		problem("409", "It conflicts with what is there.")
		problem("412", "It has changed since it was read.")
		problem("413", "The body is too large.")
		problem("415", "The media type is not understood.")
		problem("429", "Too many at once; Retry-After says when to come back.")
		problem("507", "The disk is full.")
	}
	if method == "DELETE" || method == "POST" && strings.Contains(path, "{") {
		problem("409", "It conflicts with what is there.")
		problem("412", "It has changed since it was read.")
	}
	return out
}
