package telemetry_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/telemetry"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestLogHidesSecrets(t *testing.T) {
	var out bytes.Buffer
	log := telemetry.NewLogger(&out, "info").With("password", "s3cret1", slog.Group("db", "token", "s3cret2"))
	log.WithGroup("g").Info("started with token=s3cret3", "url", "https://u:s3cret4@h/", "err", errors.New("dial postgres://u:s3cret5@h"),
		"n", 7, slog.Group("inner", "api_key", "s3cret6", "name", "x"), "keyboard", "de")
	log.Debug("not written")
	text := out.String()
	if strings.Contains(text, "s3cret") || strings.Count(text, redact.Mask) != 6 || strings.Count(text, "\n") != 1 {
		t.Errorf("log: %s", text)
	}
	for _, want := range []string{`"n":7`, `"name":"x"`, `"keyboard":"de"`, `"level":"INFO"`} {
		if !strings.Contains(text, want) {
			t.Errorf("log lacks %s: %s", want, text)
		}
	}
}

// TestMetricNames guards the names and labels that dashboards rely on.
func TestMetricNames(t *testing.T) {
	m := telemetry.NewMetrics("test")
	m.CountEvent("disk_full", "recorded", "")
	m.CountEvent("", "rejected", "malformed")
	m.Appended(3, time.Millisecond)
	m.Lag("notify", 5)
	m.Request("GET /healthz", 200, time.Millisecond)
	m.Tail(1)
	m.Reloaded(true, time.Unix(1, 0))
	m.SourceFailed("disk_full")
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "tocsin_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		fmt.Fprintf(&b, "%s %s %v\n", f.GetName(), strings.ToLower(f.GetType().String()), labels)
	}
	path := filepath.Join("testdata", "metrics.golden")
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(b.String()), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
}

// Strangers choose types; they must not choose how many labels there are.
func TestTypesAreBounded(t *testing.T) {
	m := telemetry.NewMetrics("test")
	for n := range 2000 {
		m.CountEvent(fmt.Sprintf("type_%d", n), "recorded", "")
	}
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "tocsin_events_total" && len(f.GetMetric()) > 501 {
			t.Errorf("%d types are told apart", len(f.GetMetric()))
		}
	}
}
