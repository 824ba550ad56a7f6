package cli

import (
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func init() { register(newGroups) }

type group struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func newGroups(c *cli) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		k, err := c.client()
		if err != nil {
			return err
		}
		all := []group{}
		if err := each(cmd.Context(), k, "/v1/groups", func(g group) { all = append(all, g) }); err != nil {
			return err
		}
		return c.printGroups(all, all)
	}
	// write makes or renames a group.
	write := func(method, path, name string, cmd *cobra.Command) error {
		k, err := c.client()
		if err != nil {
			return err
		}
		var g group
		if err := k.call(cmd.Context(), method, path, map[string]any{"name": name}, &g); err != nil {
			return err
		}
		return c.printGroups([]group{g}, g)
	}
	cmd := &cobra.Command{
		Use: "groups", Short: "Make, rename, list and remove groups of users",
		Example: "  tocsin groups create operations\n  tocsin users edit ann --group 1\n  tocsin groups list", Args: args(cobra.NoArgs), RunE: list,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List groups", Example: "  tocsin groups list -o json", Args: args(cobra.NoArgs), RunE: list},
		&cobra.Command{
			Use: "create NAME", Short: "Make a group", Example: "  tocsin groups create operations", Args: args(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, list []string) error {
				return write(http.MethodPost, "/v1/groups", list[0], cmd)
			},
		},
		&cobra.Command{
			Use: "rename ID NAME", Short: "Rename a group", Example: "  tocsin groups rename 1 ops", Args: args(cobra.ExactArgs(2)),
			RunE: func(cmd *cobra.Command, list []string) error {
				return write(http.MethodPut, "/v1/groups/"+url.PathEscape(list[0]), list[1], cmd)
			},
		},
		c.removal("groups", "a group, and its members from it"))
	return cmd
}

func (c *cli) printGroups(all []group, whole any) error {
	if c.json() {
		return c.printJSON(whole)
	}
	rows := [][]string{}
	for _, g := range all {
		rows = append(rows, []string{g.ID, g.Name})
	}
	return c.table([]string{"ID", "NAME"}, rows)
}

// removal is the command that deletes an object by its id.
func (c *cli) removal(resource, what string) *cobra.Command {
	return &cobra.Command{
		Use: "rm ID", Short: "Remove " + what, Example: "  tocsin " + resource + " rm 3", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			return k.call(cmd.Context(), http.MethodDelete, "/v1/"+resource+"/"+url.PathEscape(list[0]), nil, nil)
		},
	}
}
