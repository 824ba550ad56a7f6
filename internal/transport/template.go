package transport

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/filter"
)

// A template is text in which {{ and }} enclose CEL expressions over the event
// and the variable notification. Text without {{ is one expression, where a
// value is wanted (a mapping), and plain text elsewhere.

// notification is the variable that holds the message beside the event.
const notification = "notification"

// variables are what an expression of the settings sees besides the event.
func (m *Message) variables() map[string]any {
	people := make([]any, len(m.Recipients))
	for i, r := range m.Recipients {
		people[i] = r.variable()
	}
	return map[string]any{notification: map[string]any{
		"key": m.Key, "rule": m.Rule, "rule_id": m.RuleID, "severity": m.Severity.String(), "title": oneLine(m.Title), "text": clean(m.Text),
		"link": m.Link, "brand": m.brand(), "resolved": m.Resolved, "user": m.person().variable(), "recipients": people,
	}}
}

func (r Recipient) variable() map[string]any {
	return map[string]any{"name": r.Name, "email": r.Email, "username": r.Username}
}

// piece is literal text or an expression.
type piece struct {
	text string
	expr *filter.Expression
}

// pattern is a template: text with expressions in it.
type pattern struct {
	part   string // which setting it is of
	source string
	pieces []piece
}

// isTemplate tells a template from a mapping.
func isTemplate(text string) bool { return strings.Contains(text, "{{") }

// parseTemplate compiles a template.
func parseTemplate(env *filter.Env, part, text string) (*pattern, error) {
	t := &pattern{part: part, source: text}
	if len(text) > filter.MaxSource {
		return nil, event.Invalidf("settings.%s: longer than %d bytes", part, filter.MaxSource)
	}
	for rest := text; rest != ""; {
		before, inside, found := strings.Cut(rest, "{{")
		if before != "" {
			t.pieces = append(t.pieces, piece{text: before})
		}
		if !found {
			break
		}
		expr, after, err := parseExpression(env, inside)
		if err != nil {
			return nil, event.Invalidf("settings.%s: %w", part, err)
		}
		t.pieces = append(t.pieces, piece{expr: expr})
		rest = after
	}
	return t, nil
}

// maxEnds is how many }} are tried as the end of one expression: a map inside a
// map ends so, too.
const maxEnds = 8

func parseExpression(env *filter.Env, text string) (expr *filter.Expression, rest string, err error) {
	var first error
	for at, n := 0, 0; n < maxEnds; n++ {
		i := strings.Index(text[at:], "}}")
		if i < 0 {
			break
		}
		end := at + i
		expr, err := env.CompileExpression(text[:end], notification)
		if err == nil {
			return expr, text[end+2:], nil
		}
		if first == nil {
			first = err
		}
		at = end + 1
	}
	if first == nil {
		first = event.Invalidf("a {{ has no }}")
	}
	return nil, "", first
}

// form is how the values of a template are written, so that none of them can end
// what it stands in.
type form int

const (
	asText form = iota
	asJSON
	asURL
)

// maxBody is how long a body may become, in bytes.
const maxBody = 1 << 20

// render fills the template for a message. Errors are of type *MappingError.
func (t *pattern) render(in *filter.Input, variables map[string]any, f form) (string, error) {
	var b strings.Builder
	inString := false
	for _, p := range t.pieces {
		if p.expr == nil {
			b.WriteString(p.text)
			inString = endsInString(p.text, inString)
			continue
		}
		value, err := p.expr.Eval(in, variables)
		if err == nil {
			var text string
			if text, err = write(value, f, inString); err == nil {
				b.WriteString(text)
			}
		}
		if err == nil && b.Len() > maxBody {
			err = fmt.Errorf("longer than %d bytes", maxBody)
		}
		if err != nil {
			return "", &MappingError{t.part, p.expr.String(), err}
		}
	}
	return b.String(), nil
}

// endsInString follows the quotes of JSON through literal text.
func endsInString(text string, inString bool) bool {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			inString = !inString
		case text[i] == '\\' && inString:
			i++
		}
	}
	return inString
}

func write(value any, f form, inString bool) (string, error) {
	text, isText := value.(string)
	if !isText {
		raw, err := json.Marshal(value)
		if err != nil {
			return "", err
		}
		text = string(raw)
	}
	switch f {
	case asJSON:
		if !isText && !inString {
			return text, nil
		}
		quoted, err := json.Marshal(text)
		if err != nil {
			return "", err
		}
		if inString {
			quoted = quoted[1 : len(quoted)-1]
		}
		return string(quoted), nil
	case asURL:
		if text == "." || text == ".." || text == "" {
			return "", fmt.Errorf("%q can't be a part of a URL", text)
		}
		return strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), nil
	default:
		return text, nil
	}
}

// headers are the header fields of a webhook: templates by name, or one
// expression that gives them all.
type headers struct {
	templates  map[string]string
	expression string
}

// UnmarshalJSON reads an object or a string.
func (h *headers) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, &h.expression)
	}
	return json.Unmarshal(raw, &h.templates)
}

// String is empty: headers have no default.
func (h headers) String() string { return h.expression }

// checkHeader refuses a header field that HTTP would not carry as it is, or that
// is ours to set.
func checkHeader(name, value string) error {
	switch lower := strings.ToLower(name); {
	case !httpguts.ValidHeaderFieldName(name):
		return event.Invalidf("%q is no name of a header", cut(name, 64))
	case !httpguts.ValidHeaderFieldValue(value) || !utf8.ValidString(value):
		return event.Invalidf("header %s: the value has characters that a header can't have", name)
	case lower == "host", lower == "content-length", lower == "transfer-encoding", lower == "connection", lower == "trailer", lower == "te", lower == "upgrade", strings.HasPrefix(lower, "webhook-"):
		return event.Invalidf("header %s can't be set", name)
	}
	return nil
}

// renderFor fills a template that stands alone, as text.
func (t *pattern) renderFor(m *Message) (string, error) {
	return t.render(filter.NewInput(m.Event), m.variables(), asText)
}
