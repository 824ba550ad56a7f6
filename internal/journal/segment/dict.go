package segment

import (
	"encoding/binary"
	"slices"
	"strings"
)

// dictionary gives the values of a column their codes, from 0 without a gap.
type dictionary interface {
	lookup(value string) (code uint32, ok bool, err error)
	at(code uint32) (string, error)
}

// list is the dictionary of a Table: values in the order in which they came.
type list []string

func (l list) at(code uint32) (string, error) { return l[code], nil }

// lookup goes through all values: the map that the writer has is not for
// readers, and a table is small.
func (l list) lookup(value string) (uint32, bool, error) {
	i := slices.Index(l, value)
	return uint32(max(i, 0)), i >= 0, nil
}

// interner is the writer's side of a list.
type interner struct {
	codes  map[string]uint32
	values list
}

func (n *interner) code(value string) uint32 {
	if c, ok := n.codes[value]; ok {
		return c
	}
	if n.codes == nil {
		n.codes = make(map[string]uint32)
	}
	c := uint32(len(n.values))
	own := strings.Clone(value) // an attribute shares memory with its whole event
	n.codes[own] = c
	n.values = append(n.values, own)
	return c
}

// restart is how many values share one entry of a front-coded dictionary's
// table: the first is written whole, each other as what differs from the one
// before.
const restart = 16

// appendDictionary writes sorted values:
//
//	u32 values | u32 where each run of restart values begins | uvarint shared, uvarint rest, bytes …
func appendDictionary(dst []byte, sorted []string) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(sorted)))
	at := len(dst)
	runs := (len(sorted) + restart - 1) / restart
	dst = append(dst, make([]byte, 4*runs)...)
	start := len(dst)
	for i, v := range sorted {
		shared := 0
		if i%restart == 0 {
			binary.LittleEndian.PutUint32(dst[at+4*(i/restart):], uint32(len(dst)-start))
		} else {
			for before := sorted[i-1]; shared < len(v) && shared < len(before) && v[shared] == before[shared]; {
				shared++
			}
		}
		dst = binary.AppendUvarint(dst, uint64(shared))
		dst = binary.AppendUvarint(dst, uint64(len(v)-shared))
		dst = append(dst, v[shared:]...)
	}
	return dst
}

// frontCoded is a dictionary as it lies in a segment.
type frontCoded struct {
	count  int
	starts []byte
	values []byte
}

func openDictionary(section []byte) (*frontCoded, error) {
	if len(section) < 4 {
		return nil, errSection
	}
	count := uint64(binary.LittleEndian.Uint32(section))
	runs := (count + restart - 1) / restart
	if uint64(len(section)-4) < 4*runs {
		return nil, errSection
	}
	return &frontCoded{count: int(count), starts: section[4:][:4*runs], values: section[4+4*runs:]}, nil
}

// run calls yield with each value of a run until it returns false; the value
// aliases buf.
func (d *frontCoded) run(run int, yield func(i int, value []byte) bool) error {
	start := binary.LittleEndian.Uint32(d.starts[4*run:])
	if uint64(start) > uint64(len(d.values)) {
		return errSection
	}
	in := d.values[start:]
	var buf [256]byte
	value := buf[:0]
	for i := run * restart; i < min((run+1)*restart, d.count); i++ {
		shared, n := binary.Uvarint(in)
		if n <= 0 {
			return errSection
		}
		rest, m := binary.Uvarint(in[n:])
		if m <= 0 || shared > uint64(len(value)) || rest > uint64(len(in)-n-m) {
			return errSection
		}
		in = in[n+m:]
		value = append(value[:shared], in[:rest]...)
		in = in[rest:]
		if !yield(i, value) {
			return nil
		}
	}
	return nil
}

func (d *frontCoded) at(code uint32) (text string, err error) {
	if uint64(code) >= uint64(d.count) {
		return "", errSection
	}
	err = d.run(int(code)/restart, func(i int, value []byte) bool {
		if i == int(code) {
			text = string(value)
		}
		return i < int(code)
	})
	return text, err
}

// first compares with the first value of a run, which is written whole.
func (d *frontCoded) first(run int) []byte {
	start := binary.LittleEndian.Uint32(d.starts[4*run:])
	if uint64(start) >= uint64(len(d.values)) {
		return nil
	}
	in := d.values[start:]
	_, n := binary.Uvarint(in)
	if n <= 0 {
		return nil
	}
	rest, m := binary.Uvarint(in[n:])
	if m <= 0 || rest > uint64(len(in)-n-m) {
		return nil
	}
	return in[n+m:][:rest]
}

func (d *frontCoded) lookup(value string) (code uint32, ok bool, err error) {
	low, high := 0, len(d.starts)/4 // the run before the first that begins after value
	for low < high {
		mid := (low + high) / 2
		if string(d.first(mid)) <= value {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return 0, false, nil
	}
	err = d.run(low-1, func(i int, v []byte) bool {
		if string(v) == value {
			code, ok = uint32(i), true
		}
		return string(v) < value
	})
	return code, ok, err
}
