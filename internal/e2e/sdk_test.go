package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	sdkevent "github.com/cloudevents/sdk-go/v2/event"
	sdkhttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"
)

// TestGoSDK sends with the official SDK for Go, as it is.
func TestGoSDK(t *testing.T) {
	t.Parallel()
	s := start(t)
	p, err := cloudevents.NewHTTP(cloudevents.WithTarget(s.url+"/v1/events"), cloudevents.WithHeader("Authorization", "Bearer "+s.token))
	if err != nil {
		t.Fatal(err)
	}
	c, err := cloudevents.NewClient(p, cloudevents.WithUUIDs(), cloudevents.WithTimeNow())
	if err != nil {
		t.Fatal(err)
	}
	made := func(id string) cloudevents.Event {
		e := cloudevents.NewEvent()
		e.SetID(id)
		e.SetSource("urn:sdk:go")
		e.SetType("com.example.sdk")
		e.SetSubject("a€b")
		e.SetExtension("comexample", 7)
		if err := e.SetData(cloudevents.ApplicationJSON, object{"name": "Zoë"}); err != nil {
			t.Fatal(err)
		}
		return e
	}
	if result := c.Send(binding.WithForceBinary(t.Context()), made("go-binary")); !cloudevents.IsACK(result) {
		t.Errorf("binary: %v", result)
	}
	if result := c.Send(binding.WithForceStructured(t.Context()), made("go-structured")); !cloudevents.IsACK(result) {
		t.Errorf("structured: %v", result)
	}
	wrong := made("go-wrong")
	wrong.SetTime(time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC))
	if result := c.Send(t.Context(), wrong); cloudevents.IsACK(result) {
		t.Errorf("a refused event is acknowledged: %v", result)
	}
	req, err := sdkhttp.NewHTTPRequestFromEvents(t.Context(), s.url+"/v1/events", []sdkevent.Event{made("go-batch-0"), made("go-batch-1")})
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("batch: %s", resp.Status)
	}
	wantSent(t, s, "urn:sdk:go", "go-batch-0", "go-batch-1", "go-binary", "go-structured")
	e := s.one(`id == "go-binary"`)
	if e["subject"] != "a€b" || text(e["comexample"]) != "7" {
		t.Errorf("binary: %v", e)
	}
}

// wantSent finds exactly these events of a source, with the SDKs' data.
func wantSent(t *testing.T, s *server, source string, ids ...string) {
	t.Helper()
	var got []string
	for _, e := range s.find("filter", `source == "`+source+`"`).Events {
		got = append(got, text(e["id"]))
		if dig(e, "data.name") != "Zoë" && e["data_base64"] == nil {
			t.Errorf("%v has the data %v", e["id"], e["data"])
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Errorf("events of %s: %s", source, diff)
	}
}

// runScript runs one of the clients in testdata/sdk.
func runScript(t *testing.T, s *server, interpreter, script string, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), interpreter, filepath.Join("testdata", "sdk", script), s.url+"/v1/events", s.token)
	cmd.Env = environ(env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// TestPythonSDK sends with the official SDK for Python, through requests.
func TestPythonSDK(t *testing.T) {
	t.Parallel()
	python := cached(t, "venv", "bin", "python")
	s := start(t)
	runScript(t, s, python, "send.py")
	wantSent(t, s, "urn:sdk:python", "py-batch", "py-binary", "py-binary-v1", "py-structured", "py-structured-v1")
	if e := s.one(`id == "py-binary"`); e["subject"] != "a€b" || e["time"] != "2026-11-21T10:00:00Z" {
		t.Errorf("binary: %v", e)
	}
}

// TestJavaScriptSDK sends with the official SDK for JavaScript, through its own
// transport and through fetch.
func TestJavaScriptSDK(t *testing.T) {
	t.Parallel()
	modules := cached(t, "npm", "node_modules")
	s := start(t)
	runScript(t, s, tool(t, "node"), "send.cjs", "NODE_PATH="+modules)
	wantSent(t, s, "urn:sdk:javascript", "js-binary", "js-binary-fetch", "js-bytes", "js-structured", "js-structured-fetch")
	if e := s.one(`id == "js-binary"`); e["subject"] != "a/1" || e["comexample"] != "x" {
		t.Errorf("binary: %v", e)
	}
}

// TestSchemathesis lets a tester that knows only /openapi.json try every
// operation, with good and with bad input: no server error, no undocumented
// status or media type, no answer that its schema does not allow.
func TestSchemathesis(t *testing.T) {
	t.Parallel()
	program := cached(t, "venv", "bin", "schemathesis")
	s := start(t)
	dir := t.TempDir()
	config := filepath.Join(root, "internal", "e2e", "testdata", "schemathesis.toml")
	examples := "20"
	if testing.Short() {
		examples = "5"
	}
	schema := filepath.Join(dir, "openapi.json")
	if err := os.WriteFile(schema, s.get("/openapi.json").body, 0o600); err != nil {
		t.Fatal(err)
	}
	// A sign-in token: the tester changes and revokes API tokens.
	session := text(parse[object](t, s.signIn("admin", password).body)["token"])
	cmd := exec.CommandContext(t.Context(), program, "--config-file", config, "run", schema, "--url", s.url,
		"--header", "Authorization: Bearer "+session, "--max-examples", examples, "--seed", "1", "--phases", "examples,coverage,fuzzing",
		"--exclude-path", "/v1/events/tail", // it never ends
		"--exclude-path", "/v1/journal/import", // it can't write NDJSON
		"--exclude-path", "/v1/auth/logout", "--exclude-path", "/v1/auth/renew", "--exclude-path", "/v1/users/{id}/sessions/{session}", // they end what it shows
		"--no-color", "--generation-database", "none", "--request-timeout", "20")
	cmd.Dir, cmd.Env = dir, environ("TOCSIN=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// The server is whole, and its journal too.
	s.token = session
	if report := parse[object](t, s.post("/v1/journal/verify", jsonMedia, `{}`).body); report["ok"] != true {
		t.Errorf("journal verify: %v", report)
	}
	if at := strings.LastIndex(string(out), "=== SUMMARY"); at >= 0 {
		t.Log(string(out)[at:])
	}
}
