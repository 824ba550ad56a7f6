package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/catalog"
)

func init() { register(newCatalog) }

// catalogRow is one type as the server tells it.
type catalogRow struct {
	catalog.Entry
	Severity string `json:"severity"`
	Schema   any    `json:"schema"`
	Last24h  int64  `json:"last_24h"`
}

func newCatalog(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "catalog [TYPE]",
		Short:   "Show the types of events",
		Long:    "Show every type of event, or one with its fields.",
		Example: "  tocsin catalog\n  tocsin catalog backup_failed",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			if len(list) == 1 {
				var row catalogRow
				if err := k.call(cmd.Context(), http.MethodGet, "/v1/catalog/"+url.PathEscape(list[0]), nil, &row); err != nil {
					return err
				}
				return c.printType(&row)
			}
			var page struct {
				Items []catalogRow `json:"items"`
			}
			if err := k.call(cmd.Context(), http.MethodGet, "/v1/catalog", nil, &page); err != nil {
				return err
			}
			return c.printTypes(page.Items)
		},
	}
}

func (c *cli) printTypes(items []catalogRow) error {
	if c.json() {
		return c.printJSON(items)
	}
	rows := [][]string{}
	for _, r := range items {
		wired := "yes"
		if !r.Wired {
			wired = "waits"
		}
		rows = append(rows, []string{string(r.Type), string(r.Kind), r.Severity, r.Producer, wired, strconv.FormatInt(r.Last24h, 10), r.Description})
	}
	return c.table([]string{"TYPE", "KIND", "SEVERITY", "PRODUCER", "WIRED", "24H", "DESCRIPTION"}, rows)
}

func (c *cli) printType(r *catalogRow) error {
	if c.json() {
		return c.printJSON(r)
	}
	_, _ = fmt.Fprintf(c.out, "%s  (%s, %s, by %s)\n%s %s\n", r.Type, r.Kind, r.Severity, r.Producer, r.Description, r.Fires)
	if !r.Wired {
		_, _ = fmt.Fprintf(c.out, "Not raised by this version: waits for %s.\n", r.Waits)
	}
	_, _ = fmt.Fprintf(c.out, "Message: %s\n%d in the last 24 hours\n\n", r.Message, r.Last24h)
	rows := [][]string{}
	for _, f := range r.Fields {
		required := ""
		if f.Required {
			required = "required"
		}
		rows = append(rows, []string{f.Name, string(f.Type), required, f.Doc})
	}
	return c.table([]string{"DATA", "TYPE", "", "MEANING"}, rows)
}
