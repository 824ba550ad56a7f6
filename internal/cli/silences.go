package cli

import "github.com/spf13/cobra"

func init() {
	register(func(c *cli) *cobra.Command {
		return c.documents(documents{
			resource: "silences", one: "a silence", short: "Keep what is expected from being told, for a time", lost: "a silence; what it covers is told again", sample: "silence.yaml",
			header: []string{"ID", "STATE", "EXPIRES", "FILTER", "COMMENT"},
			row: func(d document) []string {
				return []string{d.text("id"), d.text("state"), d.when("expires_at"), d.text("filter"), d.text("comment")}
			},
		})
	})
}
