package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/event"
)

func init() { register(newFlows) }

// flowTable is how flows are listed.
func flowTable() documents {
	return documents{header: []string{"ID", "NAME", "STATE", "VERSION", "REASON"}, row: func(d document) []string {
		return []string{d.text("id"), d.text("name"), d.text("state"), short(d.text("version")), d.text("reason")}
	}}
}

// short is enough of a hash to tell it from others.
func short(hash string) string { return hash[:min(10, len(hash))] }

func newFlows(c *cli) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return c.listDocuments(cmd, "/v1/flows", flowTable()) }
	cmd := &cobra.Command{
		Use: "flows", Short: "Store, check and run flows: what is done when something happens", Args: args(cobra.NoArgs), RunE: list,
		Long:    "Store, check and run flows: documents of the Open Workflow Specification. FLOW is\nan id or a name.",
		Example: "  tocsin flows validate restart.yaml\n  tocsin flows apply restart.yaml\n  tocsin flows run restart-unit --input '{\"unit\": \"nginx.service\"}' --follow",
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List flows", Example: "  tocsin flows list -o json", Args: args(cobra.NoArgs), RunE: list},
		c.newFlowShow(), c.newFlowApply(), c.newFlowValidate(), c.newFlowRun(), c.newFlowRemove())
	return cmd
}

// flowPath is the API's path of a flow, which is named by id or by name.
func (k *client) flowPath(ctx context.Context, name string) (string, error) {
	if strings.Trim(name, "0123456789") == "" && name != "" {
		return "/v1/flows/" + name, nil
	}
	id, err := k.named(ctx, "/v1/flows", name, "flow")
	return "/v1/flows/" + url.PathEscape(id), err
}

// named finds the id of the one object of a list that has a name.
func (k *client) named(ctx context.Context, path, name, what string) (string, error) {
	var ids []string
	err := each(ctx, k, path, func(d document) {
		if d.text("name") == name {
			ids = append(ids, d.text("id"))
		}
	})
	switch {
	case err != nil:
		return "", err
	case len(ids) == 0:
		return "", event.NotFoundf("there is no %s %q", what, name)
	case len(ids) > 1:
		return "", event.Conflictf("%d are called %q: name one by its id (%s)", len(ids), name, strings.Join(ids, ", "))
	}
	return ids[0], nil
}

func (c *cli) newFlowShow() *cobra.Command {
	return &cobra.Command{
		Use: "show FLOW", Short: "Print the document of a flow, as it was given", Example: "  tocsin flows show restart-unit > restart.yaml", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			path, err := k.flowPath(cmd.Context(), list[0])
			if err != nil {
				return err
			}
			var d document
			if err := k.call(cmd.Context(), http.MethodGet, path, nil, &d); err != nil {
				return err
			}
			if c.json() {
				return c.printJSON(d)
			}
			text := strings.TrimRight(d.text("document"), "\n")
			for line := range strings.SplitSeq(text, "\n") {
				if _, err := fmt.Fprintln(c.out, printable(line)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// readFlow reads a flow's document; - is standard input.
func (c *cli) readFlow(file string) ([]byte, error) {
	in := c.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, event.NotFoundf("%w", err)
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	if err == nil && len(raw) > maxDocument {
		err = event.Invalidf("%s: has more than %d bytes", file, maxDocument)
	}
	return raw, err
}

// sendFlow sends a document, and decodes the answer.
func (k *client) sendFlow(ctx context.Context, method, path string, raw []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	resp, err := k.open(ctx, method, path, "application/yaml", bytes.NewReader(raw))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("answer of the server: %w", err)
	}
	return nil
}

// flowHead is what of a document says which flow it is.
type flowHead struct {
	Document struct {
		Namespace string `yaml:"namespace"`
		Name      string `yaml:"name"`
	} `yaml:"document"`
}

func (c *cli) newFlowApply() *cobra.Command {
	return &cobra.Command{
		Use: "apply FILE …", Short: "Store flows: one of the same name gets a new version; - reads standard input",
		Long:    "Store flows. One of the same namespace and name gets a new version, unless it has\nthe same document already. A flow that is not valid is stored, too; the exit code\nis 1 then.",
		Example: "  tocsin flows apply flows/*.yaml", Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			made := []document{}
			for _, file := range files {
				d, err := c.applyFlow(cmd.Context(), k, file)
				if err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				made = append(made, d)
			}
			if err := c.printDocuments(made, made, flowTable()); err != nil {
				return err
			}
			for _, d := range made {
				if d.text("state") != "valid" {
					return exitCode(exitFailed)
				}
			}
			return nil
		},
	}
}

func (c *cli) applyFlow(ctx context.Context, k *client, file string) (d document, err error) {
	raw, err := c.readFlow(file)
	if err != nil {
		return nil, err
	}
	var head flowHead
	_ = yaml.Unmarshal(raw, &head) // what is wrong with it, the server says
	known := document{}
	if head.Document.Name != "" {
		if err := each(ctx, k, "/v1/flows", func(one document) {
			if one.text("name") == head.Document.Name && one.text("namespace") == head.Document.Namespace {
				known = one
			}
		}); err != nil {
			return nil, err
		}
	}
	if known.text("id") == "" {
		return d, k.sendFlow(ctx, http.MethodPost, "/v1/flows", raw, &d)
	}
	path := "/v1/flows/" + url.PathEscape(known.text("id"))
	if err := k.call(ctx, http.MethodGet, path, nil, &d); err != nil || d.text("document") == string(raw) {
		return d, err
	}
	return d, k.sendFlow(ctx, http.MethodPut, path, raw, &d)
}

func (c *cli) newFlowValidate() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE …", Short: "Say what is wrong with documents, and what to write instead; nothing is stored",
		Example: "  tocsin flows validate flows/*.yaml", Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			found := []document{}
			rows := [][]string{}
			wrong := false
			for _, file := range files {
				raw, err := c.readFlow(file)
				if err != nil {
					return err
				}
				var d struct {
					Valid    bool       `json:"valid"`
					Problems []document `json:"problems"`
				}
				var whole document
				if err := k.sendFlow(cmd.Context(), http.MethodPost, "/v1/flows/validate", raw, into(&whole, &d)); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				whole["file"] = file
				found = append(found, whole)
				wrong = wrong || !d.Valid
				for _, p := range d.Problems {
					rows = append(rows, []string{filepath.Base(file) + ":" + p.text("line") + ":" + p.text("column"), p.text("path"), p.text("problem"), p.text("instead")})
				}
			}
			switch {
			case c.json():
				err = c.printJSON(found)
			case wrong:
				err = c.table([]string{"WHERE", "PATH", "PROBLEM", "INSTEAD"}, rows)
			default:
				_, err = fmt.Fprintf(c.out, "%s valid.\n", plural(len(files), "document is", "documents are"))
			}
			if err == nil && wrong {
				err = exitCode(exitFailed)
			}
			return err
		},
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func (c *cli) newFlowRun() *cobra.Command {
	var input, key string
	var follow bool
	cmd := &cobra.Command{
		Use: "run FLOW", Short: "Run a flow by hand", Example: "  tocsin flows run restart-unit --input '{\"unit\": \"nginx.service\"}' --follow", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			path, err := k.flowPath(cmd.Context(), list[0])
			if err != nil {
				return err
			}
			if input == "" {
				input = "{}"
			}
			if !json.Valid([]byte(input)) {
				return event.Invalidf("--input: not JSON")
			}
			var run document
			if err := k.startRun(cmd.Context(), path+"/runs", input, key, &run); err != nil {
				return err
			}
			if follow {
				return c.followRun(cmd.Context(), k, run.text("id"))
			}
			return c.printDocuments([]document{run}, run, runTable())
		},
	}
	cmd.Flags().StringVar(&input, "input", "", "JSON (default {})")
	cmd.Flags().StringVar(&key, "key", "", "the same key again finds the same run, and starts no second one")
	cmd.Flags().BoolVar(&follow, "follow", false, "wait for its end, and print its steps")
	return cmd
}

// startRun starts a run under a key.
func (k *client) startRun(ctx context.Context, path, input, key string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.base+path, strings.NewReader(input))
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := k.do(req, "application/json")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("answer of the server: %w", err)
	}
	return nil
}

func (c *cli) newFlowRemove() *cobra.Command {
	return &cobra.Command{
		Use: "rm FLOW", Short: "Remove a flow; its triggers then have nothing to run", Example: "  tocsin flows rm restart-unit", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			path, err := k.flowPath(cmd.Context(), list[0])
			if err != nil {
				return err
			}
			return k.call(cmd.Context(), http.MethodDelete, path, nil, nil)
		},
	}
}
