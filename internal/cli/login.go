package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tocsin-events/tocsin/internal/event"
)

func init() { register(newLogin) }

// saved is a session that login has left for the commands that follow.
type saved struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// sessionsFile holds the sessions by the URL of their server. Nobody else may
// read it.
func (c *cli) sessionsFile() (string, error) {
	dir := c.env("XDG_CONFIG_HOME")
	if dir == "" {
		home := c.env("HOME")
		if home == "" {
			return "", event.Invalidf("neither XDG_CONFIG_HOME nor HOME is set: there is no place for the session")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "tocsin", "sessions.json"), nil
}

func (c *cli) sessions() (map[string]saved, error) {
	all := map[string]saved{}
	path, err := c.sessionsFile()
	if err != nil {
		return all, err
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		return all, fmt.Errorf("sessions %s: %w", path, err)
	}
	return all, nil
}

// saveSession keeps a session for a server's URL; an empty one removes it.
func (c *cli) saveSession(base string, s saved) error {
	all, err := c.sessions()
	if err != nil {
		return err
	}
	for at, old := range all {
		if time.Now().After(old.ExpiresAt) {
			delete(all, at)
		}
	}
	if all[base] = s; s.Token == "" {
		delete(all, base)
	}
	path, err := c.sessionsFile()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return fmt.Errorf("sessions: %w", err)
	}
	return os.Rename(path+".new", path)
}

func newLogin(c *cli) *cobra.Command {
	var at, username, otp string
	var password bool
	cmd := &cobra.Command{
		Use: "login", Short: "Sign in at a server, for the commands that follow",
		Long: "Sign in at a server, $TOCSIN_URL or --url. The commands that follow use the\nsession where TOCSIN_TOKEN is not set. You let this program in with a browser, on\n" +
			"any machine, by the code that it shows (RFC 8628). With --password it asks for\nthe password instead, or reads it from standard input; it is never an argument,\n" +
			"which others on this host could read.",
		Example: "  tocsin login --url https://tocsin.example\n  tocsin login --password --url https://tocsin.example --username ann", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if at == "" {
				at = c.env("TOCSIN_URL")
			}
			u, err := url.Parse(at)
			if err != nil || u.Host == "" {
				return event.Invalidf("--url: %q is not a URL such as https://tocsin.example", at)
			}
			k := &client{base: strings.TrimRight(at, "/"), http: &http.Client{}, where: at}
			if !password && username == "" {
				return c.loginByDevice(cmd.Context(), k)
			}
			if username == "" {
				return event.Invalidf("--username is needed")
			}
			secret, err := c.secret("Password")
			if err != nil {
				return err
			}
			body := map[string]any{"username": username, "password": secret, "otp": otp}
			var got saved
			err = k.call(cmd.Context(), http.MethodPost, "/v1/auth/token", body, &got)
			if errors.Is(err, event.ErrDenied) && strings.Contains(err.Error(), "one-time password") && otp == "" && c.interactive() {
				if body["otp"], err = c.secret("One-time password"); err != nil {
					return err
				}
				err = k.call(cmd.Context(), http.MethodPost, "/v1/auth/token", body, &got)
			}
			if err != nil {
				return err
			}
			if err := c.saveSession(k.base, got); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.out, "signed in at %s as %s until %s\n", k.base, username, got.ExpiresAt.Local().Format("2006-01-02 15:04"))
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&at, "url", "", "the server (default: $TOCSIN_URL)")
	f.StringVar(&username, "username", "", "who signs in")
	f.StringVar(&otp, "otp", "", "one-time password or recovery code")
	f.BoolVar(&password, "password", false, "sign in with a name and a password")
	return cmd
}

// interactive reports whether somebody types.
func (c *cli) interactive() bool {
	f, ok := c.in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// secret asks for something that is not shown while it is typed, or reads a line
// from standard input.
func (c *cli) secret(what string) (string, error) {
	if f, ok := c.in.(*os.File); ok && c.interactive() {
		_, _ = fmt.Fprintf(c.err, "%s: ", what)
		raw, err := term.ReadPassword(int(f.Fd()))
		_, _ = fmt.Fprintln(c.err)
		if err != nil {
			return "", fmt.Errorf("%s: %w", strings.ToLower(what), err)
		}
		return string(raw), nil
	}
	line, err := bufio.NewReader(io.LimitReader(c.in, 4096)).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if err != nil && !errors.Is(err, io.EOF) || line == "" {
		return "", event.Invalidf("%s: give it on standard input", strings.ToLower(what))
	}
	return line, nil
}
