package cli

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/event"
)

func init() {
	register(func(c *cli) *cobra.Command {
		return c.documents(documents{
			resource: "rules", one: "a rule", short: "Say who is told of what, explain it, and try it on what was", lost: "a rule; nobody is told by it any more", sample: "rule.yaml",
			header: []string{"ID", "NAME", "ON", "SEVERITY", "TYPES", "TRANSPORTS"},
			row: func(d document) []string {
				return []string{d.text("id"), d.text("name"), d.text("enabled"), d.text("severity"), d.text("types"), d.text("transports")}
			},
			more: []*cobra.Command{c.newRulesTest()},
		})
	})
}

// explanation is what the server says of a rule and an event.
type explanation struct {
	Fires      bool   `json:"fires"`
	Reason     string `json:"reason"`
	Conditions []struct {
		Name   string `json:"name"`
		Passed bool   `json:"passed"`
		Detail string `json:"detail"`
		Parts  []struct {
			Text   string                         `json:"text"`
			Result string                         `json:"result"`
			Values []struct{ Name, Value string } `json:"values"`
		} `json:"parts"`
	} `json:"conditions"`
	Tells []struct{ Transport, Mode, Recipient string } `json:"tells"`
}

// backTest is what a rule would have told.
type backTest struct {
	Events   int    `json:"events"`
	Matched  int    `json:"matched"`
	Silenced int    `json:"silenced"`
	Tellings int    `json:"tellings"`
	Messages int    `json:"messages"`
	Since    string `json:"since"`
	Partial  bool   `json:"partial"`
	First    []struct {
		At, Why, Sequence, Title string
		To                       int
	} `json:"first"`
	Exception string `json:"exception"`
}

func (c *cli) newRulesTest() *cobra.Command {
	var sequence, since string
	cmd := &cobra.Command{
		Use: "test ID|FILE", Short: "Say what a rule would have told, or why it fires for one event or not; nothing is sent",
		Example: "  tocsin rules test 3 --since 30d\n  tocsin rules test rule.yaml --since 7d\n  tocsin rules test 3 --sequence 4711", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			var rule any = list[0]
			if strings.Trim(list[0], "0123456789") != "" {
				if rule, err = c.readDocument(list[0]); err != nil {
					return err
				}
			}
			if sequence != "" && cmd.Flags().Changed("since") {
				return event.Invalidf("use --sequence for one event, or --since for a time")
			}
			if sequence != "" {
				var x explanation
				var raw document
				if err := k.call(cmd.Context(), http.MethodPost, "/v1/rules/explain", map[string]any{"rule": rule, "sequence": sequence}, into(&raw, &x)); err != nil {
					return err
				}
				return c.printExplanation(raw, &x)
			}
			var b backTest
			var raw document
			if err := k.call(cmd.Context(), http.MethodPost, "/v1/rules/backtest", map[string]any{"rule": rule, "since": since}, into(&raw, &b)); err != nil {
				return err
			}
			return c.printBackTest(raw, &b)
		},
	}
	cmd.Flags().StringVar(&sequence, "sequence", "", "of one event: say for each condition what it gave")
	cmd.Flags().StringVar(&since, "since", "30d", "how far to go back: a duration such as 7d, or a time")
	return cmd
}

func mark(good bool) string {
	if good {
		return "yes"
	}
	return "no"
}

func (c *cli) printExplanation(raw document, x *explanation) error {
	if c.json() {
		return c.printJSON(raw)
	}
	rows := [][]string{}
	for _, one := range x.Conditions {
		rows = append(rows, []string{one.Name, mark(one.Passed), one.Detail})
		for _, p := range one.Parts {
			values := make([]string, len(p.Values))
			for i, v := range p.Values {
				values[i] = v.Name + " = " + v.Value
			}
			rows = append(rows, []string{"", p.Result, "  " + p.Text + "   (" + strings.Join(values, ", ") + ")"})
		}
	}
	if err := c.table([]string{"CONDITION", "HOLDS", ""}, rows); err != nil {
		return err
	}
	if !x.Fires {
		_, err := fmt.Fprintf(c.out, "\nIt does not fire: %s.\n", printable(x.Reason))
		return err
	}
	tells := make([]string, len(x.Tells))
	for i, t := range x.Tells {
		tells[i] = strings.TrimSpace(t.Transport + " " + t.Recipient)
	}
	_, err := fmt.Fprintf(c.out, "\nIt fires, and tells: %s.\n", printable(strings.Join(tells, ", ")))
	return err
}

func (c *cli) printBackTest(raw document, b *backTest) error {
	if c.json() {
		return c.printJSON(raw)
	}
	rows := [][]string{}
	for _, t := range b.First {
		rows = append(rows, []string{document{"at": t.At}.when("at"), t.Why, strings.TrimLeft(t.Sequence, "0"), strconv.Itoa(t.To), t.Title})
	}
	if err := c.table([]string{"TIME", "WHY", "EVENT", "TO", "TITLE"}, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.out, "\nSince %s: it fires for %d of %d events, %d of them silenced; %d tellings, %d messages.\n", document{"since": b.Since}.when("since"), b.Matched, b.Events, b.Silenced, b.Tellings, b.Messages)
	if err == nil && b.Partial {
		_, err = fmt.Fprintln(c.out, "There was no time for all of it: use a shorter --since.")
	}
	if err == nil && b.Exception != "" {
		_, err = fmt.Fprintf(c.out, "It fails for some: %s\n", printable(b.Exception))
	}
	return err
}
