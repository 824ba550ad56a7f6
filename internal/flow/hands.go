package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/program"
	"github.com/tocsin-events/tocsin/internal/redact"
	"github.com/tocsin-events/tocsin/internal/state"
)

// hands does the effects of one run.
type hands struct {
	e     *Engine
	r     *Run
	used  *used
	acted atomic.Bool // an effect was begun

	mu        sync.Mutex // guards unwritten
	unwritten bool       // that the run is under way is not on disk
}

// begin writes that the run is under way, once. An error of it means that it must
// do nothing that others see.
func (h *hands) begin(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.unwritten {
		return nil
	}
	err := h.e.save(ctx, h.r)
	h.unwritten = err != nil
	return err
}

// end is called before the run changes: begin does no more then.
func (h *hands) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unwritten = false
}

// recorded masks secrets in what is recorded as it is: an event, a trigger, the input
// of another run. Who is to use a secret there asks for it by its name.
func (h *hands) recorded(f *program.Effect) {
	c := h.used.concealer()
	switch {
	case f.Kind == program.EffectEmit, f.Kind == program.EffectCall && f.Function == "schedule":
		f.Arguments = c.value(f.Arguments)
	case f.Workflow != nil:
		sub := *f.Workflow
		sub.Input = c.value(sub.Input)
		f.Workflow = &sub
	}
}

// Do implements program.Effects.
func (h *hands) Do(ctx context.Context, f program.Effect) (program.Answer, error) {
	h.acted.Store(true)
	if err := h.begin(ctx); err != nil {
		return program.Answer{}, err
	}
	h.recorded(&f)
	out, err := h.e.perform(ctx, h.r, &f)
	if err != nil {
		return program.Answer{}, err
	}
	if out.later {
		if out.write != nil {
			if err := h.e.writes.do(ctx, out.write); err != nil {
				return program.Answer{}, err
			}
		}
		return program.Answer{}, program.ErrSuspended
	}
	out.answer.At = time.Now().UTC()
	// It was done: that is written, also where the run is cancelled at this moment.
	err = h.e.writes.do(context.WithoutCancel(ctx), func(tx *state.Tx) error {
		if err := putAnswer(tx, h.r.ID, f.Key, &out.answer); err != nil {
			return err
		}
		if out.write != nil {
			return out.write(tx)
		}
		return nil
	})
	return out.answer, err
}

// recorder keeps the steps of a run for its page, within bounds.
type recorder struct {
	all   []program.Step
	bytes int
	used  *used
}

const (
	maxStepsKept = 500
	maxStepBytes = 16 << 10  // of one input or output
	maxAllBytes  = 512 << 10 // of all of a run
)

func newRecorder(used *used) *recorder { return &recorder{used: used} }

func (s *recorder) take(step program.Step) {
	if len(s.all) >= maxStepsKept || s.bytes > maxAllBytes {
		return
	}
	c := s.used.concealer()
	step.Input, step.Output, step.Err = s.bound(c.value(step.Input)), s.bound(c.value(step.Output)), c.fault(step.Err)
	s.all = append(s.all, step)
}

// bound keeps a value that is small enough, and else says that it was not.
func (s *recorder) bound(v any) any {
	text, err := json.Marshal(v)
	if err != nil || len(text) > maxStepBytes {
		return fmt.Sprintf("(%d bytes)", len(text))
	}
	text = redact.JSON(text, nil) // tokens that an answer has brought, too
	s.bytes += len(text)
	return json.RawMessage(text)
}
