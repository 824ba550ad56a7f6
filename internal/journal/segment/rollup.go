package segment

import (
	"encoding/binary"
	"math"
	"slices"
)

const hour = int64(3600 * 1e9)

// floorDiv divides, rounding towards the past.
func floorDiv(v, step int64) int64 {
	q := v / step
	if v%step < 0 {
		q--
	}
	return q
}

// start is the first instant of the n'th step since 1970, or the earliest or the
// latest that there is.
func start(n, step int64) int64 {
	switch {
	case n < math.MinInt64/step:
		return math.MinInt64
	case n > math.MaxInt64/step:
		return math.MaxInt64
	}
	return n * step
}

// appendRollup counts how often each code occurs in each hour. Each of pairs is
// an hour (since the first one) << 32 | code; it is sorted here.
//
//	varint the first hour, then for each: uvarint hours since the one before,
//	uvarint bytes, (uvarint code since the one before, uvarint count) …
func appendRollup(dst []byte, first int64, pairs []uint64) []byte {
	slices.Sort(pairs)
	dst = binary.AppendVarint(dst, first)
	var list []byte
	for i, before := 0, uint64(0); i < len(pairs); {
		h := pairs[i] >> 32
		list = list[:0]
		for last := uint64(0); i < len(pairs) && pairs[i]>>32 == h; {
			same := i + 1
			for same < len(pairs) && pairs[same] == pairs[i] {
				same++
			}
			c := pairs[i] & (1<<32 - 1)
			list = binary.AppendUvarint(list, c-last)
			list = binary.AppendUvarint(list, uint64(same-i))
			last, i = c, same
		}
		dst = binary.AppendUvarint(dst, h-before)
		dst = binary.AppendUvarint(dst, uint64(len(list)))
		dst = append(dst, list...)
		before = h
	}
	return dst
}

// eachHour calls yield with the counts of every hour, in order, until it fails.
func eachHour(in []byte, yield func(hour int64, counts []byte) error) error {
	h, n := binary.Varint(in)
	if n <= 0 {
		return errSection
	}
	for in = in[n:]; len(in) > 0; {
		delta, n := binary.Uvarint(in)
		if n <= 0 {
			return errSection
		}
		size, m := binary.Uvarint(in[n:])
		if m <= 0 || size > uint64(len(in)-n-m) {
			return errSection
		}
		h += int64(delta)
		if err := yield(h, in[n+m:][:size]); err != nil {
			return err
		}
		in = in[n+m+int(size):]
	}
	return nil
}

// eachCount calls yield with what appendRollup counted in an hour, until it
// fails.
func eachCount(counts []byte, yield func(code, count uint64) error) error {
	for c := uint64(0); len(counts) > 0; {
		delta, n := binary.Uvarint(counts)
		if n <= 0 {
			return errSection
		}
		count, m := binary.Uvarint(counts[n:])
		if m <= 0 {
			return errSection
		}
		c += delta
		if err := yield(c, count); err != nil {
			return err
		}
		counts = counts[n+m:]
	}
	return nil
}
