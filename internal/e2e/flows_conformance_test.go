package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cucumber/godog"
	"gopkg.in/yaml.v3"
)

// TestFlowConformance runs the conformance kit of the Open Workflow Specification
// through the API of a real server. Calls to the two services of the kit are led to
// a stand-in, as egress.rewrite does for any host.
func TestFlowConformance(t *testing.T) {
	t.Parallel()
	features := shared(t, "conformance", "ows", "ctk", "features")
	services := httptest.NewServer(petsAndBins())
	defer services.Close()
	s := start(t, "egress:", "  allow: [127.0.0.0/8]", "  rewrite:", "    petstore.swagger.io: "+services.URL+"/pets", "    httpbin.org: "+services.URL+"/bins")
	passed := 0
	suite := godog.TestSuite{
		Name: "Open Workflow Specification",
		ScenarioInitializer: func(sc *godog.ScenarioContext) {
			(&kitRun{s: s}).steps(sc)
			sc.After(func(ctx context.Context, sc *godog.Scenario, err error) (context.Context, error) {
				if err == nil {
					passed++
				} else {
					t.Logf("%s: %v", sc.Name, err)
				}
				return ctx, nil
			})
		},
		Options: &godog.Options{Paths: []string{features}, Format: "progress", Output: io.Discard, Strict: true, TestingT: t},
	}
	if suite.Run() != 0 || passed != 21 {
		t.Errorf("%d of 21 scenarios pass", passed)
	}
}

// petsAndBins stands in for the two services on which the kit calls.
func petsAndBins() http.Handler {
	reply := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pets/v2/pet/findByStatus", func(w http.ResponseWriter, r *http.Request) {
		reply(w, []object{{"id": 1, "name": "doggie", "status": r.URL.Query().Get("status")}})
	})
	mux.HandleFunc("GET /pets/v2/pet/{id}", func(w http.ResponseWriter, r *http.Request) {
		var id int
		if _, err := fmt.Sscan(r.PathValue("id"), &id); err != nil {
			http.NotFound(w, r)
			return
		}
		reply(w, object{"id": id, "name": "doggie", "status": "available"})
	})
	mux.HandleFunc("GET /pets/v2/swagger.json", func(w http.ResponseWriter, _ *http.Request) {
		op := func(id, in, name string) object {
			return object{"get": object{"operationId": id, "parameters": []object{{"name": name, "in": in, "required": true}}}}
		}
		reply(w, object{"swagger": "2.0", "host": "petstore.swagger.io", "basePath": "/v2", "schemes": []string{"https"}, "paths": object{
			"/pet/findByStatus": op("findPetsByStatus", "query", "status"), "/pet/{petId}": op("getPetById", "path", "petId"),
		}})
	})
	mux.HandleFunc("GET /bins/basic-auth/{user}/{password}", func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok || user != r.PathValue("user") || password != r.PathValue("password") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		reply(w, object{"authenticated": true})
	})
	return mux
}

// kitRun is one scenario of the kit.
type kitRun struct {
	s        *server
	document string
	input    string
	run      object
}

func (k *kitRun) steps(sc *godog.ScenarioContext) {
	sc.Given(`^a workflow with definition:$`, func(doc *godog.DocString) { k.document = doc.Content })
	sc.Given(`^given the workflow input is:$`, func(doc *godog.DocString) error {
		v, err := yamlValue(doc.Content)
		if err != nil {
			return err
		}
		text, err := json.Marshal(v)
		k.input = string(text)
		return err
	})
	sc.When(`^the workflow is executed$`, k.execute)
	sc.Then(`^the workflow should complete$`, func() error { return k.ended("completed") })
	sc.Then(`^the workflow should fault$`, func() error { return k.ended("faulted") })
	sc.Then(`^the workflow should complete with output:$`, func(doc *godog.DocString) error {
		return errors.Join(k.ended("completed"), sameYAML(k.run["output"], doc.Content))
	})
	sc.Then(`^the workflow should fault with error:$`, func(doc *godog.DocString) error {
		if err := k.ended("faulted"); err != nil {
			return err
		}
		e, _ := k.run["error"].(object)
		return sameYAML(object{"type": e["type"], "status": e["status"], "title": e["title"], "instance": e["instance"]}, doc.Content)
	})
	sc.Then(`^the workflow output should have properties (.+)$`, func(list string) error {
		for path := range strings.SplitSeq(list, ",") {
			if dig(k.run["output"], strings.Trim(path, " '")) == nil {
				return fmt.Errorf("the output %v has no %s", k.run["output"], path)
			}
		}
		return nil
	})
	sc.Then(`^the workflow output should have a '([^']+)' property with value:$`, func(path string, doc *godog.DocString) error {
		return sameYAML(dig(k.run["output"], path), doc.Content)
	})
	sc.Then(`^the workflow output should have a '([^']+)' property containing (\d+) items$`, func(path string, n int) error {
		if items, ok := dig(k.run["output"], path).([]any); !ok || len(items) != n {
			return fmt.Errorf("%s is %v, want %d items", path, items, n)
		}
		return nil
	})
	order := func(holds bool, name string) error {
		if !holds {
			return fmt.Errorf("%s did not run there: %v", name, k.order())
		}
		return nil
	}
	at := func(name string) int { return slices.Index(k.order(), name) }
	sc.Then(`^(\S+) should run first$`, func(name string) error { return order(at(name) == 0, name) })
	sc.Then(`^(\S+) should run last$`, func(name string) error { return order(at(name) == len(k.order())-1, name) })
	sc.Then(`^(\S+) should run after (\S+)$`, func(name, other string) error { return order(at(other) >= 0 && at(name) > at(other), name) })
	sc.Then(`^(\S+) should run before (\S+)$`, func(name, other string) error { return order(at(name) >= 0 && at(name) < at(other), name) })
}

// order are the names of the tasks, in the order of their starts.
func (k *kitRun) order() []string {
	steps, _ := k.run["steps"].([]any)
	slices.SortStableFunc(steps, func(a, b any) int {
		return strings.Compare(fmt.Sprint(dig(a, "started_at")), fmt.Sprint(dig(b, "started_at")))
	})
	var names []string
	for _, s := range steps {
		names = append(names, fmt.Sprint(dig(s, "name")))
	}
	return names
}

// execute stores the flow, runs it, and waits for its end.
func (k *kitRun) execute(ctx context.Context) error {
	r := k.s.post("/v1/flows", "application/yaml", k.document)
	stored := object{}
	if err := json.Unmarshal(r.body, &stored); err != nil || r.status != http.StatusCreated || stored["state"] != "valid" {
		return fmt.Errorf("POST /v1/flows: %d %s", r.status, clip(r.body))
	}
	r = k.s.post(fmt.Sprintf("/v1/flows/%s/runs", stored["id"]), jsonMedia, k.input)
	if r.status != http.StatusCreated {
		return fmt.Errorf("POST runs: %d %s", r.status, clip(r.body))
	}
	for {
		if err := json.Unmarshal(r.body, &k.run); err != nil {
			return err
		}
		if slices.Contains([]any{"completed", "faulted", "cancelled"}, k.run["state"]) {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		k.run = nil
		r = k.s.get("/v1/runs/" + stringOf(r.body, "id"))
	}
}

func stringOf(body []byte, name string) string {
	o := object{}
	_ = json.Unmarshal(body, &o) // an empty text fails where it is used
	return fmt.Sprint(o[name])
}

func (k *kitRun) ended(want string) error {
	if k.run["state"] != want {
		return fmt.Errorf("the run is %v (%v), want %s", k.run["state"], k.run["error"], want)
	}
	return nil
}

// yamlValue is YAML as encoding/json decodes the same value.
func yamlValue(text string) (any, error) {
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		return nil, err
	}
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	err = json.Unmarshal(body, &out)
	return out, err
}

func sameYAML(got any, text string) error {
	var want any
	if err := yaml.Unmarshal([]byte(text), &want); err != nil {
		return err
	}
	normal := func(v any) (out any) {
		body, err := json.Marshal(v)
		if err != nil || json.Unmarshal(body, &out) != nil {
			return fmt.Errorf("no JSON: %v", v)
		}
		return out
	}
	if !reflect.DeepEqual(normal(got), normal(want)) {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}
