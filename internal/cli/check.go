package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/app"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/geo"
)

func init() { register(newCheck) }

func newCheck(c *cli) *cobra.Command {
	var file string
	var defaults bool
	cmd := &cobra.Command{
		Use: "check", Short: "Check a configuration without starting anything",
		Long:    "Check everything that the server would: the file's keys and values, the\nenvironment, the options of sources, and the files that it names.",
		Example: "  tocsin check --config /etc/tocsin.yaml\n  tocsin check --defaults",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if defaults {
				return c.printKeys()
			}
			cfg, err := config.Load(file, c.environ)
			if err == nil {
				_, geoErr := geo.Open(geo.Files(cfg.Geo), nil, nil)
				err = errors.Join(geoErr, app.CheckSources(&cfg), app.CheckProviders(&cfg), app.CheckTraces(cfg.Traces), app.CheckTLS(&cfg.TLS), app.CheckForward(&cfg))
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.out, "the configuration is good")
			return err
		},
	}
	cmd.Flags().StringVar(&file, "config", c.env("TOCSIN_CONFIG"), "configuration file")
	cmd.Flags().BoolVar(&defaults, "defaults", false, "list every key with its default")
	return cmd
}

func (c *cli) printKeys() error {
	if c.json() {
		return c.printJSON(config.Keys())
	}
	rows := [][]string{}
	for _, k := range config.Keys() {
		rows = append(rows, []string{k.Name, k.Default, k.Variable, k.Doc})
	}
	return c.table([]string{"KEY", "DEFAULT", "VARIABLE", "MEANING"}, rows)
}
