package flow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/identity"
	"github.com/tocsin-events/tocsin/internal/state"
)

// command runs a program that the configuration names (flows.commands), with its
// arguments fixed there but for whole ones written {word}. No shell, no input, and
// nothing of the server's environment. It is run at least once: a crash of the
// server between its end and the record of that runs it again, which
// IDEMPOTENCY_KEY in its environment lets it find out.
func init() {
	registerFunction("command", function{
		Function: program.Function{
			Doc: "Run a program that flows.commands of the configuration names. The output is {exit_status, stdout, stderr, duration_ms}. After a crash of the server it may be run a second time.",
			Parameters: []program.Parameter{
				{Name: "name", Required: true, Doc: "Its name in flows.commands."},
				{Name: "arguments", Doc: "An object: what stands for each {word} of the configured arguments."},
				{Name: "timeout", Doc: "How long it may take, such as 30s (the default); at most 15m."},
				{Name: "allow_failure", Doc: "true: a status other than 0 is no failure of the task."},
			},
		},
		scope: identity.Admin,
		do:    command,
	})
}

const (
	commandTime = 30 * time.Second
	longestTime = 15 * time.Minute
	// commandGrace is how long a program has to end before it is killed.
	commandGrace = 2 * time.Second
	// maxCommandOutput is how much of the end of each output is kept, in bytes.
	maxCommandOutput = 64 << 10
	maxArgument      = 4 << 10
	// shownOutput is how much of it a failure and the record show.
	shownOutput = 500
)

func command(ctx context.Context, e *Engine, r *Run, f *program.Effect) (outcome, error) {
	a := argumentsOf(f)
	name, allow, limit := a.text("name"), a.boolean("allow_failure"), a.duration("timeout", commandTime, longestTime)
	if a.err != nil {
		return refused(a.err)
	}
	template, known := e.o.Limits().Commands[name]
	if !known || len(template) == 0 {
		return failed(program.Failure(program.TypeConfiguration, http.StatusBadRequest, "there is no command %q: flows.commands of the configuration names them", name)), nil
	}
	argv, err := fill(template, a.with["arguments"])
	if err != nil {
		return refused(fmt.Errorf("command %s: %w", name, err))
	}
	conceal, err := e.concealer(ctx)
	if err != nil {
		return outcome{}, err
	}
	did := runCommand(ctx, argv, []string{"IDEMPOTENCY_KEY=" + r.key(f), "FLOW=" + r.FlowName, "FLOW_RUN=" + string(r.ID)}, limit)
	if did.err != nil && ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	did.stdout, did.stderr = conceal.text(did.stdout), conceal.text(did.stderr)
	record, err := e.commandEvent(r, name, argv[1:], &did, conceal)
	if err != nil {
		return outcome{}, err
	}
	return outcome{answer: did.answer(name, allow), write: func(tx *state.Tx) error {
		tx.Emit(record)
		return nil
	}}, nil
}

// fill puts a flow's arguments into the configured ones, each as a whole: the
// configuration has refused words that are a part of one. The error is of class
// event.ErrInvalid.
func fill(template []string, given any) ([]string, error) {
	values, ok := given.(map[string]any)
	if !ok && given != nil {
		return nil, event.Invalidf("arguments: is an object")
	}
	values = maps.Clone(values)
	used := map[string]bool{}
	argv := make([]string, 0, len(template))
	for i, part := range template {
		m := config.CommandWord.FindStringSubmatch(part)
		if m == nil || i == 0 {
			argv = append(argv, part)
			continue
		}
		text, plain := plainText(values[m[1]])
		switch {
		case !plain || text == "":
			return nil, event.Invalidf("arguments.%s: is missing, or no text", m[1])
		case len(text) > maxArgument || strings.ContainsRune(text, 0):
			return nil, event.Invalidf("arguments.%s: at most %d bytes, and no NUL", m[1], maxArgument)
		case text[0] == '-' && !slices.Contains(template[:i], "--"):
			return nil, event.Invalidf(`arguments.%s: begins with -, which programs take for an option; where it is none, put "--" before {%s} into the configuration`, m[1], m[1])
		}
		used[m[1]] = true
		argv = append(argv, text)
	}
	for name := range values {
		if !used[name] {
			return nil, event.Invalidf("arguments: the command has no {%s}", name)
		}
	}
	return argv, nil
}

// ran is what came of a program.
type ran struct {
	status         int // -1 where it did not end by itself
	stdout, stderr string
	took           time.Duration
	err            error // why it could not be run to its end
	late           bool  // its time was over
}

// runCommand runs a program to its end, and ends all that it has started.
func runCommand(ctx context.Context, argv, environment []string, limit time.Duration) ran {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // the operator names it, and each argument is one
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/"}, environment...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = commandGrace
	var out, errs tail
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := cmd.Run()
	did := ran{took: time.Since(began), stdout: out.String(), stderr: errs.String(), late: err != nil && ctx.Err() != nil, status: -1}
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind; often there is nothing
	}
	if cmd.ProcessState != nil {
		did.status = cmd.ProcessState.ExitCode()
	}
	_, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil, exited && did.status >= 0:
	case errors.Is(err, exec.ErrWaitDelay) && !did.late: // what it left behind held its output open
	default:
		did.err = err
	}
	return did
}

// answer is what the task gets of it.
func (d *ran) answer(name string, allow bool) program.Answer {
	said := last(d.stderr, shownOutput)
	if said == "" {
		said = last(d.stdout, shownOutput)
	}
	if said != "" {
		said = ": " + said
	}
	switch {
	case d.late:
		return program.Answer{Err: program.Failure(program.TypeTimeout, http.StatusRequestTimeout, "command %s was ended after %s%s", name, d.took.Round(time.Millisecond), said)}
	case d.err != nil:
		return program.Answer{Err: program.Failure(program.TypeRuntime, http.StatusInternalServerError, "command %s: %v%s", name, d.err, said)}
	case d.status != 0 && !allow:
		return program.Answer{Err: program.Failure(program.TypeRuntime, http.StatusInternalServerError, "command %s ended with status %d%s", name, d.status, said)}
	}
	return program.Answer{Output: map[string]any{"exit_status": d.status, "stdout": d.stdout, "stderr": d.stderr, "duration_ms": int(d.took.Milliseconds())}}
}

// commandEvent is the record of a command: it was run, whatever becomes of the run.
func (e *Engine) commandEvent(r *Run, name string, args []string, d *ran, conceal *concealer) (event.Event, error) {
	shown := make([]string, len(args))
	for i, arg := range args {
		shown[i] = conceal.text(arg)
	}
	data := map[string]any{
		"command": name, "arguments": shown, "exit_status": d.status, "duration_ms": d.took.Milliseconds(),
		"run_id": string(r.ID), "flow_id": r.Flow.String(), "flow_name": r.FlowName,
	}
	if text := last(d.stderr, shownOutput); text != "" {
		data["output"] = text
	}
	if d.late {
		data["error"] = "its time was over"
	} else if d.err != nil {
		data["error"] = conceal.text(d.err.Error())
	}
	ev, err := r.cause().Event(e.o.Source+"/"+producer, "flow.command", "flow/"+r.Flow.String(), data)
	ev.Host = e.o.Host
	r.chain(&ev)
	return ev, err
}

// last is the end of a text.
func last(text string, most int) string {
	text = strings.TrimSpace(text)
	return strings.ToValidUTF8(text[max(0, len(text)-most):], "")
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex // guards text
	text []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p[max(0, len(p)-maxCommandOutput):]...)
	if over := len(t.text) - maxCommandOutput; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.text), "\uFFFD")
}
