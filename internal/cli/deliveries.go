package cli

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func init() { register(newDeliveries) }

func newDeliveries(c *cli) *cobra.Command {
	var rule, transport, state, sequence string
	query := func() string {
		q := url.Values{}
		for name, value := range map[string]string{"rule": rule, "transport": transport, "state": state, "sequence": sequence} {
			if value != "" {
				q.Set(name, value)
			}
		}
		return "/v1/deliveries?" + q.Encode()
	}
	ledger := documents{header: []string{"ID", "CREATED", "STATE", "RULE", "TRANSPORT", "EVENT", "ATTEMPTS", "REASON"}, row: func(d document) []string {
		return []string{d.text("id"), d.when("created"), d.text("state"), d.text("rule"), d.text("transport"), d.sequence(), d.text("attempts"), d.text("reason")}
	}}
	list := func(cmd *cobra.Command, _ []string) error { return c.listDocuments(cmd, query(), ledger) }
	cmd := &cobra.Command{
		Use: "deliveries", Short: "See what was told and what came of it; send it again", Example: "  tocsin deliveries --state dead\n  tocsin deliveries replay --transport 2 --state dead",
		Args: args(cobra.NoArgs), RunE: list,
	}
	act := func(use, short, path string) *cobra.Command {
		return &cobra.Command{
			Use: use + " ID", Short: short, Example: "  tocsin deliveries " + use + " 12", Args: args(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, list []string) error {
				k, err := c.client()
				if err != nil {
					return err
				}
				method := http.MethodPost
				if path == "" {
					method = http.MethodGet
				}
				var d document
				if err := k.call(cmd.Context(), method, "/v1/deliveries/"+url.PathEscape(list[0])+path, nil, &d); err != nil {
					return err
				}
				return c.printDelivery(d, ledger)
			},
		}
	}
	replay := &cobra.Command{
		Use: "replay [ID]", Short: "Send one again, or all that are over and that the flags name", Example: "  tocsin deliveries replay 12\n  tocsin deliveries replay --rule 3 --state dead",
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			if len(list) == 1 {
				return act("replay", "", "/replay").RunE(cmd, list)
			}
			k, err := c.client()
			if err != nil {
				return err
			}
			body := map[string]any{"rule": rule, "transport": transport}
			if state != "" {
				body["state"] = state
			}
			if sequence != "" {
				body["sequence"] = sequence
			}
			var out struct {
				Count int `json:"count"`
			}
			if err := k.call(cmd.Context(), http.MethodPost, "/v1/deliveries/replay", body, &out); err != nil {
				return err
			}
			if c.json() {
				return c.printJSON(out)
			}
			_, err = fmt.Fprintf(c.out, "%d messages are sent again.\n", out.Count)
			return err
		},
	}
	for _, one := range []*cobra.Command{cmd, replay} {
		f := one.Flags()
		f.StringVar(&rule, "rule", "", "of this rule (id)")
		f.StringVar(&transport, "transport", "", "by this transport (id)")
		f.StringVar(&state, "state", "", "queued, retrying, delivered, dead or suppressed")
		f.StringVar(&sequence, "sequence", "", "about this event")
	}
	cmd.AddCommand(act("show", "Show one with its attempts", ""), act("acknowledge", "Say that somebody looks after it: its escalation ends", "/acknowledge"), replay)
	return cmd
}

// printDelivery prints a row of the ledger, and its attempts where it has any.
func (c *cli) printDelivery(d document, ledger documents) error {
	if err := c.printDocuments([]document{d}, d, ledger); err != nil || c.json() {
		return err
	}
	tries, _ := d["tries"].([]any)
	rows := [][]string{}
	for _, t := range tries {
		one, _ := t.(map[string]any)
		a := document(one)
		rows = append(rows, []string{a.text("number"), a.when("time"), a.text("status"), a.text("latency_ms") + " ms", a.text("answer"), a.text("error")})
	}
	if len(rows) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(c.out); err != nil {
		return err
	}
	return c.table([]string{"ATTEMPT", "TIME", "STATUS", "TOOK", "ANSWER", "ERROR"}, rows)
}
