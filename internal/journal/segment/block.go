package segment

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// indexEntry is the size of a block's entry in the index.
const indexEntry = 80

// blockEntry says where a block's bodies are, and what it holds. The hash chain
// stands at hash after the block's last event.
type blockEntry struct {
	offset           uint64
	text, ids        uint32 // sizes in the file
	rawText, rawIDs  uint32
	crc, crcColumns  uint32
	minTime, maxTime int64
	hash             Hash
}

func (e *blockEntry) append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, e.offset)
	for _, v := range [...]uint32{e.text, e.ids, e.rawText, e.rawIDs, e.crc, e.crcColumns} {
		dst = le.AppendUint32(dst, v)
	}
	dst = le.AppendUint64(dst, uint64(e.minTime))
	dst = le.AppendUint64(dst, uint64(e.maxTime))
	return append(dst, e.hash[:]...)
}

func parseBlockEntry(in []byte) blockEntry {
	le := binary.LittleEndian
	e := blockEntry{
		offset: le.Uint64(in), text: le.Uint32(in[8:]), ids: le.Uint32(in[12:]),
		rawText: le.Uint32(in[16:]), rawIDs: le.Uint32(in[20:]), crc: le.Uint32(in[24:]), crcColumns: le.Uint32(in[28:]),
		minTime: int64(le.Uint64(in[32:])), maxTime: int64(le.Uint64(in[40:])),
	}
	copy(e.hash[:], in[48:])
	return e
}

// packedBlock is a block's streams. The text begins with three varints for each
// event: recorded (as the difference to the one before), and the lengths of its
// text and of its ids.
type packedBlock struct {
	text, ids []byte
	rows      []packedRow
}

type packedRow struct {
	recorded      int64
	text, textEnd int
	ids, idsEnd   int
}

// parse finds the rows in the streams.
func (b *packedBlock) parse(rows int) error {
	b.rows = b.rows[:0]
	in := b.text
	var recorded int64
	var text, ids uint64
	for range rows {
		delta, n := binary.Varint(in)
		if n <= 0 {
			return errSection
		}
		in = in[n:]
		t, n := binary.Uvarint(in)
		if n <= 0 || t > uint64(len(b.text)) {
			return errSection
		}
		in = in[n:]
		h, n := binary.Uvarint(in)
		if n <= 0 || h > uint64(len(b.ids)) {
			return errSection
		}
		in = in[n:]
		recorded += delta
		b.rows = append(b.rows, packedRow{recorded, int(text), int(text + t), int(ids), int(ids + h)})
		text, ids = text+t, ids+h
	}
	if text != uint64(len(in)) || ids != uint64(len(b.ids)) {
		return errSection
	}
	b.text = in
	return nil
}

// blockWriter compresses blocks.
type blockWriter struct {
	packer
	head []byte
	raw  []byte
}

// append compresses the events that were packed since reset, and appends them.
func (w *blockWriter) append(dst []byte, e *blockEntry) ([]byte, error) {
	enc := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(enc)
	w.raw = append(append(w.raw[:0], w.head...), w.text...)
	if len(w.raw) > maxFrame || len(w.ids) > maxFrame {
		return dst, fmt.Errorf("a block of %d bytes is too large", len(w.raw))
	}
	from := len(dst)
	dst = enc.EncodeAll(w.raw, dst)
	middle := len(dst)
	dst = enc.EncodeAll(w.ids, dst)
	e.offset = uint64(from)
	e.text, e.ids = uint32(middle-from), uint32(len(dst)-middle)
	e.rawText, e.rawIDs = uint32(len(w.raw)), uint32(len(w.ids))
	e.crc = checksum(dst[from:])
	return dst, nil
}

func (w *blockWriter) reset() { w.head, w.text, w.ids = w.head[:0], w.text[:0], w.ids[:0] }
