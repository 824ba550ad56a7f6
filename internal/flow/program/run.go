package program

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/jq"
)

// A running is what the branches of one run share.
type running struct {
	Run
	program *Program
	steps   atomic.Int64
	spent   atomic.Int64 // nanoseconds of computing, of branches that ended

	mu            sync.Mutex // guards what follows, and OnStep
	status        string
	statusMessage string
}

// An exec runs tasks one after the other: the run itself, or a branch of a fork.
type exec struct {
	*running
	ctx      context.Context
	meter    *jq.Meter
	slots    []any     // the values of variables
	clock    time.Time // of the run: the time of the last answer
	deadline *deadline // the next timeout that strikes
	attempt  int       // of the innermost try
	waits    []Effect  // what it was suspended for

	started time.Time     // by the machine's clock
	away    time.Duration // spent in effects since
	// act is the task that runs, for $task.
	act *activation
}

// A deadline is a timeout around what runs.
type deadline struct {
	at time.Time
}

// A scope is a place around a task where things repeat: the jumps of a list, the
// iterations of a loop, the attempts of a try.
type scope struct {
	parent *scope
	n      int
}

// An activation is one start of a task.
type activation struct {
	task      *task
	scope     *scope
	raw       any // input as it came
	startedAt time.Time
	then      directive
	effect    string
	replayed  bool
}

// Run runs the program, or goes on with a run that was suspended or cut off: the
// answers in r decide how far it comes. The error is one of r.Effects, and means
// that nothing is known about the run but what was journalled.
func (p *Program) Run(ctx context.Context, r Run) (Result, error) {
	r.defaults()
	shared := &running{Run: r, program: p, status: "unknown"}
	x := shared.exec(ctx, p.slots)
	defer x.meter.Stop()
	out, rejected, err := x.flow(p)
	result := Result{
		State: Completed, Output: out, Rejected: rejected, Status: shared.status, StatusMessage: shared.statusMessage,
		Steps: int(shared.steps.Load()),
	}
	var failure *Error
	switch {
	case err == nil:
		return result, nil
	case errors.Is(err, ErrSuspended):
		result.State, result.Waits = Suspended, x.waits
	case errors.As(err, &failure):
		result.State, result.Err = Faulted, failure
	case ctx.Err() != nil:
		result.State = Cancelled
	default:
		return Result{}, err
	}
	result.Output = nil
	return result, nil
}

func (r *Run) defaults() {
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.MaxSteps == 0 {
		r.MaxSteps = 100_000
	}
	if r.MaxTime == 0 {
		r.MaxTime = time.Minute
	}
	if r.MaxEval == 0 {
		r.MaxEval = 100 * time.Millisecond
	}
}

func (r *running) exec(ctx context.Context, slots int) *exec {
	return &exec{running: r, ctx: ctx, meter: jq.NewMeter(ctx, r.MaxEval), slots: make([]any, slots), clock: r.StartedAt, started: time.Now()}
}

// flow runs the whole document. Until its first task starts, a failure is the
// input's: rejected.
func (x *exec) flow(p *Program) (out any, rejected bool, err error) {
	a := &activation{raw: x.Input}
	x.slots[slotInput] = x.Input
	if err := x.limits(); err != nil {
		return nil, false, err
	}
	if _, err := jq.Size(x.Input, jq.MaxResult); err != nil {
		return nil, true, Failure(TypeValidation, 400, "the input: %v", err).at("/")
	}
	input, err := x.enter(a, p.inputSchema, p.inputFrom)
	if err != nil {
		return nil, true, placed(err, "/")
	}
	x.slots[slotInput] = input
	if p.timeout != nil {
		after, err := x.span(*p.timeout, input)
		if err != nil {
			return nil, false, placed(err, "/")
		}
		if !x.Instant {
			x.deadline = &deadline{x.clock.Add(after)}
		}
	}
	mine := x.deadline
	out, err = x.list(nil, p.do, input)
	if errors.Is(err, errEnd) {
		err = nil
	}
	if err = x.struck(mine, err); err != nil {
		return nil, false, placed(err, "/")
	}
	x.act = nil
	x.slots[slotInput] = input
	out, err = x.leave(p.outputAs, p.outputSchema, out)
	return out, false, placed(err, "/")
}

// struck makes a timeout that has come to the task that set it an error of it.
func (x *exec) struck(mine *deadline, err error) error {
	if expired, ok := errors.AsType[*expiredError](err); ok && mine != nil && expired.owner == mine {
		return Failure(TypeTimeout, 408, "not done by %s", mine.at.UTC().Format(time.RFC3339))
	}
	return err
}

// placed gives an error of the flow its place.
func placed(err error, ref string) error {
	if failure, ok := errors.AsType[*Error](err); ok {
		return failure.at(ref)
	}
	return err
}

// list runs tasks one after the other, as their directives lead.
func (x *exec) list(parent *scope, l *list, input any) (any, error) {
	s := &scope{parent: parent}
	for i := 0; i < len(l.tasks); {
		out, then, err := x.task(s, l.tasks[i], input)
		if err != nil {
			return out, err
		}
		input = out
		switch then.kind {
		case goExit:
			return input, nil
		case goEnd:
			return input, errEnd
		case goTo:
			if then.index != i+1 {
				s.n++
			}
			i = then.index
		default:
			i++
		}
	}
	return input, nil
}

// task runs one task, and tells the hook.
func (x *exec) task(s *scope, t *task, raw any) (any, directive, error) {
	index := x.steps.Add(1) - 1
	if err := x.limits(); err != nil {
		return nil, directive{}, placed(err, t.ref)
	}
	outer, input, attempt := x.act, x.slots[slotInput], x.attempt
	a := &activation{task: t, scope: s, raw: raw, startedAt: x.clock, then: t.then}
	x.act = a
	var started time.Time
	if x.OnStep != nil {
		started = time.Now()
	}
	out, ran, err := x.perform(a)
	err = placed(err, t.ref)
	if x.OnStep != nil {
		x.tell(a, int(index), out, ran, err, time.Since(started))
	}
	x.act, x.slots[slotInput], x.attempt = outer, input, attempt
	if !ran {
		return out, directive{}, err
	}
	return out, a.then, err
}

// perform is the life of a task: condition, input, the task itself, output, export.
func (x *exec) perform(a *activation) (out any, ran bool, err error) {
	t := a.task
	x.slots[slotInput] = a.raw
	if t.condition != nil {
		yes, err := x.condition(t.condition, a.raw)
		if err != nil || !yes {
			return a.raw, err != nil, err
		}
	}
	input, err := x.enter(a, t.inputSchema, t.inputFrom)
	if err != nil {
		return nil, true, err
	}
	x.slots[slotInput] = input
	around := x.deadline
	if t.timeout != nil {
		if err := x.limit(*t.timeout, input); err != nil {
			return nil, true, err
		}
	}
	mine := x.deadline
	out, err = t.runner.run(x, a, input)
	x.deadline = around
	if mine != around {
		err = x.struck(mine, err)
	}
	if err != nil && !errors.Is(err, errEnd) {
		return nil, true, err
	}
	end := err
	if out, err = x.leave(t.outputAs, t.outputSchema, out); err != nil {
		return nil, true, err
	}
	if t.exportAs != nil || t.exportSchema != nil {
		x.slots[slotOutput] = out
		exported, err := x.leave(t.exportAs, t.exportSchema, out)
		if err != nil {
			return nil, true, err
		}
		x.slots[slotContext] = exported
	}
	return out, true, end
}

// limit sets the timeout of a task, unless one around it strikes earlier.
func (x *exec) limit(after span, input any) error {
	d, err := x.span(after, input)
	if err != nil {
		return err
	}
	if at := x.clock.Add(d); !x.Instant && (x.deadline == nil || at.Before(x.deadline.at)) {
		x.deadline = &deadline{at}
	}
	return nil
}

// enter validates and transforms an input.
func (x *exec) enter(a *activation, s *schema, from *template) (any, error) {
	if err := s.validate(a.raw); err != nil {
		return nil, err
	}
	if from == nil {
		return a.raw, nil
	}
	return x.template(from, a.raw)
}

// leave transforms and validates an output.
func (x *exec) leave(as *template, s *schema, out any) (any, error) {
	if as != nil {
		x.slots[slotOutput] = out
		var err error
		if out, err = x.template(as, out); err != nil {
			return nil, err
		}
	}
	return out, s.validate(out)
}

// limits ends a run that has taken too many steps or too long.
func (x *exec) limits() error {
	n := x.steps.Load()
	if n > int64(x.MaxSteps) {
		return final("the run took more than %d steps", x.MaxSteps)
	}
	if n%16 != 1 {
		return nil
	}
	if err := x.ctx.Err(); err != nil {
		return err
	}
	if x.computed() > x.MaxTime {
		return final("the run computed for more than %v", x.MaxTime)
	}
	return nil
}

// computed is how long the run has computed, without its effects.
func (x *exec) computed() time.Duration {
	return time.Since(x.started) - x.away + time.Duration(x.spent.Load())
}

func final(format string, args ...any) *Error {
	failure := Failure(TypeRuntime, 500, format, args...)
	failure.Final = true
	return failure
}

// tell reports a task to the hook.
func (x *exec) tell(a *activation, index int, out any, ran bool, err error, took time.Duration) {
	step := Step{
		Index: index, Task: a.task.ref, Name: a.task.name, Kind: a.task.kind, Effect: a.effect, Path: path(a.scope), Attempt: x.attempt,
		State: StepCompleted, Replayed: a.replayed, StartedAt: a.startedAt, Duration: took, Input: a.raw, Output: out,
	}
	if passed := x.clock.Sub(a.startedAt); passed > 0 {
		step.Duration = passed
	}
	var failure *Error
	switch {
	case err != nil && errors.Is(err, errEnd):
	case errors.Is(err, ErrSuspended):
		step.State, step.Output = StepWaiting, nil
	case errors.As(err, &failure):
		step.State, step.Err, step.Output = StepFaulted, failure, nil
	case err != nil:
		step.State, step.Output = StepCancelled, nil
	case !ran:
		step.State = StepSkipped
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.OnStep(step)
}

// path lists the numbers of the scopes around a task; nil where all are 0.
func path(s *scope) []int {
	depth, repeated := 0, false
	for up := s; up != nil; up = up.parent {
		depth++
		repeated = repeated || up.n != 0
	}
	if !repeated {
		return nil
	}
	numbers := make([]int, depth)
	for ; s != nil; s = s.parent {
		depth--
		numbers[depth] = s.n
	}
	return numbers
}

// key names an effect of a task.
func (a *activation) key() string {
	numbers := path(a.scope)
	if numbers == nil {
		return a.task.ref
	}
	var b strings.Builder
	b.WriteString(a.task.ref)
	for i, n := range numbers {
		b.WriteByte("#."[min(i, 1)])
		b.WriteString(strconv.Itoa(n))
	}
	return b.String()
}
