package segment

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// holdsText reports whether a string in the data of a stored body (or, where
// one is false, of several bodies) can hold a lower-cased text, ignoring case. It may
// say yes too often.
func (w *walker) holdsText(body, needle []byte, one bool) bool {
	if !ascii(needle) || containsFold(body, needle) {
		return true
	}
	if bytes.IndexByte(body, '\\') < 0 && !foreignASCII(body) {
		return false
	}
	if !one || len(needle) < gram {
		return true
	}
	found := false
	known := w.walkData(dataOf(body), func(uint64) {}, func(text []byte) { found = found || bytes.Contains(text, needle) })
	return found || !known
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// foreignASCII reports one of the only two characters beyond ASCII whose lower
// case is in ASCII: the Kelvin sign, and the capital I with a dot.
func foreignASCII(b []byte) bool {
	return bytes.Contains(b, []byte("\u212a")) || bytes.Contains(b, []byte("\u0130"))
}

// byFrequency are the bytes of stored events, the most frequent first, roughly.
const byFrequency = `"e0a1235498t67cd:bfo,.sinr-_lp/uhmg `

// containsFold reports whether text holds a lower-cased needle of ASCII,
// ignoring the case of ASCII's letters. It looks for the needle's rarest byte.
func containsFold(text, needle []byte) bool {
	if len(needle) == 0 {
		return true
	}
	rare, rank := 0, -1
	for i, c := range needle {
		at := strings.IndexByte(byFrequency, c)
		if at < 0 {
			at = len(byFrequency)
		}
		if at > rank {
			rare, rank = i, at
		}
	}
	last := len(text) - len(needle) // the last place where it can begin
	if last < 0 {
		return false
	}
	lower := places{text[rare : last+rare+1], needle[rare], -1}
	upper := lower
	if c := needle[rare]; c >= 'a' && c <= 'z' {
		upper.c = c - 'a' + 'A'
	} else {
		upper.at = len(upper.text)
	}
	lower.next()
	if upper.at < 0 {
		upper.next()
	}
	for {
		p := &lower
		if upper.at < lower.at {
			p = &upper
		}
		if p.at >= len(p.text) {
			return false
		}
		if equalFold(text[p.at:][:len(needle)], needle) {
			return true
		}
		p.next()
	}
}

// places goes through the places of a byte in a text; at its end, at is the
// text's length.
type places struct {
	text []byte
	c    byte
	at   int
}

func (p *places) next() {
	from := p.at + 1
	if i := bytes.IndexByte(p.text[from:], p.c); i >= 0 {
		p.at = from + i
	} else {
		p.at = len(p.text)
	}
}

func equalFold(text, lower []byte) bool {
	for i, c := range text {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
