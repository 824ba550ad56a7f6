package cli

import (
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/licence"
)

func init() { register(newVersion) }

// What a package sets: its version, and the data folder of its service, where the
// command line finds the socket; see scripts/package.sh.
var (
	stamped     string          //nolint:gochecknoglobals // set by the linker alone
	defaultData = "tocsin-data" //nolint:gochecknoglobals // set by the linker alone
)

func newVersion(c *cli) *cobra.Command {
	var licences bool
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Example: "  tocsin version -o json\n  tocsin version --licences", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if licences {
				return c.printLicences()
			}
			v := map[string]string{"version": Version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			if c.json() {
				return c.printJSON(v)
			}
			_, err := fmt.Fprintf(c.out, "tocsin %s (%s, %s)\n", v["version"], v["go"], v["platform"])
			return err
		},
	}
	cmd.Flags().BoolVar(&licences, "licences", false, "list the work of others in the program, with the texts of its licences")
	return cmd
}

// printLicences prints a table, and then each text once, below the names of those
// that it is for.
func (c *cli) printLicences() error {
	list, err := licence.All()
	if err != nil {
		return err
	}
	if c.json() {
		return c.printJSON(list)
	}
	rows := make([][]string, len(list))
	names := map[string][]string{}
	var texts []string
	for i, l := range list {
		rows[i] = []string{l.Name, l.Version, l.SPDX, l.Kind}
		if names[l.Text] == nil {
			texts = append(texts, l.Text)
		}
		names[l.Text] = append(names[l.Text], l.Name)
	}
	if err := c.table([]string{"NAME", "VERSION", "LICENCE", "KIND"}, rows); err != nil {
		return err
	}
	for _, text := range texts {
		if _, err := fmt.Fprintf(c.out, "\n%s\n%s\n\n", strings.Repeat("=", 78), strings.Join(names[text], "\n")); err != nil {
			return err
		}
		if _, err := io.WriteString(c.out, text); err != nil {
			return err
		}
	}
	return nil
}
