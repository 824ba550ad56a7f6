package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the stories in testdata/script. Besides testscript's own
// commands they know:
//
//	serve [ARG…]      start a server on $DATA and wait until it is ready; sets $URL
//	stop, crash       end it by SIGTERM (it must end well), or by SIGKILL
//	hup               SIGHUP
//	exits N CMD …     run a command that must end with the status N
//	poll TEXT CMD …   run a command until its output holds a text
//	flip FILE TEXT    change one bit of a file, at the first place of a text
//
// "! serve" must end by itself, and leaves its message for stderr.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(program)+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("DATA", filepath.Join(env.WorkDir, "data"))
			env.Setenv("TOCSIN_DATA", env.Getenv("DATA"))
			env.Setenv("TZ", "UTC")
			return os.MkdirAll(env.Getenv("DATA"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": scriptServe, "stop": scriptStop, "crash": scriptCrash, "hup": scriptHup,
			"exits": scriptExits, "poll": scriptPoll, "flip": scriptFlip,
		},
	})
}

// scriptProcess is the server of a script.
type scriptProcess struct {
	cmd *exec.Cmd
	out buffer
	log buffer
	end chan struct{}
	err error
}

// registry finds the server of a script by its work folder.
type registry struct{ byFolder sync.Map }

var processes registry

func (r *registry) put(folder string, p *scriptProcess) { r.byFolder.Store(folder, p) }

func (r *registry) get(folder string) *scriptProcess {
	p, _ := r.byFolder.Load(folder)
	found, _ := p.(*scriptProcess)
	return found
}

// pollUntil is eventually for scripts.
func pollUntil(ts *testscript.TestScript, what string, holds func() bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			ts.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	p := &scriptProcess{cmd: exec.Command(program, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...), end: make(chan struct{})}
	p.cmd.Dir = ts.Getenv("WORK")
	p.cmd.Env = environ("TOCSIN_DATA="+ts.Getenv("DATA"), "TOCSIN_ADMIN_PASSWORD="+password, "TOCSIN_PUBLIC_URL=http://tocsin.test")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	ts.Check(p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.end)
	}()
	if neg {
		<-p.end
		if p.err == nil {
			ts.Fatalf("the server ended well")
		}
		_, err := ts.Stderr().Write([]byte(p.log.String()))
		ts.Check(err)
		return
	}
	processes.put(ts.Getenv("WORK"), p)
	ts.Defer(func() {
		_ = p.cmd.Process.Kill()
		<-p.end
		if strings.Contains(p.log.String(), "DATA RACE") {
			ts.Fatalf("the server:\n%s", p.log.String())
		}
	})
	pollUntil(ts, "the server to be ready", func() bool {
		select {
		case <-p.end:
			ts.Fatalf("the server ended: %v\n%s", p.err, p.log.String())
		default:
		}
		_, rest, ok := strings.Cut(p.out.String(), "ready at ")
		url, _, whole := strings.Cut(rest, "\n")
		ts.Setenv("URL", url)
		return ok && whole
	})
}

func process(ts *testscript.TestScript) *scriptProcess {
	p := processes.get(ts.Getenv("WORK"))
	if p == nil {
		ts.Fatalf("no server runs: serve")
	}
	return p
}

func scriptStop(ts *testscript.TestScript, _ bool, _ []string) {
	p := process(ts)
	ts.Check(p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.end
	if p.err != nil {
		ts.Fatalf("the server ended with %v:\n%s", p.err, p.log.String())
	}
}

func scriptCrash(ts *testscript.TestScript, _ bool, _ []string) {
	p := process(ts)
	ts.Check(p.cmd.Process.Kill())
	<-p.end
}

func scriptHup(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(process(ts).cmd.Process.Signal(syscall.SIGHUP))
}

// scriptExits runs a command and compares its exit status; its output can be
// compared afterwards, as that of exec.
func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits N CMD [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // testscript hands it out as it is
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func scriptPoll(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: poll TEXT CMD [ARG…]")
	}
	pollUntil(ts, args[0], func() bool {
		out, _ := runQuiet(ts, args[1:])
		return strings.Contains(out, args[0])
	})
}

// runQuiet runs the program without leaving its output in the script's log.
func runQuiet(ts *testscript.TestScript, args []string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	if args[0] == "tocsin" {
		cmd = exec.Command(program, args[1:]...)
	}
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = environ("TOCSIN_DATA=" + ts.Getenv("DATA"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func scriptFlip(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: flip FILE TEXT")
	}
	path := ts.MkAbs(args[0])
	content, err := os.ReadFile(path)
	ts.Check(err)
	at := bytes.Index(content, []byte(args[1]))
	if at < 0 {
		ts.Fatalf("%s does not hold %q", path, args[1])
	}
	content[at] ^= 0x01
	ts.Check(os.WriteFile(path, content, 0o600))
}

// TestHelp asks every command for its help, which must give an example.
func TestHelp(t *testing.T) {
	t.Parallel()
	var walk func(path ...string)
	walk = func(path ...string) {
		out, _, code := runCLI(t, nil, append(path, "--help")...)
		if code != 0 || !strings.Contains(out, "tocsin") || len(path) > 0 && !strings.Contains(out, "Examples:") {
			t.Errorf("%v --help: exit %d, or no example:\n%s", path, code, out)
		}
		_, list, ok := strings.Cut(out, "Available Commands:\n")
		if !ok {
			return
		}
		for line := range strings.SplitSeq(list, "\n") {
			if !strings.HasPrefix(line, "  ") {
				break
			}
			if name := strings.Fields(line)[0]; name != "help" && name != "completion" {
				walk(append(append([]string(nil), path...), name)...)
			}
		}
	}
	walk()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, _, code := runCLI(t, nil, "completion", shell); code != 0 || !strings.Contains(out, "tocsin") {
			t.Errorf("completion %s: exit %d", shell, code)
		}
	}
	var version object
	if out, _, code := runCLI(t, nil, "version", "-o", "json"); code != 0 || json.Unmarshal([]byte(out), &version) != nil || version["version"] == nil {
		t.Errorf("version -o json: %s", out)
	}
}
