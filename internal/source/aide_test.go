package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
)

const aideReportText = `{"start_time":"2026-11-21 08:37:50 +0000","aide_version":"0.18.3","outline":"AIDE found differences","added":{"/usr/bin/new":"f+++"}}`

// A report is told once, also over a restart, and a new one again; half a report
// is waited for, and what is none is shown.
func TestAideReports(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "aide.json")
	s := newStage()
	problem := s.problems()
	now := time.Now()
	look := func(fresh bool) {
		t.Helper()
		a := opens(t, "aide_diff", "{paths: ["+dir+"/*.json], exclude: []}").source.(*aide)
		at := now
		if !fresh {
			at = now.Add(time.Minute)
		}
		if err := a.look(t.Context(), &s.Env, at); err != nil {
			t.Fatal(err)
		}
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	look(true)
	if s.status != Idle || !strings.Contains(s.lacks, "report_format=json") {
		t.Errorf("%s %q", s.status, s.lacks)
	}
	write(aideReportText[:40])
	look(true)
	if *problem != "" || len(s.events) != 0 {
		t.Errorf("half a report: %s, %d events", *problem, len(s.events))
	}
	write(aideReportText)
	s.fail = event.Unavailablef("disk full")
	a := opens(t, "aide_diff", "{paths: ["+dir+"/*.json]}").source.(*aide)
	if err := a.look(t.Context(), &s.Env, now); !errors.Is(err, event.ErrUnavailable) {
		t.Errorf("look = %v", err)
	}
	s.fail = nil
	look(true)
	look(true)
	if events := s.take(t); len(events) != 1 || s.status != Running {
		t.Errorf("%d events, %s", len(events), s.status)
	}
	for text, says := range map[string]string{
		"AIDE found differences between database and filesystem!!\n": "not in JSON", "{\"some\":\"thing\"}": "no report of AIDE", "": "empty", "{\"outline\":": "can't be read",
	} {
		write(text)
		look(false)
		if !strings.Contains(*problem, says) || !strings.Contains(*problem, file) {
			t.Errorf("%q: %s, want %s", text, *problem, says)
		}
	}
	write(aideReportText + "\n" + strings.Replace(aideReportText, "new", "newer", 1))
	look(false)
	if events := s.take(t); len(events) != 1 || !strings.Contains(string(events[0].Data), "/usr/bin/newer") || *problem != "" {
		t.Errorf("the last of two reports: %d events, %s", len(events), *problem)
	}
	write(strings.Replace(aideReportText, `{"/usr/bin/new":"f+++"}`, "{}", 1))
	look(false)
	if events := s.take(t); len(events) != 0 {
		t.Error("a report without a difference is told")
	}
}

// Ten thousand changed files are counted; the event holds the first.
func TestAideMany(t *testing.T) {
	added := map[string]string{}
	for i := range 10000 {
		added[fmt.Sprintf("/usr/lib/%05d", i)] = "f+++"
	}
	report, err := json.Marshal(map[string]any{"outline": "x", "added": added, "changed": map[string]string{"/etc/\xffx": "f"}})
	if err != nil {
		t.Fatal(err)
	}
	s := newStage()
	a := opens(t, "aide_diff", "{exclude: [/usr/lib/00*]}").source.(*aide)
	if err := a.judge(t.Context(), &s.Env, report, "/r.json", nil); err != nil {
		t.Fatal(err)
	}
	want := []string{`aide_diff warn host/web-17 9000 1 1000 8801`}
	events := s.take(t)
	if diff := cmp.Diff(want, sorted(t, events, "added", "changed", "excluded", "more")); diff != "" || len(events[0].Data) > 64<<10 {
		t.Errorf("%d bytes; %s", len(events[0].Data), diff)
	}
}

// Whoever makes files with long names keeps the event from becoming too large, and so
// from being forwarded, no less.
func TestAideLongNames(t *testing.T) {
	added := map[string]string{}
	for i := range 300 {
		added[fmt.Sprintf("/srv/%05d/%s", i, strings.Repeat("\x01", 4000))] = "f+++"
	}
	report, err := json.Marshal(map[string]any{"outline": "x", "added": added})
	if err != nil {
		t.Fatal(err)
	}
	s := newStage()
	if err := opens(t, "aide_diff", "{}").source.(*aide).judge(t.Context(), &s.Env, report, "/r.json", nil); err != nil {
		t.Fatal(err)
	}
	events := s.take(t)
	if len(events) != 1 || len(events[0].Data) > 512<<10 {
		t.Fatalf("%d events of %d bytes", len(events), len(events[0].Data))
	}
	var data struct {
		Added, More int
		Paths       []aidePath
	}
	if err := json.Unmarshal(events[0].Data, &data); err != nil || data.Added != 300 || data.More != 300-len(data.Paths) || len(data.Paths) == 0 {
		t.Errorf("added %d, more %d, paths %d, %v", data.Added, data.More, len(data.Paths), err)
	}
}

func TestAideExcluded(t *testing.T) {
	tests := []struct {
		pattern, path string
		want          bool
	}{
		{"/etc/cron.d/**", "/etc/cron.d/job", true},
		{"/etc/cron.d/**", "/etc/cron.d/a/b", true},
		{"/etc/cron.d/**", "/etc/cron.d", false},
		{"/etc/cron.d/**", "/etc/cron.daily/x", false},
		{"/etc/systemd/system/*.d/**", "/etc/systemd/system/nginx.service.d/limits.conf", true},
		{"/etc/systemd/system/*.d/**", "/etc/systemd/system/nginx.service", false},
		{"/etc/*", "/etc/passwd", true},
		{"/etc/*", "/etc/ssh/sshd_config", false},
		{"/**", "/anything/at/all", true},
		{"/etc/[x", "/etc/[x", false},
	}
	for _, tt := range tests {
		if got := globPath(tt.pattern, tt.path); got != tt.want {
			t.Errorf("globPath(%q, %q) = %t", tt.pattern, tt.path, got)
		}
	}
}

// When a scan is due: every day at its time, also when the time was missed while
// the server was down, and whatever the clock does.
func TestAideDue(t *testing.T) {
	at := func(text string) time.Time {
		t.Helper()
		p, err := time.ParseInLocation("2006-01-02 15:04", text, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	daily := opens(t, "aide_diff", "{command: [/bin/true], at: '04:30'}").source.(*aide)
	hourly := opens(t, "aide_diff", "{command: [/bin/true], every: 6h}").source.(*aide)
	tests := []struct {
		a         *aide
		last, now time.Time
		want      time.Duration
	}{
		{daily, time.Time{}, at("2026-11-21 03:30"), time.Hour},
		{daily, time.Time{}, at("2026-11-21 05:30"), 23 * time.Hour},
		{daily, at("2026-11-20 04:30"), at("2026-11-21 04:29"), time.Minute},
		{daily, at("2026-11-20 04:30"), at("2026-11-21 04:30"), 0},
		{daily, at("2026-11-18 04:30"), at("2026-11-21 03:00"), 0},
		{daily, at("2030-01-01 00:00"), at("2026-11-21 03:30"), time.Hour},
		{hourly, at("2026-11-21 03:30"), at("2026-11-21 04:30"), 5 * time.Hour},
		{hourly, at("2030-01-01 00:00"), at("2026-11-21 03:30"), 6 * time.Hour},
	}
	for i, tt := range tests {
		if got := tt.a.due(tt.last, tt.now); got != tt.want {
			t.Errorf("%d: due in %s, want %s", i, got, tt.want)
		}
	}
	if got := hourly.due(time.Time{}, at("2026-11-21 03:30")); got > 0 {
		t.Errorf("the first scan is due in %s", got)
	}
}

// What a scan that Tocsin runs says by its exit status and its output.
func TestAideScan(t *testing.T) {
	tests := []struct {
		script, says string
		events       int
	}{
		{"echo '" + aideReportText + "'; exit 5", "", 1},
		{"exit 0", "", 0},
		{"echo no database >&2; exit 15", "exit status 15: no database", 0},
		{"kill -9 $$", "signal: killed", 0},
		{"echo plain text; exit 1", "not in JSON", 0},
		{"sleep 100 & sleep 100", "not done within 1s", 0},
	}
	for _, tt := range tests {
		s := newStage()
		a := opens(t, "aide_diff", fmt.Sprintf("{command: [/bin/sh, -c, %q], every: 1m, timeout: 1s}", tt.script)).source.(*aide)
		err := a.scan(t.Context(), &s.Env)
		if (err == nil) != (tt.says == "") || err != nil && (!strings.Contains(err.Error(), tt.says) || !errors.Is(err, event.ErrInvalid)) {
			t.Errorf("%s: %v, want %q", tt.script, err, tt.says)
		}
		events := s.take(t)
		if len(events) != tt.events || len(events) > 0 && !strings.Contains(string(events[0].Data), `"exit_status":5`) {
			t.Errorf("%s: %d events", tt.script, len(events))
		}
	}
	a := opens(t, "aide_diff", "{command: [/nonexistent], every: 1m}").source.(*aide)
	if err := a.scan(t.Context(), &newStage().Env); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("a program that is not there: %v", err)
	}
}

func TestAideOptions(t *testing.T) {
	for text, says := range map[string]string{
		"command: [/usr/bin/aide, --check], at: '04:30'":   "",
		"command: [/usr/bin/aide]":                         "at or by every",
		"command: [/usr/bin/aide], at: '04:30', every: 1h": "at or by every",
		"at: '04:30'":                           "no command",
		"command: [/usr/bin/aide], at: '25:00'": "04:30",
		"command: [/usr/bin/aide], every: 1s":   "shorter than 1m",
		"exclude: ['etc/*']":                    "absolute",
		"interval: 1s":                          "shorter than 10s",
	} {
		_, err := Open(options(t, "aide_diff: {"+text+"}"), Env{}, nil)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}
