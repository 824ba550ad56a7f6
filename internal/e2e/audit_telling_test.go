package e2e

import (
	"net/http"
	"net/http/httptest"
)

// telling are the acts of notification rules: policies that are executed, and
// what fails in them and in the mappings of webhooks.
func (w *stage) telling() []act {
	sink := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { /* takes all */ }))
	w.t.Cleanup(sink.Close)
	create := func(path, body string) string {
		return text(w.server.post("/v1/"+path, jsonMedia, body).want(w.t, http.StatusCreated)["id"])
	}
	// caused is an event that telling raises because of one that came from far away.
	caused := func(context object) object {
		context["http_request"] = object{}
		e := w.audited("notify", itself, context)
		delete(context, "http_request")
		return e
	}
	emitted := func(typ string) (request object) {
		answer := w.server.post("/v1/events", eventMedia, anEvent("telling-"+typ, "type", typ, "clientip", "192.0.2.7", "data", object{"n": 0}), from...).want(w.t, http.StatusAccepted)
		result := answer["results"].([]any)[0].(object)
		return object{"event": object{"sequence": result["sequence"], "id": result["id"], "type": typ, "source": "urn:test"}}
	}
	named := func(kind, id, name string) object {
		return object{"app": "tocsin_notify", "model_name": kind, "pk": id, "name": name}
	}
	hook := `{"name":"hook","mode":"webhook","settings":{"url":"` + sink.URL + `"}}`
	return []act{
		{"policy_execution", nil, func() object {
			policy := create("policies", `{"name":"zero","expression":"data.n == 0","log_executions":true}`)
			rule := create("rules", `{"name":"executes","types":["watched.policy"],"policies":[{"policy":"`+policy+`"}]}`)
			return caused(object{
				"policy": named("policy", policy, "zero"), "rule": named("rule", rule, "executes"), "request": emitted("watched.policy"),
				"result": object{"passing": true, "messages": []any{}},
			})
		}},
		{"policy_exception", nil, func() object {
			rule := create("rules", `{"name":"fails","types":["watched.exception"],"policies":[{"expression":"1 / data.n > 0"}]}`)
			return caused(object{
				"message": "Policy failed to execute: line 1, column 3: division by zero", "expression": "1 / data.n > 0",
				"policy": named("rule", rule, "fails: 1 / data.n > 0"), "rule": named("rule", rule, "fails"), "request": emitted("watched.exception"),
				"exception": object{"type": something, "message": "division by zero", "frames": []any{object{"file": "policy", "line": aNumber{}, "function": "column 3"}}},
			})
		}},
		{"property_mapping_exception", []string{"notification.delivery.failed"}, func() object {
			broken := create("transports", `{"name":"mapped","mode":"webhook","settings":{"url":"`+sink.URL+`","body":"{\"half\": 1 / data.n}"}}`)
			create("rules", `{"name":"maps","types":["watched.mapping"],"transports":["`+broken+`","`+create("transports", hook)+`"]}`)
			emitted("watched.mapping")
			return caused(object{
				"message": looks(`Failed to execute property mapping: body: .*division by zero`), "expression": `{"half": 1 / data.n}`,
				"mapping":   named("transport", broken, "mapped: body"),
				"exception": object{"type": something, "message": "division by zero", "frames": []any{object{"file": "body", "line": aNumber{}, "function": looks(`column \d+`)}}},
			})
		}},
	}
}
