package cli

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/event"
)

func init() { register(newRoles) }

type role struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Scopes []string `json:"scopes"`
}

func newRoles(c *cli) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		k, err := c.client()
		if err != nil {
			return err
		}
		all := []role{}
		if err := each(cmd.Context(), k, "/v1/roles", func(r role) { all = append(all, r) }); err != nil {
			return err
		}
		return c.printRoles(all, all)
	}
	cmd := &cobra.Command{
		Use: "roles", Short: "Make, change, list and remove roles: access levels of your own",
		Example: "  tocsin roles create sender --scope emit\n  tocsin users edit ann --access-level sender\n  tocsin roles list", Args: args(cobra.NoArgs), RunE: list,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List roles", Example: "  tocsin roles list -o json", Args: args(cobra.NoArgs), RunE: list},
		c.newRoleCreate(), c.newRoleEdit(), c.removal("roles", "a role that nobody has"))
	return cmd
}

func (c *cli) newRoleCreate() *cobra.Command {
	var scopes []string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a role", Example: "  tocsin roles create sender --scope emit --scope read", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			return c.writeRole(cmd, http.MethodPost, "/v1/roles", map[string]any{"name": list[0], "scopes": scopes})
		},
	}
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "what it may: read, emit, forward or admin; may be repeated")
	_ = cmd.MarkFlagRequired("scope") // the flag exists
	return cmd
}

func (c *cli) newRoleEdit() *cobra.Command {
	var name string
	var scopes []string
	cmd := &cobra.Command{
		Use: "edit ID", Short: "Change a role; everybody who has it has the new scopes at once", Example: "  tocsin roles edit 1 --scope read --scope emit", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			change := map[string]any{}
			if cmd.Flags().Changed("name") {
				change["name"] = name
			}
			if cmd.Flags().Changed("scope") {
				change["scopes"] = scopes
			}
			if len(change) == 0 {
				return event.Invalidf("say what to change: --name or --scope")
			}
			return c.writeRole(cmd, http.MethodPatch, "/v1/roles/"+url.PathEscape(list[0]), change)
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "another name, where nobody has it yet")
	f.StringSliceVar(&scopes, "scope", nil, "what it may from now on, in place of before; may be repeated")
	return cmd
}

func (c *cli) writeRole(cmd *cobra.Command, method, path string, body map[string]any) error {
	k, err := c.client()
	if err != nil {
		return err
	}
	var r role
	if err := k.call(cmd.Context(), method, path, body, &r); err != nil {
		return err
	}
	return c.printRoles([]role{r}, r)
}

func (c *cli) printRoles(all []role, whole any) error {
	if c.json() {
		return c.printJSON(whole)
	}
	rows := [][]string{}
	for _, r := range all {
		rows = append(rows, []string{r.ID, r.Name, strings.Join(r.Scopes, " ")})
	}
	return c.table([]string{"ID", "NAME", "SCOPES"}, rows)
}
