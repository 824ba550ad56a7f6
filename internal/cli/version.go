package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func init() { register(newVersion) }

func newVersion(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Example: "  tocsin version -o json", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": Version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			if c.json() {
				return c.printJSON(v)
			}
			_, err := fmt.Fprintf(c.out, "tocsin %s (%s, %s)\n", v["version"], v["go"], v["platform"])
			return err
		},
	}
}
