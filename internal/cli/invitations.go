package cli

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/event"
)

func init() { register(newInvitations) }

type invitation struct {
	ID          string     `json:"id"`
	Email       string     `json:"email"`
	AccessLevel string     `json:"access_level"`
	ExpiresAt   time.Time  `json:"expires_at"`
	UsedAt      *time.Time `json:"used_at"`
	Token       string     `json:"token,omitempty"`
	Link        string     `json:"link,omitempty"`
}

func newInvitations(c *cli) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return listInvitations(cmd, c) }
	cmd := &cobra.Command{
		Use: "invitations", Short: "Invite people, and list and take back invitations",
		Example: "  tocsin invitations create --email ann@example.com --access-level operator\n  tocsin invitations list", Args: args(cobra.NoArgs), RunE: list,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List invitations", Example: "  tocsin invitations list -o json", Args: args(cobra.NoArgs), RunE: list},
		newInvitationCreate(c), c.removal("invitations", "an invitation, so that its link opens nothing"))
	return cmd
}

func newInvitationCreate(c *cli) *cobra.Command {
	var email, level, expires string
	cmd := &cobra.Command{
		Use: "create", Short: "Invite somebody; the link works once and is shown once",
		Example: "  tocsin invitations create --email ann@example.com --expires 3d", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			body := map[string]any{"email": email, "access_level": level}
			if expires != "" {
				d, err := event.ParseDuration(expires)
				if err != nil {
					return err
				}
				body["expires_at"] = time.Now().Add(d).UTC().Truncate(time.Second)
			}
			var made invitation
			if err := k.call(cmd.Context(), http.MethodPost, "/v1/invitations", body, &made); err != nil {
				return err
			}
			if c.json() {
				return c.printJSON(made)
			}
			_, err = fmt.Fprintln(c.out, made.Link)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&email, "email", "", "address to which the link goes, where a mail server is configured")
	f.StringVar(&level, "access-level", "viewer", "viewer, operator, admin or the name of a role")
	f.StringVar(&expires, "expires", "", "how long the link is good, such as 3d (default: 7d)")
	return cmd
}

func listInvitations(cmd *cobra.Command, c *cli) error {
	k, err := c.client()
	if err != nil {
		return err
	}
	all := []invitation{}
	if err := each(cmd.Context(), k, "/v1/invitations", func(v invitation) { all = append(all, v) }); err != nil {
		return err
	}
	if c.json() {
		return c.printJSON(all)
	}
	rows := [][]string{}
	for _, v := range all {
		state := "open"
		switch {
		case v.UsedAt != nil:
			state = "used"
		case time.Now().After(v.ExpiresAt):
			state = "expired"
		}
		rows = append(rows, []string{v.ID, v.Email, v.AccessLevel, state, v.ExpiresAt.Local().Format("2006-01-02 15:04")})
	}
	return c.table([]string{"ID", "EMAIL", "ACCESS LEVEL", "STATE", "EXPIRES"}, rows)
}
