package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
)

func load(t *testing.T, text string, environ ...string) (config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tocsin.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(path, environ)
}

func TestDefaults(t *testing.T) {
	c, err := config.Load("", []string{"PATH=/bin", "TOCSIN_URL=x", "TOCSIN_TOKEN=y", "TOCSIN_ADMIN_PASSWORD=z"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:7722" || c.PublicURL != "http://127.0.0.1:7722" || c.Significant.SourceBase != c.PublicURL ||
		time.Duration(c.Retention.Default) != 365*24*time.Hour || c.Ingest.MaxEvent != 1<<20 || c.Ingest.MaxBatch != 16<<20 || c.Ingest.Unknown != "accept" {
		t.Errorf("defaults: %+v", c)
	}
}

func TestFileAndEnvironment(t *testing.T) {
	c, err := load(t, `
listen: 127.0.0.1:1
public_url: https://tocsin.example/
retention: {default: 90d, max_bytes: 10GiB, rules: [{types: ["auth.*"], severity: warn, class: long}]}
ingest: {unknown: reject, max_event: 2MiB}
trusted_proxies: [10.0.0.0/8]
sources: {disk_full: {high: 90}}
`, "TOCSIN_LISTEN=127.0.0.1:2", "TOCSIN_LOG_EVENTS=true", "TOCSIN_RETENTION_SHORT=26h", "TOCSIN_INGEST_MAX_BATCH=32MiB", "TOCSIN_TRACES_SAMPLE=0.25")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:2" || c.PublicURL != "https://tocsin.example" || !c.Log.Events || c.Ingest.MaxEvent != 2<<20 || c.Ingest.MaxBatch != 32<<20 || c.Traces.Sample != 0.25 ||
		c.Retention.Default.String() != "90d" || c.Retention.Short.String() != "26h" || c.Retention.MaxBytes != 10<<30 || len(c.Sources) != 1 {
		t.Errorf("loaded: %+v", c)
	}
}

func TestListExample(t *testing.T) {
	c, err := load(t, config.ListExample)
	if err != nil || len(c.Retention.Rules) != 3 || len(c.Retention.Holds) != 1 || len(c.Sources) != 2 || len(c.Proxies) != 1 || len(c.Egress.Allow) != 2 || len(c.Egress.Rewrite) != 1 || len(c.Networks) != 2 || len(c.OIDC) != 1 || c.OIDC[0].Groups["sre"] != "admin" {
		t.Errorf("the documented example: %+v, %v", c, err)
	}
}

// Every mistake is told, with its place.
func TestMistakes(t *testing.T) {
	tests := []struct {
		text    string
		environ string
		says    []string
	}{
		{"lisen: x\nlog: {events_: true}", "", []string{`line 1: unknown key "lisen"`, `line 2: unknown key "events_"`}},
		{"listen: [1]", "", []string{"line 1"}},
		{"listen: nowhere", "", []string{`listen: "nowhere" is not an address and port`}},
		{"retention: {default: soon}", "", []string{"not a duration"}},
		{"retention: {default: 1m}", "", []string{"retention.default: 1m is too short"}},
		{"retention: {max_bytes: 5}", "", []string{"max_bytes"}},
		{"retention: {max_bytes: many}", "", []string{"not a size"}},
		{"retention: {rules: [{class: x}]}", "", []string{`rules[0]: class "x" is unknown`}},
		{"retention: {rules: [{class: long, severity: loud}]}", "", []string{`severity "loud"`}},
		{"ingest: {unknown: maybe}", "", []string{"use accept, quarantine or reject"}},
		{"ingest: {max_event: 100MiB}", "", []string{"max_event", "max_batch"}},
		{"retention: {holds: [{from: 2026-01-01}]}", "", []string{"holds[0]"}},
		{"log: {level: loud}", "", []string{"log.level"}},
		{"public_url: ftp://x", "", []string{"public_url"}},
		{"trusted_proxies: [10.0.0.1]", "", []string{"trusted_proxies"}},
		{"networks: [{cidr: 10.0.0.1/8, label: x}]", "", []string{"networks, entry 1", "10.0.0.0/8"}},
		{"oidc: [{name: Big, issuer: https://x, client_id: t}]", "", []string{"oidc, entry 1: name"}},
		{"oidc: [{name: a, issuer: nowhere, client_id: t}]", "", []string{"issuer"}},
		{"oidc: [{name: a, issuer: https://x}]", "", []string{"client_id"}},
		{"networks: [{cidr: 10.0.0.0/8}]", "", []string{"label is missing"}},
		{"database: postgres://u:hunter2@h/d", "", []string{"SQLite"}},
		{"traces: {endpoint: collector}", "", []string{`traces.endpoint: "collector" is not an http or https URL`}},
		{"traces: {endpoint: 'https://u:hunter2@c/'}", "", []string{"traces.endpoint", "headers_file"}},
		{"traces: {endpoint: 'http://c/?key=1'}", "", []string{"traces.endpoint"}},
		{"traces: {endpoint: 'http://c/', ca_file: ca.pem}", "", []string{"traces.ca_file", "use https"}},
		{"traces: {sample: 1.5}", "", []string{"traces.sample: 1.5 is out of range"}},
		{"traces: {sample: .nan}", "", []string{"traces.sample: NaN is out of range"}},
		{"traces: {service_name: ''}", "", []string{"traces.service_name"}},
		{"traces: {headers: x}", "", []string{`unknown key "headers"`}},
		{"", "TOCSIN_TRACES_SAMPLE=half", []string{"TOCSIN_TRACES_SAMPLE", "not a number"}},
		{"egress: {allow: [10.0.0.1]}", "", []string{`egress.allow: "10.0.0.1" is not a network`}},
		{"egress: {rewrite: {a: 'http://u:hunter2@b/'}}", "", []string{`egress.rewrite: "a"`}},
		{"egress: {rewrite: {a: 'ftp://b/'}}", "", []string{`egress.rewrite: "a"`}},
		{"a: b: c", "", []string{"mapping values are not allowed"}},
		{"", "TOCSIN_LISTN=x", []string{"TOCSIN_LISTN is no key"}},
		{"", "TOCSIN_LOG_EVENTS=maybe", []string{"TOCSIN_LOG_EVENTS", "neither true nor false"}},
		{"", "TOCSIN_RETENTION_DEFAULT=x", []string{"TOCSIN_RETENTION_DEFAULT"}},
	}
	for _, tt := range tests {
		_, err := load(t, tt.text, tt.environ)
		if !errors.Is(err, event.ErrInvalid) {
			t.Errorf("Load(%q, %s) = %v", tt.text, tt.environ, err)
			continue
		}
		for _, want := range tt.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("Load(%q, %s) = %v, want %q", tt.text, tt.environ, err, want)
			}
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a password is told: %v", err)
		}
	}
	if _, err := config.Load("/nowhere/tocsin.yaml", nil); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("a missing file: %v", err)
	}
}

// Every key is documented, and has a variable of its own.
func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range config.Keys() {
		if k.Doc == "" || seen[k.Variable] || !strings.HasPrefix(k.Variable, "TOCSIN_") {
			t.Errorf("key %+v", k)
		}
		seen[k.Variable] = true
	}
	for _, want := range []string{"TOCSIN_LISTEN", "TOCSIN_RETENTION_MAX_BYTES", "TOCSIN_GEO_CITY", "TOCSIN_TRACES_SAMPLE", "TOCSIN_SIGNIFICANT_SOURCE_BASE"} {
		if !seen[want] {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]config.Bytes{"0": 0, "1048576": 1 << 20, "16MiB": 16 << 20, "10GB": 10e9, "5 kB": 5000, "1TiB": 1 << 40} {
		var b config.Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%q is %d, %v, want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "5XB", "99999999999TiB", "1.5GB"} {
		var b config.Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %d", text, b)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("listen: 127.0.0.1:1\nretention: {default: 90d}")
	f.Add("sources: {x: {y: [1]}}")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(path, nil); err != nil && !errors.Is(err, event.ErrInvalid) {
			t.Fatalf("error %v is of no class", err)
		}
	})
}

func TestHold(t *testing.T) {
	day := func(text string) time.Time {
		d, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	h := config.Hold{From: day("2026-02-01"), Until: day("2026-02-28"), Reason: "a case"}
	for text, want := range map[string]bool{"2026-01-31": false, "2026-02-01": true, "2026-02-28": true, "2026-03-01": false} {
		if h.Covers(day(text)) != want {
			t.Errorf("Covers(%s) = %v", text, !want)
		}
	}
	if h.Until = (time.Time{}); !h.Covers(day("2030-01-01")) {
		t.Error("an open hold ends")
	}
}
