package source

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-events/tocsin/internal/event"
)

// problems keeps what a stage was shown as last error.
func (s *stage) problems() *string {
	text := new(string)
	s.Problem = func(err error) {
		_ = s.note(func() {
			*text = ""
			if err != nil {
				*text = err.Error()
			}
		})
	}
	return text
}

func script(name, text, more string) string {
	return fmt.Sprintf("{name: %s, argv: [/bin/sh, -c, %q]%s}", name, text, more)
}

// Each line is judged by itself; a mistake names the line and what is wrong.
func TestExecLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxExecLine+1)
	tests := []struct{ line, says string }{
		{`{"type":"a.b","severity":"loud"}`, "loud"},
		{`{"type":"a.b","colour":"red"}`, `unknown field "colour"`},
		{`{"severity":"info"}`, "type is missing"},
		{`[1]`, "not a JSON object"},
		{`{"type":"a.b","time":"yesterday"}`, "time"},
		{`{"type":"disk_full","data":{"scope":"x"}}`, "path"},
		{`{"specversion":"1.0","id":"1","source":"https://t.example/server","type":"server.ready"}`, "belongs to this server"},
		{`{"specversion":"1.0","id":"1","type":"a.b"}`, "source"},
		{long, "longer than 1048576 bytes"},
		{`{"type":"a.b","subject":"` + "\xff" + `"}`, ""},
	}
	file := filepath.Join(t.TempDir(), "lines")
	for _, tt := range tests {
		if err := os.WriteFile(file, []byte("{\"type\":\"first\"}\n"+tt.line+"\n{\"type\":\"last\"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newStage()
		problem := s.problems()
		stop := s.runs(t, opens(t, "exec", "commands: ["+script("x", "cat "+file+"; exec sleep 100", "")+"]").source)
		s.until(t, "the last line", func() bool {
			return len(s.events) > 1 && s.events[len(s.events)-1].Type == "last"
		})
		stop()
		if tt.says != "" && (!strings.Contains(*problem, "x: line 2: ") || !strings.Contains(*problem, tt.says) || len(s.events) != 2) {
			t.Errorf("%.60s: %q, want %q; %d events", tt.line, *problem, tt.says, len(s.events))
		}
	}
}

// A program that ends is started anew, and says so; what it started is ended with
// it; it sees nothing of the server's environment.
func TestExecRestart(t *testing.T) {
	t.Setenv("SECRET_OF_THE_SERVER", "1")
	dir := t.TempDir()
	const text = `echo $$ >> pids; sleep 1000 & echo $! > child; env > env; echo '{"type":"started","subject":"'$NAME'"}'; echo whoops >&2; exit 3`
	s := newStage()
	problem := s.problems()
	stop := s.runs(t, opens(t, "exec", "commands: ["+script("x", text, ", dir: "+dir+", environment: [NAME=anna]")+"]").source)
	s.until(t, "two runs", func() bool { return len(s.events) >= 2 })
	s.until(t, "its end is shown", func() bool { return strings.Contains(*problem, "x: exit status 3: whoops") })
	stop()
	env, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil || strings.Contains(string(env), "SECRET") || !strings.Contains(string(env), "NAME=anna") {
		t.Errorf("the environment: %s, %v", env, err)
	}
	if s.events[0].Subject != "anna" || s.events[0].Source != "https://t.example/exec/x" {
		t.Errorf("%+v", s.events[0])
	}
	child, err := os.ReadFile(filepath.Join(dir, "child"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(child)))
	if err != nil {
		t.Fatal(err)
	}
	s.until(t, "its child has ended", func() bool { return isGone(s, pid) })
}

// isGone tells whether a process has ended; one that nobody has waited for counts.
func isGone(s *stage, pid int) bool {
	time.AfterFunc(10*time.Millisecond, func() { _ = s.note(func() {}) }) // look again
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// A program that does not end is ended with its group, at a stop and at its time
// limit, also when it ignores the request.
func TestExecStubborn(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	text := `trap '' TERM; echo '{"type":"started"}'; sleep 1000 & echo $! > ` + file + `; wait; wait`
	for _, more := range []string{"", ", every: 1h, timeout: 1s"} {
		s := newStage()
		problem := s.problems()
		stop := s.runs(t, opens(t, "exec", "commands: ["+script("x", text, more)+"]").source)
		s.until(t, "the first line", func() bool { return len(s.events) == 1 })
		if more != "" {
			s.until(t, "its time is over", func() bool { return strings.Contains(*problem, "not done within 1s") })
		}
		stop()
		pid, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(pid)))
		if err != nil {
			t.Fatal(err)
		}
		s.until(t, "its child has ended", func() bool { return isGone(s, n) })
	}
}

// Ten thousand lines are recorded, each once and in order; while the journal takes
// nothing the program waits, and nothing is lost.
func TestExecFlood(t *testing.T) {
	t.Parallel()
	s := newStage()
	s.fail = event.Unavailablef("disk full")
	problem := s.problems()
	stop := s.runs(t, opens(t, "exec", "commands: ["+script("x", `i=0; while [ $i -lt 10000 ]; do i=$((i+1)); echo "{\"type\":\"n\",\"subject\":\"$i\"}"; done; exec sleep 1000`, "")+"]").source)
	s.until(t, "the journal is full", func() bool { return strings.Contains(*problem, "disk full") })
	_ = s.note(func() { s.fail = nil })
	s.until(t, "all lines", func() bool { return len(s.events) >= 10000 })
	stop()
	for i, e := range s.events {
		if e.Subject != strconv.Itoa(i+1) {
			t.Fatalf("event %d is %s", i+1, e.Subject)
		}
	}
	if *problem != "" {
		t.Errorf("a problem that is over is shown: %s", *problem)
	}
}

// A program that is not there is said, with what lacks; the others run.
func TestExecAbsent(t *testing.T) {
	t.Parallel()
	s := newStage()
	stop := s.runs(t, opens(t, "exec", "commands: [{name: gone, argv: [/nonexistent/program]}]").source)
	s.until(t, "it is said", func() bool { return s.status == Unavailable && strings.Contains(s.lacks, "gone can't be started") })
	stop()
	s = newStage()
	stop = s.runs(t, opens(t, "exec", "commands: [{name: gone, argv: [/nonexistent/program]}, "+script("there", `echo '{"type":"there"}'`, ", every: 1h")+"]").source)
	s.until(t, "the other runs", func() bool { return len(s.events) == 1 && s.status == Running && s.lacks != "" })
	stop()
	s = newStage()
	stop = s.runs(t, opens(t, "exec", "{}").source)
	s.until(t, "nothing to run", func() bool { return s.status == Idle })
	stop()
}

func TestExecOptions(t *testing.T) {
	for text, says := range map[string]string{
		"{name: a, argv: [/bin/true], every: 10s}":                   "",
		"{name: A, argv: [/bin/true]}":                               "small letters",
		"{name: a, argv: []}":                                        "argv is missing",
		"{name: a, argv: /bin/true}":                                 "line 1",
		"{name: a, argv: [/bin/true], evry: 1s}":                     `unknown key "evry"`,
		"{name: a, argv: [/bin/true], every: 10ms}":                  "shorter than 1s",
		"{name: a, argv: [/bin/true], timeout: 10s}":                 "every",
		"{name: a, argv: [/bin/true], environment: [X]}":             "NAME=value",
		"{name: a, argv: [/bin/true], dir: tmp}":                     "absolute",
		"{name: a, argv: [/bin/true]}, {name: a, argv: [/bin/true]}": "twice",
	} {
		_, err := Open(options(t, "exec: {commands: ["+text+"]}"), Env{}, nil)
		if (err == nil) != (says == "") || err != nil && (!strings.Contains(err.Error(), says) || !errors.Is(err, event.ErrInvalid)) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}

func TestReadLine(t *testing.T) {
	r := bufio.NewReaderSize(strings.NewReader("a\n"+strings.Repeat("b", 100)+"\n\nc"), 16)
	var got []string
	for {
		line, long, err := readLine(r, 40)
		got = append(got, fmt.Sprint(string(line), long))
		if err != nil {
			break
		}
	}
	if diff := cmp.Diff([]string{"afalse", "true", "false", "cfalse", "false"}, got); diff != "" {
		t.Error(diff)
	}
}
