package segment

import (
	"encoding/binary"

	"github.com/tocsin-events/tocsin/internal/event"
)

// readerView is a segment as one search reads it: its columns and its index of
// blocks at hand, all else on demand.
type readerView struct {
	columns
	r     *Reader
	index []byte
	raws  [eventColumns][]byte
	dicts [5]lazyDictionary
}

// lazyDictionary opens a segment's dictionary on its first use.
type lazyDictionary struct {
	r  *Reader
	id int
	d  *frontCoded
}

func (l *lazyDictionary) open() error {
	if l.d != nil {
		return nil
	}
	section, err := l.r.section(l.id)
	if err == nil {
		l.d, err = openDictionary(section)
	}
	return err
}

func (l *lazyDictionary) lookup(value string) (uint32, bool, error) {
	if err := l.open(); err != nil {
		return 0, false, err
	}
	return l.d.lookup(value)
}

func (l *lazyDictionary) at(code uint32) (string, error) {
	if err := l.open(); err != nil {
		return "", err
	}
	return l.d.at(code)
}

func (r *Reader) open() (view, error) { return r.view() }

func (r *Reader) view() (*readerView, error) {
	f := r.foot
	v := &readerView{r: r, columns: columns{
		n: f.info.Count, first: f.info.First, last: f.info.Last,
		minTime: f.info.MinTime, maxTime: f.info.MaxTime, minExpiry: f.info.MinExpiry,
		class: constant(int64(f.info.Class)), codeCount: f.codes,
	}}
	var err error
	if v.index, err = r.section(secIndex); err != nil {
		return nil, err
	}
	codes, err := r.section(secCodes)
	if err != nil {
		return nil, err
	}
	to := [...]*column{&v.seq, &v.time, &v.expiry, &v.code, &v.source, &v.actor, &v.ip, &v.codeType, &v.codeKind, &v.codeSeverity}
	for k := range f.columns {
		c := f.columns[k].column
		if k < eventColumns {
			if c.data, err = r.store.at(f.columns[k].offset, uint64(c.width*f.info.Count)); err != nil {
				return nil, err
			}
			v.raws[k] = c.data
		} else {
			c.data = codes[f.columns[k].offset:][:c.width*f.codes]
		}
		*to[k] = c
	}
	if v.seq.width > 0 {
		v.seq.base += int64(v.first)
	}
	for i := range v.dicts {
		v.dicts[i] = lazyDictionary{r: r, id: secTypes + i}
	}
	v.types, v.kinds, v.sources, v.actors, v.ips = &v.dicts[0], &v.dicts[1], &v.dicts[2], &v.dicts[3], &v.dicts[4]
	return v, nil
}

func (v *readerView) cols() *columns { return &v.columns }

func (v *readerView) entry(block int) blockEntry { return parseBlockEntry(v.index[block*indexEntry:]) }

func (v *readerView) times(block int) (low, high int64) {
	in := v.index[block*indexEntry:]
	return int64(binary.LittleEndian.Uint64(in[32:])), int64(binary.LittleEndian.Uint64(in[40:]))
}

func (v *readerView) check(block int) error {
	r := v.r
	if r.trust || r.store.mapped != nil && r.blocks[block/64].Load()>>(block%64)&1 != 0 {
		return nil
	}
	e := v.entry(block)
	if columnsCRC(r.foot, block, func(k int) []byte { return v.raws[k] }) != e.crcColumns {
		return errCRC
	}
	r.blocks[block/64].Or(1 << (block % 64))
	return nil
}

// addWild adds the blocks that the indexes know nothing about.
func (v *readerView) addWild(set blockSet) blockSet {
	if set == nil {
		return nil
	}
	for i, b := range v.r.foot.wild {
		set[i/8] |= uint64(b) << (i % 8 * 8)
	}
	return set
}

func (v *readerView) pairs(hashes ...uint64) (blockSet, error) {
	section, err := v.r.section(secPairs)
	if err != nil {
		return nil, err
	}
	set, err := findPairs(section, v.blocks(), hashes)
	return v.addWild(set), err
}

func (v *readerView) text(needle []byte) (blockSet, error) {
	section, err := v.r.section(secText)
	if err != nil {
		return nil, err
	}
	set, err := findText(section, v.blocks(), needle)
	return v.addWild(set), err
}

func (v *readerView) anyBody(int, int, func([]byte) bool) bool { return true }

func (v *readerView) load(block int, b *bodies) error {
	e := v.entry(block)
	frames, err := v.r.store.at(e.offset, uint64(e.text)+uint64(e.ids))
	if err != nil {
		return err
	}
	if !v.r.trust && checksum(frames) != e.crc {
		return errCRC
	}
	if e.rawText > maxFrame || e.rawIDs > maxFrame {
		return errSection
	}
	if b.text, err = decompress(b.text, frames[:e.text], int(e.rawText)); err != nil {
		return err
	}
	if b.ids, err = decompress(b.ids, frames[e.text:], int(e.rawIDs)); err != nil {
		return err
	}
	b.block.text, b.block.ids = b.text, b.ids
	return b.block.parse(min(blockRows, v.n-block*blockRows))
}

func (v *readerView) body(row int, b *bodies) (int64, []byte, error) {
	p := &b.block.rows[row%blockRows]
	err := v.unpack(row, b, b.block.text[p.text:p.textEnd], b.block.ids[p.ids:p.idsEnd])
	return p.recorded, b.buf, err
}

func (v *readerView) data(row int, b *bodies) ([]byte, error) {
	p := &b.block.rows[row%blockRows]
	text, ids, err := dataTail(b.block.text[p.text:p.textEnd], b.block.ids[p.ids:p.idsEnd])
	if err == nil {
		err = v.unpack(row, b, text, ids)
	}
	return b.buf, err
}

func (v *readerView) unpack(row int, b *bodies, text, ids []byte) (err error) {
	known := false
	var a attributes
	b.buf, err = unpack(b.buf[:0], text, ids, func() (*attributes, error) {
		if known {
			return &a, nil
		}
		known = true
		var err error
		a, err = v.attributes(row)
		return &a, err
	})
	return err
}

func (v *readerView) attributes(row int) (a attributes, err error) {
	code := int(v.code.value(row))
	if code < 0 || code >= v.r.foot.codes {
		return a, errSection
	}
	a.severity, a.time, a.expiry = v.severity(code), v.time.value(row), v.expiry.value(row)
	for _, t := range [...]struct {
		to   *string
		dict dictionary
		code int64
	}{
		{&a.typ, v.types, v.codeType.value(code)},
		{&a.kind, v.kinds, v.codeKind.value(code)},
		{&a.source, v.sources, v.source.value(row)},
		{&a.actor, v.actors, v.actor.value(row)},
		{&a.ip, v.ips, v.ip.value(row)},
	} {
		if *t.to, err = t.dict.at(uint32(t.code)); err != nil {
			return a, err
		}
	}
	return a, nil
}

// verifyBlock checks a block, and its part of the hash chain.
func (v *readerView) verifyBlock(block int, chain Hash) (e blockEntry, err error) {
	e = v.entry(block)
	from, to := block*blockRows, min((block+1)*blockRows, v.n)
	first, last := v.seqAt(from), v.seqAt(to-1)
	err = guarded(func() error {
		if err := v.check(block); err != nil {
			return err
		}
		var b bodies
		if err := v.load(block, &b); err != nil {
			return err
		}
		var h Hasher
		before := event.Seq(0)
		for i := from; i < to; i++ {
			recorded, body, err := v.body(i, &b)
			if err != nil {
				return err
			}
			seq := v.seqAt(i)
			if seq <= before {
				return errSection
			}
			chain, before = h.Next(chain, seq, recorded, body), seq
		}
		if chain != e.hash {
			return errChain
		}
		return nil
	})
	return e, v.r.damaged(first, last, err)
}
