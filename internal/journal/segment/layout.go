package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/tocsin-events/tocsin/internal/event"
)

// A segment file:
//
//	magic, u32 version, u32 0
//	blocks: of each, two zstd frames, the text and the ids (block.go)
//	columns, then sections
//	footer | u32 length of the footer, u32 its CRC32C, magic
//
// Every byte is under a checksum: a block's bodies and its part of every column
// under those in its index entry, a section under the one in the footer. All
// numbers are little endian.
const (
	magic      = "TOCSEG\r\n"
	version    = 1
	headerSize = 16
	tailSize   = 16
	maxFooter  = 1 << 20
)

var (
	errSection = errors.New("a section is malformed")
	errCRC     = errors.New("the checksum does not hold")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // a constant table, which Go can't write as one

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// The columns, in the order of the file.
const (
	colSeq = iota
	colTime
	colExpiry
	colCode
	colSource
	colActor
	colIP
	eventColumns
	colCodeType = iota - 1
	colCodeKind
	colCodeSeverity
	allColumns
)

// The sections.
const (
	secIndex = iota // of blocks
	secKeys
	secCodes // the columns colCodeType to colCodeSeverity
	secTypes
	secKinds
	secSources
	secActors
	secIPs
	secPairs
	secText
	secHours      // rollup: hour and code
	secSeverities // rollup: hour and severity
	sections
)

// section is where a section lies.
type section struct {
	offset, length uint64
	crc            uint32
}

// columnMeta is a column and where it lies; those of codes are inside secCodes.
type columnMeta struct {
	column
	offset uint64
}

// footer is what a Reader keeps in memory.
type footer struct {
	info     Info
	columns  [allColumns]columnMeta
	codes    int
	sections [sections]section
	wild     []byte // a bit for each block of which pairs and text know nothing
}

func (f *footer) blocks() int { return (f.info.Count + blockRows - 1) / blockRows }

func (f *footer) append(dst []byte) []byte {
	i := &f.info
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, version)
	for _, v := range [...]uint64{
		uint64(i.First), uint64(i.Last), uint64(i.Count), uint64(i.Class), uint64(i.Day),
		uint64(i.MinTime), uint64(i.MaxTime), uint64(i.MinExpiry), uint64(i.MaxExpiry), uint64(f.codes),
	} {
		dst = le.AppendUint64(dst, v)
	}
	dst = append(dst, i.In[:]...)
	dst = append(dst, i.Out[:]...)
	for k := range f.columns {
		c := &f.columns[k]
		dst = append(dst, byte(c.width))
		dst = le.AppendUint64(dst, uint64(c.base))
		dst = le.AppendUint64(dst, uint64(c.unit))
		dst = le.AppendUint64(dst, c.offset)
	}
	for _, s := range f.sections {
		dst = le.AppendUint64(dst, s.offset)
		dst = le.AppendUint64(dst, s.length)
		dst = le.AppendUint32(dst, s.crc)
	}
	return append(dst, f.wild...)
}

// fields reads numbers; what is missing at the end reads as 0 and sets short.
type fields struct {
	in    []byte
	short bool
}

func (r *fields) take(n int) []byte {
	if len(r.in) < n {
		r.in, r.short = nil, true
		return make([]byte, n)
	}
	b := r.in[:n]
	r.in = r.in[n:]
	return b
}

func (r *fields) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *fields) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }

// parseFooter reads a footer of a file whose footer begins at end, and checks
// that nothing in it points outside.
func parseFooter(in []byte, end uint64) (*footer, error) {
	r := fields{in: in}
	if v := r.u32(); v != version {
		return nil, event.Invalidf("segment format %d is not known; this program reads format %d", v, version)
	}
	f := new(footer)
	i := &f.info
	i.First, i.Last = event.Seq(r.u64()), event.Seq(r.u64())
	count := r.u64()
	class := r.u64()
	i.Class, i.Day = Class(class), int64(r.u64())
	i.MinTime, i.MaxTime = int64(r.u64()), int64(r.u64())
	i.MinExpiry, i.MaxExpiry = int64(r.u64()), int64(r.u64())
	codes := r.u64()
	copy(i.In[:], r.take(len(i.In)))
	copy(i.Out[:], r.take(len(i.Out)))
	if count == 0 || count > end || codes > count || class >= classes || i.First > i.Last || uint64(i.Last-i.First) < count-1 {
		return nil, errSection
	}
	i.Count, f.codes = int(count), int(codes)
	for k := range f.columns {
		c := &f.columns[k]
		c.width = int(r.take(1)[0])
		c.base, c.unit, c.offset = int64(r.u64()), int64(r.u64()), r.u64()
	}
	for k := range f.sections {
		s := &f.sections[k]
		s.offset, s.length, s.crc = r.u64(), r.u64(), r.u32()
		if s.offset > end || s.length > end-s.offset {
			return nil, errSection
		}
	}
	f.wild = append([]byte(nil), r.in...)
	if r.short || len(f.wild) != (f.blocks()+7)/8 {
		return nil, errSection
	}
	return f, f.checkColumns(end)
}

func (f *footer) checkColumns(end uint64) error {
	for k := range f.columns {
		c := &f.columns[k]
		rows, room := uint64(f.info.Count), end
		if k >= eventColumns {
			rows, room = uint64(f.codes), f.sections[secCodes].length
		}
		switch c.width {
		case 0, 1, 2, 4, 8:
		default:
			return errSection
		}
		if size := rows * uint64(c.width); c.offset > room || size > room-c.offset {
			return errSection
		}
	}
	if f.sections[secKeys].length != uint64(f.info.Count)*uint64(len(Key{})) ||
		f.sections[secIndex].length != uint64(f.blocks())*indexEntry {
		return errSection
	}
	return nil
}
