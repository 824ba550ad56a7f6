package cli

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/agent"
	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/source"
	"github.com/tocsin-events/tocsin/internal/web"
)

func init() { register(newAgents) }

func newAgents(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "agents [NAME]",
		Short:   "Show the hosts that report here",
		Long:    "Show the other hosts on which Tocsin runs and reports here, and, where this one\nis such a host itself, how far it has reported.",
		Example: "  tocsin agents\n  tocsin agents web-17\n  tocsin agents forget web-17",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			if len(list) == 1 {
				row, err := findAgent(cmd, k, list[0])
				if err != nil {
					return err
				}
				return c.printAgent(&row)
			}
			return c.listAgents(cmd, k)
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use: "forget NAME", Short: "Forget a host", Long: "Forget a host that reports here. Its events stay. A host that still runs joins\nanew with its next report, also with another token.",
		Example: "  tocsin agents forget web-17", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			row, err := findAgent(cmd, k, list[0])
			if err != nil {
				return err
			}
			return k.call(cmd.Context(), http.MethodDelete, "/v1/agents/"+url.PathEscape(row.ID), nil, nil)
		},
	})
	return cmd
}

// agentList is what the server answers.
type agentList struct {
	Items   []agent.Row     `json:"items"`
	Forward *web.Forwarding `json:"forward"`
}

// findAgent finds a host by its name or id.
func findAgent(cmd *cobra.Command, k *client, name string) (agent.Row, error) {
	var page agentList
	if err := k.call(cmd.Context(), http.MethodGet, "/v1/agents", nil, &page); err != nil {
		return agent.Row{}, err
	}
	var found []agent.Row
	for _, row := range page.Items {
		if row.ID == name {
			return row, nil
		}
		if row.Name == name {
			found = append(found, row)
		}
	}
	switch len(found) {
	case 0:
		return agent.Row{}, event.NotFoundf("no host %q reports here; tocsin agents lists them", name)
	case 1:
		return found[0], nil
	}
	return agent.Row{}, event.Invalidf("%d hosts are called %q: name one by its id (tocsin agents -o json)", len(found), name)
}

func (c *cli) listAgents(cmd *cobra.Command, k *client) error {
	var page agentList
	if err := k.call(cmd.Context(), http.MethodGet, "/v1/agents", nil, &page); err != nil {
		return err
	}
	if c.json() {
		return c.printJSON(page)
	}
	rows := [][]string{}
	for _, a := range page.Items {
		rows = append(rows, []string{a.Name, stateOf(&a), a.LastSeen.Local().Format("2006-01-02 15:04:05"), strconv.FormatUint(a.Lag, 10), a.Version, strconv.Itoa(len(a.Sources))})
	}
	if f := page.Forward; f != nil {
		state := "forwards to " + f.URL
		if f.Problem != "" {
			state += ", but waits: " + f.Problem
		}
		rows = append(rows, []string{"(this host)", state, "", strconv.FormatUint(f.Lag, 10), "", ""})
	}
	return c.table([]string{"HOST", "STATE", "LAST SEEN", "NOT SENT", "VERSION", "SOURCES"}, rows)
}

func stateOf(a *agent.Row) string {
	if a.Silent {
		return "silent"
	}
	return "reports"
}

func (c *cli) printAgent(a *agent.Row) error {
	if c.json() {
		return c.printJSON(a)
	}
	rows := [][]string{
		{"host", a.Name},
		{"id", a.ID},
		{"state", stateOf(a)},
		{"last seen", a.LastSeen.Local().Format("2006-01-02 15:04:05")},
		{"version", a.Version},
		{"address", a.Address},
		{"token", a.Token},
		{"not sent yet", strconv.FormatUint(a.Lag, 10)},
		{"refused", strconv.FormatUint(a.Refused, 10)},
	}
	for _, s := range a.Sources {
		note := source.Note(source.Status(s.Status), s.Lacks, s.LastError)
		rows = append(rows, []string{"source " + s.Name, s.Status + " " + note})
	}
	return c.table([]string{"WHAT", "VALUE"}, rows)
}
