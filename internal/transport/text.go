package transport

import (
	"strings"
	"unicode/utf8"

	"github.com/tocsin-events/tocsin/internal/event"
)

// clean makes a stranger's text safe to show: valid UTF-8, line feeds as the only
// control characters, and nothing that turns the direction of what follows.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\r':
			return -1
		case r < 0x20, r >= 0x7F && r <= 0x9F, r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0x2028, r == 0x2029, r == 0xFEFF:
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
}

// oneLine is clean without line feeds.
func oneLine(text string) string { return strings.ReplaceAll(clean(text), "\n", " ") }

const ellipsis = "…"

// fit writes a text so that it has at most most UTF-16 units, which is how chats
// count, once each of its characters has been escaped. What is too long ends
// with an ellipsis, and never in the middle of an escape.
func fit(text string, most int, escape func(rune) string) string {
	if most < 1 {
		return ""
	}
	var b strings.Builder
	used, kept := 0, 0 // kept is the length of what still leaves room for the ellipsis
	for _, r := range text {
		out := escape(r)
		n := units(out)
		if used+n > most {
			return b.String()[:kept] + ellipsis
		}
		b.WriteString(out)
		used += n
		if used < most {
			kept = b.Len()
		}
	}
	return b.String()
}

// units counts the UTF-16 units of a text.
func units(text string) int {
	n := 0
	for _, r := range text {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	return n
}

// plain escapes nothing.
func plain(r rune) string { return string(r) }

// cut shortens a text to a number of bytes, with an ellipsis.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	end := most - len(ellipsis)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:max(end, 0)] + ellipsis
}

// colour is that of a message, as red, green and blue.
func (m *Message) colour() int {
	if m.Resolved {
		return 0x16A34A
	}
	switch m.Severity {
	case event.Critical:
		return 0x991B1B
	case event.Error:
		return 0xDC2626
	case event.Warn:
		return 0xF59E0B
	case event.Notice:
		return 0x0D9488
	default:
		return 0x2563EB
	}
}
