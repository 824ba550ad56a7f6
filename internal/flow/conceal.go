package flow

import (
	"sync"

	"github.com/tocsin-events/tocsin/internal/flow/program"
)

// used are the secrets that a run has asked for: what is kept of the run has them
// masked.
type used struct {
	mu     sync.Mutex // guards both
	values []string
	made   *concealer
}

func (u *used) add(v any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.values, u.made = append(u.values, textsOf(v)...), nil
}

func (u *used) concealer() *concealer {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.made == nil {
		u.made = conceal(u.values)
	}
	return u.made
}

// mask masks the secrets in what a run has come to.
func (u *used) mask(got *program.Result) {
	c := u.concealer()
	got.Output, got.Err, got.Status, got.StatusMessage = c.value(got.Output), c.fault(got.Err), c.replace.Replace(got.Status), c.replace.Replace(got.StatusMessage)
}

// fault masks secrets in an error, which it does not change.
func (c *concealer) fault(err *program.Error) *program.Error {
	if err == nil {
		return nil
	}
	masked := *err
	masked.Title, masked.Detail = c.replace.Replace(err.Title), c.replace.Replace(err.Detail)
	return &masked
}
