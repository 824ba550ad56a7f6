package web

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// plain makes a text that came from anywhere safe to look at: characters that
// control a terminal or turn the direction of writing are shown by their
// number, so that nothing looks like what it is not. Line breaks and tabs stay.
func plain(text string) string {
	if !strings.ContainsFunc(text, deceives) && utf8.ValidString(text) {
		return text
	}
	var out strings.Builder
	for _, r := range strings.ToValidUTF8(text, "\ufffd") {
		if deceives(r) {
			fmt.Fprintf(&out, "⟨U+%04X⟩", r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

func deceives(r rune) bool {
	switch r {
	case '\n', '\t', '\r':
		return false
	case '\u00ad', '\u200b', '\u2060', '\ufeff', '\u061c', '\u200e', '\u200f': // invisible, or marks of direction
		return true
	}
	return unicode.IsControl(r) || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' || r >= 0xe0000 && r <= 0xe007f
}

// Lengths, in characters, up to which values stand in a page.
const (
	clipValue = 2000
	clipLine  = 300
)

// clipTo cuts a text behind a number of characters, and says so with an ellipsis.
func clipTo(text string, most int) string {
	if len(text) <= most {
		return text
	}
	n := 0
	for i := range text {
		if n == most {
			return text[:i] + "…"
		}
		n++
	}
	return text
}

// line is a text for one line of a list.
func line(text string) string {
	return clipTo(strings.Join(strings.Fields(plain(clipTo(text, 2*clipLine))), " "), clipLine)
}
