package cli

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/source"
)

func init() { register(newSources) }

func newSources(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "sources [NAME]",
		Short:   "Show what is watched, and how it fares",
		Example: "  tocsin sources\n  tocsin sources disk_full",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			var page struct {
				Items []source.Row `json:"items"`
			}
			if err := k.call(cmd.Context(), http.MethodGet, "/v1/sources", nil, &page); err != nil {
				return err
			}
			if len(list) == 1 {
				return c.printSource(page.Items, list[0])
			}
			if c.json() {
				return c.printJSON(page.Items)
			}
			rows := [][]string{}
			for _, r := range page.Items {
				last := "–"
				if r.LastEvent != nil {
					last = r.LastEvent.Local().Format("2006-01-02 15:04:05")
				}
				rows = append(rows, []string{r.Name, string(r.Status), last, source.Note(r.Status, r.Lacks, r.LastError)})
			}
			return c.table([]string{"SOURCE", "STATUS", "LAST EVENT", "NOTE"}, rows)
		},
	}
}

func (c *cli) printSource(items []source.Row, name string) error {
	for _, r := range items {
		if r.Name != name {
			continue
		}
		if c.json() {
			return c.printJSON(r)
		}
		_, _ = fmt.Fprintf(c.out, "%s is %s. %s\n", r.Name, r.Status, r.Doc)
		if r.Lacks != "" {
			_, _ = fmt.Fprintf(c.out, "It lacks: %s\n", r.Lacks)
		}
		rows := [][]string{}
		for _, o := range r.Options {
			rows = append(rows, []string{o.Name, o.Type, o.Default, o.Doc})
		}
		return c.table([]string{"OPTION", "TYPE", "DEFAULT", "MEANING"}, rows)
	}
	return event.NotFoundf("there is no source %q", name)
}
