package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func init() { register(newRuns) }

// runTable is how runs are listed.
func runTable() documents {
	return documents{header: []string{"ID", "QUEUED", "STATE", "FLOW", "TRIGGER", "TOOK", "STATUS", "ERROR"}, row: func(d document) []string {
		status := strings.TrimSpace(d.text("status") + " " + d.text("status_msg"))
		if status == "unknown" {
			status = ""
		}
		return []string{d.text("id"), d.when("queued_at"), d.text("state"), d.text("flow"), d.text("trigger_id"), d.text("duration_ms") + " ms", status, errorOf(d)}
	}}
}

func newRuns(c *cli) *cobra.Command {
	var flow, trigger, state string
	list := func(cmd *cobra.Command, _ []string) error {
		k, err := c.client()
		if err != nil {
			return err
		}
		q := url.Values{}
		if flow != "" {
			path, err := k.flowPath(cmd.Context(), flow)
			if err != nil {
				return err
			}
			q.Set("flow", strings.TrimPrefix(path, "/v1/flows/"))
		}
		for name, value := range map[string]string{"trigger": trigger, "state": state} {
			if value != "" {
				q.Set(name, value)
			}
		}
		return c.listDocuments(cmd, "/v1/runs?"+q.Encode(), runTable())
	}
	cmd := &cobra.Command{
		Use: "runs", Short: "See what flows have done; cancel, or try again", Args: args(cobra.NoArgs), RunE: list,
		Example: "  tocsin runs list --state faulted\n  tocsin runs show 0d6f… --follow\n  tocsin runs retry 0d6f…",
	}
	all := &cobra.Command{Use: "list", Short: "List runs, the newest first", Example: "  tocsin runs list --flow restart-unit --state faulted", Args: args(cobra.NoArgs), RunE: list}
	for _, one := range []*cobra.Command{cmd, all} {
		one.Flags().StringVar(&flow, "flow", "", "of this flow (id or name)")
		one.Flags().StringVar(&trigger, "trigger", "", "started by this trigger (id)")
		one.Flags().StringVar(&state, "state", "", "queued, running, waiting, completed, faulted or cancelled")
	}
	cmd.AddCommand(all,
		c.runAct("show RUN", "Show a run with its steps", http.MethodGet, ""),
		c.runAct("cancel RUN", "End a run; what it has done outside stays done", http.MethodPost, "/cancel"),
		c.runAct("retry RUN", "Run once more what has failed, from where it failed", http.MethodPost, "/retry"))
	return cmd
}

// runAct does something with one run; --follow waits for its end.
func (c *cli) runAct(use, short, method, path string) *cobra.Command {
	var follow bool
	name, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use: use, Short: short, Example: "  tocsin runs " + name + " 390766bab8d5c9185e6a797a589b080d", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			var run document
			if err := k.call(cmd.Context(), method, "/v1/runs/"+url.PathEscape(list[0])+path, nil, &run); err != nil {
				return err
			}
			if follow {
				return c.followRun(cmd.Context(), k, run.text("id"))
			}
			return c.printRun(run)
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "wait for its end; the exit code is 1 unless it is completed")
	return cmd
}

// runPause is how often a run that is followed is looked at.
const runPause = 250 * time.Millisecond

// followRun prints the steps of a run as they end, and fails unless it completes.
func (c *cli) followRun(ctx context.Context, k *client, id string) error {
	told := 0
	tick := time.NewTicker(runPause)
	defer tick.Stop()
	for {
		var run document
		if err := k.call(ctx, http.MethodGet, "/v1/runs/"+url.PathEscape(id), nil, &run); err != nil {
			return err
		}
		steps, _ := run["steps"].([]any)
		for ; !c.json() && told < len(steps); told++ {
			one, _ := steps[told].(map[string]any)
			s := document(one)
			if s.text("state") == "waiting" {
				break // it is told when it is over
			}
			if _, err := fmt.Fprintf(c.out, "%-10s %s  %s ms%s\n", s.text("state"), printable(s.text("task")), s.text("duration_ms"), printable(behind("  ", errorOf(s)))); err != nil {
				return err
			}
		}
		switch state := run.text("state"); state {
		case "completed", "faulted", "cancelled":
			err := c.endOfRun(run, state)
			if err == nil && state != "completed" {
				err = exitCode(exitFailed)
			}
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *cli) endOfRun(run document, state string) error {
	if c.json() {
		return c.printJSON(run)
	}
	_, err := fmt.Fprintf(c.out, "\n%s after %s ms%s\n", state, run.text("duration_ms"), printable(behind(": ", errorOf(run))))
	return err
}

// errorOf is why a run or a task has failed, in one line.
func errorOf(d document) string {
	fault, _ := d["error"].(map[string]any)
	return document(fault).text("message")
}

// behind is a text with something before it, unless it is empty.
func behind(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// printRun prints a run and its steps.
func (c *cli) printRun(run document) error {
	if err := c.printDocuments([]document{run}, run, runTable()); err != nil || c.json() {
		return err
	}
	steps, _ := run["steps"].([]any)
	rows := [][]string{}
	for _, one := range steps {
		m, _ := one.(map[string]any)
		s := document(m)
		rows = append(rows, []string{s.text("task"), s.text("kind"), s.text("state"), s.text("duration_ms") + " ms", errorOf(s)})
	}
	if len(rows) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(c.out); err != nil {
		return err
	}
	return c.table([]string{"TASK", "KIND", "STATE", "TOOK", "ERROR"}, rows)
}
