package event

import (
	"net/url"
	"strings"
)

// checkURI refuses what can't be a URI-reference (RFC 3986). Most sources hold
// plain characters only and are accepted without a parse.
func checkURI(name, text string, absolute bool) error {
	if text == "" || isPlainURL(text) {
		return nil
	}
	simple := true
	for _, c := range []byte(text) {
		if c == ' ' || c == '<' || c == '>' || c == '"' || c == '\\' || c == '^' || c == '`' || c == '{' || c == '|' || c == '}' {
			return Invalidf("%s %q is not a URI: it holds %q", name, clip(text), c)
		}
		simple = simple && c != '%' && c != ':' && c != '[' && c < 0x80
	}
	if simple && !absolute {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return Invalidf("%s %q is not a URI", name, clip(text))
	}
	if absolute && !u.IsAbs() {
		return Invalidf("%s %q must be an absolute URI", name, clip(text))
	}
	return nil
}

// isPlainURL reports an absolute URI as nearly all are, which needs no parse:
// http or https, a host of letters, and a path without anything special.
func isPlainURL(text string) bool {
	rest, ok := strings.CutPrefix(text, "http")
	if !ok {
		return false
	}
	rest, ok = strings.CutPrefix(strings.TrimPrefix(rest, "s"), "://")
	if !ok || rest == "" {
		return false
	}
	for _, c := range []byte(rest) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '-' || c > '9') && c != '_' && c != '~' { // '-' to '9' are - . / and digits
			return false
		}
	}
	return true
}
