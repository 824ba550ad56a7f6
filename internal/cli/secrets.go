package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/event"
)

func init() { register(newSecrets) }

func secretTable() documents {
	return documents{header: []string{"ID", "NAME", "CREATED", "UPDATED"}, row: func(d document) []string {
		return []string{d.text("id"), d.text("name"), d.when("created"), d.when("updated")}
	}}
}

func newSecrets(c *cli) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return c.listDocuments(cmd, "/v1/secrets", secretTable()) }
	cmd := &cobra.Command{
		Use: "secrets", Short: "Store what flows use by its name and nobody sees", Args: args(cobra.NoArgs), RunE: list,
		Long:    "Store what flows use by its name and nobody sees. The value is read from a file or\nfrom standard input, never from an argument: those stand in the list of processes.",
		Example: "  tocsin secrets create crowdsec_key --file /root/crowdsec.key\n  pass show tickets | tocsin secrets set tickets_token\n  tocsin secrets list",
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List the names of secrets", Example: "  tocsin secrets list -o json", Args: args(cobra.NoArgs), RunE: list},
		c.newSecretWrite("create", "Store a new secret"), c.newSecretWrite("set", "Give a secret another value"), c.newSecretReveal(), c.newSecretRemove())
	return cmd
}

// secretPath is the API's path of a secret, which is named by id or by name.
func (c *cli) secretPath(cmd *cobra.Command, k *client, name string) (string, error) {
	if strings.Trim(name, "0123456789") == "" && name != "" {
		return "/v1/secrets/" + name, nil
	}
	id, err := k.named(cmd.Context(), "/v1/secrets", name, "secret")
	return "/v1/secrets/" + url.PathEscape(id), err
}

// maxSecret is the largest value, in bytes.
const maxSecret = 64 << 10

// secretValue reads a value from a file, or from standard input. One line feed at
// its end is not part of it.
func (c *cli) secretValue(file string, object bool) (any, error) {
	var raw []byte
	var err error
	switch file {
	case "":
		var text string
		text, err = c.secret("Value")
		raw = []byte(text)
	case "-":
		raw, err = io.ReadAll(io.LimitReader(c.in, maxSecret+1))
	default:
		if raw, err = os.ReadFile(file); err != nil {
			err = event.NotFoundf("%w", err)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(raw) > maxSecret {
		return nil, event.Invalidf("the value has more than %d bytes", maxSecret)
	}
	if object {
		var parts map[string]string
		if json.Unmarshal(raw, &parts) != nil {
			return nil, event.Invalidf("the value is no JSON object of texts")
		}
		return parts, nil
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r"), nil
}

func (c *cli) newSecretWrite(verb, short string) *cobra.Command {
	var file string
	var object bool
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short, Args: args(cobra.ExactArgs(1)),
		Example: "  tocsin secrets " + verb + " crowdsec_key --file /root/crowdsec.key\n  echo '{\"username\": \"bot\", \"password\": \"…\"}' | tocsin secrets " + verb + " tickets --file - --object",
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			value, err := c.secretValue(file, object)
			if err != nil {
				return err
			}
			method, path, body := http.MethodPost, "/v1/secrets", map[string]any{"name": list[0], "value": value}
			if verb == "set" {
				method, body = http.MethodPatch, map[string]any{"value": value}
				if path, err = c.secretPath(cmd, k, list[0]); err != nil {
					return err
				}
			}
			var d document
			if err := k.call(cmd.Context(), method, path, body, &d); err != nil {
				return err
			}
			return c.printDocuments([]document{d}, d, secretTable())
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "read the value from this file; - is all of standard input (default: a line of standard input)")
	cmd.Flags().BoolVar(&object, "object", false, "the value is a JSON object of texts, such as {\"username\": …, \"password\": …}")
	return cmd
}

func (c *cli) newSecretReveal() *cobra.Command {
	return &cobra.Command{
		Use: "reveal NAME", Short: "Show a value to who gives their password again; that is recorded", Example: "  tocsin secrets reveal crowdsec_key", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			path, err := c.secretPath(cmd, k, list[0])
			if err != nil {
				return err
			}
			password, err := c.secret("Password")
			if err != nil {
				return err
			}
			var d document
			if err := k.call(cmd.Context(), http.MethodPost, path+"/reveal", map[string]any{"password": password}, &d); err != nil {
				return err
			}
			if text, ok := d["value"].(string); ok && !c.json() {
				_, err = fmt.Fprintln(c.out, printable(text))
				return err
			}
			return c.printJSON(d["value"])
		},
	}
}

func (c *cli) newSecretRemove() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Short: "Remove a secret; flows that use it fail", Example: "  tocsin secrets rm crowdsec_key", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			path, err := c.secretPath(cmd, k, list[0])
			if err != nil {
				return err
			}
			return k.call(cmd.Context(), http.MethodDelete, path, nil, nil)
		},
	}
}
