package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

func init() {
	register(func(c *cli) *cobra.Command {
		return c.documents(documents{
			resource: "transports", one: "a transport", short: "Configure the ways of telling, and test them", lost: "a transport that no rule uses; what waits for it is given up", sample: "transport.yaml",
			header: []string{"ID", "NAME", "MODE", "SETTINGS"},
			row: func(d document) []string {
				settings, err := json.Marshal(d["settings"])
				if err != nil {
					settings = nil
				}
				return []string{d.text("id"), d.text("name"), d.text("mode"), string(settings)}
			},
			more: []*cobra.Command{c.newTransportTest(), c.newTransportModes()},
		})
	})
}

func (c *cli) newTransportTest() *cobra.Command {
	return &cobra.Command{
		Use: "test ID", Short: "Send a real message, and show the answer", Example: "  tocsin transports test 2", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			var a struct {
				Delivered bool   `json:"delivered"`
				Status    int    `json:"status"`
				LatencyMS int64  `json:"latency_ms"`
				Answer    string `json:"answer"`
				Error     string `json:"error"`
				Temporary bool   `json:"temporary"`
			}
			var raw document
			if err := k.call(cmd.Context(), http.MethodPost, "/v1/transports/"+url.PathEscape(list[0])+"/test", nil, into(&raw, &a)); err != nil {
				return err
			}
			if c.json() {
				err = c.printJSON(raw)
			} else {
				err = c.table([]string{"DELIVERED", "STATUS", "TIME", "ANSWER", "ERROR"}, [][]string{{mark(a.Delivered), strconv.Itoa(a.Status), fmt.Sprintf("%d ms", a.LatencyMS), a.Answer, a.Error}})
			}
			if err == nil && !a.Delivered {
				err = exitCode(1)
			}
			return err
		},
	}
}

func (c *cli) newTransportModes() *cobra.Command {
	return &cobra.Command{
		Use: "modes", Short: "List the ways of telling, with their settings", Example: "  tocsin transports modes -o json", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.listDocuments(cmd, "/v1/transports/modes", documents{header: []string{"MODE", "WHAT"}, row: func(d document) []string {
				return []string{d.text("name"), d.text("doc")}
			}})
		},
	}
}
