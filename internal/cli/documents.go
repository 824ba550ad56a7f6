package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/tocsin-events/tocsin/internal/event"
)

// documents are objects that are too large for flags: they are read from files,
// in YAML or JSON, with the members that the API has.
type documents struct {
	resource string // as in /v1/rules
	one      string
	short    string
	lost     string // what removing one means
	sample   string // a file's name
	header   []string
	row      func(document) []string
	more     []*cobra.Command
}

// document is any object of the API.
type document map[string]any

// text is a member as people read it in a table.
func (d document) text(name string) string {
	switch v := d[name].(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		all := make([]string, len(v))
		for i, item := range v {
			all[i] = fmt.Sprint(item)
		}
		return strings.Join(all, " ")
	case float64:
		return fmt.Sprintf("%g", v)
	default:
		return fmt.Sprint(v)
	}
}

// when is a time as people read it, in their own zone.
func (d document) when(name string) string {
	t, err := time.Parse(time.RFC3339, d.text(name))
	if err != nil {
		return d.text(name)
	}
	return t.Local().Format(time.DateTime)
}

// sequence is one without its zeros.
func (d document) sequence() string { return strings.TrimLeft(d.text("sequence"), "0") }

// documents makes the commands of a resource.
func (c *cli) documents(d documents) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		return c.listDocuments(cmd, "/v1/"+d.resource, d)
	}
	write := func(method, path, file string, cmd *cobra.Command) error {
		body, err := c.readDocument(file)
		if err != nil {
			return err
		}
		k, err := c.client()
		if err != nil {
			return err
		}
		var made document
		if err := k.call(cmd.Context(), method, path, body, &made); err != nil {
			return err
		}
		return c.printDocuments([]document{made}, made, d)
	}
	path := func(id string) string { return "/v1/" + d.resource + "/" + url.PathEscape(id) }
	cmd := &cobra.Command{
		Use: d.resource, Short: d.short, Example: "  tocsin " + d.resource + " list\n  tocsin " + d.resource + " create " + d.sample, Args: args(cobra.NoArgs), RunE: list,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List them", Example: "  tocsin " + d.resource + " list -o json", Args: args(cobra.NoArgs), RunE: list},
		&cobra.Command{
			Use: "show ID", Short: "Show all of one, as create takes it", Example: "  tocsin " + d.resource + " show 3", Args: args(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, list []string) error { return c.showDocument(cmd, path(list[0])) },
		},
		&cobra.Command{
			Use: "create FILE", Short: "Make " + d.one + " of a YAML or JSON file; - reads standard input", Example: "  tocsin " + d.resource + " create " + d.sample, Args: args(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, list []string) error {
				return write(http.MethodPost, "/v1/"+d.resource, list[0], cmd)
			},
		},
		&cobra.Command{
			Use: "edit ID FILE", Short: "Change what a YAML or JSON file names (merge patch); - reads standard input",
			Example: "  echo '{\"name\": \"another name\"}' | tocsin " + d.resource + " edit 3 -", Args: args(cobra.ExactArgs(2)),
			RunE: func(cmd *cobra.Command, list []string) error {
				return write(http.MethodPatch, path(list[0]), list[1], cmd)
			},
		},
		c.removal(d.resource, d.lost))
	cmd.AddCommand(d.more...)
	return cmd
}

func (c *cli) listDocuments(cmd *cobra.Command, path string, d documents) error {
	k, err := c.client()
	if err != nil {
		return err
	}
	all := []document{}
	if err := each(cmd.Context(), k, path, func(one document) { all = append(all, one) }); err != nil {
		return err
	}
	return c.printDocuments(all, all, d)
}

func (c *cli) printDocuments(all []document, whole any, d documents) error {
	if c.json() {
		return c.printJSON(whole)
	}
	rows := [][]string{}
	for _, one := range all {
		rows = append(rows, d.row(one))
	}
	return c.table(d.header, rows)
}

// showDocument prints an object as YAML, without what the server adds.
func (c *cli) showDocument(cmd *cobra.Command, path string) error {
	k, err := c.client()
	if err != nil {
		return err
	}
	var one document
	if err := k.call(cmd.Context(), http.MethodGet, path, nil, &one); err != nil {
		return err
	}
	if c.json() {
		return c.printJSON(one)
	}
	for _, name := range []string{"id", "created", "updated", "state", "created_by"} {
		delete(one, name)
	}
	text, err := yaml.Marshal(map[string]any(one))
	if err != nil {
		return err
	}
	_, err = c.out.Write(text)
	return err
}

// maxDocument is the largest file that is sent, in bytes.
const maxDocument = 1 << 20

// readDocument reads a YAML or JSON file, or standard input.
func (c *cli) readDocument(file string) (document, error) {
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
	if err != nil {
		return nil, err
	}
	if len(raw) > maxDocument {
		return nil, event.Invalidf("%s: has more than %d bytes", file, maxDocument)
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw)) // JSON is YAML
	var d document
	if err := dec.Decode(&d); err != nil {
		return nil, event.Invalidf("%s: %w", file, err)
	}
	if err := dec.Decode(&document{}); !errors.Is(err, io.EOF) {
		return nil, event.Invalidf("%s: holds more than one document", file)
	}
	if _, err := json.Marshal(d); err != nil {
		return nil, event.Invalidf("%s: %w", file, err)
	}
	return d, nil
}

// into decodes an answer twice: for people, and as it came.
func into(raw *document, also any) json.Unmarshaler { return &twice{raw, also} }

type twice struct {
	raw  *document
	also any
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *twice) UnmarshalJSON(text []byte) error {
	return errors.Join(json.Unmarshal(text, t.raw), json.Unmarshal(text, t.also))
}
