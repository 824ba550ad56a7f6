package scan

import (
	"bytes"
	"unicode/utf8"
)

// plain marks the bytes that stand for themselves inside a JSON string.
var plain = func() (table [256]bool) { //nolint:gochecknoglobals // a constant table, which Go can't write as one
	for c := 0x20; c < utf8.RuneSelf; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// Unescape appends the characters of a JSON string token (quotes included) that
// a Scanner has accepted.
func Unescape(dst, token []byte) []byte {
	in := token[1 : len(token)-1]
	for {
		i := bytes.IndexByte(in, '\\')
		if i < 0 {
			return append(dst, in...)
		}
		dst = append(dst, in[:i]...)
		switch c := in[i+1]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(in[i+2:])
			if r >= 0xD800 && r <= 0xDBFF {
				low, _ := hex4(in[i+8:])
				dst = utf8.AppendRune(dst, 0x10000+(r-0xD800)<<10+(low-0xDC00))
				in = in[i+12:]
				continue
			}
			dst = utf8.AppendRune(dst, r)
			in = in[i+6:]
			continue
		default: // the quote, the backslash and the slash
			dst = append(dst, c)
		}
		in = in[i+2:]
	}
}

const hexDigits = "0123456789abcdef"

// AppendString appends text as a JSON string. Bytes that are not valid UTF-8
// become U+FFFD. Nothing else is escaped than JSON demands; what goes into HTML
// is escaped by the template that puts it there.
func AppendString[T ~string | ~[]byte](dst []byte, text T) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(text); {
		c := text[i]
		if plain[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(string(text[i:min(i+utf8.UTFMax, len(text))]))
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			dst = append(append(dst, text[from:i]...), "\uFFFD"...)
			i++
			from = i
			continue
		}
		dst = append(dst, text[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	return append(append(dst, text[from:]...), '"')
}

// Valid reports what keeps b from being exactly one JSON value; nil if nothing.
func Valid(b []byte) error {
	var s Scanner
	s.Reset(b)
	for {
		kind, err := s.Next()
		if err != nil || kind == End {
			return err
		}
	}
}

// ValidText reports whether b can be written as a JSON string without loss.
func ValidText(b []byte) bool { return utf8.Valid(b) }

// Extent measures the object at the start of in, if it is valid JSON: nothing
// but strings and braces is looked at. It is 0 where no object begins or ends.
func Extent(in []byte) int {
	depth := 0
	for i := 0; i < len(in); i++ {
		switch in[i] {
		case '{':
			depth++
		case '}':
			depth--
		case '"':
			end := stringEnd(in[i+1:])
			if end < 0 {
				return 0
			}
			i += 1 + end
		}
		if depth <= 0 {
			if i == 0 {
				return 0
			}
			return i + 1
		}
	}
	return 0
}

// stringEnd finds the quote that ends a string; -1 where none does.
func stringEnd(in []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(in[at:], '"')
		if i < 0 {
			return -1
		}
		at += i
		escapes := 0
		for escapes < at && in[at-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return at
		}
		at++
	}
}
