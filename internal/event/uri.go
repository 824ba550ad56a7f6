package event

import "net/url"

// checkURI refuses what can't be a URI-reference (RFC 3986). Most sources hold
// plain characters only and are accepted without a parse.
func checkURI(name, text string, absolute bool) error {
	if text == "" {
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
