package source

import (
	"fmt"
	"strings"
)

// Markdown is the documentation page of all sources.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Sources\n\nGenerated from the code by `make gen`; do not edit. Options stand in the configuration under `sources.<name>`.\n")
	for _, d := range definitions {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", d.name, d.doc)
		if d.push {
			fmt.Fprintf(&b, "\nTakes requests: `POST %s%s`; see [incoming.md](incoming.md).\n", hookPath, d.name)
		}
		b.WriteString("\n| option | type | default | meaning |\n|---|---|---|---|\n")
		for _, o := range d.options {
			fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", o.Name, o.Type, o.Default, o.Doc)
		}
	}
	return b.String()
}
