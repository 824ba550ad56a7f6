package catalog

import (
	"strings"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/event/scan"
)

// maxValue is how much of one value a rendered message shows, in bytes.
const maxValue = 512

// Render fills a message template. A placeholder is an attribute's name, or
// "data." and the path of a member, in braces: "{data.path} is full". Behind a
// bar stands what is shown where it is absent: "{data.unit|a unit}"; without a
// bar that is a dash. Templates have no conditions and no loops, so that one
// from a user can do no harm.
func Render(template string, e *event.Event) string {
	var b strings.Builder
	for {
		open := strings.IndexByte(template, '{')
		if open < 0 {
			break
		}
		end := strings.IndexByte(template[open:], '}')
		if end < 0 {
			break
		}
		b.WriteString(template[:open])
		name, otherwise, hasOther := strings.Cut(template[open+1:open+end], "|")
		value := Lookup(e, name)
		if value == "" {
			value = otherwise
			if !hasOther {
				value = "–"
			}
		}
		b.WriteString(oneLine(value))
		template = template[open+end+1:]
	}
	b.WriteString(template)
	return strings.TrimSpace(b.String())
}

// Message is the one-line text of an event, from its type's template.
func (c *Catalog) Message(e *event.Event) string {
	if found, ok := c.Get(e.Type); ok {
		return Render(found.Message, e)
	}
	if m := Lookup(e, "data.message"); m != "" {
		return oneLine(m)
	}
	return strings.TrimSuffix(Render("{type}: {subject|}", e), ":")
}

// Lookup is the text of an attribute, or of a member of data: "data." and its
// path. Empty where it is absent.
func Lookup(e *event.Event, name string) string {
	if path, ok := strings.CutPrefix(name, "data."); ok {
		return dataText(e.Data, strings.Split(path, "."))
	}
	return e.Text(name)
}

// dataText is the text of the member of data at a path; empty where absent.
func dataText(data []byte, path []string) string {
	raw := member(data, path)
	if raw == nil || string(raw) == "null" {
		return ""
	}
	if raw[0] == '"' {
		return string(scan.Unescape(nil, raw))
	}
	return string(raw)
}

func member(data []byte, path []string) []byte {
	for _, name := range path {
		var sc scan.Scanner
		sc.Reset(data)
		if kind, err := sc.Next(); err != nil || kind != scan.ObjectStart {
			return nil
		}
		var found []byte
		for found == nil {
			kind, err := sc.Next()
			if err != nil || kind != scan.String || !sc.IsKey() {
				return nil
			}
			match := string(sc.Text()) == name
			raw, err := sc.Skip()
			if err != nil {
				return nil
			}
			if match {
				found = raw
			}
		}
		data = found
	}
	return data
}

// oneLine makes a stranger's text safe for one line: control characters and
// direction overrides become spaces, and it is cut where it gets too long.
func oneLine(text string) string {
	if len(text) > maxValue {
		text = strings.ToValidUTF8(text[:maxValue], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r < 0x20, r >= 0x7F && r <= 0x9F, r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0x2028, r == 0x2029:
			return ' '
		}
		return r
	}, text)
}
