package web

import (
	"context"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/journal"
)

// verification is the one verification of the journal that the pages start: it
// goes on while nobody looks, and its result stays until the next one.
type verification struct {
	mu          sync.Mutex // guards all
	running     bool
	done, total int
	ended       time.Time
	report      *VerifyReport
	work        sync.WaitGroup
}

// verificationView is its state at one moment.
type verificationView struct {
	Running  bool
	Progress progress
	Ended    time.Time
	Report   *VerifyReport
}

type progress struct {
	Says        string
	Done, Total int64
}

func (v *verification) view() verificationView {
	v.mu.Lock()
	defer v.mu.Unlock()
	return verificationView{v.running, progress{"Segments verified", int64(v.done), int64(max(v.total, 1))}, v.ended, v.report}
}

// start begins a verification, unless one is running. It ends with ctx.
func (v *verification) start(ctx context.Context, j *journal.Journal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.running || ctx.Err() != nil {
		return
	}
	v.running, v.done, v.total = true, 0, 0
	v.work.Go(func() {
		report, err := j.Verify(ctx, journal.VerifyOptions{Progress: func(done, total int) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.done, v.total = done, total
		}})
		told := NewVerifyReport(&report, err)
		v.mu.Lock()
		defer v.mu.Unlock()
		v.running, v.ended, v.report = false, time.Now(), &told
	})
}
