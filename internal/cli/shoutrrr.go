package cli

import (
	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/transport"
)

func init() { register(newShoutrrr) }

// newShoutrrr is the helper process of the transport of that name; the server
// starts it for each message.
func newShoutrrr(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "shoutrrr", Short: "Send one message for the server", Hidden: true, Example: "  tocsin shoutrrr", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return transport.Help(cmd.Context(), c.in, c.out) },
	}
}
