package follow

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/journal/segment"
	"github.com/tocsin-events/tocsin/internal/state"
)

// halted is a clerk during whose work something happens.
type halted struct {
	*clerk
	meanwhile func()
}

func (h *halted) Handle(ctx context.Context, hits []segment.Hit, now time.Time) (Commit, error) {
	if len(hits) > 0 {
		h.meanwhile()
	}
	return h.clerk.Handle(ctx, hits, now)
}

// A node that was halted while another one took over writes nothing.
func TestOvertaken(t *testing.T) {
	for name, meanwhile := range map[string]func(r *rig) error{
		"it follows": func(r *rig) error {
			if err := r.s.Unlease(r.t.Context(), "clerk", "a"); err != nil {
				return err
			}
			_, err := r.s.Lease(r.t.Context(), "clerk", "b", time.Minute)
			return err
		},
		"it has followed": func(r *rig) error {
			return r.s.Write(r.t.Context(), state.System(), func(tx *state.Tx) error { return tx.Advance("clerk", 1) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			h := &halted{clerk: &clerk{done: make(chan struct{}, 1)}}
			f := r.follower("a", h)
			h.meanwhile = func() {
				if err := meanwhile(r); err != nil {
					t.Error(err)
				}
			}
			r.emit(2)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { // where nobody notices, it goes on
				select {
				case <-h.done:
					cancel()
				case <-ctx.Done():
				}
			}()
			if err := f.lead(ctx); !errors.Is(err, errOvertaken) {
				t.Errorf("it was not noticed: %v", err)
			}
			cancel()
			for _, seq := range []string{"00000000000000000001", "00000000000000000002"} {
				var one int
				if err := r.s.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM facts WHERE name = $1`, seq).Scan(&one); err != nil || one != 0 {
					t.Errorf("%s was written, %v", seq, err)
				}
			}
		})
	}
}
