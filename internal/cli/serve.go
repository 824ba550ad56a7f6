package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/app"
	"github.com/tocsin-events/tocsin/internal/config"
	"github.com/tocsin-events/tocsin/internal/state"
	"github.com/tocsin-events/tocsin/internal/telemetry"
)

func init() { register(newServe) }

func newServe(c *cli) *cobra.Command {
	var s serve
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Run the server",
		Long:    "Run the server. It needs no other set-up: it creates its data folder, prints its\nURL and, once, the first administrator's password, and watches this host.\nSIGHUP reads the configuration anew; SIGINT and SIGTERM shut it down.",
		Example: "  tocsin serve\n  tocsin serve --data /var/lib/tocsin --listen 0.0.0.0:7722 --config /etc/tocsin.yaml",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.run(cmd, c) },
	}
	f := cmd.Flags()
	f.StringVar(&s.listen, "listen", "", "address and port (default 127.0.0.1:7722)")
	f.StringVar(&s.config, "config", c.env("TOCSIN_CONFIG"), "configuration file")
	f.StringVar(&s.database, "database", "", "state database; empty for SQLite in the data folder")
	f.BoolVar(&s.acceptLoss, "accept-loss", false, "go on over damage in the journal; what is lost is written down")
	return cmd
}

type serve struct {
	listen, config, database string
	acceptLoss               bool
}

// load reads the configuration; flags win over the file and the environment.
func (s *serve) load(cmd *cobra.Command, c *cli) (config.Config, error) {
	environ := c.environ
	for _, flag := range []struct{ name, variable, value string }{
		{"data", "TOCSIN_DATA", c.data}, {"listen", "TOCSIN_LISTEN", s.listen}, {"database", "TOCSIN_DATABASE", s.database},
	} {
		if cmd.Flags().Changed(flag.name) {
			environ = append(slices.Clip(environ), flag.variable+"="+flag.value)
		}
	}
	return config.Load(s.config, environ)
}

func (s *serve) run(cmd *cobra.Command, c *cli) error {
	cfg, err := s.load(cmd, c)
	if err != nil {
		return err
	}
	log := telemetry.NewLogger(c.err, cfg.Log.Level)
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	a, err := app.New(ctx, app.Options{
		Version: Version(), Config: cfg, Log: log, AdminPassword: c.env("TOCSIN_ADMIN_PASSWORD"), AcceptLoss: s.acceptLoss,
		Load: func() (config.Config, error) { return s.load(cmd, c) },
	})
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	go func() {
		for sig := range signals {
			if sig != syscall.SIGHUP {
				cancel(fmt.Errorf("signal %s", sigName(sig)))
				continue
			}
			if err := a.Reload(ctx, state.System()); err != nil {
				log.ErrorContext(ctx, "configuration is not reloaded", "err", err)
			}
		}
	}()
	err = a.Run(ctx, func() { greet(c, a) })
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func sigName(s os.Signal) string {
	if s == syscall.SIGTERM {
		return "SIGTERM"
	}
	return "SIGINT"
}

// greet tells a newcomer where the server is and how to sign in.
func greet(c *cli, a *app.App) {
	_, _ = fmt.Fprintf(c.out, "Tocsin is ready at http://%s\n", a.Address())
	if a.FirstPassword != "" && c.env("TOCSIN_ADMIN_PASSWORD") == "" {
		_, _ = fmt.Fprintf(c.out, "\nThe first administrator is \"admin\", with the password\n\n    %s\n\nIt is not shown again.\n", a.FirstPassword)
	}
	_, _ = fmt.Fprintf(c.out, "\nIn another terminal: tocsin events --follow\n")
}
