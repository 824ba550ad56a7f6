package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/event"
)

func init() { register(newUsers) }

type user struct {
	ID            string    `json:"id"`
	Username      string    `json:"username"`
	Name          string    `json:"name"`
	Email         string    `json:"email"`
	EmailVerified bool      `json:"email_verified"`
	AccessLevel   string    `json:"access_level"`
	Groups        []string  `json:"groups"`
	State         string    `json:"state"`
	TwoFactor     bool      `json:"two_factor"`
	Created       time.Time `json:"created"`
}

func newUsers(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "users", Short: "Make, change, suspend and archive users",
		Long:    "Make, change, suspend and archive users. USER is an id, a user name, or me.",
		Example: "  tocsin users create ann --email ann@example.com --access-level operator\n  tocsin users suspend ann --reason 'policy violation'\n  tocsin users list",
		Args:    args(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error { return listUsers(cmd, c) },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List users", Example: "  tocsin users list -o json", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return listUsers(cmd, c) },
	}, c.userCommand("show USER", "Show a user", "", http.MethodGet, ""),
		newUserCreate(c), newUserEdit(c), newUserSuspend(c),
		c.userCommand("unsuspend USER", "Let a suspended user in again", "", http.MethodPost, "/unsuspend"),
		c.userCommand("archive USER", "Put an account away", "", http.MethodPost, "/archive"),
		c.userCommand("unarchive USER", "Bring an account back from the archive", "", http.MethodPost, "/unarchive"),
		c.userCommand("rm USER", "Delete a user; archiving keeps the account", "", http.MethodDelete, ""),
		c.userCommand("reset-password USER", "Send a link to set a new password; it is printed where no mail can be sent", "link", http.MethodPost, "/password-reset"),
		c.userCommand("api-key USER", "Make the API key of a user anew; it is shown once", "api_key", http.MethodPost, "/api-key"),
		c.userCommand("impersonate USER", "Act as a user: prints a token of an hour", "token", http.MethodPost, "/impersonate"),
		c.userCommand("end-impersonation USER", "Stop acting as a user", "", http.MethodDelete, "/impersonate"),
		c.userCommand("end-totp USER", "Turn the one-time passwords of a user off", "", http.MethodDelete, "/totp"),
		newUserSSHKeys(c), newUserDelegates(c), newUserSessions(c))
	return cmd
}

// userPath is the API's path of a user, who is named by id, user name, or me.
func (k *client) userPath(ctx context.Context, name string) (string, error) {
	if name == "me" || strings.Trim(name, "0123456789") == "" {
		return "/v1/users/" + url.PathEscape(name), nil
	}
	found := ""
	err := each(ctx, k, "/v1/users", func(u user) {
		if u.Username == name {
			found = "/v1/users/" + u.ID
		}
	})
	if err == nil && found == "" {
		err = event.NotFoundf("there is no user %q", name)
	}
	return found, err
}

// each reads a list of the API, page by page.
func each[T any](ctx context.Context, k *client, path string, do func(T)) error {
	join := "?"
	if strings.Contains(path, "?") {
		join = "&"
	}
	for cursor := ""; ; {
		var page struct {
			Items []T     `json:"items"`
			Next  *string `json:"next"`
		}
		if err := k.call(ctx, http.MethodGet, path+join+"limit=1000&cursor="+url.QueryEscape(cursor), nil, &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			do(item)
		}
		if page.Next == nil {
			return nil
		}
		cursor = *page.Next
	}
}

// userCommand does one act upon one user. prints names the member of the answer
// that is printed; without it, the user is.
func (c *cli) userCommand(use, short, prints, method, path string) *cobra.Command {
	verb, _, _ := strings.Cut(use, " ")
	return &cobra.Command{
		Use: use, Short: short, Example: "  tocsin users " + verb + " ann", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			return c.actOnUser(cmd.Context(), list[0], method, path, nil, prints)
		},
	}
}

func (c *cli) actOnUser(ctx context.Context, name, method, path string, body any, prints string) error {
	k, err := c.client()
	if err != nil {
		return err
	}
	base, err := k.userPath(ctx, name)
	if err != nil {
		return err
	}
	if method == http.MethodDelete {
		return k.call(ctx, method, base+path, nil, nil)
	}
	if prints != "" {
		var answer map[string]any
		if err := k.call(ctx, method, base+path, body, &answer); err != nil {
			return err
		}
		if c.json() {
			return c.printJSON(answer)
		}
		text, ok := answer[prints].(string)
		if !ok {
			text = "a mail is on its way"
		}
		_, err = fmt.Fprintln(c.out, text)
		return err
	}
	var u user
	if err := k.call(ctx, method, base+path, body, &u); err != nil {
		return err
	}
	return c.printUsers([]user{u}, u)
}

func (c *cli) printUsers(list []user, whole any) error {
	if c.json() {
		return c.printJSON(whole)
	}
	rows := [][]string{}
	for _, u := range list {
		mail, second := u.Email, "no"
		if mail != "" && !u.EmailVerified {
			mail += " (unverified)"
		}
		if u.TwoFactor {
			second = "yes"
		}
		rows = append(rows, []string{u.ID, u.Username, u.Name, mail, u.AccessLevel, u.State, second})
	}
	return c.table([]string{"ID", "USERNAME", "NAME", "EMAIL", "ACCESS LEVEL", "STATE", "TOTP"}, rows)
}

func listUsers(cmd *cobra.Command, c *cli) error {
	k, err := c.client()
	if err != nil {
		return err
	}
	all := []user{}
	if err := each(cmd.Context(), k, "/v1/users", func(u user) { all = append(all, u) }); err != nil {
		return err
	}
	return c.printUsers(all, all)
}

// profile are the flags of create and edit.
type profile struct {
	username, name, email, level string
	groups                       []string
	password                     bool
}

func (p *profile) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.name, "name", "", "full name")
	f.StringVar(&p.email, "email", "", "address")
	f.StringVar(&p.level, "access-level", "viewer", "viewer, operator, admin or the name of a role")
	f.StringSliceVar(&p.groups, "group", nil, "id of a group; may be repeated")
	f.BoolVar(&p.password, "password", false, "ask for a new password, or read it from standard input")
}

// body is what was said by flags, under the API's names.
func (p *profile) body(cmd *cobra.Command, c *cli) (map[string]any, error) {
	body := map[string]any{}
	for flag, member := range map[string]string{"name": "name", "email": "email", "access-level": "access_level", "group": "groups", "username": "username"} {
		if f := cmd.Flags().Lookup(flag); f != nil && f.Changed {
			body[member] = map[string]any{"name": p.name, "email": p.email, "access_level": p.level, "groups": p.groups, "username": p.username}[member]
		}
	}
	if p.password {
		password, err := c.secret("New password")
		if err != nil {
			return nil, err
		}
		body["password"] = password
	}
	return body, nil
}

func newUserCreate(c *cli) *cobra.Command {
	var p profile
	cmd := &cobra.Command{
		Use: "create USERNAME", Short: "Make a user", Args: args(cobra.ExactArgs(1)),
		Example: "  tocsin users create ann --name 'Ann Archer' --email ann@example.com --access-level operator",
		RunE: func(cmd *cobra.Command, list []string) error {
			k, err := c.client()
			if err != nil {
				return err
			}
			body, err := p.body(cmd, c)
			if err != nil {
				return err
			}
			body["username"], body["access_level"] = list[0], p.level
			var made user
			if err := k.call(cmd.Context(), http.MethodPost, "/v1/users", body, &made); err != nil {
				return err
			}
			return c.printUsers([]user{made}, made)
		},
	}
	p.flags(cmd)
	return cmd
}

func newUserEdit(c *cli) *cobra.Command {
	var p profile
	cmd := &cobra.Command{
		Use: "edit USER", Short: "Change a user: what is not named stays", Args: args(cobra.ExactArgs(1)),
		Example: "  tocsin users edit ann --access-level admin",
		RunE: func(cmd *cobra.Command, list []string) error {
			body, err := p.body(cmd, c)
			if err != nil {
				return err
			}
			if len(body) == 0 {
				return event.Invalidf("say what to change; see tocsin users edit --help")
			}
			return c.actOnUser(cmd.Context(), list[0], http.MethodPatch, "", body, "")
		},
	}
	p.flags(cmd)
	cmd.Flags().StringVar(&p.username, "username", "", "name to sign in with")
	return cmd
}

func newUserSuspend(c *cli) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "suspend USER", Short: "Keep a user out, and end their sessions", Args: args(cobra.ExactArgs(1)),
		Example: "  tocsin users suspend ann --reason 'policy violation'",
		RunE: func(cmd *cobra.Command, list []string) error {
			return c.actOnUser(cmd.Context(), list[0], http.MethodPost, "/suspend", map[string]any{"reason": reason}, "")
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; it is told in the event")
	return cmd
}
