package program_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cucumber/godog"
	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/jq"
	"github.com/tocsin-events/tocsin/internal/flow/program"
)

// suite is a folder of the specification's conformance kit, beside the repository.
func suite(t *testing.T, parts ...string) string {
	t.Helper()
	dir := filepath.Join(append([]string{"..", "..", "..", "..", "shared", "conformance", "ows"}, parts...)...)
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the conformance kit of the Open Workflow Specification is missing: %v", err)
		}
		t.Skipf("the conformance kit of the Open Workflow Specification is not beside the repository: %v", err)
	}
	return dir
}

// TestConformance runs the 21 scenarios of the kit.
func TestConformance(t *testing.T) {
	services := httptest.NewServer(kitServices())
	defer services.Close()
	passed := 0
	s := godog.TestSuite{
		Name: "Open Workflow Specification",
		ScenarioInitializer: func(sc *godog.ScenarioContext) {
			k := &kit{services: services.URL}
			k.steps(sc)
			sc.After(func(ctx context.Context, sc *godog.Scenario, err error) (context.Context, error) {
				if err == nil {
					passed++
				} else {
					t.Logf("%s: %v", sc.Name, err)
				}
				return ctx, nil
			})
		},
		Options: &godog.Options{Paths: []string{suite(t, "ctk", "features")}, Format: "progress", Output: io.Discard, Strict: true, TestingT: t},
	}
	if s.Run() != 0 {
		t.Error("the kit fails")
	}
	if passed != 21 {
		t.Errorf("%d scenarios pass, want 21", passed)
	}
}

// kitServices stands in for the two services on which the kit calls.
func kitServices() http.Handler {
	pet := map[string]any{"name": "doggie", "status": "available"}
	reply := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET petstore.swagger.io/v2/pet/findByStatus", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("status") != "available" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		reply(w, []any{map[string]any{"id": 1, "name": "doggie", "status": "available"}})
	})
	mux.HandleFunc("GET petstore.swagger.io/v2/pet/{id}", func(w http.ResponseWriter, r *http.Request) {
		var id int
		if _, err := fmt.Sscan(r.PathValue("id"), &id); err != nil {
			http.NotFound(w, r)
			return
		}
		reply(w, map[string]any{"id": id, "name": pet["name"], "status": pet["status"]})
	})
	mux.HandleFunc("GET petstore.swagger.io/v2/swagger.json", func(w http.ResponseWriter, _ *http.Request) {
		op := func(id, in, name string) map[string]any {
			return map[string]any{"get": map[string]any{"operationId": id, "parameters": []any{map[string]any{"name": name, "in": in, "required": true}}}}
		}
		reply(w, map[string]any{"swagger": "2.0", "host": "petstore.swagger.io", "basePath": "/v2", "schemes": []any{"https"}, "paths": map[string]any{
			"/pet/findByStatus": op("findPetsByStatus", "query", "status"), "/pet/{petId}": op("getPetById", "path", "petId"),
		}})
	})
	mux.HandleFunc("GET httpbin.org/basic-auth/{user}/{password}", func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok || user != r.PathValue("user") || password != r.PathValue("password") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		reply(w, map[string]any{"authenticated": true})
	})
	return mux
}

// A world does effects as an engine would, without a journal: requests go to one
// server, whatever their host is.
type world struct{ services string }

func (w world) Do(ctx context.Context, e program.Effect) (program.Answer, error) {
	a := program.Answer{Output: e.Arguments}
	switch e.Kind {
	case program.EffectHTTP:
		a = w.send(ctx, e.HTTP)
	case program.EffectOpenAPI:
		document := w.fetch(ctx, e.OpenAPI.Document)
		r, err := e.OpenAPI.Request(document)
		if failure, ok := errors.AsType[*program.Error](err); ok {
			a = program.Answer{Err: failure}
			break
		}
		a = w.send(ctx, r)
	}
	a.At = time.Now()
	return a, nil
}

func (w world) send(ctx context.Context, r *program.Request) program.Answer {
	res, err := w.roundTrip(ctx, r)
	if err != nil {
		return r.Failed(err)
	}
	return r.Answer(res)
}

func (w world) fetch(ctx context.Context, r *program.Request) []byte {
	res, err := w.roundTrip(ctx, r)
	if err != nil {
		return nil
	}
	return res.Body
}

func (w world) roundTrip(ctx context.Context, r *program.Request) (program.Response, error) {
	to, err := url.Parse(r.URI)
	if err != nil {
		return program.Response{}, err
	}
	host := to.Host
	services, err := url.Parse(w.services)
	if err != nil {
		return program.Response{}, err
	}
	to.Scheme, to.Host = services.Scheme, services.Host
	q, err := http.NewRequestWithContext(ctx, r.Method, to.String(), strings.NewReader(string(r.Body)))
	if err != nil {
		return program.Response{}, err
	}
	q.Host = host
	for name, value := range r.Headers {
		q.Header.Set(name, value)
	}
	if r.Auth != nil {
		q.Header.Set("Authorization", r.Auth.Header())
	}
	res, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		return program.Response{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return program.Response{Status: res.StatusCode, Headers: res.Header, Body: body}, err
}

// A kit is one scenario.
type kit struct {
	services string
	document string
	input    any
	result   program.Result
	ran      []string // names of tasks in the order of their starts
}

func (k *kit) steps(sc *godog.ScenarioContext) {
	sc.Given(`^a workflow with definition:$`, func(doc *godog.DocString) { k.document = doc.Content })
	sc.Given(`^given the workflow input is:$`, func(doc *godog.DocString) (err error) { k.input, err = value(doc.Content); return err })
	sc.When(`^the workflow is executed$`, k.execute)
	sc.Then(`^the workflow should complete$`, func() error { return k.ended(program.Completed) })
	sc.Then(`^the workflow should fault$`, func() error { return k.ended(program.Faulted) })
	sc.Then(`^the workflow should complete with output:$`, func(doc *godog.DocString) error {
		return errors.Join(k.ended(program.Completed), same(k.result.Output, doc.Content))
	})
	sc.Then(`^the workflow should fault with error:$`, func(doc *godog.DocString) error {
		if err := k.ended(program.Faulted); err != nil {
			return err
		}
		e := k.result.Err
		got := map[string]any{"type": e.Type, "status": e.Status, "title": e.Title, "instance": e.Instance}
		return same(got, doc.Content)
	})
	sc.Then(`^the workflow output should have properties (.+)$`, func(list string) error {
		for path := range strings.SplitSeq(list, ",") {
			if _, ok := property(k.result.Output, strings.Trim(path, " '")); !ok {
				return fmt.Errorf("the output %v has no %s", k.result.Output, path)
			}
		}
		return nil
	})
	sc.Then(`^the workflow output should have a '([^']+)' property with value:$`, func(path string, doc *godog.DocString) error {
		v, _ := property(k.result.Output, path)
		return same(v, doc.Content)
	})
	sc.Then(`^the workflow output should have a '([^']+)' property containing (\d+) items$`, func(path string, n int) error {
		v, _ := property(k.result.Output, path)
		if items, ok := v.([]any); !ok || len(items) != n {
			return fmt.Errorf("%s is %v, want %d items", path, v, n)
		}
		return nil
	})
	sc.Then(`^(\S+) should run first$`, func(name string) error { return k.order(k.at(name) == 0, name) })
	sc.Then(`^(\S+) should run last$`, func(name string) error { return k.order(k.at(name) == len(k.ran)-1, name) })
	sc.Then(`^(\S+) should run after (\S+)$`, func(name, other string) error { return k.order(k.at(other) >= 0 && k.at(name) > k.at(other), name) })
	sc.Then(`^(\S+) should run before (\S+)$`, func(name, other string) error { return k.order(k.at(name) >= 0 && k.at(name) < k.at(other), name) })
}

func (k *kit) at(name string) int { return slices.Index(k.ran, name) }

func (k *kit) order(holds bool, name string) error {
	if !holds {
		return fmt.Errorf("%s did not run there: %v", name, k.ran)
	}
	return nil
}

func (k *kit) ended(want program.State) error {
	if k.result.State != want {
		return fmt.Errorf("the run is %s (%w), want %s", k.result.State, error(k.result.Err), want)
	}
	return nil
}

func (k *kit) execute(ctx context.Context) error {
	p, err := program.Compile([]byte(k.document), program.Options{})
	if err != nil {
		return err
	}
	starts := map[int]string{}
	k.result, err = p.Run(ctx, program.Run{
		ID: "1", Input: k.input, StartedAt: time.Now(), Effects: world{k.services},
		OnStep: func(s program.Step) { starts[s.Index] = s.Name },
	})
	for i := range len(starts) {
		k.ran = append(k.ran, starts[i])
	}
	return err
}

// value is YAML as jq.Decode makes values.
func value(text string) (any, error) {
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		return nil, err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jq.Decode(data)
}

func same(got any, text string) error {
	want, err := value(text)
	if err != nil {
		return err
	}
	if !jq.Equal(got, want) {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}

func property(v any, path string) (any, bool) {
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		var ok bool
		if v, ok = m[name]; !ok {
			return nil, false
		}
	}
	return v, true
}

// unsupported are the official examples that are refused, by what the reason says.
var unsupported = map[string]string{
	"authentication-oauth2-secret.yaml": "unsupported authentication oauth2", "authentication-oauth2.yaml": "unsupported authentication oauth2",
	"authentication-oidc-secret.yaml": "unsupported authentication oidc", "authentication-oidc.yaml": "unsupported authentication oidc",
	"call-asyncapi-publish.yaml": "unsupported task: call asyncapi", "call-asyncapi-subscribe-consume-amount.yaml": "unsupported task: call asyncapi",
	"call-asyncapi-subscribe-consume-forever-foreach.yaml": "unsupported task: call asyncapi", "call-asyncapi-subscribe-consume-until.yaml": "unsupported task: call asyncapi",
	"call-asyncapi-subscribe-consume-while.yaml": "unsupported task: call asyncapi", "call-custom-function-cataloged.yaml": "unsupported task: call of the remote function",
	"call-grpc.yaml": "unsupported task: call grpc", "call-mcp.yaml": "unsupported task: call mcp", "mock-service-extension.yaml": "unsupported: use.extensions",
	"run-container-cleanup-always.yaml": "unsupported task: run container", "run-container-cleanup-eventually.yaml": "unsupported task: run container",
	"run-container-stdin-and-arguments.yaml": "unsupported task: run container", "run-container-with-name.yaml": "unsupported task: run container",
	"run-container-with-pull-policy.yaml": "unsupported task: run container", "run-container.yaml": "unsupported task: run container",
	"run-return-all.yaml": "unsupported task: run container", "run-return-code.yaml": "unsupported task: run container", "run-return-none.yaml": "unsupported task: run container",
	"run-return-stderr.yaml": "unsupported task: run container", "run-script-with-stdin-and-arguments.yaml": "unsupported task: run script",
	"run-shell-stdin-and-arguments.yaml": "unsupported task: run shell",
}

// TestExamples compiles the official examples: each is taken, or refused with a
// reason that has a name.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(suite(t, "examples"), "*.yaml"))
	if err != nil || len(files) < 60 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	taken := 0
	for _, file := range files {
		document, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		_, err = program.Compile(document, program.Options{})
		want, refused := unsupported[name]
		switch {
		case err == nil && refused:
			t.Errorf("%s compiles, want %q", name, want)
		case err == nil:
			taken++
			t.Logf("%-55s compiles", name)
		case refused && strings.Contains(err.Error(), want) && errors.Is(err, event.ErrInvalid):
			t.Logf("%-55s refused: %v", name, err)
		default:
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Logf("%d of %d compile", taken, len(files))
}
