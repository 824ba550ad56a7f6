package e2e

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	conformance "github.com/cloudevents/conformance/pkg/event"
	"github.com/cloudevents/conformance/pkg/invoker"
	"github.com/google/go-cmp/cmp"
)

// conformanceDir is the folder of the module of CloudEvents' conformance
// scenarios, with its data.
func conformanceDir(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/cloudevents/conformance").Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		need(t, "the module github.com/cloudevents/conformance", "go mod download")
	}
	return dir
}

// TestConformanceInvoker lets the module's own invoker send its events of
// specification 1.0, in the modes that they name, and finds each one again.
// Those of 0.3 do not apply: they must be refused.
func TestConformanceInvoker(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(conformanceDir(t), "yaml")
	s := start(t)
	to, err := url.Parse(s.url + "/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]conformance.Event{}
	invoke := func(path, prefix string) error {
		i := invoker.Invoker{URL: to, Files: []string{filepath.Join(dir, path)}, PreHook: func(e conformance.Event) (conformance.Event, error) {
			if e.TransportExtensions == nil {
				e.TransportExtensions = conformance.Extensions{}
			}
			e.TransportExtensions["Authorization"] = "Bearer " + s.token
			e.Attributes.ID = prefix + e.Mode + e.Attributes.ID // the same events come in both modes
			sent[e.Attributes.ID] = e
			return e, nil
		}}
		return i.Do()
	}
	for _, file := range []string{"v1.yaml", "v1.0/v1_minimum.yaml"} {
		if err := invoke(file, ""); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if len(sent) < 8 {
		t.Errorf("only %d scenarios were found", len(sent))
	}
	for id, want := range sent {
		e := s.one(`id == "` + id + `"`)
		got := map[string]string{"type": text(e["type"]), "source": text(e["source"])}
		if diff := cmp.Diff(map[string]string{"type": want.Attributes.Type, "source": want.Attributes.Source}, got); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
		for name, value := range want.Attributes.Extensions {
			if e[name] != strings.TrimSpace(value) {
				t.Errorf("%s: %s is %v, want %q", id, name, e[name], value)
			}
		}
		wantData(t, id, want.Attributes.DataContentType, want.Data, e)
	}
	for _, file := range []string{"v03.yaml", "v0.3/v03_minimum.yaml"} {
		if err := invoke(file, "old-"); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("%s: %v, want a refusal", file, err)
		}
	}
}

// wantData compares what was sent with what is kept: JSON as JSON, other text
// as a string, and all else as bytes.
func wantData(t *testing.T, id, media, data string, e object) {
	t.Helper()
	switch {
	case media == "" || strings.HasPrefix(media, "application/json"):
		if diff := cmp.Diff(parse[any](t, []byte(data)), e["data"]); diff != "" {
			t.Errorf("%s: data: %s", id, diff)
		}
	case strings.HasPrefix(media, "text/"):
		if e["data"] != data {
			t.Errorf("%s: data is %q, want %q", id, e["data"], data)
		}
	default:
		if e["data_base64"] == nil {
			t.Errorf("%s: data_base64 is missing", id)
		}
	}
}

// scenario is one request of a feature file, with what it must be parsed to.
type scenario struct {
	name       string
	request    []string
	attributes map[string]string
	data       string
}

var placeholder = regexp.MustCompile(`<\w+>`)

// readFeature reads the scenarios of a Gherkin file, one for each example.
func readFeature(t *testing.T, path string) []scenario {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []scenario
	var now *scenario
	var quoted []string
	inQuotes, examples := false, false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		cells := strings.Split(strings.Trim(line, "| "), "|")
		switch {
		case strings.HasPrefix(line, "Scenario"):
			now, examples = &scenario{name: line, attributes: map[string]string{}}, false
		case line == `"""`:
			inQuotes = !inQuotes
			switch {
			case inQuotes:
				quoted = nil
			case now.request == nil:
				now.request = quoted
			default:
				now.data = strings.Join(quoted, "\n")
			}
		case inQuotes:
			quoted = append(quoted, line)
		case line == "Examples:":
			examples = true
		case examples && strings.HasPrefix(line, "|") && cells[0] != "contentType" && !strings.HasPrefix(line, "| contentType"):
			all = append(all, now.with(strings.TrimSpace(cells[0])))
		case !examples && strings.HasPrefix(line, "|") && len(cells) == 2 && strings.TrimSpace(cells[0]) != "key":
			now.attributes[strings.TrimSpace(cells[0])] = strings.TrimSpace(cells[1])
		}
	}
	return all
}

// with fills an example's value into a scenario.
func (s *scenario) with(value string) scenario {
	fill := func(text string) string { return placeholder.ReplaceAllString(text, value) }
	out := scenario{name: fill(s.name), data: s.data, attributes: map[string]string{}}
	for _, line := range s.request {
		out.request = append(out.request, fill(line))
	}
	for name, text := range s.attributes {
		out.attributes[name] = fill(text)
	}
	return out
}

// TestConformanceScenarios replays the requests of the HTTP binding's feature,
// as they stand, against /v1/events. Those of the Kafka binding belong to the
// package that consumes from Kafka.
func TestConformanceScenarios(t *testing.T) {
	t.Parallel()
	scenarios := readFeature(t, filepath.Join(conformanceDir(t), "features", "http-protocol-binding.feature"))
	if len(scenarios) != 4 {
		t.Fatalf("%d scenarios, want 4", len(scenarios))
	}
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			s := start(t)
			at := 1
			var headers []string
			for ; sc.request[at] != ""; at++ {
				name, value, _ := strings.Cut(sc.request[at], ": ")
				if name != "Content-Length" { // the indentation of the file is not counted in it
					headers = append(headers, name, value)
				}
			}
			body := strings.Join(sc.request[at+1:], "\n")
			r := s.request(http.MethodPost, "/v1/events", io.NopCloser(strings.NewReader(body)), headers...)
			if r.status != http.StatusAccepted {
				t.Fatalf("%d %s", r.status, r.body)
			}
			e := s.one(`id == "` + sc.attributes["id"] + `"`)
			for name, want := range sc.attributes {
				if e[name] != want {
					t.Errorf("%s is %v, want %s", name, e[name], want)
				}
			}
			if diff := cmp.Diff(parse[any](t, []byte(sc.data)), e["data"]); diff != "" {
				t.Errorf("data: %s", diff)
			}
		})
	}
}
