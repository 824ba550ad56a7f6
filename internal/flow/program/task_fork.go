package program

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/jq"
)

// fork: branches at the same time. The output is an array of their outputs, in the
// order of the document; with compete, it is that of the branch that is first to
// complete. What a branch exports is seen in that branch; the context of a winner
// goes on. then: end in a branch ends the branch.
//
// What only time could tell, which branch won or which failed first, is journalled
// as a decision, so that a replay runs that branch and no other.

func init() { register("fork", compileFork) }

const maxBranches = 64

type forkTask struct {
	branches *list
	compete  bool
}

func compileFork(c *compiler, n *node, t *task) runner {
	f := &forkTask{branches: &list{}}
	fork := n.field("fork")
	if !c.object(fork, "fork", "branches", "compete") {
		return f
	}
	f.compete = c.boolean(fork.field("compete"), false)
	branches := fork.field("branches")
	switch {
	case branches == nil:
		c.fail(fork, "write branches: with a list of tasks", "fork has no branches")
		return f
	case len(branches.items) > maxBranches:
		c.fail(branches, "", "fork has more than %d branches", maxBranches)
		return f
	}
	f.branches = c.list(branches, t.ref+"/fork/branches")
	t.effects = f.branches.effects
	for _, b := range f.branches.tasks {
		t.parts = append(t.parts, part{b.name, &list{tasks: []*task{b}}})
	}
	return f
}

func (f *forkTask) run(x *exec, a *activation, input any) (any, error) {
	if !f.branches.effects {
		return f.compute(x, a, input)
	}
	if decision, known := x.Answers[a.key()]; known {
		return f.decided(x, a, input, decision)
	}
	return f.race(x, a, input)
}

// compute runs branches that do nothing outside one after the other: no time
// passes in them, so the first one wins.
func (f *forkTask) compute(x *exec, a *activation, input any) (any, error) {
	outs := make([]any, 0, len(f.branches.tasks))
	context := x.slots[slotContext]
	for i := range f.branches.tasks {
		out, err := f.branch(x, a, i, input)
		if err != nil {
			return nil, err
		}
		if f.compete {
			return out, nil
		}
		x.slots[slotContext] = context
		outs = append(outs, out)
	}
	return f.all(outs)
}

func (f *forkTask) all(outs []any) (any, error) {
	if _, err := jq.Size(outs, jq.MaxResult); err != nil {
		return nil, Failure(TypeRuntime, 500, "the outputs of the branches: %v", err)
	}
	return outs, nil
}

func (f *forkTask) branch(x *exec, a *activation, i int, input any) (any, error) {
	out, _, err := x.task(&scope{parent: a.scope}, f.branches.tasks[i], input)
	if errors.Is(err, errEnd) {
		err = nil
	}
	return out, err
}

// decided runs the branch that the journal names.
func (f *forkTask) decided(x *exec, a *activation, input any, decision Answer) (any, error) {
	said, _ := decision.Output.(map[string]any)
	i, ok := said["branch"].(int)
	if !ok || i < 0 || i >= len(f.branches.tasks) {
		return nil, Failure(TypeRuntime, 500, "the journal has no branch for this fork")
	}
	a.replayed = true
	out, err := f.branch(x, a, i, input)
	x.pass(decision.At)
	return out, err
}

// A branch's end.
type ending struct {
	index int
	x     *exec
	out   any
	err   error
}

// race runs the branches at the same time.
func (f *forkTask) race(x *exec, a *activation, input any) (any, error) {
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	endings := make(chan ending, len(f.branches.tasks))
	var running sync.WaitGroup
	for i := range f.branches.tasks {
		b := x.split(ctx)
		running.Go(func() {
			defer b.join()
			out, err := f.branch(b, a, i, input)
			endings <- ending{i, b, out, err}
		})
	}
	before := time.Now()
	decisive, all := f.collect(endings)
	cancel()
	running.Wait()
	x.away += time.Since(before)
	if decisive != nil {
		return f.decide(x, a, *decisive)
	}
	return f.finish(x, all)
}

// collect waits for the branches, or for the first one that decides: a winner, a
// failure where all must complete, or the end of the run.
func (f *forkTask) collect(endings <-chan ending) (decisive *ending, all []ending) {
	all = make([]ending, cap(endings))
	for range cap(endings) {
		e := <-endings
		all[e.index] = e
		var failure *Error
		failed := errors.As(e.err, &failure)
		switch {
		case errors.Is(e.err, ErrSuspended):
		case e.err == nil && !f.compete:
		case failed && f.compete && !failure.Final:
		default:
			return &e, nil
		}
	}
	return nil, all
}

// decide journals what a branch has decided.
func (f *forkTask) decide(x *exec, a *activation, e ending) (any, error) {
	x.pass(e.x.clock)
	var failure *Error
	if e.err != nil && !errors.As(e.err, &failure) {
		return nil, e.err
	}
	if f.compete {
		x.slots[slotContext] = e.x.slots[slotContext]
	}
	if failure == nil || !failure.Final {
		decision := map[string]any{"branch": e.index, "failed": failure != nil}
		if _, err := x.do(a, Effect{Kind: EffectDecide, Arguments: decision}); err != nil {
			return nil, err
		}
	}
	return e.out, e.err
}

// finish is the end of branches of which none was decisive.
func (f *forkTask) finish(x *exec, all []ending) (any, error) {
	outs := make([]any, len(all))
	var waiting error
	for i, e := range all {
		outs[i] = e.out
		if errors.Is(e.err, ErrSuspended) {
			waiting = e.err
			x.waits = append(x.waits, e.x.waits...)
		}
	}
	if waiting != nil {
		return nil, waiting
	}
	for _, e := range all {
		x.pass(e.x.clock)
	}
	if f.compete { // all have failed
		return nil, all[0].err
	}
	return f.all(outs)
}

// split makes the exec of a branch.
func (x *exec) split(ctx context.Context) *exec {
	b := x.exec(ctx, len(x.slots))
	copy(b.slots, x.slots)
	b.clock, b.deadline, b.attempt, b.act = x.clock, x.deadline, x.attempt, x.act
	return b
}

// join ends the exec of a branch.
func (x *exec) join() {
	x.meter.Stop()
	x.spent.Add(int64(time.Since(x.started) - x.away))
}
