package journal

import (
	"errors"
	"fmt"

	"github.com/tocsin-events/tocsin/internal/event"
)

// The reasons for which the journal accepts nothing. All are of class
// event.ErrUnavailable.
var (
	// ErrFull: the disk is full, or only the reserve is left (HTTP 507). It
	// passes when there is room again.
	ErrFull = fmt.Errorf("the disk is full: %w", event.ErrUnavailable)
	// ErrStopped: a write or a sync has failed, so that nothing is known about
	// what is on disk. Only a restart reads it again.
	ErrStopped = fmt.Errorf("the journal has stopped after a failed write: %w", event.ErrUnavailable)
	// ErrDamaged: events that were recorded can't be read. An operator must
	// decide; see Options.AcceptLoss.
	ErrDamaged = fmt.Errorf("the journal is damaged: %w", event.ErrUnavailable)
	// ErrClosed: Close was called.
	ErrClosed = fmt.Errorf("the journal is closed: %w", event.ErrUnavailable)
)

// stopped wraps the failure that ends all writing.
func stopped(err error) error {
	if errors.Is(err, ErrStopped) || errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrStopped, err)
}

// isStop reports whether an error ends all writing.
func isStop(err error) bool { return errors.Is(err, ErrStopped) || errors.Is(err, ErrDamaged) }
