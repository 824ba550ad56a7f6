package cli

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/event"
	"github.com/tocsin-events/tocsin/internal/flow/cron"
)

func init() {
	register(func(c *cli) *cobra.Command {
		return c.documents(documents{
			resource: "triggers", one: "a trigger", short: "Say when flows run: for which events, and at which times", lost: "a trigger; runs that it has started go on", sample: "trigger.yaml",
			header: []string{"ID", "NAME", "ON", "FLOW", "WHEN", "SKIPPED"},
			row: func(d document) []string {
				return []string{d.text("id"), d.text("name"), d.text("enabled"), d.text("flow"), whenOf(d), skipsOf(d)}
			},
			more: []*cobra.Command{c.newTriggerExplain(), c.newTriggerNext()},
		})
	})
}

// whenOf says when a trigger runs, briefly.
func whenOf(d document) string {
	if d.text("kind") == "event" {
		if d.text("types") == "" {
			return "all types"
		}
		return d.text("types")
	}
	for _, name := range []string{"cron", "at", "every"} {
		if text := d.text(name); text != "" && text != "0s" {
			return strings.TrimSpace(name + " " + text + " " + d.text("timezone"))
		}
	}
	return ""
}

// skipsOf says how often a trigger did not run, by reason.
func skipsOf(d document) string {
	skips, _ := d["skips"].(map[string]any)
	var all []string
	for _, reason := range []string{"filter_false", "filter_error", "disabled", "loop1", "loop2", "loop3", "depth", "throttled", "overlap", "missed"} {
		if n := document(skips).text(reason); n != "" {
			all = append(all, reason+" "+n)
		}
	}
	return strings.Join(all, ", ")
}

func (c *cli) newTriggerExplain() *cobra.Command {
	return &cobra.Command{
		Use: "explain SEQUENCE", Short: "Say which triggers an event fires, and why the others do not run", Example: "  tocsin triggers explain 4711", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			return c.listVerdicts(cmd, list[0])
		},
	}
}

func (c *cli) listVerdicts(cmd *cobra.Command, sequence string) error {
	k, err := c.client()
	if err != nil {
		return err
	}
	var found struct {
		Items []document `json:"items"`
	}
	if err := k.call(cmd.Context(), http.MethodGet, "/v1/triggers/explain?sequence="+url.QueryEscape(sequence), nil, &found); err != nil {
		return err
	}
	return c.printDocuments(found.Items, found.Items, documents{header: []string{"ID", "TRIGGER", "FLOW", "RUNS", "WHY NOT", "DETAIL", "RUN"}, row: func(d document) []string {
		fires, _ := d["fires"].(bool)
		return []string{d.text("trigger_id"), d.text("trigger"), d.text("flow"), mark(fires), d.text("skip"), d.text("detail"), d.text("run_id")}
	}})
}

// newTriggerNext needs no server: it is a sum.
func (c *cli) newTriggerNext() *cobra.Command {
	var spec, zone, from string
	var count int
	cmd := &cobra.Command{
		Use: "next --cron SPEC", Short: "Print when a schedule would run next; no server is asked",
		Example: "  tocsin triggers next --cron '30 2 * * 1-5' --timezone Europe/Berlin --count 5\n  tocsin triggers next --cron @hourly --from 2026-03-29T00:00:00Z -o json", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if count < 1 || count > 10_000 {
				return event.Invalidf("--count: must be 1 to 10000")
			}
			at := time.Now()
			if from != "" {
				var err error
				if at, err = event.ParseTime(from); err != nil {
					return event.Invalidf("--from: %q is no time such as 2026-11-21T10:00:00Z", from)
				}
			}
			place, err := time.LoadLocation(zone)
			if err != nil || zone == "" || zone == "Local" {
				return event.Invalidf("--timezone: %q is not the name of a time zone such as Europe/Berlin", zone)
			}
			schedule, err := cron.Parse(spec, place)
			if err != nil {
				return err
			}
			return c.printSlots(schedule, at, count)
		},
	}
	cmd.Flags().StringVar(&spec, "cron", "", "five or six fields, @hourly …, or @every 20m")
	cmd.Flags().StringVar(&zone, "timezone", "UTC", "on whose clock")
	cmd.Flags().IntVar(&count, "count", 10, "how many")
	cmd.Flags().StringVar(&from, "from", "", "behind this time (default now)")
	_ = cmd.MarkFlagRequired("cron")
	return cmd
}

func (c *cli) printSlots(schedule *cron.Schedule, at time.Time, count int) error {
	times, rows := []string{}, [][]string{}
	for range count {
		if at = schedule.Next(at); at.IsZero() {
			break
		}
		times = append(times, at.Format(time.RFC3339))
		rows = append(rows, []string{at.Format("Mon 2006-01-02 15:04:05 MST"), at.UTC().Format(time.RFC3339)})
	}
	if c.json() {
		return c.printJSON(times)
	}
	return c.table([]string{"THERE", "UTC"}, rows)
}
