package segment

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

// Reader reads one segment. It is safe for concurrent use. It keeps the footer
// in memory, and everything else in the file.
type Reader struct {
	foot    *footer
	store   storage
	refs    atomic.Int64
	checked [sections]atomic.Bool // sections whose checksum held
	blocks  []atomic.Uint64       // a bit for each block whose columns' checksum held
	trust   bool                  // for tests: leave out all checksums
}

// Open opens a segment and reads what it says about itself. The caller has the
// first reference, and gives it back with Release.
func Open(fsys vfs.FS, path string) (*Reader, error) { return open(fsys, path, false) }

func open(fsys vfs.FS, path string, trust bool) (*Reader, error) {
	file, err := fsys.Open(path, false)
	if err != nil {
		return nil, fmt.Errorf("segment: %w", err)
	}
	store, err := openStorage(file)
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", path, errors.Join(err, file.Close()))
	}
	r := &Reader{store: store, trust: trust}
	r.refs.Store(1)
	if err := guarded(r.readFooter); err != nil {
		return nil, fmt.Errorf("segment %s: %w", path, errors.Join(err, store.close()))
	}
	r.foot.info.Path = path
	r.foot.info.Bytes = int64(store.size)
	r.blocks = make([]atomic.Uint64, (r.foot.blocks()+63)/64)
	return r, nil
}

func (r *Reader) readFooter() error {
	if r.store.size < headerSize+tailSize {
		return errSection
	}
	head, err := r.store.at(0, headerSize)
	if err != nil {
		return err
	}
	tail, err := r.store.at(r.store.size-tailSize, tailSize)
	if err != nil {
		return err
	}
	if string(head[:len(magic)]) != magic || string(tail[8:]) != magic || binary.LittleEndian.Uint32(head[12:]) != 0 {
		return event.Invalidf("not a segment, or not a complete one")
	}
	if v := binary.LittleEndian.Uint32(head[8:]); v != version {
		return event.Invalidf("segment format %d is not known; this program reads format %d", v, version)
	}
	length := uint64(binary.LittleEndian.Uint32(tail))
	if length > r.store.size-headerSize-tailSize || length > maxFooter {
		return errSection
	}
	end := r.store.size - tailSize - length
	in, err := r.store.at(end, length)
	if err != nil {
		return err
	}
	if !r.trust && checksum(in) != binary.LittleEndian.Uint32(tail[4:]) {
		return errCRC
	}
	r.foot, err = parseFooter(in, end)
	return err
}

// Info is what the segment says about itself.
func (r *Reader) Info() Info { return r.foot.info }

// First is the first sequence.
func (r *Reader) First() event.Seq { return r.foot.info.First }

// Last is the last sequence.
func (r *Reader) Last() event.Seq { return r.foot.info.Last }

// Retain adds a reference; it is false when the last one is gone already.
func (r *Reader) Retain() bool {
	for {
		n := r.refs.Load()
		if n <= 0 {
			return false
		}
		if r.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives a reference back; the last one closes the file.
func (r *Reader) Release() {
	switch n := r.refs.Add(-1); {
	case n == 0:
		_ = r.store.close() // nothing was written through it
	case n < 0:
		panic("segment: released more often than retained")
	}
}

// section gives a section, once its checksum held.
func (r *Reader) section(id int) ([]byte, error) {
	s := &r.foot.sections[id]
	b, err := r.store.at(s.offset, s.length)
	if err != nil {
		return nil, err
	}
	if r.trust || r.store.mapped != nil && r.checked[id].Load() {
		return b, nil
	}
	if checksum(b) != s.crc {
		return nil, fmt.Errorf("section %d: %w", id, errCRC)
	}
	r.checked[id].Store(true)
	return b, nil
}

// damaged names the events from..to (rows) that an error is about.
func (r *Reader) damaged(first, last event.Seq, err error) error {
	if err == nil {
		return nil
	}
	return &DamageError{Path: r.foot.info.Path, First: first, Last: last, Err: err}
}

func (r *Reader) allDamaged(err error) error {
	return r.damaged(r.foot.info.First, r.foot.info.Last, err)
}

// Keys gives the sequence and the key of every event, in order, until yield
// returns false. The error is a *DamageError.
func (r *Reader) Keys(yield func(event.Seq, Key) bool) error {
	return r.allDamaged(guarded(func() error {
		v, err := r.view()
		if err != nil {
			return err
		}
		keys, err := r.section(secKeys)
		if err != nil {
			return err
		}
		for b := range v.blocks() {
			if err := v.check(b); err != nil {
				return err
			}
			for i := b * blockRows; i < min((b+1)*blockRows, v.n); i++ {
				if !yield(v.seqAt(i), Key(keys[i*len(Key{}):])) {
					return nil
				}
			}
		}
		return nil
	}))
}

// Verify reads everything: every checksum, and the hash chain from Info.In to
// Info.Out. The errors are *DamageError, joined where there are several.
func (r *Reader) Verify(ctx context.Context) error {
	var problems []error
	for id := range sections {
		r.checked[id].Store(false)
		problems = append(problems, r.allDamaged(guarded(func() error {
			_, err := r.section(id)
			return err
		})))
	}
	for i := range r.blocks {
		r.blocks[i].Store(0)
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	var v *readerView
	if err := guarded(func() (err error) { v, err = r.view(); return err }); err != nil {
		return r.allDamaged(err)
	}
	chain := r.foot.info.In
	for b := range v.blocks() {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := v.verifyBlock(b, chain)
		if err != nil {
			problems = append(problems, err)
		}
		chain = e.hash // what follows can still be checked
	}
	if len(problems) == int(sections) && chain != r.foot.info.Out {
		problems = append(problems, r.damaged(r.foot.info.Last, r.foot.info.Last, errChain))
	}
	return errors.Join(problems...)
}

var errChain = errors.New("the hash chain does not hold: something was altered or removed")
