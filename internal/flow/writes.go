package flow

import (
	"context"
	"errors"

	"github.com/tocsin-events/tocsin/internal/state"
)

// writes makes one transaction of what many runs have to write at the same time: a
// commit costs a sync of the disk, whatever is in it.
type writes struct {
	state *state.State
	todo  chan write
	ended chan struct{}
}

type write struct {
	do   func(tx *state.Tx) error
	done chan error
}

// maxWrites is how many share a transaction at most.
const maxWrites = 512

func newWrites(s *state.State) *writes {
	return &writes{state: s, todo: make(chan write, maxWrites), ended: make(chan struct{})}
}

var errEnded = errors.New("the engine has ended")

// do runs a function in a transaction, and returns when it is committed and what it
// emits is recorded. It may run more than once, if a transaction is not taken.
func (w *writes) do(ctx context.Context, do func(tx *state.Tx) error) error {
	one := write{do, make(chan error, 1)}
	select {
	case w.todo <- one:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ended:
		return errEnded
	}
	select { // it is under way: whether it is committed must be known
	case err := <-one.done:
		return err
	case <-w.ended:
		return errEnded
	}
}

// run writes until ctx ends and nothing is left.
func (w *writes) run(ctx context.Context) error {
	defer close(w.ended)
	for {
		var group []write
		select {
		case one := <-w.todo:
			group = append(group, one)
		case <-ctx.Done():
			return nil
		}
		for more := true; more && len(group) < maxWrites; {
			select {
			case one := <-w.todo:
				group = append(group, one)
			default:
				more = false
			}
		}
		w.together(context.WithoutCancel(ctx), group)
	}
}

// together writes a group in one transaction. If one of them fails, each gets a
// transaction of its own, so that it alone has its error.
func (w *writes) together(ctx context.Context, group []write) {
	err := w.state.Write(ctx, state.System(), func(tx *state.Tx) error {
		for _, one := range group {
			if err := one.do(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && len(group) > 1 {
		for _, one := range group {
			one.done <- w.state.Write(ctx, state.System(), one.do)
		}
		return
	}
	for _, one := range group {
		one.done <- err
	}
}
