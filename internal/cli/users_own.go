package cli

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/event"
)

// What belongs to a user: SSH keys, delegates, sessions. Each has a list, and rm.

// ownList is a command with list and rm for what belongs to a user.
func ownList[T any](c *cli, name, short, path string, header []string, row func(T) []string) *cobra.Command {
	list := func(cmd *cobra.Command, user string) error {
		k, err := c.client()
		if err != nil {
			return err
		}
		base, err := k.userPath(cmd.Context(), user)
		if err != nil {
			return err
		}
		var page struct {
			Items []T `json:"items"`
		}
		if err := k.call(cmd.Context(), http.MethodGet, base+path, nil, &page); err != nil {
			return err
		}
		if c.json() {
			return c.printJSON(page.Items)
		}
		rows := [][]string{}
		for _, item := range page.Items {
			rows = append(rows, row(item))
		}
		return c.table(header, rows)
	}
	cmd := &cobra.Command{
		Use: name, Short: short, Example: "  tocsin users " + name + " list ann", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "list USER", Short: "List them", Example: "  tocsin users " + name + " list ann", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list1 []string) error { return list(cmd, list1[0]) },
	}, &cobra.Command{
		Use: "rm USER ID", Short: "Remove one", Example: "  tocsin users " + name + " rm ann 3", Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, list []string) error {
			return c.actOnUser(cmd.Context(), list[0], http.MethodDelete, path+"/"+url.PathEscape(list[1]), nil, "")
		},
	})
	return cmd
}

type sshKey struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	PublicKey   string `json:"public_key"`
	Fingerprint string `json:"fingerprint"`
}

func newUserSSHKeys(c *cli) *cobra.Command {
	cmd := ownList(c, "ssh-keys", "SSH keys, which sign what tocsin emit --sign-key sends", "/ssh-keys", []string{"ID", "NAME", "FINGERPRINT"},
		func(k sshKey) []string { return []string{k.ID, k.Name, k.Fingerprint} })
	var name string
	add := &cobra.Command{
		Use: "add USER FILE", Short: "Add a public key from a file", Example: "  tocsin users ssh-keys add ann ~/.ssh/id_ed25519.pub", Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, list []string) error {
			line, err := os.ReadFile(list[1])
			if err != nil {
				return event.Invalidf("public key: %w", err)
			}
			if strings.Contains(string(line), "PRIVATE KEY") {
				return event.Invalidf("%s is a private key, which stays with you: name the file that ends in .pub", list[1])
			}
			body := map[string]any{"name": name, "public_key": strings.TrimSpace(string(line))}
			return c.actOnUser(cmd.Context(), list[0], http.MethodPost, "/ssh-keys", body, "fingerprint")
		},
	}
	add.Flags().StringVar(&name, "name", "", "what the key is called (default: its comment)")
	cmd.AddCommand(add)
	return cmd
}

type delegate struct {
	User     string `json:"user"`
	Username string `json:"username"`
}

func newUserDelegates(c *cli) *cobra.Command {
	cmd := ownList(c, "delegates", "Who may act for a user", "/delegates", []string{"ID", "USERNAME"},
		func(d delegate) []string { return []string{d.User, d.Username} })
	cmd.AddCommand(&cobra.Command{
		Use: "add USER ID", Short: "Let the user with an id act for USER", Example: "  tocsin users delegates add ann 7", Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, list []string) error {
			return c.actOnUser(cmd.Context(), list[0], http.MethodPost, "/delegates", map[string]any{"user": list[1]}, "username")
		},
	})
	return cmd
}

type openSession struct {
	ID        string    `json:"id"`
	Method    string    `json:"method"`
	Seen      time.Time `json:"seen"`
	ExpiresAt time.Time `json:"expires_at"`
	ClientIP  string    `json:"client_ip"`
	UserAgent string    `json:"user_agent"`
	Current   bool      `json:"current"`
}

func newUserSessions(c *cli) *cobra.Command {
	return ownList(c, "sessions", "Where a user is signed in", "/sessions", []string{"ID", "METHOD", "LAST USE", "EXPIRES", "ADDRESS", "PROGRAM"},
		func(s openSession) []string {
			const short = "2006-01-02 15:04"
			return []string{s.ID, s.Method, s.Seen.Local().Format(short), s.ExpiresAt.Local().Format(short), s.ClientIP, s.UserAgent}
		})
}
