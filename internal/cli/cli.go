// Package cli is Tocsin's command line: one file is one command.
//
// It promises: every command explains itself with --help and an example, prints
// a table or JSON (-o), and ends with an exit code that scripts can rely on: 0
// ok, 1 failed, 2 usage, 3 not found, 4 denied, 5 unavailable.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tocsin-events/tocsin/internal/event"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitUnavailable = 5
)

// cli is one call of the program.
type cli struct {
	environ  []string
	in       io.Reader
	out, err io.Writer
	data     string // folder of the server on this host
	output   string // table or json
}

// commands is filled by the init functions of this package's files alone.
var commands []func(*cli) *cobra.Command //nolint:gochecknoglobals // the registry: values only, written by init

func register(command func(*cli) *cobra.Command) { commands = append(commands, command) }

// Main runs one command and returns the exit code.
func Main(ctx context.Context, args, environ []string, in io.Reader, out, errOut io.Writer) int {
	c := &cli{environ: environ, in: in, out: out, err: errOut}
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return c.exit(err)
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "tocsin",
		Short:         "Record system events durably, find them, be told",
		Long:          "Tocsin turns what happens on hosts into typed events, records each one durably\nbefore it says yes, and lets people find them.",
		Example:       "  tocsin serve\n  tocsin emit backup_failed name=nightly\n  tocsin events 'severity >= warn' --follow",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	data := c.env("TOCSIN_DATA")
	if data == "" {
		data = defaultData
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.data, "data", data, "folder of the server on this host")
	flags.StringVarP(&c.output, "output", "o", "table", "table or json")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return event.Invalidf("%w", err) })
	for _, command := range commands {
		root.AddCommand(command(c))
	}
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if c.output != "table" && c.output != "json" {
			return event.Invalidf("-o %s: use table or json", c.output)
		}
		return nil
	}
	return root
}

// env is an environment variable; empty where it is not set.
func (c *cli) env(name string) string {
	for _, pair := range c.environ {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// exitCode carries an exit code of another program, or a silent failure.
type exitCode int //nolint:errname // it is a code first; as an error it only travels

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// exit prints an error and gives its exit code. This is the one table.
func (c *cli) exit(err error) int {
	if err == nil {
		return exitOK
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	_, _ = fmt.Fprintf(c.err, "tocsin: %v\n", err)
	switch {
	case errors.Is(err, event.ErrInvalid), strings.HasPrefix(err.Error(), "unknown command"), strings.HasPrefix(err.Error(), "required flag"):
		return exitUsage
	case errors.Is(err, event.ErrNotFound):
		return exitNotFound
	case errors.Is(err, event.ErrDenied):
		return exitDenied
	case errors.Is(err, event.ErrUnavailable):
		return exitUnavailable
	default:
		return exitFailed
	}
}

// args makes wrong arguments a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, list []string) error {
		if err := check(cmd, list); err != nil {
			return event.Invalidf("%w; see tocsin %s --help", err, cmd.Name())
		}
		return nil
	}
}

func (c *cli) json() bool { return c.output == "json" }

// printJSON prints a value as indented JSON.
func (c *cli) printJSON(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table prints rows in columns.
func (c *cli) table(header []string, rows [][]string) error {
	w := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, r := range rows {
		for i := range r {
			r[i] = printable(r[i])
		}
		_, _ = fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

// printable keeps control sequences of strangers away from the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < 0x20, r >= 0x7F && r <= 0x9F, r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
			return ' '
		}
		return r
	}, s)
}

// isTerminal reports whether output goes to a terminal.
func (c *cli) isTerminal() bool {
	f, ok := c.out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Version is the program's version, from the module or the commit it was built of.
func Version() string {
	if stamped != "" {
		return stamped
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}
