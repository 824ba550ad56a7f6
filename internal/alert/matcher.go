package alert

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Matcher is one condition on a label, as Alertmanager's filters have them:
// name="value", name!="value", name=~"regex" and name!~"regex". A label that an
// alert does not have is empty.
type Matcher struct {
	name, value string
	not         bool
	pattern     *regexp.Regexp // nil where the value is compared
}

var matcherForm = regexp.MustCompile(`(?s)^\s*("(?:[^"\\]|\\.)+"|[a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|=|!=|!~)\s*(.*?)\s*$`)

// ParseMatcher reads a matcher. Errors are of class event.ErrInvalid.
func ParseMatcher(text string) (Matcher, error) {
	parts := matcherForm.FindStringSubmatch(text)
	if parts == nil {
		return Matcher{}, event.Invalidf("bad matcher format: %s", cut(text, 256))
	}
	name, err := unquote(parts[1])
	if err != nil {
		return Matcher{}, err
	}
	value, err := unquote(parts[3])
	if err != nil {
		return Matcher{}, err
	}
	m := Matcher{name: name, value: value, not: parts[2][0] == '!'}
	if strings.HasSuffix(parts[2], "~") {
		if m.pattern, err = regexp.Compile("^(?:" + value + ")$"); err != nil {
			return Matcher{}, event.Invalidf("bad matcher format: %s: %w", cut(text, 256), err)
		}
	}
	return m, nil
}

// unquote reads a value with or without quotes. As in Alertmanager, \n, \" and
// \\ are escapes, and any other backslash is one.
func unquote(text string) (string, error) {
	bad := event.Invalidf("bad matcher format: matcher value contains unescaped double quote: %s", cut(text, 256))
	if !utf8.ValidString(text) {
		return "", event.Invalidf("bad matcher format: matcher value is not valid UTF-8")
	}
	rest, quoted := strings.CutPrefix(text, `"`)
	var b strings.Builder
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '\\' && i+1 < len(rest):
			i++
			switch rest[i] {
			case 'n':
				b.WriteByte('\n')
			case '"', '\\':
				b.WriteByte(rest[i])
			default:
				b.WriteString(rest[i-1 : i+1])
			}
		case c == '"':
			if !quoted || i+1 < len(rest) {
				return "", bad
			}
			return b.String(), nil
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", bad
	}
	return b.String(), nil
}

// Matches reports whether labels fulfil the condition.
func (m Matcher) Matches(labels map[string]string) bool {
	value := labels[m.name]
	if m.pattern != nil {
		return m.pattern.MatchString(value) != m.not
	}
	return (value == m.value) != m.not
}
