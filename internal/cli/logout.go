package cli

import (
	"errors"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/event"
)

func init() { register(newLogout) }

func newLogout(c *cli) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use: "logout", Short: "End the session that login has opened", Example: "  tocsin logout --url https://tocsin.example", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if at == "" {
				at = c.env("TOCSIN_URL")
			}
			at = strings.TrimRight(at, "/")
			all, err := c.sessions()
			if err != nil {
				return err
			}
			s, ok := all[at]
			if !ok {
				return event.NotFoundf("you are not signed in at %q", at)
			}
			k := &client{base: at, token: s.Token, http: &http.Client{}, where: at}
			err = k.call(cmd.Context(), http.MethodPost, "/v1/auth/logout", nil, nil)
			if err != nil && !errors.Is(err, event.ErrDenied) { // a session that has ended is signed out of
				return err
			}
			return c.saveSession(at, saved{})
		},
	}
	cmd.Flags().StringVar(&at, "url", "", "the server (default: $TOCSIN_URL)")
	return cmd
}
