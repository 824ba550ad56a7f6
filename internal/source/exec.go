package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/redact"
)

// Delivery: the standard output of programs that the operator names, a JSON object
// a line: a CloudEvent, or {"type", "severity", "subject", "time", "id", "data"}.
// A program runs for ever and is started anew when it ends, or it runs at an
// interval. It waits in its write while the journal does not take more.
// Makes: what the lines say; the source of the short form is exec/ and the name.
// Leaves out: lines that are no event; the first is shown as last error, with its
// number.
func init() {
	register("exec", "Events of programs of yours: JSON lines on their standard output.", execOptions{Enabled: true}, newExec)
}

type execOptions struct {
	Enabled  bool          `yaml:"enabled" doc:"Whether the programs are run."`
	Commands []execCommand `yaml:"commands" doc:"The programs, each {name, argv} and, where wanted, every (an interval, in place of for ever), timeout (of one run at an interval, 1m), environment (NAME=value; else there is only PATH, LANG and HOME) and dir."`
}

// execCommand is one program.
type execCommand struct {
	Name        string          `yaml:"name"`
	Argv        []string        `yaml:"argv"`
	Every       config.Duration `yaml:"every"`
	Timeout     config.Duration `yaml:"timeout"`
	Environment []string        `yaml:"environment"`
	Dir         string          `yaml:"dir"`
}

// UnmarshalYAML refuses unknown keys.
func (c *execCommand) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: a command is a mapping of name and argv", n.Line)
	}
	for i := 0; i < len(n.Content); i += 2 {
		switch key := n.Content[i]; key.Value {
		case "name", "argv", "every", "timeout", "environment", "dir":
		default:
			return fmt.Errorf("line %d: unknown key %q of a command", key.Line, key.Value)
		}
	}
	type plain execCommand
	return n.Decode((*plain)(c))
}

const (
	// maxExecLine is the longest line of a program, in bytes.
	maxExecLine = 1 << 20
	// execBatch is how many lines are recorded together at most.
	execBatch = 100
	// execGrace is how long a program has to end before it is killed.
	execGrace = 3 * time.Second
	// execSteady is how long a program must have run to be started anew at once.
	execSteady = time.Minute
)

var execName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

type execSource struct {
	commands []execCommand

	mu       sync.Mutex // guards all below
	problems map[string]error
	absent   map[string]error // programs that can't be started
}

func newExec(o execOptions) (Source, error) {
	names := map[string]bool{}
	for i := range o.Commands {
		c := &o.Commands[i]
		switch {
		case !execName.MatchString(c.Name):
			return nil, event.Invalidf("commands: the name %q must be small letters, digits, dots, dashes and underscores", c.Name)
		case names[c.Name]:
			return nil, event.Invalidf("commands: %q is there twice", c.Name)
		case len(c.Argv) == 0 || c.Argv[0] == "":
			return nil, event.Invalidf("commands: %s: argv is missing: the program and its arguments, as a list", c.Name)
		case c.Every != 0 && time.Duration(c.Every) < time.Second:
			return nil, event.Invalidf("commands: %s: every %s is shorter than 1s", c.Name, c.Every)
		case c.Timeout < 0 || c.Timeout != 0 && c.Every == 0:
			return nil, event.Invalidf("commands: %s: timeout is for programs that run at an interval (every)", c.Name)
		case c.Dir != "" && !filepath.IsAbs(c.Dir):
			return nil, event.Invalidf("commands: %s: dir %q must be an absolute path", c.Name, c.Dir)
		}
		for _, pair := range c.Environment {
			if name, _, ok := strings.Cut(pair, "="); !ok || name == "" {
				return nil, event.Invalidf("commands: %s: environment %q is not NAME=value", c.Name, redact.Text(pair))
			}
		}
		names[c.Name] = true
		if c.Every != 0 && c.Timeout == 0 {
			c.Timeout = config.Duration(time.Minute)
		}
	}
	return &execSource{commands: o.Commands, problems: map[string]error{}, absent: map[string]error{}}, nil
}

// Run implements Source.
func (x *execSource) Run(ctx context.Context, env *Env) error {
	if len(x.commands) == 0 {
		env.Status(Idle, "no programs to run: name them in sources.exec.commands")
		<-ctx.Done()
		return nil
	}
	x.report(env)
	var all []func(context.Context) error
	for _, c := range x.commands {
		p := &program{execCommand: c, owner: x, env: env, give: newGiver(env, "exec/"+c.Name)}
		all = append(all, p.supervise)
	}
	return inParallel(ctx, all...)
}

// note shows how a program fares; nil for well.
func (x *execSource) note(env *Env, name string, absent, problem error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.absent, name)
	delete(x.problems, name)
	if absent != nil {
		x.absent[name] = absent
	}
	if problem != nil {
		x.problems[name] = fmt.Errorf("%s: %w", name, problem)
	}
	x.show(env)
}

func (x *execSource) report(env *Env) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.show(env)
}

func (x *execSource) show(env *Env) {
	var problems []error
	lacks := ""
	for _, c := range x.commands {
		if err := x.problems[c.Name]; err != nil {
			problems = append(problems, err)
		}
		if err := x.absent[c.Name]; err != nil && lacks == "" {
			lacks = fmt.Sprintf("%s can't be started: %v", c.Name, err)
		}
	}
	env.Problem(errors.Join(problems...))
	status := Running
	if len(x.absent) == len(x.commands) {
		status = Unavailable
	}
	env.Status(status, lacks)
}

// program is one of them at work.
type program struct {
	execCommand
	owner *execSource
	env   *Env
	give  *giver

	problem error // that is shown
	refused bool  // a line of this run
	bad     int   // lines that were no events, since the log was told
	told    time.Time
}

// supervise runs the program again and again until ctx ends.
func (p *program) supervise(ctx context.Context) error {
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		p.once(ctx)
		wait := time.Until(began.Add(time.Duration(p.Every)))
		if p.Every == 0 {
			if time.Since(began) > execSteady {
				pause = firstPause
			}
			wait, pause = pause, min(2*pause, lastPause)
		}
		select {
		case <-time.After(max(wait, 0)):
		case <-ctx.Done():
		}
	}
	return nil
}

// say shows how the program fares.
func (p *program) say(absent, problem error) {
	p.problem = problem
	p.owner.note(p.env, p.Name, absent, problem)
}

// once runs the program to its end and records what it says.
func (p *program) once(ctx context.Context) {
	limit := ctx
	if p.Every != 0 {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(ctx, time.Duration(p.Timeout))
		defer cancel()
	}
	cmd := exec.Command(p.Argv[0], p.Argv[1:]...) //nolint:gosec,noctx // the operator names it; its whole group is ended below
	cmd.Dir, cmd.Env = p.Dir, p.environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, outEnd, err := os.Pipe()
	if err != nil {
		p.say(err, nil)
		return
	}
	defer func() { _ = out.Close() }()
	said := &errorText{}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = outEnd, said, time.Second
	err = cmd.Start()
	_ = outEnd.Close() // the program has its own
	if err != nil {
		p.say(err, nil)
		return
	}
	p.refused = false
	p.say(nil, p.problem)
	var end error
	gone := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		defer close(gone)
		end = cmd.Wait()
		killGroup(cmd, syscall.SIGKILL)                          // what it left behind
		_ = out.SetReadDeadline(time.Now().Add(2 * time.Second)) // and what has left the group
	})
	both.Go(func() { endGroup(limit, cmd, gone) })
	p.lines(ctx, out)
	both.Wait()
	p.log(ctx, said)
	if ctx.Err() != nil {
		return // it was ended by us
	}
	switch {
	case errors.Is(end, exec.ErrWaitDelay):
		end = nil // something that it left behind has kept its standard error open
	case limit.Err() != nil:
		end = fmt.Errorf("not done within %s", p.Timeout)
	case end == nil && p.Every == 0:
		end = errors.New("it has ended; it is meant to run for ever, unless every is given")
	}
	if end != nil {
		p.say(nil, fmt.Errorf("%w%s", end, said.tail()))
	} else if !p.refused {
		p.say(nil, nil)
	}
}

// endGroup ends a program when its time is over: first it is asked.
func endGroup(limit context.Context, cmd *exec.Cmd, gone <-chan struct{}) {
	select {
	case <-gone:
		return
	case <-limit.Done():
	}
	killGroup(cmd, syscall.SIGTERM)
	late := time.NewTimer(execGrace)
	defer late.Stop()
	select {
	case <-gone:
	case <-late.C:
		killGroup(cmd, syscall.SIGKILL)
	}
}

// killGroup signals the program and all that it has started. Of a group that is
// gone nothing remains to be ended.
func killGroup(cmd *exec.Cmd, sig syscall.Signal) { _ = syscall.Kill(-cmd.Process.Pid, sig) }

// environ is what a program sees: none of the server's own environment, in which
// secrets may be.
func (p *program) environ() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/"}
	return append(env, p.Environment...)
}

// lines records each line until the output ends.
func (p *program) lines(ctx context.Context, out io.Reader) {
	r := bufio.NewReaderSize(out, 64<<10)
	var events []event.Event
	for n := 1; ; n++ {
		line, long, err := readLine(r, maxExecLine)
		if text := bytes.TrimSpace(line); long {
			p.refuse(ctx, n, event.Invalidf("longer than %d bytes", maxExecLine))
		} else if len(text) > 0 {
			if e, bad := p.give.read(text, event.NewID(), time.Now().UTC()); bad != nil {
				p.refuse(ctx, n, bad)
			} else {
				events = append(events, e)
			}
		}
		if len(events) > 0 && (err != nil || len(events) >= execBatch || r.Buffered() == 0) {
			p.record(ctx, n, events)
			events = nil
		}
		if err != nil {
			return // the end, or nothing more comes of a program that is gone
		}
	}
}

// record hands events in and waits, with the program, while that is impossible.
// What was read before a stop is still recorded.
func (p *program) record(ctx context.Context, line int, events []event.Event) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := p.env.Emit(context.WithoutCancel(ctx), events...)
		switch {
		case err == nil:
			if p.problem != nil && !p.refused {
				p.say(nil, nil)
			}
			return
		case errors.Is(err, event.ErrInvalid) || errors.Is(err, event.ErrDenied):
			if len(events) == 1 {
				p.refuse(ctx, line, err)
				return
			}
			for i := range events { // what was recorded already is known by its id
				p.record(ctx, line, events[i:i+1])
			}
			return
		}
		p.say(nil, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// refuse shows a line that is no event; the log is told once a minute.
func (p *program) refuse(ctx context.Context, line int, err error) {
	p.bad++
	p.refused = true
	p.say(nil, fmt.Errorf("line %d: %w", line, err))
	if now := time.Now(); now.Sub(p.told) >= time.Minute || now.Before(p.told) {
		p.env.Log.WarnContext(ctx, "a line of a program is no event", "name", p.Name, "line", line, "lines", p.bad, "err", redact.Text(err.Error()))
		p.told, p.bad = now, 1
	}
}

// log shows what the program wrote to its standard error.
func (p *program) log(ctx context.Context, said *errorText) {
	if text := said.String(); text != "" {
		p.env.Log.InfoContext(ctx, "a program has written to its standard error", "name", p.Name, "text", redact.Text(text))
	}
}

// readLine reads a line without its end. One that is too long is passed over.
func readLine(r *bufio.Reader, most int) (line []byte, long bool, err error) {
	for {
		part, more, err := r.ReadLine()
		if err != nil {
			return line, long, err
		}
		if !long {
			line = append(line, part...)
		}
		if len(line) > most {
			line, long = nil, true
		}
		if !more {
			return line, long, nil
		}
	}
}

// errorText keeps the end of what is written to it.
type errorText struct {
	mu   sync.Mutex // guards text
	text []byte
}

const maxErrorText = 4096

func (l *errorText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p[max(0, len(p)-maxErrorText):]...)
	if over := len(l.text) - maxErrorText; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(p), nil
}

func (l *errorText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(strings.ToValidUTF8(string(l.text), "\uFFFD"))
}

// tail is the last line, to be put behind an error.
func (l *errorText) tail() string {
	text := l.String()
	if text == "" {
		return ""
	}
	return ": " + shorten(text[strings.LastIndexByte(text, '\n')+1:], 300)
}
