package program_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/flow/program"
)

// TestRequest checks what a call: http becomes.
func TestRequest(t *testing.T) {
	for _, c := range []struct {
		name, with, input string
		want              *program.Request
		err               string
	}{
		{"the least", "{method: get, endpoint: 'https://x.example/a'}", "{}", &program.Request{Method: "GET", URI: "https://x.example/a", Headers: map[string]string{}, Output: "content"}, ""},
		{"a template", "{method: put, endpoint: 'https://x.example/{id}?q={q}'}", "{id: 'a/b c', q: 7}", &program.Request{Method: "PUT", URI: "https://x.example/a%2Fb%20c?q=7", Headers: map[string]string{}, Output: "content"}, ""},
		{"an expression is no template", "{method: get, endpoint: '${ \"https://x.example/{id}/\" + .p }'}", "{p: y}", &program.Request{Method: "GET", URI: "https://x.example/{id}/y", Headers: map[string]string{}, Output: "content"}, ""},
		{"query, headers, response", "{method: get, endpoint: 'https://x.example/?a=1', query: {b: [x, y], c: null, d: '${ .n }'}, headers: {x-n: 5}, output: response, redirect: true}", "{n: true}", &program.Request{Method: "GET", URI: "https://x.example/?a=1&b=x&b=y&d=true", Headers: map[string]string{"X-N": "5"}, Output: "response", Redirect: true}, ""},
		{"expressions for all", "{method: get, endpoint: 'https://x.example/', query: '${ .q }', headers: '${ .h }'}", "{q: {a: 1}, h: {b: c}}", &program.Request{Method: "GET", URI: "https://x.example/?a=1", Headers: map[string]string{"B": "c"}, Output: "content"}, ""},
		{"a JSON body", "{method: post, endpoint: 'https://x.example/', body: {a: '${ .n }'}}", "{n: 1}", &program.Request{Method: "POST", URI: "https://x.example/", Headers: map[string]string{"Content-Type": "application/json"}, Body: []byte(`{"a":1}`), Output: "content"}, ""},
		{"a text body", "{method: post, endpoint: 'https://x.example/', body: hello}", "{}", &program.Request{Method: "POST", URI: "https://x.example/", Headers: map[string]string{"Content-Type": "text/plain; charset=utf-8"}, Body: []byte("hello"), Output: "content"}, ""},
		{"a form", "{method: post, endpoint: 'https://x.example/', headers: {content-type: application/x-www-form-urlencoded}, body: {a: 1, b: 'x y'}}", "{}", &program.Request{Method: "POST", URI: "https://x.example/", Headers: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, Body: []byte("a=1&b=x+y"), Output: "content"}, ""},
		{"a token", "{method: get, endpoint: {uri: 'https://x.example/', authentication: {bearer: {token: '${ .t }'}}}}", "{t: abc}", &program.Request{Method: "GET", URI: "https://x.example/", Headers: map[string]string{}, Auth: &program.Auth{Scheme: "bearer", Token: "abc"}, Output: "content"}, ""},
		{"no token", "{method: get, endpoint: {uri: 'https://x.example/', authentication: {bearer: {token: '${ .t }'}}}}", "{}", nil, "[401] Authentication Error at /do/0/a: there are no credentials for bearer"},
		{"a key that is missing", "{method: get, endpoint: 'https://x.example/{id}'}", "{}", nil, "[400] Expression Error at /do/0/a: the endpoint needs {id}, which the task's input has not"},
		{"another scheme", "{method: get, endpoint: '${ .u }'}", "{u: 'file:///etc/passwd'}", nil, `[400] Configuration Error at /do/0/a: "file:///etc/passwd" is no absolute URI of http or https`},
		{"a header in a header", "{method: get, endpoint: 'https://x.example/', headers: {a: \"${ .h }\"}}", "{h: \"x\\r\\ny: z\"}", nil, `[400] Expression Error at /do/0/a: "a" is no header`},
		{"another method", "{method: '${ .m }', endpoint: 'https://x.example/'}", "{m: 'GET /'}", nil, `[400] Expression Error at /do/0/a: "GET /" is no method`},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJournal()
			got := j.run(t, compile(t, "do: [{a: {call: http, with: "+c.with+"}}]"), object(t, c.input))
			if c.err != "" {
				if got.Err == nil || got.Err.Error() != c.err {
					t.Errorf("got %v, want %s", got.Err, c.err)
				}
				return
			}
			if diff := cmp.Diff(c.want, j.effects["/do/0/a"].HTTP); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestAnswer checks what a response becomes.
func TestAnswer(t *testing.T) {
	header := func(kind string) http.Header { return http.Header{"Content-Type": {kind}} }
	for _, c := range []struct {
		name     string
		request  program.Request
		response program.Response
		want     any
		err      string
	}{
		{"JSON", program.Request{}, program.Response{Status: 200, Headers: header("application/json; charset=utf-8"), Body: []byte(`{"a":[1,2.5]}`)}, map[string]any{"a": []any{1, 2.5}}, ""},
		{"a kind of JSON", program.Request{}, program.Response{Status: 201, Headers: header("application/problem+json"), Body: []byte(`1`)}, 1, ""},
		{"text", program.Request{}, program.Response{Status: 200, Headers: header("text/plain"), Body: []byte("1")}, "1", ""},
		{"JSON that does not say so", program.Request{}, program.Response{Status: 200, Body: []byte("[]")}, []any{}, ""},
		{"nothing", program.Request{}, program.Response{Status: 204}, nil, ""},
		{"bytes", program.Request{}, program.Response{Status: 200, Headers: header("image/png"), Body: []byte{0xff, 0}}, "/wA=", ""},
		{"raw", program.Request{Output: "raw"}, program.Response{Status: 200, Headers: header("application/json"), Body: []byte("{}")}, "e30=", ""},
		{"the whole response", program.Request{Method: "GET", URI: "u", Output: "response"}, program.Response{Status: 200, Headers: header("text/plain"), Body: []byte("x")}, map[string]any{"request": map[string]any{"method": "GET", "uri": "u", "headers": map[string]any{}}, "statusCode": 200, "headers": map[string]any{"content-type": "text/plain"}, "content": "x"}, ""},
		{"a redirect", program.Request{Method: "GET", URI: "u"}, program.Response{Status: 302}, nil, "[302] Communication Error: GET u answered 302 Found"},
		{"a redirect that is wanted", program.Request{Redirect: true}, program.Response{Status: 302}, nil, ""},
		{"a failure", program.Request{Method: "GET", URI: "u"}, program.Response{Status: 503, Body: []byte(" down \n")}, nil, "[503] Communication Error: GET u answered 503 Service Unavailable down"},
		{"broken JSON", program.Request{Method: "GET", URI: "u"}, program.Response{Status: 200, Headers: header("application/json"), Body: []byte("{")}, nil, "[502] Communication Error: GET u answered what it calls application/json and is not: decode: unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.request.Answer(c.response)
			if c.err != "" {
				if got.Err == nil || got.Err.Error() != c.err {
					t.Errorf("got %v, want %s", got.Err, c.err)
				}
				return
			}
			if got.Err != nil || !cmp.Equal(got.Output, c.want) {
				t.Errorf("got %#v %v, want %#v", got.Output, got.Err, c.want)
			}
		})
	}
	large := program.Request{}
	if got := large.Answer(program.Response{Status: 200, Body: make([]byte, 3<<20)}); got.Err == nil || got.Err.Status != 413 {
		t.Errorf("three megabytes give %v", got.Err)
	}
}

const openapi3 = `
openapi: 3.1.0
servers: [{url: '/{base}/v1', variables: {base: {default: api}}}]
paths:
  /pets/{id}:
    parameters: [{$ref: '#/components/parameters/id'}]
    post:
      operationId: putPet
      parameters: [{name: tag, in: query}, {name: x-trace, in: header}, {name: sid, in: cookie}]
      requestBody: {required: true, content: {application/json: {}}}
components:
  parameters:
    id: {name: id, in: path, required: true}
`

func TestOperation(t *testing.T) {
	const swagger = `{"swagger": "2.0", "host": "other.example", "basePath": "/v2", "schemes": ["http", "https"], "paths": {
		"/form": {"post": {"operationId": "form", "parameters": [{"name": "a", "in": "formData"}]}}, "/body": {"post": {"operationId": "body", "parameters": [{"name": "b", "in": "body"}]}}}}`
	for _, c := range []struct {
		name, document, id, parameters string
		want                           *program.Request
		err                            string
	}{
		{"3.1", openapi3, "putPet", "{id: 'a/b', tag: [x, y], x-trace: 1, sid: s, name: rex}", &program.Request{
			Method: "POST", URI: "https://x.example/api/v1/pets/a%2Fb?tag=x&tag=y", Body: []byte(`{"name":"rex"}`),
			Headers: map[string]string{"x-trace": "1", "Cookie": "sid=s", "Content-Type": "application/json"},
		}, ""},
		{"3.1, a body", openapi3, "putPet", "{id: 1, body: [1]}", &program.Request{Method: "POST", URI: "https://x.example/api/v1/pets/1", Body: []byte(`[1]`), Headers: map[string]string{"Content-Type": "application/json"}}, ""},
		{"3.1, no body", openapi3, "putPet", "{id: 1}", nil, "operation putPet needs a body"},
		{"3.1, no id", openapi3, "putPet", "{body: 1}", nil, `operation putPet needs the parameter "id"`},
		{"2.0, a form", swagger, "form", "{a: 'x y'}", &program.Request{Method: "POST", URI: "https://other.example/v2/form", Body: []byte("a=x+y"), Headers: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}}, ""},
		{"2.0, a body", swagger, "body", "{b: {c: 1}}", &program.Request{Method: "POST", URI: "https://other.example/v2/body", Body: []byte(`{"c":1}`), Headers: map[string]string{"Content-Type": "application/json"}}, ""},
		{"an unknown operation", swagger, "nope", "{}", nil, `has no operation "nope"`},
		{"an unknown parameter", swagger, "form", "{z: 1}", nil, `operation form has no parameter "z"`},
		{"no document", "<html>", "x", "{}", nil, "no OpenAPI document"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parameters, _ := object(t, c.parameters).(map[string]any)
			op := &program.Operation{Document: &program.Request{URI: "https://x.example/docs/openapi.json"}, ID: c.id, Parameters: parameters}
			got, err := op.Request([]byte(c.document))
			if c.err != "" {
				failure, ok := errors.AsType[*program.Error](err)
				if !ok || failure.Type != program.TypeConfiguration || !strings.Contains(failure.Detail, c.err) {
					t.Errorf("got %v, want %s", err, c.err)
				}
				return
			}
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
}

// TestListen offers events to what a run waits for, across a restart for each.
func TestListen(t *testing.T) {
	event := func(kind, sequence string, data any) map[string]any {
		return map[string]any{"type": kind, "sequence": sequence, "data": data}
	}
	hot, cold := event("temp", "7", map[string]any{"room": "a", "n": 40}), event("temp", "8", map[string]any{"room": "a", "n": 3})
	wet, wetElsewhere := event("humid", "9", map[string]any{"room": "a"}), event("humid", "10", map[string]any{"room": "b"})
	stop := event("stop", "11", nil)
	for _, c := range []struct {
		name, listen string
		types        []string
		offers       []map[string]any
		want         string // output; empty while it still waits
	}{
		{"one", "{to: {one: {with: {type: temp}}}}", []string{"temp"}, []map[string]any{wet, cold}, "[{room: a, n: 3}]"},
		{"any, with a condition", "{to: {any: [{with: {type: temp, data: '${ .n > $input.min }'}}, {with: {type: humid}}]}}", []string{"humid", "temp"}, []map[string]any{cold, hot}, "[{room: a, n: 40}]"},
		{"any of all", "{to: {any: []}, read: envelope}", nil, []map[string]any{stop}, "[{type: stop, sequence: '11', data: null}]"},
		{"all", "{to: {all: [{with: {type: temp}}, {with: {type: humid}}]}}", []string{"humid", "temp"}, []map[string]any{wet, wet, hot}, "[{room: a}, {room: a, n: 40}]"},
		{"all, not yet", "{to: {all: [{with: {type: temp}}, {with: {type: humid}}]}}", []string{"humid", "temp"}, []map[string]any{wet, wet}, ""},
		{"all, correlated", "{to: {all: [{with: {type: temp}, correlate: {room: {from: .room}}}, {with: {type: humid}, correlate: {room: {from: .room}}}]}}", []string{"humid", "temp"}, []map[string]any{hot, wetElsewhere, wet}, "[{room: a, n: 40}, {room: a}]"},
		{"correlated with a value", "{to: {one: {with: {type: humid}, correlate: {room: {from: .room, expect: '${ .room }'}}}}}", []string{"humid"}, []map[string]any{wet, wetElsewhere}, "[{room: b}]"},
		{"until a condition", "{to: {any: [{with: {type: temp}}], until: 'length >= 2'}}", []string{"temp"}, []map[string]any{hot, wet, cold}, "[{room: a, n: 40}, {room: a, n: 3}]"},
		{"until an event", "{to: {any: [{with: {type: temp}}], until: {one: {with: {type: stop}}}}}", []string{"stop", "temp"}, []map[string]any{hot, cold, stop}, "[{room: a, n: 40}, {room: a, n: 3}]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := compile(t, "do: [{a: {listen: "+c.listen+"}}]")
			j := newJournal()
			input := object(t, "{min: 10, room: b}")
			got := j.run(t, p, input)
			if got.State != program.Suspended || got.Waits[0].Kind != program.EffectListen {
				t.Fatalf("got %+v", got)
			}
			l := got.Waits[0].Listen
			if diff := cmp.Diff(c.types, l.Types()); diff != "" {
				t.Error(diff)
			}
			done := false
			for _, e := range c.offers {
				stored, err := json.Marshal(l)
				if err != nil {
					t.Fatal(err)
				}
				if l, err = program.ReadListen(stored); err != nil {
					t.Fatal(err)
				}
				if _, done = l.Offer(e); done {
					break
				}
			}
			if done != (c.want != "") {
				t.Fatalf("done is %v: %+v", done, l)
			}
			if !done {
				return
			}
			j.answers[got.Waits[0].Key] = l.Answer(j.now.Add(time.Second))
			if got = j.run(t, p, input); got.State != program.Completed {
				t.Fatalf("got %+v", got)
			}
			if err := same(got.Output, c.want); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestListenEach handles events one after the other, each behind the one before.
func TestListenEach(t *testing.T) {
	p := compile(t, "do: [{a: {listen: {to: {any: [{with: {type: t}}], until: {one: {with: {type: stop}}}}}, foreach: {item: e, at: i, do: [{b: {call: silence, with: {rule: '${ [$e, $i] }'}}}]}}}]")
	j := newJournal()
	var after []string
	for _, e := range []map[string]any{{"type": "t", "sequence": "5", "data": "x"}, {"type": "t", "sequence": "9", "data": "y"}, {"type": "stop", "sequence": "12"}} {
		got := j.run(t, p, nil)
		if got.State != program.Suspended {
			t.Fatalf("got %+v", got)
		}
		l := got.Waits[0].Listen
		after = append(after, l.After)
		if _, done := l.Offer(e); !done {
			t.Fatalf("%v is not taken", e)
		}
		j.answers[got.Waits[0].Key] = l.Answer(j.now)
	}
	got := j.run(t, p, nil)
	if err := same(got.Output, "{rule: [y, 1]}"); err != nil || !cmp.Equal(after, []string{"", "5", "9"}) || len(j.done) != 2 {
		t.Errorf("%v, began behind %q, did %v", err, after, j.done)
	}
}
