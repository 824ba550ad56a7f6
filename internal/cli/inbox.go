package cli

import (
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func init() { register(newInbox) }

func newInbox(c *cli) *cobra.Command {
	var all bool
	box := documents{header: []string{"ID", "CREATED", "SEVERITY", "EVENT", "TITLE"}, row: func(d document) []string {
		return []string{d.text("id"), d.when("created"), d.text("severity"), d.sequence(), d.text("title")}
	}}
	cmd := &cobra.Command{
		Use: "inbox", Short: "Read what you were told", Example: "  tocsin inbox\n  tocsin inbox seen 7", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/v1/inbox?unseen=true"
			if all {
				path = "/v1/inbox"
			}
			return c.listDocuments(cmd, path, box)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that you have seen")
	cmd.AddCommand(&cobra.Command{
		Use: "seen [ID]", Short: "Say that you have seen one, or all", Example: "  tocsin inbox seen", Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			path := "/v1/inbox/seen"
			if len(list) == 1 {
				path = "/v1/inbox/" + url.PathEscape(list[0]) + "/seen"
			}
			return k.call(cmd.Context(), http.MethodPost, path, map[string]any{"seen": true}, nil)
		},
	})
	return cmd
}
