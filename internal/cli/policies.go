package cli

import "github.com/spf13/cobra"

func init() {
	register(func(c *cli) *cobra.Command {
		return c.documents(documents{
			resource: "policies", one: "a policy", short: "Keep conditions that several rules use", lost: "a policy that no rule uses", sample: "policy.yaml",
			header: []string{"ID", "NAME", "EXPRESSION"}, row: func(d document) []string { return []string{d.text("id"), d.text("name"), d.text("expression")} },
		})
	})
}
