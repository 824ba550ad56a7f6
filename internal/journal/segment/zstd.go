package segment

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// maxFrame is the greatest size of a decompressed stream that is believed.
const maxFrame = 256 << 20

// Coders are pooled: each has tables of its own, and works alone.
var (
	encoders = sync.Pool{New: func() any { //nolint:gochecknoglobals // a cache without state of its own
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false), zstd.WithWindowSize(1<<20))
		if err != nil {
			panic(err) // the options are constants
		}
		return e
	}}
	decoders = sync.Pool{New: func() any { //nolint:gochecknoglobals // a cache without state of its own
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxFrame), zstd.WithDecoderLowmem(true))
		if err != nil {
			panic(err) // the options are constants
		}
		return d
	}}
)

// decompress puts the stream, which must be of the given size, into buf.
func decompress(buf, frame []byte, size int) ([]byte, error) {
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	if cap(buf) < size && size <= 64*len(frame)+chunkSize { // a greater promise must come true first
		buf = make([]byte, 0, size)
	}
	out, err := d.DecodeAll(frame, buf[:0])
	if err != nil {
		return buf, err
	}
	if len(out) != size {
		return out, fmt.Errorf("%d bytes instead of %d: %w", len(out), size, errSection)
	}
	return out, nil
}
