package cli

import (
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tocsin-events/tocsin/internal/bench"
)

func init() { register(newBench) }

func newBench(c *cli) *cobra.Command {
	var o bench.Options
	var page, profile string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the journal, the server and SQLite side by side",
		Long: "Measure Tocsin beside the disk, SQLite and a bare HTTP handler, in turns, on this\nmachine, and print the ratios. It takes about ten minutes and 3 GB of disk in a\n" +
			"folder under the working directory, which it removes; the machine should have nothing else to do.",
		Example: "  tocsin bench --out docs/benchmarks.md\n  tocsin bench --quick\n  tocsin bench --only append --only http",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Program, err = os.Executable(); err != nil {
				return err
			}
			o.Say = func(what string) { _, _ = fmt.Fprintln(c.err, what) }
			return profiled(profile, func() error {
				r, err := bench.Run(cmd.Context(), o)
				if err != nil {
					return err
				}
				return c.printBench(r, page, &o)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Events, "events", 0, "events that are searched (default 1000000)")
	f.IntVar(&o.Large, "large", 0, "events in the large journal (default five times --events)")
	f.BoolVar(&o.Quick, "quick", false, "a run of seconds, whose figures mean nothing")
	f.StringVar(&o.Dir, "dir", "", "folder to write in (default a new one under the working directory)")
	f.StringSliceVar(&o.Only, "only", nil, "run this section alone: append, http, search, tail, pages, audit, notify, flows or memory")
	f.StringVar(&page, "out", "", "also write the page of the documentation to this file")
	f.StringVar(&profile, "cpuprofile", "", "write a CPU profile to this file")
	cmd.AddCommand(newBenchOpen(c))
	return cmd
}

// newBenchOpen opens a journal and nothing else, in a process of its own whose
// memory bench measures.
func newBenchOpen(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "open DIR", Short: "Open a journal and wait", Hidden: true, Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, dir []string) error {
			return bench.OpenOnly(cmd.Context(), dir[0], c.in, c.out)
		},
	}
}

func (c *cli) printBench(r *bench.Report, page string, o *bench.Options) error {
	if page != "" {
		f, err := os.Create(page)
		if err != nil {
			return err
		}
		if err := errors.Join(r.WritePage(f, benchCommand(page, o)), f.Close()); err != nil {
			return err
		}
	}
	if c.json() {
		return c.printJSON(r)
	}
	err := r.WriteTable(c.out)
	for _, n := range r.Notes {
		_, _ = fmt.Fprintln(c.out, "-", n)
	}
	missed, goals := r.Missed()
	_, _ = fmt.Fprintf(c.out, "\n%d of %d goals are reached, in %s.\n", goals-missed, goals, r.Took.Round(1e9))
	return err
}

// benchCommand is how the same run is started again.
func benchCommand(page string, o *bench.Options) string {
	command := "tocsin bench"
	if o.Events > 0 {
		command += fmt.Sprint(" --events ", o.Events)
	}
	if o.Large > 0 {
		command += fmt.Sprint(" --large ", o.Large)
	}
	if o.Quick {
		command += " --quick"
	}
	if len(o.Only) > 0 {
		command += " --only " + strings.Join(o.Only, ",")
	}
	return command + " --out " + page
}

// profiled runs fn, and writes a CPU profile of it where a path is given.
func profiled(path string, fn func() error) error {
	if path == "" {
		return fn()
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = fn()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}
