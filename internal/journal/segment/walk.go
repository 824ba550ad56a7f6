package segment

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/zeebo/xxh3"

	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// walker finds what is indexed of an event: the scalar values in data, each
// under its path, and the text of its strings.
type walker struct {
	sc      scan.Scanner
	paths   []uint64 // of the objects and arrays around the token
	lowered []byte
	number  []byte
}

const (
	fnvOffset = 14695981039346656037 // FNV-1a, 64 bits
	fnvPrime  = 1099511628211
)

// rootPath is the path of data itself: unlike the path of a member without a
// name, it has no "." behind it.
const rootPath = 0

// maxPair is the length in bytes of the longest string that is indexed under its
// path. Longer ones are narrowed by their trigrams, which do that well.
const maxPair = 64

// idPath stands for the attribute id; no path of data begins with this byte.
const idPath = "\x00id"

// pathHash is the hash of member names joined by ".".
func pathHash(h uint64, name []byte) uint64 {
	for _, c := range name {
		h = (h ^ uint64(c)) * fnvPrime
	}
	return h
}

func pairHash(path uint64, value []byte) uint64 { return xxh3.HashSeed(value, path) }

// valueHashes are the hashes under which a plan's value may be indexed: as a
// string, and as the number that it reads like.
func valueHashes(path, value string) []uint64 {
	values := [][]byte{[]byte(value)}
	if number, ok := canonical(nil, values[0]); ok && string(number) != value {
		values = append(values, number)
	}
	var hashes []uint64
	for _, v := range values {
		hashes = append(hashes, pairHash(pathHash(fnvOffset, []byte(path)), v))
		if path == "" {
			hashes = append(hashes, pairHash(rootPath, v))
		}
	}
	return hashes
}

// canonical appends a number such that equal float64s have equal texts.
func canonical(dst, number []byte) ([]byte, bool) {
	if isInt(number) {
		return append(dst, number...), true
	}
	f, err := strconv.ParseFloat(string(number), 64)
	if err != nil {
		return dst, false
	}
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.AppendInt(dst, int64(f), 10), true
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64), true
}

// isInt reports a number that is its own canonical text: few enough digits to
// be exact, and no zero in front.
func isInt(number []byte) bool {
	digits := number
	if len(digits) > 1 && digits[0] == '-' {
		digits = digits[1:]
		if digits[0] == '0' {
			return false
		}
	}
	if len(digits) == 0 || len(digits) > 15 || digits[0] == '0' && len(digits) > 1 {
		return false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// dataOf gives the data member of a stored body, which AppendStored writes last;
// nil when there is none. The bytes `,"data":` can't occur before it: attributes
// are scalars, and in a string the quotes would be escaped.
func dataOf(body []byte) []byte {
	i := bytes.Index(body, []byte(dataMark))
	if i < 0 || i+len(dataMark) >= len(body) {
		return nil
	}
	return body[i+len(dataMark) : len(body)-1]
}

// idOf gives the id of a stored body, which comes first; nil when it is not
// written plainly.
func idOf(body []byte) []byte {
	const prefix = `{"specversion":"1.0","id":"`
	if !bytes.HasPrefix(body, []byte(prefix)) {
		return nil
	}
	id := body[len(prefix):]
	end := bytes.IndexByte(id, '"')
	if end < 0 || bytes.IndexByte(id[:end], '\\') >= 0 {
		return nil
	}
	return id[:end]
}

// walk calls pair with the hash of every scalar value at its path, and text with
// every string, lower-cased. False means that the body could not be read, or
// that its id is written with escapes, and that nothing is known about it.
func (w *walker) walk(body []byte, pair func(uint64), text func([]byte)) bool {
	id := idOf(body)
	if id == nil {
		return false
	}
	pair(pairHash(pathHash(fnvOffset, []byte(idPath)), id))
	return w.walkData(dataOf(body), pair, text)
}

// walkData is walk for the data alone, which may be nil.
func (w *walker) walkData(data []byte, pair func(uint64), text func([]byte)) bool {
	if data == nil {
		return true
	}
	w.sc.ResetValid(data)
	w.paths = w.paths[:0]
	path := uint64(rootPath)
	for {
		kind, err := w.sc.Next()
		if err != nil {
			return false
		}
		switch kind {
		case scan.End:
			return true
		case scan.ObjectStart, scan.ArrayStart:
			w.paths = append(w.paths, path)
			continue
		case scan.ObjectEnd, scan.ArrayEnd:
			w.paths = w.paths[:len(w.paths)-1]
		case scan.String:
			value := w.sc.Text()
			if w.sc.IsKey() {
				path = w.enter(value)
				continue
			}
			if len(value) <= maxPair {
				pair(pairHash(path, value))
			}
			if len(value) >= gram {
				text(w.lower(value))
			}
		case scan.Number:
			w.number, _ = canonical(w.number[:0], w.sc.Raw())
			pair(pairHash(path, w.number))
		default:
			pair(pairHash(path, w.sc.Raw()))
		}
		if len(w.paths) > 0 { // the next element of an array has its array's path
			path = w.paths[len(w.paths)-1]
		}
	}
}

// enter gives the path of a member of the innermost object.
func (w *walker) enter(name []byte) uint64 {
	parent := w.paths[len(w.paths)-1]
	if parent == rootPath {
		return pathHash(fnvOffset, name)
	}
	return pathHash((parent^'.')*fnvPrime, name)
}

// lower is text in lower case, for as long as the walker is not used again.
func (w *walker) lower(text []byte) []byte {
	w.lowered = w.lowered[:0]
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return bytes.ToLower(text)
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		w.lowered = append(w.lowered, c)
	}
	return w.lowered
}
