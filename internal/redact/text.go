package redact

import "strings"

// Text masks what looks like a credential inside a text: private key blocks,
// JSON web tokens, Basic and Bearer headers, the user-info of a URL, and the
// values behind secret names ("token=…", "\"password\": \"…\"", "Cookie: …").
// Text without any is returned as it is.
func Text(s string) string {
	var m masker
	m.find(s)
	if len(m.cuts) == 0 {
		return s
	}
	var b strings.Builder
	at := 0
	for _, c := range m.cuts { // in order, and never overlapping: find skips what is decided
		b.WriteString(s[at:c.from])
		b.WriteString(Mask)
		at = c.to
	}
	b.WriteString(s[at:])
	return b.String()
}

type cut struct{ from, to int }

type masker struct {
	cuts []cut
	done int // everything before is decided
}

// find walks the text once; each byte that can begin or betray a credential
// sends it to one check.
func (m *masker) find(s string) {
	for i := 0; i < len(s); i++ {
		if i < m.done {
			continue
		}
		switch s[i] {
		case '-':
			m.privateKey(s, i)
		case 'e':
			m.jwt(s, i)
		case 'B', 'b':
			m.scheme(s, i)
		case '=':
			m.assignment(s, i)
		case ':':
			m.colon(s, i)
		}
	}
}

func (m *masker) mask(from, to int) {
	if to > from {
		m.cuts = append(m.cuts, cut{from, to})
		m.done = to
	}
}

func (m *masker) privateKey(s string, i int) {
	const begin, end = "-----BEGIN ", "-----END "
	if !strings.HasPrefix(s[i:], begin) {
		return
	}
	title, _, _ := strings.Cut(s[i+len(begin):], "-----")
	if len(title) > 64 || !strings.Contains(title, "PRIVATE KEY") {
		return
	}
	to := len(s) // a block that is cut off is masked to the text's end
	if j := strings.Index(s[i:], end); j >= 0 {
		if k := strings.Index(s[i+j+len(end):], "-----"); k >= 0 {
			to = i + j + len(end) + k + len("-----")
		}
	}
	m.mask(i, to)
}

// jwt recognises three base64url parts of which the first begins with {" (RFC
// 7519; "eyJ" is its base64).
func (m *masker) jwt(s string, i int) {
	if !strings.HasPrefix(s[i:], "eyJ") || i > 0 && isTokenByte(s[i-1]) {
		return
	}
	end, dots := i, 0
	for end < len(s) && (isTokenByte(s[end]) || s[end] == '.') {
		if s[end] == '.' {
			dots++
		}
		end++
	}
	if dots >= 1 && end-i > 20 {
		m.mask(i, end)
	}
}

func isTokenByte(c byte) bool {
	return isLower(c) || isUpper(c) || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// scheme recognises the credentials of HTTP authentication (RFC 7235, 2.1).
func (m *masker) scheme(s string, i int) {
	if i > 0 && isTokenByte(s[i-1]) {
		return
	}
	for _, scheme := range [...]string{"basic ", "bearer "} {
		if len(s)-i < len(scheme) || !strings.EqualFold(s[i:i+len(scheme)], scheme) {
			continue
		}
		from := i + len(scheme)
		to := from
		for to < len(s) && (isTokenByte(s[to]) || strings.IndexByte("+/=.~", s[to]) >= 0) {
			to++
		}
		if to-from >= minCredential && !plainWord(s[from:to]) {
			m.mask(from, to)
		}
	}
}

// minCredential is the length from which what follows a scheme's name is taken
// for credentials.
const minCredential = 6

// plainWord tells "basic authentication" from "basic dXNlcjpwYXNz".
func plainWord(s string) bool {
	if len(s) > 16 {
		return false
	}
	for i := range len(s) {
		if !isLower(s[i]) {
			return false
		}
	}
	return true
}

// assignment masks the value in "name=value" where the name is a secret's, as
// in query strings, forms, cookies and command lines.
func (m *masker) assignment(s string, i int) {
	if !Key(nameBefore(s, i)) {
		return
	}
	from := i + 1
	if from < len(s) && (s[from] == '"' || s[from] == '\'') {
		m.quoted(s, from)
		return
	}
	m.mask(from, from+untilAny(s[from:], "&;, \t\r\n\"'<>)]}"))
}

func (m *masker) quoted(s string, open int) {
	end := open + 1
	for end < len(s) && s[end] != s[open] {
		if s[end] == '\\' {
			end++
		}
		end++
	}
	m.mask(open+1, min(end, len(s)))
}

// colon looks at "scheme://user:password@host", at `"name": "value"` and at
// header lines.
func (m *masker) colon(s string, i int) {
	if strings.HasPrefix(s[i:], "://") {
		m.userInfo(s, i+3)
		return
	}
	before := i
	inQuotes := before > 0 && (s[before-1] == '"' || s[before-1] == '\'')
	if inQuotes {
		before--
		if before > 0 && s[before-1] == '\\' {
			before--
		}
	}
	name := nameBefore(s, before)
	if !Key(name) {
		return
	}
	from := i + 1
	for from < len(s) && s[from] == ' ' {
		from++
	}
	switch {
	case from >= len(s):
	case inQuotes && s[from] == '\\' && from+1 < len(s) && s[from+1] == '"': // JSON inside a JSON string
		to := strings.Index(s[from+2:], `\"`)
		if to < 0 {
			to = len(s) - from - 2
		}
		m.mask(from+2, from+2+to)
	case s[from] == '"' || s[from] == '\'':
		m.quoted(s, from)
	case inQuotes:
		m.mask(from, from+untilAny(s[from:], ",}] \r\n"))
	case isHeader(name):
		m.mask(from, from+untilAny(s[from:], "\r\n"))
	}
}

// isHeader reports whether a name is one under which HTTP carries secrets, so
// that "Cookie: a=b" is masked to its line's end while "bad token: x" is not.
func isHeader(name string) bool {
	lower := strings.ToLower(name)
	switch lower {
	case "authorization", "proxy-authorization", "cookie", "set-cookie":
		return true
	}
	return strings.HasPrefix(lower, "x-")
}

// userInfo masks what stands before the @ of a URL's authority (RFC 3986, 3.2.1).
func (m *masker) userInfo(s string, from int) {
	end := from + untilAny(s[from:], "/?# \t\r\n\"'<>")
	if at := strings.LastIndexByte(s[from:end], '@'); at > 0 {
		m.mask(from, from+at)
	}
}

// nameBefore is the name that ends at i: letters, digits, "_", "-" and ".".
func nameBefore(s string, i int) string {
	from := i
	for from > 0 && i-from < 64 && (isTokenByte(s[from-1]) || s[from-1] == '.') {
		from--
	}
	return s[from:i]
}

func untilAny(s, stop string) int {
	if i := strings.IndexAny(s, stop); i >= 0 {
		return i
	}
	return len(s)
}
