package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/journal/vfs"
)

// Suffix ends the name of every complete segment; TempSuffix that of one which
// was being written, and may be removed at start.
const (
	Suffix     = ".seg"
	TempSuffix = ".seg.tmp"
)

// Write makes the segment of one part of a table, whose hash chain goes on from
// in, and returns its path. When it returns without an error the segment is
// durable under its name. It may be repeated, and gives the same file again.
func Write(fsys vfs.FS, dir string, t *Table, p Part, in Hash) (string, error) {
	b := builders.Get().(*builder)
	defer builders.Put(b)
	v := t.view.Load()
	if err := b.build(v, p, in); err != nil {
		return "", fmt.Errorf("segment: %w", err)
	}
	date := time.Unix(p.Day*86400, 0).UTC().Format("20060102")
	path := filepath.Join(dir, b.foot.info.First.String()+"-"+p.Class.String()+"-"+date+Suffix)
	temp := path[:len(path)-len(Suffix)] + TempSuffix
	if err := writeFile(fsys, temp, b.out); err != nil {
		return "", fmt.Errorf("segment %s: %w", temp, errors.Join(err, fsys.Remove(temp)))
	}
	if err := fsys.Rename(temp, path); err != nil {
		return "", fmt.Errorf("segment: %w", errors.Join(err, fsys.Remove(temp)))
	}
	if err := fsys.SyncDir(dir); err != nil {
		return "", fmt.Errorf("segment %s: %w", path, err)
	}
	return path, nil
}

func writeFile(fsys vfs.FS, path string, content []byte) error {
	f, err := fsys.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

var builders = sync.Pool{New: func() any { return new(builder) }} //nolint:gochecknoglobals // a cache of buffers without state of its own

// builder makes the bytes of one segment; its buffers are used again.
type builder struct {
	out    []byte
	foot   footer
	rows   []int // of the table
	values [eventColumns][]int64
	codes  [3][]int64
	index  []blockEntry

	chain Hasher
	block blockWriter
	body  attributes
	walk  walker
	pairs pairBuilder
	grams gramBuilder
}

// build is one straight line, in the order of the file: each step needs what
// the one before has left.
func (b *builder) build(v *tableView, p Part, in Hash) error {
	b.rows = b.rows[:0]
	for i := range v.n {
		if v.part(i) == p {
			b.rows = append(b.rows, i)
		}
	}
	if len(b.rows) == 0 {
		return event.NotFoundf("the table holds nothing of class %s, day %d", p.Class, p.Day)
	}
	b.foot = footer{info: Info{
		First: b.seq(v, 0), Last: b.seq(v, len(b.rows)-1), Count: len(b.rows), Part: p, In: in,
	}}
	b.out = append(b.out[:0], magic...)
	b.out = binary.LittleEndian.AppendUint32(b.out, version)
	b.out = append(b.out, 0, 0, 0, 0)

	b.columnValues(v)
	if err := b.blocks(v, in); err != nil {
		return err
	}
	b.columns(v)
	b.sections(v)
	at := len(b.out)
	b.out = b.foot.append(b.out)
	foot := b.out[at:]
	b.out = binary.LittleEndian.AppendUint32(b.out, uint32(len(foot)))
	b.out = binary.LittleEndian.AppendUint32(b.out, checksum(b.out[at:len(b.out)-4]))
	b.out = append(b.out, magic...)
	return nil
}

func (b *builder) seq(v *tableView, i int) event.Seq { return event.Seq(v.seq.value(b.rows[i])) }

// columnValues gathers what the columns will hold; codes are still the table's.
func (b *builder) columnValues(v *tableView) {
	info := &b.foot.info
	first := info.First
	contiguous := uint64(info.Last-first) == uint64(len(b.rows)-1)
	for k := range b.values {
		b.values[k] = b.values[k][:0]
	}
	info.MinTime = v.time.value(b.rows[0])
	info.MaxTime = info.MinTime
	for _, i := range b.rows {
		if !contiguous {
			b.values[colSeq] = append(b.values[colSeq], v.seq.value(i)-int64(first))
		}
		at, expiry := v.time.value(i), v.expiry.value(i)
		info.MinTime, info.MaxTime = min(info.MinTime, at), max(info.MaxTime, at)
		if expiry != 0 {
			if info.MinExpiry == 0 {
				info.MinExpiry, info.MaxExpiry = expiry, expiry
			}
			info.MinExpiry, info.MaxExpiry = min(info.MinExpiry, expiry), max(info.MaxExpiry, expiry)
		}
		b.values[colTime] = append(b.values[colTime], at)
		b.values[colExpiry] = append(b.values[colExpiry], expiry)
		b.values[colCode] = append(b.values[colCode], v.code.value(i))
		b.values[colSource] = append(b.values[colSource], v.source.value(i))
		b.values[colActor] = append(b.values[colActor], v.actor.value(i))
		b.values[colIP] = append(b.values[colIP], v.ip.value(i))
	}
}

// blocks writes the bodies, and collects everything that comes from them.
func (b *builder) blocks(v *tableView, chain Hash) error {
	blocks := b.foot.blocks()
	b.index = slices.Grow(b.index[:0], blocks)[:blocks]
	b.foot.wild = make([]byte, (blocks+7)/8)
	b.pairs.reset()
	b.grams.reset()
	shift := groupShift(blocks, maxGroups)
	for blk := range blocks {
		e := &b.index[blk]
		*e = blockEntry{}
		b.block.reset()
		b.pairs.begin(blk)
		wild := false
		recorded := int64(0)
		from, to := blk*blockRows, min((blk+1)*blockRows, len(b.rows))
		for k, i := range b.rows[from:to] {
			body := v.stored(i)
			chain = b.chain.Next(chain, event.Seq(v.seq.value(i)), v.rows[i].recorded, body)
			wild = !b.walk.walk(body, b.pairs.add, b.grams.add) || wild
			v.attributes(i, &b.body)
			text, ids := len(b.block.text), len(b.block.ids)
			b.block.pack(body, &b.body)
			b.block.head = binary.AppendVarint(b.block.head, v.rows[i].recorded-recorded)
			b.block.head = binary.AppendUvarint(b.block.head, uint64(len(b.block.text)-text))
			b.block.head = binary.AppendUvarint(b.block.head, uint64(len(b.block.ids)-ids))
			recorded = v.rows[i].recorded
			if k == 0 {
				e.minTime, e.maxTime = b.body.time, b.body.time
			}
			e.minTime, e.maxTime = min(e.minTime, b.body.time), max(e.maxTime, b.body.time)
		}
		if wild || b.pairs.full() {
			b.foot.wild[blk/8] |= 1 << (blk % 8)
		}
		if blk == blocks-1 || (blk+1)>>shift != blk>>shift {
			b.grams.end(blk >> shift)
		}
		e.hash = chain
		var err error
		if b.out, err = b.block.append(b.out, e); err != nil {
			return err
		}
	}
	b.foot.info.Out = chain
	return nil
}

// columns writes the columns and their dictionaries.
func (b *builder) columns(v *tableView) {
	types, typeCodes := b.codeDictionary(v.lists[0], &v.codeType)
	kinds, kindCodes := b.codeDictionary(v.lists[1], &v.codeKind)
	b.remapCodes(v, typeCodes, kindCodes)
	b.dictionary(secTypes, types)
	b.dictionary(secKinds, kinds)
	b.valueDictionary(secSources, colSource, v.lists[2])
	b.valueDictionary(secActors, colActor, v.lists[3])
	b.valueDictionary(secIPs, colIP, v.lists[4])

	for k := range eventColumns {
		c := &b.foot.columns[k]
		switch k {
		case colCode, colSource, colActor, colIP:
			c.column = narrowCodes(b.values[k])
		default:
			c.column = narrow(b.values[k])
		}
		c.offset = uint64(len(b.out))
		b.out = c.appendTo(b.out, b.values[k])
	}
	for blk := range b.index {
		b.index[blk].crcColumns = columnsCRC(&b.foot, blk, func(k int) []byte {
			c := &b.foot.columns[k]
			return b.out[c.offset:][:b.foot.info.Count*c.width]
		})
	}
	at := len(b.out)
	for k, values := range b.codes {
		c := &b.foot.columns[colCodeType+k]
		if c.column = narrowCodes(values); k == colCodeSeverity-colCodeType {
			c.column = narrow(values)
		}
		c.offset = uint64(len(b.out) - at)
		b.out = c.appendTo(b.out, values)
	}
	b.section(secCodes, at)
}

// columnsCRC is the checksum of a block's part of all columns.
func columnsCRC(f *footer, block int, data func(column int) []byte) uint32 {
	var crc uint32
	from, to := block*blockRows, min((block+1)*blockRows, f.info.Count)
	for k := range eventColumns {
		if w := f.columns[k].width; w > 0 {
			crc = crc32.Update(crc, castagnoli, data(k)[from*w:to*w])
		}
	}
	return crc
}

func (b *builder) section(id, from int) {
	b.foot.sections[id] = section{uint64(from), uint64(len(b.out) - from), checksum(b.out[from:])}
}

func (b *builder) dictionary(id int, sorted []string) {
	at := len(b.out)
	b.out = appendDictionary(b.out, sorted)
	b.section(id, at)
}

// valueDictionary replaces a column's codes by those of a dictionary of the
// values that the part really has, and writes it.
func (b *builder) valueDictionary(id, col int, all list) {
	used, next := dictionaryOf(all, func(mark func(int64)) {
		for _, c := range b.values[col] {
			mark(c)
		}
	})
	for i, c := range b.values[col] {
		b.values[col][i] = next[c]
	}
	b.dictionary(id, used)
}

// codeDictionary does the same for a column of the codes that the part uses.
func (b *builder) codeDictionary(all list, of *column) ([]string, []int64) {
	return dictionaryOf(all, func(mark func(int64)) {
		for _, c := range b.values[colCode] {
			mark(of.value(int(c)))
		}
	})
}

// dictionaryOf sorts the values that each marks, and gives the new code for
// every old one that is used.
func dictionaryOf(all list, each func(mark func(int64))) ([]string, []int64) {
	const unused = -1
	next := make([]int64, len(all))
	for i := range next {
		next[i] = unused
	}
	var codes []int64
	each(func(c int64) {
		if next[c] == unused {
			next[c] = 0
			codes = append(codes, c)
		}
	})
	slices.SortFunc(codes, func(x, y int64) int { return strings.Compare(all[x], all[y]) })
	sorted := make([]string, len(codes))
	for i, c := range codes {
		sorted[i] = all[c]
		next[c] = int64(i)
	}
	return sorted, next
}

// remapCodes numbers the codes that the part uses anew.
func (b *builder) remapCodes(v *tableView, types, kinds []int64) {
	for k := range b.codes {
		b.codes[k] = b.codes[k][:0]
	}
	next := make([]int64, len(v.codeType.data)/v.codeType.width)
	for i, c := range b.values[colCode] {
		if next[c] == 0 {
			b.codes[0] = append(b.codes[0], types[v.codeType.value(int(c))])
			b.codes[1] = append(b.codes[1], kinds[v.codeKind.value(int(c))])
			b.codes[2] = append(b.codes[2], v.codeSeverity.value(int(c)))
			next[c] = int64(len(b.codes[0]))
		}
		b.values[colCode][i] = next[c] - 1
	}
	b.foot.codes = len(b.codes[0])
}

// sections writes everything behind the columns.
func (b *builder) sections(v *tableView) {
	blocks := b.foot.blocks()
	at := len(b.out)
	for i := range b.index {
		b.out = b.index[i].append(b.out)
	}
	b.section(secIndex, at)

	at = len(b.out)
	for _, i := range b.rows {
		b.out = append(b.out, v.rows[i].key[:]...)
	}
	b.section(secKeys, at)

	at = len(b.out)
	b.out = b.pairs.build(b.out, blocks)
	b.section(secPairs, at)

	at = len(b.out)
	b.out = b.grams.build(b.out, blocks)
	b.section(secText, at)

	first := floorDiv(b.foot.info.MinTime, hour)
	pairs := make([]uint64, len(b.rows))
	for i, t := range b.values[colTime] {
		pairs[i] = uint64(floorDiv(t, hour)-first)<<32 | uint64(b.values[colCode][i])
	}
	at = len(b.out)
	b.out = appendRollup(b.out, first, pairs)
	b.section(secHours, at)
	for i, p := range pairs {
		pairs[i] = p>>32<<32 | uint64(uint32(b.codes[2][uint32(p)]))
	}
	at = len(b.out)
	b.out = appendRollup(b.out, first, pairs)
	b.section(secSeverities, at)
}
