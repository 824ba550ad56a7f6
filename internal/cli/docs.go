package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/catalog"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/source"
	"github.com/tocsin-events/tocsin/internal/transport"
)

func init() { register(newDocs) }

// newDocs writes the documentation that is made from the code.
func newDocs(c *cli) *cobra.Command {
	var dir, sample string
	cmd := &cobra.Command{
		Use: "docs", Short: "Write the documentation that is made from the code", Hidden: true,
		Example: "  tocsin docs --dir docs", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			for name, text := range map[string]string{
				"catalog.md": catalog.New().Markdown(), "configuration.md": configurationPage(), "sources.md": source.Markdown(),
				"cli.md": c.commandPage(), "transports.md": transport.Markdown(),
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // documentation is for everybody
					return fmt.Errorf("docs: %w", err)
				}
			}
			if sample == "" {
				return nil
			}
			text, err := config.Sample()
			if err != nil {
				return err
			}
			return os.WriteFile(sample, []byte(text), 0o644) //nolint:gosec // documentation is for everybody
		},
	}
	cmd.Flags().StringVar(&sample, "sample", "", "file for the sample configuration")
	cmd.Flags().StringVar(&dir, "dir", "docs", "folder to write to")
	return cmd
}

func configurationPage() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\nGenerated from the code by `make gen`; do not edit. One YAML file, given by `tocsin serve --config`;\n" +
		"every key has a default, an unknown key is an error. Each scalar can also be an environment variable.\n" +
		"Options of sources stand under `sources.<name>`, see [sources](sources.md).\n\n| key | default | variable | meaning |\n|---|---|---|---|\n")
	for _, k := range config.Keys() {
		fmt.Fprintf(&b, "| `%s` | `%s` | `%s` | %s |\n", k.Name, k.Default, k.Variable, k.Doc)
	}
	b.WriteString("\nLists have no variable:\n\n```yaml\n" + config.ListExample + "```\n")
	return b.String()
}

// commandPage is the help of every command.
func (c *cli) commandPage() string {
	var b strings.Builder
	b.WriteString("# Commands\n\nGenerated from the code by `make gen`; do not edit. Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 denied, 5 unavailable.\n")
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if !cmd.Hidden && cmd.Runnable() {
			text := cmd.Long
			if text == "" {
				text = cmd.Short + "."
			}
			fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```\n%s\n```\n", cmd.CommandPath(), text, cmd.Example)
			if flags := cmd.LocalNonPersistentFlags().FlagUsages(); flags != "" {
				fmt.Fprintf(&b, "\n```\n%s```\n", flags)
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(c.root())
	return b.String()
}
