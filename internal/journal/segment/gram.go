package segment

import (
	"encoding/binary"
	"math/bits"
)

// gram is the length of the pieces of text that are indexed, in bytes.
const gram = 3

const (
	gramBits  = 16 // of a trigram's hash
	gramWords = 1 << gramBits / 64
	minSlots  = 9 // log2 of the smallest bitmap
	maxGroups = 64
)

func gramHash(a, b, c byte) uint32 {
	return (uint32(a) | uint32(b)<<8 | uint32(c)<<16) * 0x9E3779B1 >> (32 - gramBits)
}

// gramBuilder collects which trigrams occur in which group of blocks. A group's
// own bitmap fits the first-level cache; it is added to masks at its end.
type gramBuilder struct {
	group [gramWords]uint64
	masks [1 << gramBits]uint64 // of each hash, a bit for each group
}

func (g *gramBuilder) reset() { clear(g.masks[:]) }

func (g *gramBuilder) add(text []byte) {
	x := uint32(text[0])<<8 | uint32(text[1])<<16
	for _, c := range text[2:] {
		x = x>>8 | uint32(c)<<16
		h := x * 0x9E3779B1 >> (32 - gramBits)
		g.group[h>>6] |= 1 << (h & 63)
	}
}

// end closes a group.
func (g *gramBuilder) end(group int) {
	bit := uint64(1) << group
	for i, w := range g.group {
		for ; w != 0; w &= w - 1 {
			g.masks[i<<6|bits.TrailingZeros64(w)] |= bit
		}
	}
	clear(g.group[:])
}

// The trigram section: a bitmap of the hashes that occur anywhere, and for each
// of them, in order, a mask of the groups of 1<<shift blocks where it occurs.
//
//	u8 log2 of slots, u8 shift, u8 bytes of a mask, u8 0, u32 masks
//	slots/64 × u64 bitmap | slots/64 × u16 set bits before that word | masks
const gramHeader = 8

// build appends the section.
func (g *gramBuilder) build(dst []byte, blocks int) []byte {
	distinct := 0
	for _, m := range g.masks {
		if m != 0 {
			distinct++
		}
	}
	slots := min(max(bits.Len(uint(4*distinct)), minSlots), gramBits)
	g.fold(slots)
	shift := groupShift(blocks, maxGroups)
	width := maskWidth(blocks, shift)
	dst = append(dst, byte(slots), byte(shift), byte(width), 0)
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	words := 1 << slots / 64
	var ranks []byte
	set := 0
	for w := range words {
		var word uint64
		for bit := range 64 {
			if g.masks[w<<6|bit] != 0 {
				word |= 1 << bit
			}
		}
		ranks = binary.LittleEndian.AppendUint16(ranks, uint16(set))
		dst = binary.LittleEndian.AppendUint64(dst, word)
		set += bits.OnesCount64(word)
	}
	dst = append(dst, ranks...)
	binary.LittleEndian.PutUint32(dst[at:], uint32(set))
	var mask [8]byte
	for _, m := range g.masks[:1<<slots] {
		if m != 0 {
			binary.LittleEndian.PutUint64(mask[:], m)
			dst = append(dst, mask[:width]...)
		}
	}
	return dst
}

// fold makes the bitmap smaller: a hash keeps its lower bits.
func (g *gramBuilder) fold(slots int) {
	for i := 1 << slots; i < len(g.masks); i++ {
		g.masks[i&(1<<slots-1)] |= g.masks[i]
	}
}

func maskWidth(blocks, shift int) int {
	groups := (blocks + 1<<shift - 1) >> shift
	for width := 1; width < 8; width *= 2 {
		if groups <= 8*width {
			return width
		}
	}
	return 8
}

// findText finds the blocks that can hold a lower-cased text.
func findText(section []byte, blocks int, needle []byte) (blockSet, error) {
	if len(needle) < gram {
		return nil, nil
	}
	if len(section) < gramHeader || section[0] < minSlots || section[0] > gramBits || section[1] > 24 {
		return nil, errSection
	}
	slots, shift, width := uint(section[0]), uint(section[1]), int(section[2])
	words := 1 << slots / 64
	count := int(binary.LittleEndian.Uint32(section[4:]))
	if width != maskWidth(blocks, int(shift)) || count > 1<<slots || len(section) != gramHeader+10*words+width*count {
		return nil, errSection
	}
	bitmap := section[gramHeader:][:8*words]
	ranks := section[gramHeader+8*words:][:2*words]
	masks := section[gramHeader+10*words:]
	groups := ^uint64(0)
	for i := range len(needle) - gram + 1 {
		h := gramHash(needle[i], needle[i+1], needle[i+2]) & (1<<slots - 1)
		word := binary.LittleEndian.Uint64(bitmap[8*(h>>6):])
		if word>>(h&63)&1 == 0 {
			return newBlockSet(blocks), nil
		}
		rank := int(binary.LittleEndian.Uint16(ranks[2*(h>>6):])) + bits.OnesCount64(word&(1<<(h&63)-1))
		if rank >= count {
			return nil, errSection
		}
		var mask [8]byte
		copy(mask[:], masks[rank*width:][:width])
		if groups &= binary.LittleEndian.Uint64(mask[:]); groups == 0 {
			return newBlockSet(blocks), nil
		}
	}
	set := newBlockSet(blocks)
	for ; groups != 0; groups &= groups - 1 {
		set.addGroup(bits.TrailingZeros64(groups), shift, blocks)
	}
	return set, nil
}
