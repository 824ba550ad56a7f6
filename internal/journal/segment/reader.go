package segment

import (
	"context"
	"errors"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

// Reader reads one segment. It is safe for concurrent use.
type Reader struct {
	info Info
}

// Open opens a segment and reads what it says about itself; the caller has the
// first reference.
func Open(fsys vfs.FS, path string) (*Reader, error) { return nil, errors.ErrUnsupported }

// Info is what the segment says about itself.
func (r *Reader) Info() Info { return r.info }

// First is the first sequence.
func (r *Reader) First() event.Seq { return r.info.First }

// Last is the last sequence.
func (r *Reader) Last() event.Seq { return r.info.Last }

// Keys gives the sequence and the key of every event, in order, until yield
// returns false.
func (r *Reader) Keys(yield func(event.Seq, Key) bool) error { return errors.ErrUnsupported }

// Verify reads everything: every checksum, and the hash chain from Info.In to
// Info.Out. Its errors are *DamageError.
func (r *Reader) Verify(ctx context.Context) error { return errors.ErrUnsupported }

// Retain adds a reference; it is false when the last one is gone already.
func (r *Reader) Retain() bool { return true }

// Release gives a reference back; the last one closes the file.
func (r *Reader) Release() {}
