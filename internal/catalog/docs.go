package catalog

import (
	"fmt"
	"strings"
)

// Markdown is the documentation page of all built-in types.
func (c *Catalog) Markdown() string {
	var b strings.Builder
	b.WriteString("# Event types\n\nGenerated from the catalog by `make gen`; do not edit.\n")
	kind := ""
	for _, e := range c.All() {
		if string(e.Kind) != kind {
			kind = string(e.Kind)
			fmt.Fprintf(&b, "\n## %s\n", kind)
		}
		e.markdown(&b)
	}
	return b.String()
}

func (e *Entry) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n### `%s`\n\n%s %s\n\n", e.Type, e.Description, e.Fires)
	fmt.Fprintf(b, "Severity `%s`, producer `%s`, since %s", e.Severity, e.Producer, e.Since)
	if e.Transient {
		b.WriteString(", transient")
	}
	if !e.Wired {
		fmt.Fprintf(b, "; not raised yet: waits for %s", e.Waits)
	}
	fmt.Fprintf(b, ". Message: `%s`\n", e.Message)
	if len(e.Fields) == 0 {
		return
	}
	b.WriteString("\n| data | type | | |\n|---|---|---|---|\n")
	for _, f := range e.Fields {
		notes := []string{}
		if f.Required {
			notes = append(notes, "required")
		}
		if f.Secret != nil && *f.Secret {
			notes = append(notes, "secret")
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.Name, strings.ReplaceAll(string(f.Type), "|", " or "), strings.Join(notes, ", "), f.Doc)
	}
}
