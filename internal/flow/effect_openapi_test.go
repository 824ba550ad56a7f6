package flow

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tocsin-events/tocsin/internal/flow/program"
)

const petstore = `
openapi: 3.0.3
paths:
  /pets/{id}:
    parameters: [{name: id, in: path, required: true}]
    put:
      operationId: updatePet
      parameters: [{name: dry, in: query}, {name: X-Tag, in: header}]
      requestBody: {content: {application/json: {}}}
`

func (k *kit) calls(o *program.Operation) program.Answer {
	k.t.Helper()
	f := program.Effect{Key: "/do/0/call", Kind: program.EffectOpenAPI, OpenAPI: o}
	out, err := k.perform(k.t.Context(), aRun(), &f)
	if err != nil {
		k.t.Fatal(err)
	}
	return out.answer
}

// An operation is made into a request; the document is fetched once.
func TestOpenAPI(t *testing.T) {
	k := newKit(t)
	k.out(nil, nil)
	s := newRemote(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api.") {
			reply(w, "application/yaml", petstore)
			return
		}
		reply(w, "application/json", `{"done":true}`)
	})
	document := &program.Request{Method: "GET", URI: s.URL + "/api.yaml", Output: "raw"}
	for range 2 {
		a := k.calls(&program.Operation{Document: document, ID: "updatePet", Auth: &program.Auth{Scheme: "bearer", Token: "t"}, Parameters: map[string]any{"id": "a b", "dry": true, "X-Tag": "x", "name": "Rex"}})
		if a.Err != nil || a.Output.(map[string]any)["done"] != true {
			t.Fatalf("%+v", a)
		}
	}
	all := s.all()
	got := all[len(all)-1]
	if len(all) != 3 || got.method != "PUT" || got.path != "/pets/a%20b?dry=true" || got.body != `{"name":"Rex"}` || got.header.Get("X-Tag") != "x" ||
		got.header.Get("Authorization") != "Bearer t" || got.header.Get("Idempotency-Key") != "feed/do/0/call" || all[0].header.Get("Authorization") != "" {
		t.Errorf("%d requests, the last %+v", len(all), got)
	}
	other := *document
	other.Auth = &program.Auth{Scheme: "bearer", Token: "mine"}
	k.calls(&program.Operation{Document: &other, ID: "updatePet", Parameters: map[string]any{"id": 1}})
	if all = s.all(); len(all) != 5 || all[3].header.Get("Authorization") != "Bearer mine" {
		t.Errorf("with other credentials, the document is another one: %d requests", len(all))
	}
}

func TestOpenAPIFailures(t *testing.T) {
	k := newKit(t)
	k.out(nil, nil)
	s := newRemote(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api":
			reply(w, "application/yaml", petstore)
		case "/html":
			reply(w, "text/html", "<p>")
		default:
			http.NotFound(w, r)
		}
	})
	for _, tt := range []struct {
		path, operation, kind string
		status                int
		says                  string
	}{
		{"/api", "deletePet", program.TypeConfiguration, 400, `no operation "deletePet"`},
		{"/api", "updatePet", program.TypeConfiguration, 400, `needs the parameter "id"`},
		{"/html", "x", program.TypeConfiguration, 400, "no OpenAPI document"},
		{"/gone", "x", program.TypeCommunication, 404, "404"},
	} {
		a := k.calls(&program.Operation{Document: &program.Request{Method: "GET", URI: s.URL + tt.path}, ID: tt.operation})
		if a.Err == nil || a.Err.Type != tt.kind || a.Err.Status != tt.status || !strings.Contains(a.Err.Detail, tt.says) {
			t.Errorf("%s %s: %+v", tt.path, tt.operation, a.Err)
		}
	}
	if a := k.calls(&program.Operation{Document: &program.Request{Method: "GET", URI: "http://10.0.0.1/api"}, ID: "x"}); a.Err == nil || a.Err.Type != program.TypeAuthorization {
		t.Errorf("a document behind the guard: %+v", a.Err)
	}
}

// What was fetched is kept within bounds.
func TestOpenAPIBound(t *testing.T) {
	k := newKit(t)
	k.out(nil, nil)
	s := newRemote(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, "application/yaml", petstore) })
	for n := range maxAPIs + 3 {
		k.calls(&program.Operation{Document: &program.Request{Method: "GET", URI: s.URL + "/" + strings.Repeat("x", n)}, ID: "none"})
	}
	if n := len(k.apis.kept); n != maxAPIs {
		t.Errorf("%d documents are kept", n)
	}
}
