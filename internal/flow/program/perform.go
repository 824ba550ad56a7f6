package program

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/jq"
)

// do does an effect of the running task, or takes its answer from the journal.
func (x *exec) do(a *activation, e Effect) (any, error) {
	answer, err := x.ask(a, e)
	if err != nil {
		return nil, err
	}
	if answer.Err != nil {
		failure := *answer.Err
		return nil, &failure
	}
	if _, err := jq.Size(answer.Output, jq.MaxResult); err != nil {
		return nil, Failure(TypeCommunication, 413, "the answer: %v", err)
	}
	return answer.Output, nil
}

func (x *exec) ask(a *activation, e Effect) (Answer, error) {
	if e.Key == "" {
		e.Key = a.key()
	}
	e.Task, e.Attempt = a.task.ref, x.attempt
	if x.deadline != nil {
		e.Until = x.deadline.at
	}
	a.effect = e.Key
	answer, known := x.Answers[e.Key]
	a.replayed = known
	if !known {
		var err error
		if answer, err = x.attend(e); err != nil {
			return Answer{}, err
		}
	}
	x.pass(answer.At)
	return answer, x.late()
}

// attend does an effect within the timeouts around it.
func (x *exec) attend(e Effect) (Answer, error) {
	ctx := x.ctx
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	if x.deadline != nil {
		left := x.deadline.at.Sub(x.Now())
		if left <= 0 {
			x.pass(x.deadline.at)
			return Answer{}, &expiredError{x.deadline}
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left)
		defer cancel()
	}
	if x.Effects == nil {
		return Answer{}, Failure(TypeConfiguration, 500, "nothing does effects here")
	}
	before := time.Now()
	answer, err := x.Effects.Do(ctx, e)
	x.away += time.Since(before)
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, ErrSuspended):
		return Answer{}, x.suspend(e)
	case x.ctx.Err() == nil && ctx.Err() != nil: // a timeout of the flow
		x.pass(x.deadline.at)
		return Answer{}, &expiredError{x.deadline}
	}
	return Answer{}, err
}

// pass moves the run's clock on. It never goes back.
func (x *exec) pass(to time.Time) {
	if to.After(x.clock) {
		x.clock = to
	}
}

// late says whether a timeout has struck by the run's clock.
func (x *exec) late() error {
	if x.deadline != nil && x.clock.After(x.deadline.at) {
		return &expiredError{x.deadline}
	}
	return nil
}

// suspend notes what the run waits for.
func (x *exec) suspend(e Effect) error {
	x.waits = append(x.waits, e)
	return ErrSuspended
}

// pause waits until a time, or suspends the run until then. Who is waited for is
// part of the key, where a task can wait for several things.
func (x *exec) pause(a *activation, until time.Time, what string) error {
	e := Effect{Key: a.key() + what, Kind: EffectWait, Task: a.task.ref, Attempt: x.attempt, Until: until}
	a.effect = e.Key
	if x.Instant {
		x.pass(until)
		return nil
	}
	strikes := x.deadline != nil && x.deadline.at.Before(until)
	if strikes {
		e.Until = x.deadline.at
	}
	if left := e.Until.Sub(x.Now()); left > 0 {
		if left > x.Patience {
			return x.suspend(e)
		}
		if err := x.sleep(left); err != nil {
			return err
		}
	}
	x.pass(e.Until)
	if strikes {
		return &expiredError{x.deadline}
	}
	return nil
}

func (x *exec) sleep(d time.Duration) error {
	before := time.Now()
	defer func() { x.away += time.Since(before) }()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-x.ctx.Done():
		return x.ctx.Err()
	}
}

// lazy makes the value of a variable that few expressions want.
func (x *exec) lazy(slot int) (any, error) {
	switch slot {
	case slotSecrets:
		return x.secretValues()
	case slotRuntime:
		return x.Runtime, nil
	case slotWorkflow:
		return map[string]any{
			"id": x.ID, "definition": x.program.definition, "input": x.Input, "startedAt": timeValue(x.StartedAt),
		}, nil
	case slotTask:
		a := x.act
		if a == nil || a.task == nil {
			return nil, nil
		}
		return map[string]any{
			"name": a.task.name, "reference": a.task.ref, "definition": a.task.definition, "input": a.raw, "startedAt": timeValue(a.startedAt),
		}, nil
	}
	return nil, nil
}

// secretValues is $secrets: all that the document names, once for each branch.
func (x *exec) secretValues() (any, error) {
	if x.slots[slotSecrets] != nil {
		return x.slots[slotSecrets], nil
	}
	values := make(map[string]any, len(x.program.secrets))
	for _, name := range x.program.secrets {
		v, err := x.secret(name)
		if err != nil {
			return nil, err
		}
		values[name] = v
	}
	return values, nil
}

func (x *exec) secret(name string) (any, error) {
	if x.Secret == nil {
		return nil, Failure(TypeConfiguration, 400, "there is no secret %q", name)
	}
	v, err := x.Secret(name)
	if err != nil {
		return nil, Failure(TypeConfiguration, 400, "secret %q: %v", name, err)
	}
	return v, nil
}

// timeValue is a time as the specification's DateTimeDescriptor.
func timeValue(t time.Time) map[string]any {
	return map[string]any{
		"iso8601": t.UTC().Format(time.RFC3339Nano),
		"epoch":   map[string]any{"seconds": int(t.Unix()), "milliseconds": int(t.UnixMilli())},
	}
}
