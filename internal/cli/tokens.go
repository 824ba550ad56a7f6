package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/event"
)

func init() { register(newTokens) }

type token struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Scopes    []string   `json:"scopes"`
	ExpiresAt *time.Time `json:"expires_at"`
	Created   time.Time  `json:"created"`
	Token     string     `json:"token,omitempty"`
}

func newTokens(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "tokens",
		Short:   "Make, list and revoke API tokens",
		Example: "  tocsin tokens create --name ci --scope emit\n  tocsin tokens list\n  tocsin tokens rm 3",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return listTokens(cmd, c) },
	}
	cmd.AddCommand(newTokenCreate(c), &cobra.Command{
		Use: "list", Short: "List tokens", Example: "  tocsin tokens list -o json", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return listTokens(cmd, c) },
	}, &cobra.Command{
		Use: "rm ID", Short: "Revoke a token", Example: "  tocsin tokens rm 3", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			return k.call(cmd.Context(), http.MethodDelete, "/v1/tokens/"+url.PathEscape(list[0]), nil, nil)
		},
	})
	return cmd
}

func newTokenCreate(c *cli) *cobra.Command {
	var name, expires string
	var scopes []string
	cmd := &cobra.Command{
		Use: "create", Short: "Make a token; its secret is shown once",
		Example: "  tocsin tokens create --name ci --scope emit --expires 90d", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			body := map[string]any{"name": name, "scopes": scopes}
			if expires != "" {
				d, err := event.ParseDuration(expires)
				if err != nil {
					return err
				}
				body["expires_at"] = time.Now().Add(d).UTC().Truncate(time.Second)
			}
			var made token
			if err := k.call(cmd.Context(), http.MethodPost, "/v1/tokens", body, &made); err != nil {
				return err
			}
			if c.json() {
				return c.printJSON(made)
			}
			_, err = fmt.Fprintln(c.out, made.Token)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "what it is for")
	f.StringSliceVar(&scopes, "scope", []string{"emit"}, "read, emit, forward or admin; may be repeated")
	f.StringVar(&expires, "expires", "", "how long it is valid, such as 90d (default: for ever)")
	return cmd
}

func listTokens(cmd *cobra.Command, c *cli) error {
	k, err := c.client()
	if err != nil {
		return err
	}
	var page struct {
		Items []token `json:"items"`
	}
	if err := k.call(cmd.Context(), http.MethodGet, "/v1/tokens?limit=1000", nil, &page); err != nil {
		return err
	}
	if c.json() {
		return c.printJSON(page.Items)
	}
	rows := [][]string{}
	for _, t := range page.Items {
		expires := "never"
		if t.ExpiresAt != nil {
			expires = t.ExpiresAt.Local().Format("2006-01-02 15:04")
		}
		rows = append(rows, []string{t.ID, t.Name, strings.Join(t.Scopes, ","), expires})
	}
	return c.table([]string{"ID", "NAME", "SCOPES", "EXPIRES"}, rows)
}
