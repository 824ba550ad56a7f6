package cli

import "github.com/spf13/cobra"

func init() {
	register(func(c *cli) *cobra.Command {
		return c.documents(documents{
			resource: "templates", one: "the words for a type", short: "Change the words in which events are told", lost: "the words for a type; the catalog's are used again", sample: "template.yaml",
			header: []string{"ID", "TYPE", "TITLE", "TEXT"},
			row: func(d document) []string {
				return []string{d.text("id"), d.text("type"), d.text("title"), d.text("text")}
			},
		})
	})
}
