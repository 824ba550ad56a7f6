package segment

import (
	"encoding/binary"
	"math"
)

// column is one attribute of all events of a source: raw values of a fixed
// width, each of which stands for base + unit*raw. A width of 0 means that all
// events have the value base.
type column struct {
	data  []byte
	width int // bytes: 0, 1, 2, 4 or 8
	base  int64
	unit  int64
}

func (c *column) raw(i int) uint64 {
	switch c.width {
	case 0:
		return 0
	case 1:
		return uint64(c.data[i])
	case 2:
		return uint64(binary.LittleEndian.Uint16(c.data[2*i:]))
	case 4:
		return uint64(binary.LittleEndian.Uint32(c.data[4*i:]))
	default:
		return binary.LittleEndian.Uint64(c.data[8*i:])
	}
}

func (c *column) value(i int) int64 { return c.base + c.unit*int64(c.raw(i)) }

// constant is the column of a source whose events all have one value.
func constant(v int64) column { return column{base: v, unit: 1} }

// narrowCodes chooses the width for a dictionary's codes, which keep base 0.
func narrowCodes(values []int64) column {
	var most int64
	for _, v := range values {
		most = max(most, v)
	}
	return narrow([]int64{0, most})
}

// narrow chooses base, unit and width for values. Times are mostly whole
// milliseconds or seconds, so the unit may be one of those where all agree.
func narrow(values []int64) column {
	if len(values) == 0 {
		return constant(0)
	}
	low, high := values[0], values[0]
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	c := column{base: low, unit: 1}
	spread := uint64(high) - uint64(low) // right also where the signed difference overflows
	for _, unit := range [...]uint64{1e9, 1e6, 1e3} {
		if spread > math.MaxUint32 && divides(unit, low, values) {
			c.unit = int64(unit)
			spread /= unit
			break
		}
	}
	switch {
	case spread == 0:
		c.width = 0
	case spread <= math.MaxUint8:
		c.width = 1
	case spread <= math.MaxUint16:
		c.width = 2
	case spread <= math.MaxUint32:
		c.width = 4
	default:
		c.width = 8
	}
	return c
}

func divides(unit uint64, low int64, values []int64) bool {
	for _, v := range values {
		if (uint64(v)-uint64(low))%unit != 0 {
			return false
		}
	}
	return true
}

// appendTo appends the raw values of the column that narrow has chosen.
func (c *column) appendTo(dst []byte, values []int64) []byte {
	base, unit := uint64(c.base), uint64(c.unit)
	for _, v := range values {
		raw := uint64(v) - base
		if unit != 1 {
			raw /= unit
		}
		switch c.width {
		case 0:
			return dst
		case 1:
			dst = append(dst, byte(raw))
		case 2:
			dst = binary.LittleEndian.AppendUint16(dst, uint16(raw))
		case 4:
			dst = binary.LittleEndian.AppendUint32(dst, uint32(raw))
		default:
			dst = binary.LittleEndian.AppendUint64(dst, raw)
		}
	}
	return dst
}

// member gives, for rows from..to (64 at most), a bit where the value's code is
// marked in table.
func (c *column) member(table []bool, from, to int) (bits uint64) {
	switch c.width {
	case 0:
		if uint64(c.base) < uint64(len(table)) && table[c.base] {
			return span(to - from)
		}
	case 1:
		for i, v := range c.data[from:to] {
			if int(v) < len(table) && table[v] {
				bits |= 1 << (i & 63)
			}
		}
	case 2:
		data := c.data[2*from : 2*to]
		for i := 0; i+1 < len(data); i += 2 {
			if v := int(data[i]) | int(data[i+1])<<8; v < len(table) && table[v] {
				bits |= 1 << (i / 2 & 63)
			}
		}
	default:
		for i := from; i < to; i++ {
			if v := c.raw(i); v < uint64(len(table)) && table[v] {
				bits |= 1 << ((i - from) & 63)
			}
		}
	}
	return bits
}

// equal is member for one code.
func (c *column) equal(code uint64, from, to int) (bits uint64) {
	switch c.width {
	case 0:
		if uint64(c.base) == code {
			return span(to - from)
		}
	case 1:
		for i, v := range c.data[from:to] {
			if uint64(v) == code {
				bits |= 1 << (i & 63)
			}
		}
	case 2:
		return equal16(c.data[2*from:2*to], uint16(code))
	default:
		for i := from; i < to; i++ {
			if c.raw(i)+uint64(c.base) == code {
				bits |= 1 << ((i - from) & 63)
			}
		}
	}
	return bits
}

// equal16 compares four codes at a time: most are not the one.
func equal16(data []byte, code uint16) (bits uint64) {
	const ones, tops = 0x0001_0001_0001_0001, 0x8000_8000_8000_8000
	i := 0
	for ; i+8 <= len(data); i += 8 {
		x := binary.LittleEndian.Uint64(data[i:]) ^ uint64(code)*ones
		if (x-ones)&^x&tops == 0 { // no 16 bits of x are 0
			continue
		}
		for k := range 4 {
			if uint16(x>>(16*k)) == 0 {
				bits |= 1 << ((i/2 + k) & 63)
			}
		}
	}
	for ; i+2 <= len(data); i += 2 {
		if binary.LittleEndian.Uint16(data[i:]) == code {
			bits |= 1 << (i / 2 & 63)
		}
	}
	return bits
}

// within gives a bit for each of the rows from..to whose value lies between low
// and high, both included.
func (c *column) within(low, high int64, from, to int) (bits uint64) {
	for i := from; i < to; i++ {
		if v := c.value(i); v >= low && v <= high {
			bits |= 1 << ((i - from) & 63)
		}
	}
	return bits
}

// span is a mask of the n lowest bits.
func span(n int) uint64 {
	if n >= 64 {
		return math.MaxUint64
	}
	return 1<<n - 1
}
