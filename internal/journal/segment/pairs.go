package segment

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// blockSet is a set of blocks, one bit each; nil is the set of all blocks.
type blockSet []uint64

func newBlockSet(blocks int) blockSet { return make(blockSet, (blocks+63)/64) }

func (s blockSet) has(block int) bool { return s == nil || s[block>>6]>>(block&63)&1 != 0 }

func (s blockSet) set(block int) { s[block>>6] |= 1 << (block & 63) }

// addGroup adds the blocks of a group of 1<<shift blocks.
func (s blockSet) addGroup(group int, shift uint, blocks int) {
	for b := group << shift; b < min((group+1)<<shift, blocks); b++ {
		s.set(b)
	}
}

func (s blockSet) empty() bool {
	if s == nil {
		return false
	}
	for _, w := range s {
		if w != 0 {
			return false
		}
	}
	return true
}

// pairsPerBlock is how many different values a block may have before they are
// given up and the block is always looked into.
const pairsPerBlock = 1 << 15

// pairBuilder collects which values at which paths occur in which block.
type pairBuilder struct {
	entries []uint64 // hash<<32 | block
	sorted  []uint64
	seen    []uint64 // open addressing: generation<<32 | hash
	gen     uint64
	count   int // in the block
	block   uint64
	common  []uint32
	keep    []uint64
}

func (p *pairBuilder) reset() {
	p.entries, p.common, p.keep = p.entries[:0], p.common[:0], p.keep[:0]
	if p.seen == nil {
		p.seen = make([]uint64, 1<<11)
	}
}

func (p *pairBuilder) begin(block int) {
	p.block, p.count = uint64(block), 0
	p.gen++
	if p.gen>>32 != 0 {
		clear(p.seen)
		p.gen = 1
	}
}

// full reports that the block has too many values.
func (p *pairBuilder) full() bool { return p.count >= pairsPerBlock }

func (p *pairBuilder) add(hash uint64) {
	if p.full() {
		return
	}
	want := p.gen<<32 | hash>>32
	for i := hash >> 32; ; i++ {
		slot := &p.seen[i&uint64(len(p.seen)-1)]
		if *slot == want {
			return
		}
		if *slot>>32 != p.gen {
			*slot = want
			break
		}
	}
	p.count++
	p.entries = append(p.entries, hash>>32<<32|p.block)
	if 2*p.count > len(p.seen) {
		p.grow()
	}
}

func (p *pairBuilder) grow() {
	p.seen = make([]uint64, 2*len(p.seen))
	for _, e := range p.entries[len(p.entries)-p.count:] {
		for i := e >> 32; ; i++ {
			if slot := &p.seen[i&uint64(len(p.seen)-1)]; *slot == 0 {
				*slot = p.gen<<32 | e>>32
				break
			}
		}
	}
}

// The pairs section. A value that a quarter of the blocks hold is in the list of
// common ones, since there is nothing to narrow. Of all others each block that
// holds it has an entry of one byte of the hash and one byte for the block (or a
// group of 1<<shift of them), in buckets by the hash's upper bits.
//
//	u8 bits, u8 shift, u16 0, u32 commons, u32 entries
//	commons × u32 hash, sorted | 1<<bits + 1 × u32 where a bucket begins | entries × u16 hash<<8 | block
const pairHeader = 12

// build appends the section.
func (p *pairBuilder) build(dst []byte, blocks int) []byte {
	p.sort()
	common := max(16, blocks/4)
	for i := 0; i < len(p.sorted); {
		end := i + 1
		for end < len(p.sorted) && p.sorted[end]>>32 == p.sorted[i]>>32 {
			end++
		}
		if end-i >= common {
			p.common = append(p.common, uint32(p.sorted[i]>>32))
		} else {
			p.keep = append(p.keep, p.sorted[i:end]...)
		}
		i = end
	}
	width := bucketBits(len(p.keep))
	shift := groupShift(blocks, 256)
	dst = append(dst, byte(width), byte(shift), 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p.common)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p.keep)))
	for _, h := range p.common {
		dst = binary.LittleEndian.AppendUint32(dst, h)
	}
	at := 0
	for bucket := range 1<<width + 1 {
		for at < len(p.keep) && p.keep[at]>>(64-width) < uint64(bucket) {
			at++
		}
		dst = binary.LittleEndian.AppendUint32(dst, uint32(at))
	}
	for _, e := range p.keep {
		dst = append(dst, byte(uint32(e)>>shift), byte(e>>32))
	}
	return dst
}

// sort orders the entries by hash and block: into buckets first, since the
// hashes are spread evenly.
func (p *pairBuilder) sort() {
	width := bucketBits(len(p.entries))
	starts := make([]uint32, 1<<width+1)
	for _, e := range p.entries {
		starts[e>>(64-width)+1]++
	}
	for i := 1; i < len(starts); i++ {
		starts[i] += starts[i-1]
	}
	p.sorted = slices.Grow(p.sorted[:0], len(p.entries))[:len(p.entries)]
	next := slices.Clone(starts)
	for _, e := range p.entries {
		b := e >> (64 - width)
		p.sorted[next[b]] = e
		next[b]++
	}
	for i := range len(starts) - 1 {
		slices.Sort(p.sorted[starts[i]:starts[i+1]])
	}
	p.sorted = slices.Compact(p.sorted)
}

// bucketBits makes buckets of 8 to 16 entries; at least 1, so that shifts by
// 64-bits stay below 64, and at most 24, to leave a byte of the hash.
func bucketBits(entries int) int { return min(max(bits.Len(uint(entries))-4, 1), 24) }

// groupShift is how many blocks share a number so that limit numbers suffice.
func groupShift(blocks, limit int) int {
	shift := 0
	for (blocks+1<<shift-1)>>shift > limit {
		shift++
	}
	return shift
}

// findPairs finds the blocks that can hold one of the values.
func findPairs(section []byte, blocks int, hashes []uint64) (blockSet, error) {
	if len(section) < pairHeader || section[0] < 1 || section[0] > 24 || section[1] > 24 {
		return nil, errSection
	}
	width, shift := uint(section[0]), uint(section[1])
	commons := uint64(binary.LittleEndian.Uint32(section[4:]))
	entries := uint64(binary.LittleEndian.Uint32(section[8:]))
	buckets := uint64(1)<<width + 1
	if uint64(len(section)) != pairHeader+4*commons+4*buckets+2*entries {
		return nil, errSection
	}
	common := section[pairHeader:][:4*commons]
	starts := section[pairHeader+4*commons:][:4*buckets]
	list := section[pairHeader+4*commons+4*buckets:]
	set := newBlockSet(blocks)
	for _, h := range hashes {
		h >>= 32
		if hasHash(common, uint32(h)) {
			return nil, nil
		}
		bucket := h >> (32 - width)
		from := binary.LittleEndian.Uint32(starts[4*bucket:])
		to := binary.LittleEndian.Uint32(starts[4*bucket+4:])
		if from > to || uint64(to) > entries {
			return nil, errSection
		}
		for e := from; e < to; e++ {
			if list[2*e+1] == byte(h) {
				set.addGroup(int(list[2*e]), shift, blocks)
			}
		}
	}
	return set, nil
}

func hasHash(sorted []byte, h uint32) bool {
	low, high := 0, len(sorted)/4
	for low < high {
		mid := (low + high) / 2
		if binary.LittleEndian.Uint32(sorted[4*mid:]) < h {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return 4*low < len(sorted) && binary.LittleEndian.Uint32(sorted[4*low:]) == h
}
